"""The shape of the tissue in one mask: sizes, axes, ends, each a small function of its own.

Soft probabilities place an outline between pixels; hard masks are read as 0 and 1.
Coordinates: pixel centres at integers, x to the right, y down; angles from x towards y.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.records import Array, UserError
from ehtseg.seeing.clean import MIN_PART, is_solid

HALO_PX = 3  # soft probabilities count up to this far outside the hard outline
BAND = 0.05  # length of the mid-section band, as a share of the relaxed length


@dataclass(frozen=True, slots=True)
class Axis:
    """The line along which a tissue shortens, kept fixed for a recording; it points right."""

    x_px: float
    y_px: float
    angle_rad: float  # in (-pi/2, pi/2]
    length_px: float

    @property
    def direction(self) -> tuple[float, float]:
        """Unit vector (x, y)."""
        return math.cos(self.angle_rad), math.sin(self.angle_rad)


@dataclass(frozen=True, slots=True)
class FrameShape:
    """What one mask says. NaN where it was refused; `refused` says why.

    `area_px` and `perimeter_px` are of what the picture shows, all of the tissue or not: where it
    `touches` a side, no contraction is read from them (`traces.whole`).
    `first_end_px` and `last_end_px` are the places of the two ends along the axis, measured from
    the centre of the axis.
    """

    area_px: float = 0.0
    major_axis_px: float = math.nan
    minor_axis_px: float = math.nan
    extent_px: float = math.nan
    mid_width_px: float = math.nan
    perimeter_px: float = math.nan
    centroid_x_px: float = math.nan
    centroid_y_px: float = math.nan
    first_end_px: float = math.nan
    last_end_px: float = math.nan
    parts: int = 0
    touches: str = ""  # sides of the picture, as "left right"
    refused: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """The tissue cut out of a picture, without specks."""

    weights: Array  # float32 (h, w): coverage of each pixel
    hard: Array  # bool (h, w)
    corner: tuple[int, int]  # x, y of the cut-out in the picture
    parts: int


def measure_frame(mask_HW: Array, axis: Axis | None = None, threshold: float = 0.5) -> FrameShape:
    """The shape of the tissue in one frame.

    mask_HW: bool, or float probabilities in [0, 1]. `axis` is the fixed axis of the recording
    (`tissue_axis` of its relaxed mask); without it each frame is measured along its own.
    Lengths along a direction in which the tissue leaves the picture are refused.
    """
    level = 0.5 if mask_HW.dtype == bool else threshold
    piece = cut_out(mask_HW, level)
    if piece is None:
        return FrameShape(refused="no tissue found")
    moments = cv2.moments(piece.weights)
    centre = centroid(moments)
    x, y = centre[0] + piece.corner[0], centre[1] + piece.corner[1]
    major, minor, angle = moment_axes(moments)
    axis = axis or Axis(x, y, angle, major)
    first, last = ends_along(outline_points(piece.weights, level) + piece.corner, axis)
    touches = touched_sides(piece, mask_HW.shape)
    cut_along, cut_across = cut_directions(touches, axis)
    return FrameShape(
        area_px=moments["m00"],
        major_axis_px=_unless(cut_along, major),
        minor_axis_px=_unless(cut_across, minor),
        extent_px=_unless(cut_along, last - first),
        mid_width_px=_unless(cut_across, mid_width(piece.weights, centre, axis)),
        perimeter_px=perimeter(piece.weights),
        centroid_x_px=x,
        centroid_y_px=y,
        first_end_px=_unless(cut_along, first),
        last_end_px=_unless(cut_along, last),
        parts=piece.parts,
        touches=" ".join(touches),
        refused=_say_cut(touches, cut_along, cut_across),
    )


def tissue_axis(mask_HW: Array, threshold: float = 0.5, angle_rad: float | None = None) -> Axis:
    """The long axis of a mask, or of a mean of masks (H, W): centroid, direction, length along it.

    With `angle_rad`, the axis in that direction.

    Raises: UserError where there is no tissue.
    """
    level = 0.5 if mask_HW.dtype == bool else threshold
    piece = cut_out(mask_HW, level)
    if piece is None:
        raise UserError("tissue in the relaxed mask", "an empty mask", "Look at the masks.")
    moments = cv2.moments(piece.weights)
    x, y = centroid(moments)
    major, _, angle = moment_axes(moments)
    angle = angle if angle_rad is None else angle_rad
    first, last = ends_along(outline_points(piece.weights, level), Axis(x, y, angle, major))
    return Axis(x + piece.corner[0], y + piece.corner[1], angle, last - first)


def cut_out(mask_HW: Array, level: float) -> Piece | None:
    """The tissue without specks, or None where there is none.

    Weights are the probabilities up to `HALO_PX` around the hard outline and 0 elsewhere, so that
    a faint haze over the picture does not count.
    """
    hard = (mask_HW if mask_HW.dtype == bool else mask_HW >= level).view(np.uint8)
    around = _box(*cv2.boundingRect(hard))  # pieces are sought where there are any
    kept, box, parts = _without_specks(hard[around])
    if not parts:
        return None
    near = cv2.dilate(kept, np.ones((2 * HALO_PX + 1,) * 2, np.uint8))
    soft = kept if mask_HW.dtype == bool else mask_HW[around][box]
    corner = around[1].start + box[1].start, around[0].start + box[0].start
    return Piece((soft * near).astype(np.float32), kept.astype(bool), corner, parts)


def _without_specks(hard: Array) -> tuple[Array, tuple[slice, slice], int]:
    """The larger pieces of a mask (uint8), cut out; the box they were cut from; their number."""
    if is_solid(hard):
        return hard, (slice(0, None), slice(0, None)), 1
    _, labels, stats, _ = cv2.connectedComponentsWithStats(hard, connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    keep = 1 + np.flatnonzero(areas >= MIN_PART * areas.max(initial=1))
    if not len(keep):
        return hard, (slice(0, 0), slice(0, 0)), 0
    left, top, width, height = stats[keep, :4].T
    x, y = int(left.min()), int(top.min())
    box = _box(x, y, int((left + width).max()) - x, int((top + height).max()) - y)
    kept = np.isin(np.arange(len(stats)), keep).astype(np.uint8)[labels[box]]
    return kept, box, len(keep)


def _box(x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
    """A box with a margin for the halo, as rows and columns."""
    margin = 2 * HALO_PX
    rows = slice(max(0, y - margin), y + height + margin)
    return rows, slice(max(0, x - margin), x + width + margin)


def centroid(moments: dict[str, float]) -> tuple[float, float]:
    """Centre of mass (x, y) in px."""
    return moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]


def moment_axes(moments: dict[str, float]) -> tuple[float, float, float]:
    """Major and minor axis (px) and angle (rad) of the ellipse with the same second moments.

    Axis = 4 sqrt(eigenvalue of the covariance); 1/12 px² is the spread of mass inside a pixel.
    Source: Hu, IRE Trans. Inf. Theory 8:179 (1962); scikit-image leaves the 1/12 out.
    """
    mass = moments["m00"]
    xx, yy, xy = (moments[name] / mass for name in ("mu20", "mu02", "mu11"))
    middle, half = (xx + yy) / 2 + 1 / 12, math.hypot((xx - yy) / 2, xy)
    angle = math.atan2(2 * xy, xx - yy) / 2
    return 4 * math.sqrt(middle + half), 4 * math.sqrt(max(middle - half, 0.0)), angle


def outline_points(weights_HW: Array, level: float) -> Array:
    """Where the outline crosses the pixel grid: (N, 2) float, x and y, by linear interpolation.

    Outside the cut-out there is nothing, so that tissue at the edge of the picture ends there.
    """
    padded = np.pad(weights_HW, 1)
    inside = padded >= level
    found = []
    for dy, dx in ((0, 1), (1, 0)):
        y, x = np.nonzero(inside[: -dy or None, : -dx or None] != inside[dy:, dx:])
        here, there = padded[y, x], padded[y + dy, x + dx]
        share = (level - here) / (there - here)
        found.append(np.stack([x + dx * share, y + dy * share], 1))
    return np.concatenate(found) - 1.0


def ends_along(points_N2: Array, axis: Axis) -> tuple[float, float]:
    """Places (px) of the first and the last outline point along the axis, from its centre."""
    along = (points_N2 - (axis.x_px, axis.y_px)) @ np.array(axis.direction)
    return float(along.min()), float(along.max())


def mid_width(weights_HW: Array, centre: tuple[float, float], axis: Axis) -> float:
    """Width (px) across the axis at `centre`: area in a band of `BAND` length, per length.

    The band has soft edges one pixel wide, so that the width does not jump from row to row.
    """
    height, width = weights_HW.shape
    cos, sin = axis.direction
    down, right = np.arange(height) - centre[1], np.arange(width) - centre[0]
    along = np.add.outer(down * sin, right * cos)
    half = max(BAND * axis.length_px / 2, 1.0)
    share = np.clip(half + 0.5 - np.abs(along), 0, 1)
    return float((share * weights_HW).sum() / (2 * half))


def perimeter(weights_HW: Array) -> float:
    """Length of the outline (px), inner outlines included; the edge of the picture does not count.

    The co-area formula: the integral of |gradient| is the mean length of the level lines, taken
    after a Gaussian of 1 px. Source: Fleming and Rishel, Arch. Math. 11:218 (1960).
    """
    edge = cv2.BORDER_REPLICATE
    smooth = cv2.GaussianBlur(weights_HW, (9, 9), 1.0, borderType=edge)
    dx = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5, borderType=edge)
    dy = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5, borderType=edge)
    return float(cv2.magnitude(dx, dy).sum(dtype=np.float64))


def touched_sides(piece: Piece, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Sides of a picture of this shape (H, W) that the tissue touches."""
    (x, y), (h, w) = piece.corner, piece.hard.shape
    sides = {
        "left": x == 0 and piece.hard[:, 0].any(),
        "right": x + w == shape[1] and piece.hard[:, -1].any(),
        "top": y == 0 and piece.hard[0].any(),
        "bottom": y + h == shape[0] and piece.hard[-1].any(),
    }
    return tuple(side for side, touched in sides.items() if touched)


def cut_directions(touches: tuple[str, ...], axis: Axis) -> tuple[bool, bool]:
    """Whether the touched sides cut the tissue along the axis, and across it.

    A side cuts a direction that meets it at 30 degrees or more (both, for a diagonal axis).

    >>> cut_directions(("left",), Axis(0, 0, 0.1, 100))
    (True, False)
    """
    along, across = False, False
    cos, sin = (abs(part) for part in axis.direction)
    for side in touches:
        meets, passes = (cos, sin) if side in ("left", "right") else (sin, cos)
        along, across = along or meets >= 0.5, across or passes >= 0.5
    return along, across


def _unless(refused: bool, value: float) -> float:
    return math.nan if refused else value


def _say_cut(touches: tuple[str, ...], along: bool, across: bool) -> str:
    what = " and ".join(name for name, cut in (("length", along), ("width", across)) if cut)
    return f"{what} refused: the tissue touches the border ({', '.join(touches)})" if what else ""
