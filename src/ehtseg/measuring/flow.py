"""Motion inside a region over a recording, against a relaxed reference that is renewed.

Every frame is compared with a composite of relaxed frames (`reference.py`), never with the frame
before, so that errors do not add up. A recording is worked through in segments of some seconds,
which is all that is kept in memory. In each segment the relaxed frames are found, the resting
place is read off them, and where the tissue has wandered or looks different the reference is made
anew from them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy import ndimage

from ehtseg.measuring.reference import (
    EDGE_PX,
    Reference,
    centre_of,
    composite,
    displacements,
    make_reference,
)
from ehtseg.measuring.shapes import Axis, moment_axes, tissue_axis
from ehtseg.records import Array

ELONGATED = 1.25  # major / minor axis from which the mask gives the direction
LEAST_PX = 200  # a smaller region has too little texture to follow
CANDIDATES = 48  # frames from which the first reference is made
STEP_PX = 8  # a window follows the mask in steps of this size
WANDERED_PX = 4.0  # renew the reference where the resting place has moved so far
MATCH_LOSS = 0.1  # or where the match with it has fallen by so much
SEGMENT_BYTES = 384 * 2**20

Amount = Callable[[Array, Reference], Array]  # displacements (T, N, 2) px -> (T,) contraction up


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Displacements of one segment's frames against the reference in use."""

    reference: Reference
    u: Array  # (T, N, 2) float32, px
    match: Array  # (T,), how well the flow explains each frame
    amount: Array  # (T,) px, contraction up, counted from the first reference
    rest: Array  # indices of relaxed frames


@dataclass(frozen=True, slots=True)
class FlowFrame:
    """Motion of the tissue in one frame. NaN where no tissue has been seen yet.

    contraction: shortening along the axis; displacement: mean length of the displacements of
    all points from their resting places; shift: mean displacement from the first reference,
    stage drift included; match: how well the flow explains the frame (1 best); reference: the
    number of the reference in use.
    """

    contraction_px: float = math.nan
    displacement_px: float = math.nan
    shift_x_px: float = math.nan
    shift_y_px: float = math.nan
    match: float = math.nan
    reference: int = -1


def measure_flow(
    frames: Iterable[tuple[Array, Array]], axis: Axis | None = None, segment_frames: int = 300
) -> Iterator[FlowFrame]:
    """Motion of the tissue, one record a frame, in constant memory.

    frames: pairs of an image, uint8 (H, W) or (H, W, 3), and a mask, bool (H, W). A segment
    should hold several beats: 300 frames are ten seconds at 30 fps. Without `axis` the first
    masks give it, or the motion, where the tissue has no long axis.
    """
    tracker = Tracker(shortening, axis)
    for images, masks in segments(frames, segment_frames):
        motion = tracker.follow(images, masks)
        yield from flow_frames(motion) if motion else [FlowFrame()] * len(images)


def flow_frames(motion: Motion) -> list[FlowFrame]:
    """The records of one segment."""
    length = mean_displacement(motion.u, resting_line(motion))
    x, y = (motion.u.mean(1, dtype=float) + motion.reference.moved_px).T
    number = motion.reference.number
    columns = (motion.amount, length, x, y, motion.match, np.full(len(x), number))
    return [FlowFrame(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


# --- quantities -------------------------------------------------------------------------------


def shortening(u_TN2: Array, reference: Reference) -> Array:
    """Shortening (px) of a region along its axis: - strain x length, from displacements (px).

    Strain is the slope of a straight line through displacement over place, both along the axis,
    by least squares: blind to any movement of the whole (stage drift, swinging).
    """
    direction = np.array(reference.axis.direction, np.float32)
    along = (reference.points @ direction).astype(np.float32)
    along -= along.mean()
    slopes = (u_TN2 @ direction) @ along / float(along @ along)
    return np.asarray(-slopes * reference.axis.length_px, float)


def mean_displacement(u_TN2: Array, resting_T2: Array) -> Array:
    """Mean length (px) of displacements from the resting place; all points count alike."""
    moved = u_TN2 - resting_T2[:, None].astype(np.float32)
    return np.asarray(np.hypot(moved[..., 0], moved[..., 1]).mean(1), float)


def shortening_direction(u_N2: Array, points_N2: Array) -> float:
    """Angle (rad) along which a region is strained most, from one displacement field.

    For regions without a long axis: the eigenvector of the largest |eigenvalue| of the symmetric
    part of the best affine map's gradient.
    """
    places = points_N2 - points_N2.mean(0)
    gradient = np.linalg.lstsq(places, u_N2 - u_N2.mean(0), rcond=None)[0]
    values, vectors = np.linalg.eigh((gradient + gradient.T) / 2)
    x, y = vectors[:, np.argmax(np.abs(values))]
    return math.atan(y / x) if x else math.pi / 2


def relaxed_frames(amount_T: Array) -> Array:
    """Indices of relaxed frames: those between the 5 % and 25 % quantiles of contraction.

    The lowest 5 % are left out because a spoilt frame may lie anywhere.

    >>> relaxed_frames(np.array([9.0, 0.0, 5.0, 1.0])).tolist()
    [1]
    """
    order, count = np.argsort(amount_T, kind="stable"), len(amount_T)
    first = int(0.05 * count)
    return np.sort(order[first : max(first + 1, round(0.25 * count))])


def resting_place(motion: Motion) -> tuple[float, float]:
    """Displacement (x, y) px of the relaxed region from its place in the reference."""
    x, y = np.median(motion.u[motion.rest].mean(1), axis=0)
    return float(x), float(y)


def resting_line(motion: Motion) -> Array:
    """The resting place through a segment, (T, 2) px: a straight line through the relaxed frames.

    A constant where the relaxed frames do not span half of the segment.
    """
    frames, rest = np.arange(len(motion.u)), motion.rest
    if len(rest) < 8 or np.ptp(rest) < len(frames) / 2:
        return np.tile(resting_place(motion), (len(frames), 1))
    slope, start = np.polyfit(rest, motion.u[rest].mean(1), 1)
    return np.asarray(start + frames[:, None] * slope)


# --- one region over a recording --------------------------------------------------------------


class Tracker:
    """Follows one region from segment to segment against a reference that it renews."""

    def __init__(self, amount: Amount, axis: Axis | None = None, edge_px: int = EDGE_PX) -> None:
        self.amount, self.axis, self.edge_px = amount, axis, edge_px
        self.reference: Reference | None = None

    def follow(self, images: Sequence[Array], masks: Sequence[Array]) -> Motion | None:
        """Displacements in a segment: images uint8 (H, W), masks bool (H, W). None before tissue.

        The reference is renewed for the next segment where this one has wandered off.
        """
        if self.reference is None:
            self.reference = self._first(images, masks)
        if self.reference is None:
            return None
        motion = self._measure(self.reference, images, masks)
        usual = float(np.median(motion.match[motion.rest]))
        if math.isnan(self.reference.match):
            self.reference = replace(self.reference, match=usual)
        wandered = math.hypot(*resting_place(motion)) > WANDERED_PX
        if wandered or usual < self.reference.match - MATCH_LOSS:
            self.reference = self._renewed(motion, images)
        return motion

    def _measure(
        self, reference: Reference, images: Sequence[Array], masks: Sequence[Array]
    ) -> Motion:
        shifts = window_shifts(masks, reference.centre)

        def compare(image: Array, shift: tuple[int, int]) -> tuple[Array, float]:
            return displacements(reference, reference.see(image, shift), shift)

        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            found = list(pool.map(compare, images, shifts))
        u = np.stack([one for one, _ in found])
        match = np.array([one for _, one in found])
        amount = self.amount(u, reference) + reference.amount_px
        return Motion(reference, u, match, amount, relaxed_frames(amount))

    def _first(self, images: Sequence[Array], masks: Sequence[Array]) -> Reference | None:
        usable = [i for i, mask in enumerate(masks) if mask.any()]
        chosen = usable[:: max(1, math.ceil(len(usable) / CANDIDATES))]
        images, masks = [images[i] for i in chosen], [masks[i] for i in chosen]
        region = np.mean(masks, axis=0) >= 0.5 if masks else np.zeros(0, bool)
        if region.sum() < LEAST_PX:
            return None
        draft = make_reference(region, images, self.axis or tissue_axis(region), self.edge_px)
        motion = self._measure(draft, images, masks)
        if self.axis is None:
            draft = replace(draft, axis=_axis_of(region, motion))
        rest = relaxed_frames(self.amount(motion.u, draft))
        return replace(draft, picture=composite([draft.see(images[i]) for i in rest]))

    def _renewed(self, motion: Motion, images: Sequence[Array]) -> Reference:
        """The reference made anew from a segment's relaxed frames, moved with the tissue.

        The same places of the tissue are followed on, to whole pixels. The new picture's own
        contraction and place, measured against the old one, are carried over, so that the traces
        go on without a step.
        """
        old = motion.reference
        dx, dy = (round(part) for part in resting_place(motion))
        window = replace(old.window, x=old.window.x + dx, y=old.window.y + dy)
        new = replace(old, window=window, centre=(old.centre[0] + dx, old.centre[1] + dy))
        new = replace(new, picture=composite([new.see(images[i]) for i in motion.rest]))
        u, _ = displacements(old, new.picture, (dx, dy))
        x, y = u.mean(0, dtype=float) + old.moved_px
        amount = float(self.amount(u[None], old)[0]) + old.amount_px
        return replace(
            new, number=old.number + 1, amount_px=amount, moved_px=(x, y), match=math.nan
        )


def window_shifts(masks: Sequence[Array], centre: tuple[float, float]) -> list[tuple[int, int]]:
    """How far a window goes with the masks' centroids, (x, y) px in steps of `STEP_PX`.

    A running median over 9 frames, so that one spoilt mask moves nothing; 0 without masks.
    """
    places = np.array([centre_of(mask) for mask in masks]) - centre
    frames, known = np.arange(len(masks)), np.isfinite(places[:, 0])
    if not known.any():
        return [(0, 0)] * len(masks)
    filled = np.stack([np.interp(frames, frames[known], p[known]) for p in places.T], 1)
    steps = np.round(ndimage.median_filter(filled, (9, 1), mode="nearest") / STEP_PX) * STEP_PX
    return [(int(x), int(y)) for x, y in steps]


def segments(
    frames: Iterable[tuple[Array, Array]], length: int
) -> Iterator[tuple[list[Array], list[Array]]]:
    """Grey images and masks of `length` frames at a time; the last may be half as long again.

    Shorter where frames are so large that they would need more than `SEGMENT_BYTES`.
    """
    images: list[Array] = []
    masks: list[Array] = []
    for image, mask in frames:
        images.append(image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        masks.append(mask)
        most = min(length, max(32, SEGMENT_BYTES // (3 * mask.size)))
        if len(images) >= most + most // 2:
            yield images[:most], masks[:most]
            images, masks = images[most:], masks[most:]
    if images:
        yield images, masks


def _axis_of(region_HW: Array, motion: Motion) -> Axis:
    major, minor, _ = moment_axes(cv2.moments(region_HW.astype(np.uint8), binaryImage=True))
    if major >= ELONGATED * minor:
        return motion.reference.axis
    farthest = np.argmax(mean_displacement(motion.u, np.zeros((1, 2))))
    angle = shortening_direction(motion.u[farthest], motion.reference.points)
    return tissue_axis(region_HW, angle_rad=angle)
