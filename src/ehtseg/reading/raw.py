"""What each kind of file gives before scaling: frames as stored, and what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ehtseg.reading.calibration import Claim
from ehtseg.records import Array, UserError


class EarlyEndError(Exception):
    """The rest of the file is damaged; every frame before was given. Its text is the reason."""


@dataclass(frozen=True, slots=True, eq=False)
class RawFrame:
    """One frame with the values that are stored: (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA."""

    index: int
    time_s: float | None  # after the first frame; None where the file has no time stamps
    values: Array


# Called with the indices that are wanted (None: all). Frames come in the order of the recording.
Reader = Callable[[frozenset[int] | None], Iterator[RawFrame]]


@dataclass(frozen=True, slots=True, eq=False)
class Raw:
    """A recording as one kind of file holds it: containers.py, stacks.py, folders.py make these."""

    path: Path
    height: int
    width: int
    deep: bool  # more than 8 bits a sample
    n_frames: int  # as the file's index says
    read: Reader
    times_s: Array | None = None  # (T,) after the first frame; None where the file has none
    tick_s: float = 0.0  # the step in which the file counts time
    fps: tuple[Claim, ...] = ()
    um_per_px: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()


@contextmanager
def allowed(path: Path) -> Iterator[None]:
    """Raises: UserError where the block may not read a file or folder of `path`."""
    try:
        yield
    except PermissionError as error:
        cure = "Change the permissions of the file or its folder."
        got = f"“{error.strerror}”"
        raise UserError(f"to be allowed to read {error.filename or path}", got, cure) from error


def check_depth(place: str, found: Array, first: Array) -> None:
    """All frames of a recording have one depth.

    Raises: UserError that names the frame and both depths.
    """
    if found.dtype.name != first.dtype.name:  # which says nothing of the order of the bytes
        raise UserError(
            f"images of one depth ({first.dtype.name}, as the first one)",
            f"{found.dtype.name} in {place}",
            "Export all frames of the recording with the same settings.",
        )


def check_size(place: str, found: tuple[int, int], height: int, width: int) -> None:
    """All frames of a recording have one size.

    Raises: UserError that names the frame and both sizes.
    """
    if found != (height, width):
        raise UserError(
            f"frames of one size ({width} x {height} px, as the first one) in the recording",
            f"{found[1]} x {found[0]} px in {place}",
            "Split the recording where its size changes, or crop all frames alike.",
        )
