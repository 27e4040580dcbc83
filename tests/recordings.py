"""Made-up recordings: frames whose number can be read from them, and files of all kinds."""

from __future__ import annotations

import json
import struct
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


def add_pages(data: bytearray, frames: Sequence[np.ndarray], told_at: int, told: int) -> list[int]:
    """Append frames to a TIFF as Micro-Manager does: a directory of 162 bytes, then its pixels."""
    places: list[int] = []
    height, width = frames[0].shape
    for frame in frames:
        start, pixels = len(data), frame.astype("<u2").tobytes()
        tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, start + 162)]
        tags += [(277, 1), (278, height), (279, len(pixels)), (282, 0), (283, 0), (296, 1)]
        entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags]
        entries.append(struct.pack("<HHII", 51123, 2, told, told_at))
        after = 0 if len(places) + 1 == len(frames) else start + 162 + len(pixels)
        data += struct.pack("<H", 13) + b"".join(entries) + struct.pack("<I", after) + pixels
        places.append(start)
    return places


def write_micromanager(
    path: Path, frames: Sequence[np.ndarray], first: int, of: int, position: int, positions: int
) -> Path:
    """Some frames (H, W) of `of` as Micro-Manager writes a file of them, NAME_MMStack*.tif."""
    summary = {"MicroManagerVersion": "2.0.1", "Prefix": path.name.split("_MMStack")[0]}
    shape = {"Frames": of, "Positions": positions, "Slices": 1, "Channels": 1}
    told = json.dumps(summary | shape).encode()
    told += b" " * (len(told) % 2)
    data = bytearray(40 + len(told))
    places = add_pages(data, frames, 40, len(told))
    rows = [(0, 0, first + k, position, place) for k, place in enumerate(places)]
    end = len(data)
    data += struct.pack("<II", 3453623, len(rows)) + np.array(rows, "<u4").tobytes()
    numbers = (places[0], 54773648, end, 483765892, end, 99384722, end, 2355492, len(told))
    data[: 40 + len(told)] = b"II*\0" + struct.pack("<9I", *numbers) + told
    path.write_bytes(data)
    return path


def write_ndtiff(path: Path, frames: Sequence[np.ndarray], first: int) -> Path:
    """Some frames (H, W) as Micro-Manager writes them to a file of an NDTiff beside its index."""
    data, (height, width) = bytearray(30), frames[0].shape
    places = add_pages(data, frames, 28, 2)
    data[:30] = b"II*\0" + struct.pack("<6I", places[0], 483729, 3, 0, 2355492, 2) + b"{}"
    path.write_bytes(data)
    with open(path.with_name("NDTiff.index"), "ab") as index:
        for number, place in enumerate(places, first):
            for text in (json.dumps({"time": number}).encode(), path.name.encode()):
                index.write(struct.pack("<I", len(text)) + text)
            index.write(struct.pack("<IiiiiIii", place + 162, width, height, 1, 0, 28, 2, 0))
    return path
