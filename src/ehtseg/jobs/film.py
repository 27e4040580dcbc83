"""The overlay movie of one recording: a second pass, because beats are known only at its end."""

from __future__ import annotations

import math
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from ehtseg.reading.video import Progress
from ehtseg.records import Array, Frame
from ehtseg.reporting.report import Report
from ehtseg.reporting.strip import make_strip
from ehtseg.seeing import render
from ehtseg.seeing.outputs import movie
from ehtseg.seeing.stream import ahead

NARROWEST_PX, WIDEST_PX = 480, 960  # of the movie: room for words, and no more than a page shows
STRIP = 0.22  # height of the strip, as a share of the movie's width
STRIP_PX = (96, 160)
AHEAD = 8  # frames that are decoded while others are drawn


def write_film(
    report: Report,
    pairs: Generator[tuple[Frame, Array], None, None],
    path: Path,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Every frame with the outline of its mask, and below it the trace with the beats.

    pairs: frames, each with its mask, bool (H, W). Memory does not grow with their number.
    """
    known = report.recording
    size = film_size(known["width"], known["height"])
    strip = make_strip(report, size[0], int(np.clip(STRIP * size[0], *STRIP_PX)) // 2 * 2)
    shape = size[1] + strip.height, size[0]
    with (
        movie(path, shape, known["fps"], f"ehtseg: {report.name}") as write,
        closing(ahead(pairs, AHEAD)) as coming,
    ):
        for count, (frame, mask) in enumerate(coming):
            now_s = float(report.traces.time_s[count])
            taken_s = frame.time_s if report.clock.is_known else None
            write(np.vstack([picture(frame.image, mask, size), strip.at(now_s)]), taken_s)
            progress(count + 1, known["n_frames"])


def film_size(width: int, height: int) -> tuple[int, int]:
    """Width and height (px, even) of frames in the movie: small ones enlarged, large ones shrunk.

    >>> film_size(128, 72), film_size(512, 512), film_size(1920, 1080)
    ((512, 288), (512, 512), (960, 540))
    """
    scale = min(1.0, WIDEST_PX / width)
    if width < NARROWEST_PX:
        scale = math.ceil(NARROWEST_PX / width)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2


def picture(image: Array, mask: Array, size: tuple[int, int]) -> Array:
    """A frame with the outline of its mask at `size` (width, height), uint8 (H, W, 3)."""
    if size != (image.shape[1], image.shape[0]):
        way = cv2.INTER_AREA if size[0] < image.shape[1] else cv2.INTER_LINEAR
        image = cv2.resize(image, size, interpolation=way)
        mask = cv2.resize(np.uint8(255) * mask, size, interpolation=way) >= 128
    return render.overlay(image, mask)
