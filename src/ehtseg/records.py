"""The nouns and words that cross rooms, and the error that a user can mend.

Shape letters, used in every name and comment of the package:
T frames of one recording, N images, B batch, C image channels (1 grey, 3 RGB),
K network outputs, H height, W width. Images are uint8 with shape (H, W) or (H, W, 3);
masks are bool (H, W); probabilities float32 in [0, 1]; logits float32.
Units stand in names: `time_s`, `area_px`, `um_per_px`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


class UserError(Exception):
    """What a user can mend: one paragraph that says what was expected, what came, what to do.

    Only the doors catch it (printed as one paragraph, exit code 2). Anything else is a bug and
    shows its traceback.

    >>> print(UserError("a video with frames", "an empty file (a.avi)", "Copy the file again."))
    Expected a video with frames, got an empty file (a.avi). Copy the file again.
    """

    def __init__(self, expected: str, got: str, cure: str) -> None:
        self.expected, self.got, self.cure = expected, got, cure
        super().__init__(f"Expected {expected}, got {got}. {cure}")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, str, str]]:
        """What pickle needs to carry it to another process."""
        return type(self), (self.expected, self.got, self.cure)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame of a recording, in decode order.

    `time_s` is the container's own time stamp, or index / fps where the user or the file gives a
    rate, or None where nobody does.
    """

    index: int
    time_s: float | None
    image: Array  # uint8, (H, W) grey or (H, W, 3) RGB


@dataclass(frozen=True, slots=True)
class Scaling:
    """The one intensity scaling of a recording: round(clip((raw - low) / (high - low)) * 255)."""

    low: float
    high: float
    source: str  # "8-bit as it is", "percentiles 0.5 and 99.5 of 32 frames", ...


def in_words(seconds: float) -> str:
    """How long something lasted, in its two largest units.

    >>> in_words(5.25), in_words(3592), in_words(3599.9), in_words(12_600), in_words(604_790)
    ('5.25 s', '59 min 52 s', '1 h', '3 h 30 min', '7 d')
    """
    units = (("d", 24, "h", 3600), ("h", 60, "min", 60), ("min", 60, "s", 1))
    for large, size, small, small_s in units:
        if round(seconds) >= size * small_s:
            whole, rest = divmod(round(seconds / small_s), size)
            return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"
    return f"{seconds:.4g} s"


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a name beside `path` to write to; rename it to `path` when the block ends well.

    A crash leaves the old file as it was. The new file is flushed to disk before the rename.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    beside = path.with_name(f".{path.name}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with open(beside, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        raise UserError(
            f"to be able to write {path}",
            f"“{error.strerror or error}”",
            "Free some space or choose another --out; nothing was left half-written.",
        ) from error
    finally:
        with suppress(OSError):
            beside.unlink()
