"""Several files that one camera wrote one after the other, as one recording with true times.

Nothing is read before its turn, so that memory does not grow with the number of files. All files
have one intensity scaling. Where nothing was recorded between two files, time goes on: the gap is
kept, and told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from ehtseg.reading.stamps import Stamp, stamp_of
from ehtseg.reading.video import Video, open_alike
from ehtseg.records import Frame, UserError, in_words

ALIKE = 0.02  # rates and scales of one camera setting agree within this share

Beside = TypeVar("Beside")


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """Files in order of time, and when each begins after the first; otherwise as a `Video`."""

    parts: tuple[Video, ...]
    starts_s: tuple[float, ...]
    joins: tuple[str, ...]  # how each file follows the one before, in words

    @property
    def path(self) -> Path:
        """The first file."""
        return self.parts[0].path

    @property
    def height(self) -> int:
        """In px, as of every file."""
        return self.parts[0].height

    @property
    def width(self) -> int:
        """In px, as of every file."""
        return self.parts[0].width

    @property
    def fps(self) -> float | None:
        """Frames a second, as of every file."""
        return self.parts[0].fps

    @property
    def fps_source(self) -> str:
        """Who says so."""
        return self.parts[0].fps_source

    @property
    def um_per_px(self) -> float | None:
        """Pixel size, as of every file."""
        return self.parts[0].um_per_px

    @property
    def um_per_px_source(self) -> str:
        """Who says so."""
        return self.parts[0].um_per_px_source

    @property
    def n_frames(self) -> int | None:
        """Of all files; None where one does not say."""
        counts = [part.n_frames for part in self.parts]
        return None if None in counts else sum(count or 0 for count in counts)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the files follow each other, then what is to be known of all and of each."""
        first, *others = (part.notes for part in self.parts)
        common = [note for note in first if all(note in other for other in others)]
        own = [
            f"{part.path.name}: {note}"
            for part in self.parts
            for note in part.notes
            if note not in common
        ]
        return (*self.joins, *common, *own)

    def frames(self) -> Iterator[Frame]:
        """All frames in order of time, counted through, with times from the first file's start."""
        return (frame for frame, _ in self.in_turn(lambda part: ((f, None) for f in part.frames())))

    def in_turn(
        self, look_at: Callable[[Video], Iterator[tuple[Frame, Beside]]]
    ) -> Iterator[tuple[Frame, Beside]]:
        """What `look_at` finds of each file, one file after the other, with the common times."""
        index = 0
        for part, start_s in zip(self.parts, self.starts_s, strict=True):
            for frame, beside in look_at(part):
                time_s = None if frame.time_s is None else start_s + frame.time_s
                yield replace(frame, index=index, time_s=time_s), beside
                index += 1


def join_videos(
    paths: Sequence[Path],
    fps: float | None = None,
    um_per_px: float | None = None,
    stamps: Sequence[Stamp | None] = (),
) -> Joined:
    """Files as one recording, in the order of their time stamps.

    `stamps` say when each file begins where the user knows it; else the files are asked
    (`stamp_of`). Without a stamp of every file they follow each other as they are given, without
    a gap, and a note says that this is assumed.

    Raises: UserError for files of other sizes, frame rates or scales, and for files that overlap.
    """
    known = [given or stamp_of(path) for path, given in _with(paths, stamps)]
    _check_dates(known)
    if all(known):
        order = sorted(range(len(paths)), key=lambda k: known[k].at)  # type: ignore[union-attr]
        paths, known = [paths[k] for k in order], [known[k] for k in order]
    parts = open_alike(paths, fps, um_per_px)
    for part in parts[1:]:
        _check_alike(parts[0], part)
    starts_s, joins = [0.0], []
    for k in range(1, len(parts)):
        end_s = starts_s[-1] + duration_s(parts[k - 1])
        start_s, words = _next(parts[k - 1 : k + 1], end_s, (known[0], known[k]))
        starts_s.append(start_s)
        joins.append(words)
    return Joined(tuple(parts), tuple(starts_s), tuple(joins))


def duration_s(video: Video) -> float:
    """From the first frame to where the next one would come; 0 where nobody knows the rate.

    Where the file has time stamps the last of them tells, so that dropped frames count.
    """
    if not video.fps:
        return 0.0
    last_s = _last_stamp_s(video)
    return last_s + 1 / video.fps if last_s else (video.n_frames or 0) / video.fps


def _last_stamp_s(video: Video) -> float | None:
    """The time of the last frame where the file tells it and the user gives no rate."""
    raw = video._raw
    if video._counts_time:
        return None
    if raw.times_s is not None:
        return float(raw.times_s.max())
    if video.path.is_dir():  # a rate in meta.json goes before its times, which frames still have
        return next(iter(raw.read(frozenset({raw.n_frames - 1})))).time_s
    return None


def _check_dates(stamps: Sequence[Stamp | None]) -> None:
    """Raises: UserError where some starts have a date and others are times of day."""
    dated = {stamp.dated: stamp for stamp in stamps if stamp}
    if len(dated) > 1:
        raise UserError(
            "starts that all have a date, or that are all times of day",
            f"{dated[False].at:%H:%M:%S} ({dated[False].source}) and {dated[True].at} "
            f"({dated[True].source})",
            "Write a date with every start in the manifest, such as 2026-11-20 09:30:00.",
        )


def _with(
    paths: Sequence[Path], stamps: Sequence[Stamp | None]
) -> Iterator[tuple[Path, Stamp | None]]:
    return zip(paths, stamps or [None] * len(paths), strict=True)


def _next(
    pair: Sequence[Video], end_s: float, stamps: tuple[Stamp | None, Stamp | None]
) -> tuple[float, str]:
    """When a file begins after the first one, and how it follows the one before, in words."""
    (before, after), (first, own) = pair, stamps
    names = f"{after.path.name} follows {before.path.name}"
    if first is None or own is None:
        return end_s, f"{names} without a gap: assumed, because no file says when it began."
    if before.fps is None:
        return end_s, f"{names}; without a frame rate the gap between them is unknown."
    start_s = (own.at - first.at) / timedelta(seconds=1)
    gap_s, slack_s = start_s - end_s, first.true_to_s + 1 / before.fps
    if gap_s < -slack_s:
        raise UserError(
            "files that follow each other in time",
            f"{after.path.name}, which begins {-gap_s:.4g} s before {before.path.name} ends "
            f"({own.source})",
            "Join only files of one recording; correct their starts, or analyse each by itself: "
            "its beats and kinetics need no other file.",
        )
    if gap_s <= slack_s:
        return end_s, f"{names} at once ({own.source}, true to {slack_s:.2g} s)."
    return start_s, f"{names} after a gap of {in_words(gap_s)} ({own.source})."


def _check_alike(first: Video, other: Video) -> None:
    """Raises: UserError where two files cannot be one recording."""
    size = [f"{video.width} x {video.height} px" for video in (first, other)]
    rate = ["unknown" if v.fps is None else f"{v.fps:.5g} frames/s" for v in (first, other)]
    scale = ["unknown" if v.um_per_px is None else f"{v.um_per_px:.5g}" for v in (first, other)]
    for what, (one, another), same in (
        ("frames", size, size[0] == size[1]),
        ("a frame rate", rate, _agree(first.fps, other.fps)),
        ("um/px", scale, _agree(first.um_per_px, other.um_per_px)),
    ):
        if not same:
            raise UserError(
                f"files of one recording, with {what} as {first.path.name} ({one})",
                f"{another} in {other.path.name}",
                "Join only files of one camera setting. Each can be analysed by itself, without "
                "--join: its beats and kinetics need no other file.",
            )


def _agree(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= ALIKE * max(a, b)
