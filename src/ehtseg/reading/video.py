"""A recording as a stream of 8-bit frames with true times, whatever kind of file it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ehtseg.reading.calibration import Decision, decide_fps, decide_um_per_px, describe_times
from ehtseg.reading.containers import FORMATS, open_container
from ehtseg.reading.folders import open_folder
from ehtseg.reading.intensity import Look, as_image, decide_look, sampled_indices, thinned
from ehtseg.reading.pixels import IMAGE_SUFFIXES, TIFF_SUFFIXES
from ehtseg.reading.raw import EarlyEndError, Raw, RawFrame, allowed, check_depth
from ehtseg.reading.stacks import open_stack
from ehtseg.records import Array, Frame, Scaling, UserError

SUPPORTED = f"{', '.join(sorted(FORMATS))}, .tif, .tiff, or a folder of images"

Progress = Callable[[int, int | None], None]  # called with (done, of how many if known)


@dataclass(slots=True, eq=False)
class Video:
    """One recording: what is known of it, and its frames as a stream.

    A full pass over `frames()` sets `n_frames` to the number that came, and adds to `notes` what
    only a full pass shows: an early end, frames of one value, colour in a grey recording.
    """

    path: Path
    height: int
    width: int
    n_frames: int | None  # as the file's index says
    fps: float | None
    fps_source: str
    um_per_px: float | None
    um_per_px_source: str
    notes: tuple[str, ...]
    _raw: Raw = field(repr=False)
    _look: Look = field(repr=False)
    _counts_time: bool = field(repr=False)  # time is index / fps, not the file's time stamps
    n_flat: int = field(default=0, init=False)  # frames of one value, after a full pass

    @property
    def scaling(self) -> Scaling:
        """How stored values became 8 bits, in every frame alike."""
        return self._look.scaling

    @property
    def is_grey(self) -> bool:
        """Whether frames are (H, W) rather than (H, W, 3)."""
        return self._look.is_grey

    def frames(self) -> Iterator[Frame]:
        """All frames in decode order, uint8 (H, W) or (H, W, 3); each call starts anew.

        Times are those of the file, 0 at the first frame; index / fps where the user gives the
        rate or the file has no time stamps; None where nobody knows the rate.

        Raises: UserError where no frame can be read, the frame size changes, or a frame holds
        values that are no numbers. A file that is damaged later ends there, with a note.
        """
        came, flat, coloured, damage = 0, 0, 0, ""
        try:
            for raw in self._raw.read(None):
                _check_numbers(raw, self.path)
                image, lost_colour = as_image(raw.values, self._look)
                came += 1
                flat += int(image.min() == image.max())
                coloured += lost_colour
                yield Frame(raw.index, self._time_s(raw), image)
        except EarlyEndError as end:
            damage = str(end)
        if not came:
            raise _no_frames(self.path, damage)
        told = _findings(came, self._raw.n_frames, damage) + _doubts(came, flat, coloured)
        self.n_frames, self.n_flat = came, flat
        self.notes = tuple(dict.fromkeys((*self.notes, *told)))

    def _time_s(self, raw: RawFrame) -> float | None:
        if raw.time_s is not None and not self._counts_time:
            return raw.time_s
        return None if self.fps is None else raw.index / self.fps


def open_video(
    path: Path | str,
    fps: float | None = None,
    um_per_px: float | None = None,
    progress: Progress | None = None,
) -> Video:
    """Open a video file, a TIFF stack or a folder of images.

    `fps` and `um_per_px` overrule the file; a contradiction is told in `notes`. Frames of 8 bits
    are left as they are; deeper ones are scaled between two percentiles of up to 32 frames spread
    over the recording (which decodes a video once, with `progress`). The recording is grey where
    its first 8 frames (or these 32) have no colour; colour that comes later is told in `notes`.

    Raises: UserError for everything that cannot be read as one recording.
    """
    raw = _open_raw(Path(path))
    look = decide_look(_sampled(raw, progress), raw.deep)
    return _video(raw, look, fps, um_per_px)


def open_alike(
    paths: Sequence[Path], fps: float | None = None, um_per_px: float | None = None
) -> tuple[Video, ...]:
    """Several files with one intensity scaling, that of frames from all of them; see `open_video`.

    Raises: UserError as `open_video` does, and for files of different depth.
    """
    raws = [_open_raw(path) for path in paths]
    samples = [_sampled(raw, None) for raw in raws]
    for raw, own in zip(raws, samples, strict=True):
        check_depth(str(raw.path), own[0], samples[0][0])
    sample = [pixels for own in samples for pixels in own]
    look = decide_look(sample, any(raw.deep for raw in raws))
    return tuple(_video(raw, look, fps, um_per_px) for raw in raws)


def _video(raw: Raw, look: Look, fps: float | None, um_per_px: float | None) -> Video:
    rate = decide_fps(fps, raw.fps, raw.times_s)
    size = decide_um_per_px(um_per_px, raw.um_per_px)
    notes = (*raw.notes, *rate.notes, *_time_notes(raw, fps), *size.notes)
    return Video(
        path=raw.path,
        height=raw.height,
        width=raw.width,
        n_frames=raw.n_frames,
        fps=rate.value,
        fps_source=rate.source,
        um_per_px=size.value,
        um_per_px_source=size.source,
        notes=(*notes, *_playback_note(raw, rate, fps)),
        _raw=raw,
        _look=look,
        _counts_time=fps is not None,
    )


def _open_raw(path: Path) -> Raw:
    with allowed(path):
        check_kind(path)
        if path.is_dir():
            return open_folder(path)
        if path.stat().st_size == 0:
            raise UserError("a video", f"an empty file: {path}", "Copy the file again.")
        return open_container(path) if path.suffix.lower() in FORMATS else open_stack(path)


def check_kind(path: Path) -> None:
    """Raises: UserError for what is no file or folder of frames by its name."""
    expected = "a video, TIFF stack or folder of images"
    if not path.exists():
        cure = "Check the name and the folder you are in."
        raise UserError(expected, f"no such file: {path}", cure)
    suffix = path.suffix.lower()
    if path.is_dir() or suffix in FORMATS or suffix in TIFF_SUFFIXES:
        return
    if suffix in IMAGE_SUFFIXES:
        cure = "Name the folder that holds all frames of the recording."
        raise UserError(expected, f"a single image: {path}", cure)
    got = f"the unknown suffix “{path.suffix}”: {path}"
    raise UserError(expected, got, f"Supported are {SUPPORTED}; convert other files.")


def _sampled(raw: Raw, progress: Progress | None) -> list[Array]:
    """Some pixels (M, 1[, C]) of the frames that decide on scaling and colour."""
    sample, damage = [], ""
    try:
        for frame in raw.read(sampled_indices(raw.n_frames, raw.deep)):
            _check_numbers(frame, raw.path)
            sample.append(thinned(frame.values))
            if progress:
                progress(frame.index + 1, raw.n_frames)
    except EarlyEndError as end:
        damage = str(end)
    if not sample:
        raise _no_frames(raw.path, damage)
    return sample


def _check_numbers(frame: RawFrame, path: Path) -> None:
    values = frame.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError(
            f"numbers in every pixel of {path}",
            f"{int((~np.isfinite(values)).sum())} pixels that are NaN or infinite "
            f"in frame {frame.index}",
            "Replace them where the recording was made or processed, and save it again.",
        )


def _time_notes(raw: Raw, given: float | None) -> tuple[str, ...]:
    notes = () if raw.times_s is None else describe_times(raw.times_s, raw.tick_s)
    if notes and given is not None:
        return (*notes, f"Times are frame number / {given:g}, as the user gave the rate.")
    return notes


def _playback_note(raw: Raw, rate: Decision, given: float | None) -> tuple[str, ...]:
    """A video file tells how fast it plays, and not how fast it was recorded."""
    if given is not None or rate.value is None or raw.path.suffix.lower() not in FORMATS:
        return ()
    return (
        f"The frame rate, {rate.value:.5g} fps, is that of the file's playback; if the recording's "
        "was another, give --fps.",
    )


def _findings(came: int, indexed: int, damage: str) -> tuple[str, ...]:
    if damage:
        return (f"The file is damaged after {came} frames ({damage}): it is read up to there.",)
    if came != indexed:
        return (f"The file's index names {indexed} frames, but {came} could be decoded.",)
    return ()


def _doubts(came: int, flat: int, coloured: int) -> tuple[str, ...]:
    notes = []
    if flat == came:
        notes.append(f"All {came} frames are of one value each: there is nothing to see in them.")
    elif flat:
        notes.append(f"{flat} of {came} frames are of one value each.")
    if coloured:
        notes.append(
            f"{coloured} of {came} frames have colour, but the first ones have none: "
            "the recording is read as grey."
        )
    return tuple(notes)


def _no_frames(path: Path, damage: str) -> UserError:
    got = f"none ({damage})" if damage else "none"
    expected = f"at least one readable frame in {path}"
    return UserError(expected, got, "Copy or export the recording again.")
