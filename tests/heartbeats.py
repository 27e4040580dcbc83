"""Made-up recordings of a beating strip, as TIFF stacks, with their masks and their true beats."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import tifffile

HEIGHT, WIDTH = 72, 128
PERIOD = 20  # frames a beat


def phases(count: int, period: int = PERIOD, first: int = 8) -> np.ndarray:
    """Contraction in [0, 1]: a twitch that starts at `first`, and again every `period` frames."""
    since = np.arange(count, dtype=float)[:, None] - (first + period * np.arange(-1, count))
    twitch = np.where(since > 0, (since / 4) ** 2 * np.exp(2 * (1 - np.maximum(since, 0) / 4)), 0)
    twitch[:, 0] = 0  # no beat before the first
    return twitch.sum(1)


def strip(phase: float, noise: np.ndarray, shift_px: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A textured strip that is 8 % shorter when contracted, uint8 (H, W), and its probabilities."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    x = (x - WIDTH / 2 - shift_px) / (1 - 0.08 * phase)
    y = y - HEIGHT / 2
    inside_px = np.minimum(46 - abs(x), 16 - abs(y))
    soft = np.clip(0.5 + inside_px, 0, 1).astype(np.float32)
    texture = 25 * np.sin(0.9 * x + 0.3 * y) * np.cos(0.7 * y - 0.2 * x)
    smooth = cv2.GaussianBlur((190 + soft * (texture - 100)).astype(np.float32), (0, 0), 0.8)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8), soft


def beating(phase_T: np.ndarray, shift_T: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """Frames uint8 with noise of 2 grey values, probabilities float32; (T, H, W) each."""
    rng = np.random.default_rng(11)
    shifts = np.zeros(len(phase_T)) if shift_T is None else shift_T
    made = [
        strip(float(phase), rng.normal(0, 2, (HEIGHT, WIDTH)), float(shift))
        for phase, shift in zip(phase_T, shifts, strict=True)
    ]
    return np.stack([image for image, _ in made]), np.stack([soft for _, soft in made])


def write_recording(folder: Path, name: str, frames: np.ndarray, masks: np.ndarray) -> Path:
    """NAME.tif with the frames, without a frame rate; masks/NAME.tif with soft or hard masks."""
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(folder / f"{name}.tif", frames, photometric="minisblack")
    stored = masks * np.uint8(255) if masks.dtype == bool else masks
    tifffile.imwrite(folder / "masks" / f"{name}.tif", stored)
    return folder / f"{name}.tif"
