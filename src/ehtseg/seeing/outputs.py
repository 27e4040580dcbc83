"""Files that grow frame by frame in constant memory, and a folder that appears when complete."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ehtseg.reading.containers import url_of
from ehtseg.records import Array, UserError

TICKS_PER_S = 90_000  # the clock of our movies: exact for 24, 25, 30 and 60 frames a second
NOMINAL_FPS = 25.0  # at which a movie plays whose true rate nobody knows
LARGEST_PX = 16_384  # side of a picture that H.264 takes
LONGEST_S = 1.0  # for which a movie waits where nothing was recorded, or two frames of a slow one
MOST_S = 21_600.0  # but no frame of an MP4 may last 2**31 ticks, 6.6 hours


@contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Give a hidden folder beside `folder` to write into; it becomes `folder` when all went well.

    An older `folder` is replaced. A crash leaves it as it was.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    beside, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    try:
        _clear(folder, beside, old)
        beside.mkdir(parents=True)
        yield beside
        for file in filter(Path.is_file, beside.rglob("*")):
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
    except OSError as error:
        raise UserError(
            f"to be able to write {folder}",
            f"“{error.strerror or error}”",
            "Free some space or choose another --out; nothing was left half-written.",
        ) from error
    finally:
        _clear(folder, beside, old)


def _clear(folder: Path, beside: Path, old: Path) -> None:
    """Undo what was begun; `old` is the only copy between the two renames, so it comes back."""
    if old.exists() and not folder.exists():
        old.rename(folder)
    for left_over in (beside, old):
        shutil.rmtree(left_over, ignore_errors=True)


@contextmanager
def mask_stack(
    path: Path,
    shape: tuple[int, int],
    n_frames: int | None,
    fps: float | None,
    um_per_px: float | None,
    stamp: str = "ehtseg",
) -> Iterator[Callable[[Array], None]]:
    """A TIFF stack of masks, uint8 0 and 255, deflated; yields what appends one mask, bool (H, W).

    Pixel size and frame interval stand where ImageJ and Fiji look for them, `stamp` in the tag
    Software. A stack that may outgrow 4 GB, or whose length is unknown, is BigTIFF.
    """
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib"}
    options |= {"rowsperstrip": shape[0], "metadata": None}
    if um_per_px is not None and 1e4 / um_per_px < 2**32:  # what a tag can hold
        options |= {"resolution": (1e4 / um_per_px,) * 2, "resolutionunit": "CENTIMETER"}
    of_the_stack = {
        "description": imagej_description(fps, um_per_px),
        "software": stamp.encode(),  # tifffile takes text as ASCII only
    }
    of_pages: Iterator[dict[str, Any]] = chain([of_the_stack], repeat({"software": False}))
    with tifffile.TiffWriter(path, bigtiff=needs_bigtiff(shape, n_frames)) as file:

        def write(mask: Array) -> None:
            file.write(np.uint8(255) * mask, **options, **next(of_pages))

        yield write


def needs_bigtiff(shape: tuple[int, int], n_frames: int | None) -> bool:
    """Whether the addresses of a deflated mask stack may need more than 32 bits.

    Deflate spends at most a little over 1 bit on a pixel that is one of two values; 2 are counted,
    and 1 kB for the tags of each page.

    >>> needs_bigtiff((512, 512), 5000), needs_bigtiff((2048, 2048), 5000)
    (False, True)
    """
    return n_frames is None or n_frames * (shape[0] * shape[1] / 4 + 1024) > 2**32


def imagej_description(fps: float | None, um_per_px: float | None) -> str:
    """Frame rate (Hz) and length unit in the words of ImageJ; what is not known is left out.

    >>> imagej_description(20.0, 4.0).split()
    ['ImageJ=1.54f', 'fps=20.0', 'finterval=0.05', 'unit=micron']
    """
    lines = ["ImageJ=1.54f"]
    lines += [f"fps={fps!r}", f"finterval={1 / fps!r}"] if fps else []
    lines += ["unit=micron"] if um_per_px else []
    return "".join(f"{line}\n" for line in lines)


@contextmanager
def movie(
    path: Path, shape: tuple[int, int], fps: float | None, stamp: str = "ehtseg"
) -> Iterator[Callable[[Array, float | None], None]]:
    """An H.264 movie (MP4) in the true time of its recording, but for gaps (`longest_step_s`).

    Yields what appends a picture, uint8 (H, W, 3), taken at `time_s`. Without any time stamps the
    pictures follow each other at `NOMINAL_FPS`. An odd height or width gets its last row or column
    twice, because H.264 stores colour for 2 x 2 pixels.

    Raises: UserError for pictures larger than H.264 takes.
    """
    if max(shape) > LARGEST_PX:
        raise UserError(
            f"pictures of at most {LARGEST_PX} px a side for the movie {path.name}",
            f"{shape[1]} x {shape[0]} px",
            "Crop the recording or make it smaller; or leave the movie out: "
            "analyse --set measure.movie=false.",
        )
    down, right = shape[0] % 2, shape[1] % 2
    clock = MovieClock(fps)
    with av.open(url_of(path), "w", format="mp4") as file:
        file.metadata["comment"] = stamp
        rate = Fraction(max(fps or NOMINAL_FPS, 1 / MOST_S)).limit_denominator(1_000_000)
        options = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "60"}
        stream = file.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width, stream.pix_fmt = shape[0] + down, shape[1] + right, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS_PER_S)

        def write(picture: Array, time_s: float | None) -> None:
            even = cv2.copyMakeBorder(picture, 0, down, 0, right, cv2.BORDER_REPLICATE)
            planes = np.asarray(cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420), np.uint8)
            frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts = clock.tick(time_s)
            file.mux(stream.encode(frame))

        yield write
        file.mux(stream.encode(None))


def longest_step_s(fps: float | None) -> float:
    """The longest time between two pictures of a movie, s: a gap of hours says nothing to an eye.

    >>> longest_step_s(30.0), longest_step_s(0.1), longest_step_s(1 / 86400)
    (1.0, 20.0, 21600.0)
    """
    return min(max(LONGEST_S, 2 / (fps or NOMINAL_FPS)), MOST_S)


class MovieClock:
    """Time stamps of a recording as ticks of a movie: from 0, always rising, gaps cut short.

    >>> clock = MovieClock(fps=None)
    >>> [clock.tick(time_s) for time_s in (2.0, 2.5, 2.5, 3.0, 30000.0, 30000.5)]
    [0, 45000, 45001, 90000, 180000, 225000]
    """

    def __init__(self, fps: float | None) -> None:
        self._step = round(TICKS_PER_S / (fps or NOMINAL_FPS))
        self._longest_s = longest_step_s(fps)
        self._start_s = self._before_s = math.nan
        self._last = -self._step

    def tick(self, time_s: float | None) -> int:
        """The tick of the next frame; without a time stamp, one step after the last."""
        if time_s is None:
            self._last += self._step
            return self._last
        if math.isnan(self._start_s):
            self._start_s, self._before_s, self._last = time_s, time_s, -1
        self._start_s += max(0.0, time_s - self._before_s - self._longest_s)
        self._before_s = time_s
        self._last = max(self._last + 1, round((time_s - self._start_s) * TICKS_PER_S))
        return self._last


def write_png(path: Path, picture: Array, dots_per_inch: int, stamp: str = "ehtseg") -> None:
    """A picture, uint8 (H, W, 3), as PNG with its resolution and a line of text."""
    text = PngInfo()
    text.add_text("Software", stamp)
    Image.fromarray(picture).save(path, dpi=(dots_per_inch, dots_per_inch), pnginfo=text)
