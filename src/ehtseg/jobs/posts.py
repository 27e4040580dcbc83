"""The two posts of a recording: where they are, how they move, and what force that tells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ehtseg.jobs.conclude import Conclusion, rising
from ehtseg.jobs.sight import Pairs
from ehtseg.measuring.beat import time_beats
from ehtseg.measuring.force import Post, post_force
from ehtseg.measuring.posts import PostFrame, PostTracker, two_boxes, two_posts
from ehtseg.measuring.summary import number
from ehtseg.measuring.traces import Traces, collect
from ehtseg.reading.folders import image_files, open_folder
from ehtseg.reading.mask_stream import masks_of
from ehtseg.reading.pixels import TIFF_SUFFIXES, read_pixels
from ehtseg.reading.stacks import open_stack
from ehtseg.records import Array, UserError

SEGMENT_FRAMES = 300
BOXES = re.compile(r"\s*\d+(\s*,\s*\d+)*\s*(;.*)?")
FORCE = "force_mN"


@dataclass(slots=True, eq=False)
class PostWatch:
    """Follows two posts while the frames of a recording pass by."""

    tracker: PostTracker
    frames: list[PostFrame] = field(default_factory=list)  # so far

    def passing(self, pairs: Pairs) -> Pairs:
        """The same pairs; their images are followed a segment at a time."""
        held: list[Array] = []
        for frame, seen in pairs:
            image = frame.image
            held.append(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
            yield frame, seen
            if len(held) >= SEGMENT_FRAMES + SEGMENT_FRAMES // 2:
                self.frames += self.tracker.follow(held[:SEGMENT_FRAMES])
                held = held[SEGMENT_FRAMES:]
        if held:
            self.frames += self.tracker.follow(held)


@dataclass(frozen=True, slots=True, eq=False)
class Pull:
    """What the posts add to a report: columns of frames and beats, and sentences."""

    traces: Traces
    beats: tuple[dict[str, Any], ...]
    parameters: tuple[dict[str, Any], ...]
    can: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def marked_posts(text: str, source: Path, shape: tuple[int, int], alone: bool) -> PostWatch:
    """The posts of a recording, from two boxes or from masks of its first frame.

    Masks: an image, a TIFF stack or a folder, with two labels or two pieces; of several recordings
    those that are called as this one (see `masks_of`).

    Raises: UserError where there are not two posts in a picture of this shape (H, W).
    """
    if BOXES.fullmatch(text):
        return PostWatch(PostTracker(two_posts(two_boxes(text, shape))))
    place = masks_of(source, Path(text), alone)
    marked = _first_picture(place)
    if marked.shape != shape:
        raise UserError(
            f"posts marked in a picture of {shape[1]} x {shape[0]} px, as {source.name}",
            f"{' x '.join(map(str, marked.shape[::-1]))} in {place}",
            "Mark them in the first frame of this recording.",
        )
    return PostWatch(PostTracker(two_posts(marked)))


def with_posts(traces: Traces, frames: Sequence[PostFrame]) -> Traces:
    """The traces with the movement of the posts beside them."""
    own = collect(traces.time_s, frames, um_per_px=traces.um_per_px)
    columns, noise = {**traces.columns, **own.columns}, {**traces.jitter, **own.jitter}
    return replace(traces, columns=columns, jitter=noise)


def pull_of(traces: Traces, said: Conclusion, post: Post | None) -> Pull:
    """Force in every frame and beat, or why there is none; all as it was without a `post`."""
    if post is None:
        return Pull(traces, said.beats, said.parameters)
    if traces.um_per_px is None:
        try:
            post_force(np.zeros(1), None, post)
        except UserError as error:
            return Pull(traces, said.beats, said.parameters, cannot=(f"Force: {error.cure}",))
    shortening_um = traces.columns["post_shortening_um"]
    force = post_force(shortening_um, 1.0, post)
    columns = {**traces.columns, FORCE: force.force_mN, "force_sd_mN": force.sd_mN}
    of_beats = _beat_shortening_um(traces.time_s, shortening_um, said)
    active = post_force(of_beats, 1.0, post)
    stiff = force.stiffness_mN_mm
    how = (
        f"half of the posts' shortening above rest x {stiff.value:.4g} ± {stiff.sd:.2g} mN/mm; "
        f"{force.label}"
    )
    middle = float(np.nanmedian(active.force_mN)) if np.isfinite(of_beats).any() else math.nan
    share = float(np.nanmax(active.sd_mN / active.force_mN)) if math.isfinite(middle) else 0.0
    told = f"Force on each post in a beat: {middle:.3g} ± {share * middle:.2g} mN ({force.label})."
    return Pull(
        replace(traces, columns=columns),
        tuple(
            {**row, FORCE: float(mN), "force_sd_mN": float(sd)}
            for row, mN, sd in zip(said.beats, active.force_mN, active.sd_mN, strict=True)
        ),
        (*said.parameters, *_parameters(said, active.force_mN, active.sd_mN, how)),
        can=(told,) if math.isfinite(middle) else (),
        cannot=() if math.isfinite(middle) else ("Force of a beat: there is no beat.",),
        notes=force.notes,
    )


def _beat_shortening_um(time_s: Array, shortening_um: Array, said: Conclusion) -> Array:
    """How much nearer the posts come in each beat, above rest, (N,); NaN where not accepted."""
    beats = said.finding.beats if said.finding else ()
    found = np.full(len(beats), math.nan)
    accepted = [k for k, beat in enumerate(beats) if beat.accepted]
    if accepted:
        peaks_s = np.array([beats[k].peak_s for k in accepted])
        timed = time_beats(*rising(time_s, shortening_um), peaks_s)
        found[accepted] = [beat.amplitude for beat in timed]
    return found


def _parameters(
    said: Conclusion, force_mN: Array, sd_mN: Array, how: str
) -> Iterator[dict[str, Any]]:
    """Rows of kinetics.csv; the interval is that of the beats, the SD that of the device."""
    if not said.parameters:
        return
    for name, values, words in (
        (FORCE, force_mN, how),
        ("force_sd_mN", sd_mN, "from geometry, modulus and scale; the same error in every beat"),
    ):
        told = asdict(number(values))
        told["low95"], told["high95"] = told.pop("low"), told.pop("high")
        row = {key: told.get(key) for key in said.parameters[0]}
        yield {**row, "parameter": name, "how": words}


def _first_picture(place: Path) -> Array:
    """The first picture of masks as stored, (H, W)."""
    if place.is_dir():
        values = read_pixels(image_files(open_folder(place).path)[0])
    elif place.suffix.lower() in TIFF_SUFFIXES:
        values = next(iter(open_stack(place).read(frozenset({0})))).values
    else:
        values = read_pixels(place)
    return values if values.ndim == 2 else values[..., :3].max(axis=2)
