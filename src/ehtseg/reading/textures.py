"""Made-up textures and outlines of which scenes are composed; lengths in pixels, levels 0 to 1."""

from __future__ import annotations

import cv2
import numpy as np

from ehtseg.records import Array

Rng = np.random.Generator


def cloud(rng: Rng, shape: tuple[int, int], coarse_px: float) -> Array:
    """Smooth noise float32 (H, W) of mean 0 and deviation 1; features of about `coarse_px`."""
    rows, columns = (max(2, round(length / coarse_px) + 1) for length in shape)
    grid = rng.standard_normal((rows, columns)).astype(np.float32)
    return _standard(cv2.resize(grid, shape[::-1], interpolation=cv2.INTER_CUBIC))


def fibres(rng: Rng, shape: tuple[int, int], length_px: float, width_px: float) -> Array:
    """Streaks along x: noise float32 (H, W) of mean 0 and deviation 1."""
    grain = rng.standard_normal(shape).astype(np.float32)
    return _standard(cv2.GaussianBlur(grain, (0, 0), sigmaX=length_px, sigmaY=width_px))


def ground(rng: Rng, shape: tuple[int, int]) -> Array:
    """A picture without tissue: light, unevenness, grain and, often, specks. float32 (H, W)."""
    side = max(shape)
    picture = np.full(shape, rng.uniform(0.25, 0.9), np.float32)
    picture += rng.uniform(0, 0.12) * cloud(rng, shape, side * rng.uniform(0.3, 1.0))
    picture += rng.uniform(0, 0.06) * cloud(rng, shape, side * rng.uniform(0.02, 0.1))
    picture += rng.uniform(0, 0.05) * cloud(rng, shape, rng.uniform(1.5, 4))
    if rng.random() < 0.4:
        for _ in range(rng.integers(5, 120)):
            ring(rng, picture, rng.uniform(0.004, 0.02) * side, rng.uniform(-0.25, 0.25))
    return picture


def ring(rng: Rng, picture: Array, radius_px: float, contrast: float) -> None:
    """Draw a speck, drop or bubble somewhere: a disc with a rim of the other sign, in place."""
    height, width = picture.shape
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    left, top = int(max(0, x - 2 * radius_px)), int(max(0, y - 2 * radius_px))
    part = picture[top : int(y + 2 * radius_px) + 1, left : int(x + 2 * radius_px) + 1]
    rows, columns = np.ogrid[top : top + part.shape[0], left : left + part.shape[1]]
    apart = np.hypot(columns - x, rows - y) / max(radius_px, 1)
    part += np.float32(contrast) * (np.exp(-(apart**4)) - np.exp(-(((apart - 1) * 4) ** 2)))


def outline(rng: Rng, shape: tuple[int, int], half_length_px: float, ends: str) -> Array:
    """The outline of a made-up tissue along x through the middle: float32 points (N, 2) as x, y.

    Wider towards its ends, bent a little, its edges uneven; `ends` is "round" or "square".
    """
    height, width = shape
    along = np.linspace(-1, 1, 80, dtype=np.float32)
    middle = rng.uniform(0.035, 0.15) * max(shape)
    end = middle * rng.uniform(0.9, 2.0)
    half = middle + (end - middle) * np.abs(along) ** rng.uniform(1.5, 4)
    if ends == "round":
        cap = rng.uniform(0.15, 0.35)
        half *= np.sqrt(np.clip(1 - np.clip((np.abs(along) - 1 + cap) / cap, 0, 1) ** 2, 0, 1))
    bend = rng.normal(0, 0.02) * max(shape) * (1 - along**2)
    unevenness = rng.uniform(0, 0.1) * middle
    rough = cloud(rng, (2, 80), rng.uniform(2, 20)) * unevenness * (half > 0)
    upper, lower = bend - half + rough[0], bend + half + rough[1]
    x = along * half_length_px + width / 2
    sides = [np.stack([x, y + height / 2], 1) for y in (upper, lower)]
    return np.concatenate([sides[0], sides[1][::-1]])


def filled(points: Array, shape: tuple[int, int]) -> Array:
    """The share of each pixel that lies inside an outline, float32 (H, W)."""
    fine = np.zeros(shape, np.uint8)
    cv2.fillPoly(fine, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    share: Array = fine.astype(np.float32) / 255
    return share


def _standard(noise: Array) -> Array:
    standard: Array = (noise - noise.mean()) / max(float(noise.std()), 1e-6)
    return standard
