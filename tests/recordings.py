"""Made-up recordings: frames whose number can be read from them, and files of all kinds."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def numbered(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Grey frames whose left half is 20 x (their number mod 12), and whose right half is a ramp."""
    frame = np.tile(np.linspace(0, 250, width).astype(np.uint8), (height, 1))
    frames = []
    for index in range(count):
        frames.append(frame.copy())
        frames[-1][:, : width // 2] = 20 * (index % 12)
    return frames


def number_of(image: np.ndarray) -> int:
    """The number that a frame of `numbered` carries, also after lossy compression."""
    grey = image if image.ndim == 2 else image[..., 1]
    return round(float(np.median(grey[:, : grey.shape[1] // 2 - 8])) / 20)


def write_video(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "ffv1",
    pix_fmt: str = "gray",
    rate: int = 25,
    times_ms: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """A video file of frames (H, W) or (H, W, 3) RGB, uint8 or uint16, lossless by default."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index, frame in enumerate(frames):
            kind = "gray" if frame.ndim == 2 else "rgb24"
            kind = "gray16le" if frame.dtype == np.uint16 else kind
            picture = av.VideoFrame.from_ndarray(frame, format=kind)
            if times_ms is not None:
                picture.pts, picture.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def cut_off(path: Path, share: float) -> Path:
    """The first `share` of a file, under another name with the same suffix."""
    data = path.read_bytes()
    cut = path.with_name(f"cut_{path.name}")
    cut.write_bytes(data[: int(len(data) * share)])
    return cut
