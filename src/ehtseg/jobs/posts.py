"""The two posts of a recording: where they are, how they move, and what force that tells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ehtseg.jobs.conclude import rising
from ehtseg.jobs.sight import Pairs
from ehtseg.measuring.beat import time_beats
from ehtseg.measuring.force import Post, PostForce, post_force
from ehtseg.measuring.posts import PostFrame, PostTracker, two_boxes, two_posts
from ehtseg.measuring.summary import number
from ehtseg.reading.folders import image_files
from ehtseg.reading.joined import Joined
from ehtseg.reading.mask_stream import masks_of
from ehtseg.reading.pixels import TIFF_SUFFIXES, read_pixels
from ehtseg.reading.stacks import open_stack
from ehtseg.reading.video import Video
from ehtseg.records import Array, UserError
from ehtseg.reporting.report import Report

SEGMENT_FRAMES = 300
BOXES = re.compile(r"\s*(\d+|[\d.]+(\s*,\s*[\d.]+)+)\s*(;.*)?")
FORCE, FORCE_SD = "force_mN", "force_sd_mN"


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


def posts_place(text: str, source: Path) -> Path | None:
    """The file or folder in which the posts of a recording are marked; None for two boxes.

    What is called as the recording comes first: see `masks_of`.
    """
    return None if BOXES.fullmatch(text) else masks_of(source, Path(text))


def marked_posts(text: str, video: Video | Joined) -> PostWatch:
    """The posts of a recording, from two boxes or from masks of its first frame.

    Masks: an image, a TIFF stack or a folder (`posts_place`), with two labels or two pieces.

    Raises: UserError where there are not two posts in a picture of this size.
    """
    shape = video.height, video.width
    place = posts_place(text, video.path)
    if place is None:
        return PostWatch(PostTracker(two_posts(two_boxes(text, shape))))
    marked = _first_picture(place)
    if marked.shape != shape:
        raise UserError(
            f"posts marked in a picture of {shape[1]} x {shape[0]} px, as {video.path.name}",
            f"{' x '.join(map(str, marked.shape[::-1]))} in {place}",
            "Mark them in the first frame of this recording.",
        )
    return PostWatch(PostTracker(two_posts(marked)))


def with_force(report: Report, post: Post | None) -> Report:
    """The report with the force of every frame and beat, or with why there is none.

    As it was without a `post`.
    """
    if post is None:
        return report
    traces = report.traces
    shortening = traces.columns.get(f"post_shortening_{'um' if traces.um_per_px else 'px'}")
    if shortening is None:
        why = "Force: the posts were not followed; give --posts."
        return replace(report, cannot=(*report.cannot, why))
    try:
        force = post_force(shortening / (traces.um_per_px or 1), traces.um_per_px, post)
    except UserError as error:
        return replace(report, cannot=(*report.cannot, f"Force: {error}"))
    columns = {**traces.columns, FORCE: force.force_mN, FORCE_SD: force.sd_mN}
    of_beats = _beat_shortening(report, shortening) / (traces.um_per_px or 1)
    active = post_force(of_beats, traces.um_per_px, post)
    return replace(
        report,
        traces=replace(traces, columns=columns),
        beats=tuple(
            _with_last(row, {FORCE: float(mN), FORCE_SD: float(sd)})
            for row, mN, sd in zip(report.beats, active.force_mN, active.sd_mN, strict=True)
        ),
        parameters=(*report.parameters, *_parameters(report, active)),
        can=(*report.can, *_can(active)),
        notes=(*report.notes, f"Force is {force.label}.", *force.notes),
    )


def _with_last(row: dict[str, Any], more: dict[str, float]) -> dict[str, Any]:
    """A row of beats.csv with more columns before the two that end it."""
    ends = {name: row[name] for name in ("accepted", "reason")}
    return {**{name: value for name, value in row.items() if name not in ends}, **more, **ends}


def _beat_shortening(report: Report, shortening: Array) -> Array:
    """How much nearer the posts come in each beat, above rest, (N,); NaN where not accepted."""
    beats = report.finding.beats if report.finding else ()
    found = np.full(len(beats), math.nan)
    accepted = [k for k, beat in enumerate(beats) if beat.accepted]
    if accepted:
        peaks_s = np.array([beats[k].peak_s for k in accepted])
        timed = time_beats(*rising(report.traces.time_s, shortening), peaks_s)
        found[accepted] = [beat.amplitude for beat in timed]
    return found


def _can(active: PostForce) -> Iterator[str]:
    known = np.isfinite(active.force_mN)
    if known.any():
        middle, sd = np.median(active.force_mN[known]), np.median(active.sd_mN[known])
        yield f"Force on each post in a beat: {middle:.3g} ± {sd:.2g} mN, {active.label}."


def _parameters(report: Report, active: PostForce) -> Iterator[dict[str, Any]]:
    """Rows of kinetics.csv; the interval is that of the beats, the SD that of the device."""
    if not report.parameters:
        return
    stiff = active.stiffness_mN_mm
    product = f"half of the posts' shortening x {stiff.value:.4g} ± {stiff.sd:.2g} mN/mm"
    of_device = "SD from geometry, modulus and scale: the same share in every beat"
    for name, values, words in (
        (FORCE, active.force_mN, f"{product}; {active.label}"),
        (FORCE_SD, active.sd_mN, of_device),
    ):
        told = asdict(number(values))
        told |= {"low95": told["low"], "high95": told["high"], "sd_masks": math.nan}
        row = {key: told.get(key) for key in report.parameters[0]}
        yield {**row, "parameter": name, "how": words}


def _first_picture(place: Path) -> Array:
    """The first picture of masks as stored, (H, W)."""
    if place.is_dir():
        values = read_pixels(image_files(place)[0])
    elif place.suffix.lower() in TIFF_SUFFIXES:
        values = next(iter(open_stack(place).read(frozenset({0})))).values
    else:
        values = read_pixels(place)
    if values.ndim == 2:
        return values
    colours, alpha = values[..., :3], values[..., 3:]
    if alpha.size and colours.min() == colours.max():  # one colour on transparency
        return np.asarray(alpha[..., 0])
    return np.asarray(colours.max(axis=2))
