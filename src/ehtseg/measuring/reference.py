"""The relaxed picture of a region that every frame is compared with, and one comparison.

A reference is a composite of relaxed frames (their median) in a window round the region, with the
points that are followed. Source of the flow: DIS, Kroeger et al., ECCV 2016, OpenCV's medium
preset; on two cores frames are compared side by side.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ehtseg.measuring.shapes import Axis
from ehtseg.records import Array

MARGIN_PX = 24  # round the region, so that what moves in or out is seen
SMALLEST_PX = 64  # of a window's sides, where the picture allows it
MOST_PX = 96 * 1024  # a window is shrunk to this many pixels, or enlarged towards them
ENLARGED = 4.0  # times at most: patches of 8 px must be small against the tissue
EDGE_PX = 12  # patches of 8 px at half size, and smoothing: nearer, the background is seen too
MOST_POINTS = 4000
COMPOSITE = 31  # most frames in a composite
GAIN = 4.0  # most by which contrast is raised or lowered

_own = threading.local()


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the picture (px), and the factor by which it is enlarged or shrunk before flow."""

    x: int
    y: int
    width: int
    height: int
    scale: float

    def cut(self, image_HW: Array, shift: tuple[int, int] = (0, 0)) -> Array:
        """The window moved by `shift` (x, y); beyond the picture its last pixels go on."""
        rows, columns = self.y + shift[1], self.x + shift[0]
        height, width = image_HW.shape
        low = rows >= 0 and columns >= 0
        if low and rows + self.height <= height and columns + self.width <= width:
            part = image_HW[rows : rows + self.height, columns : columns + self.width]
        else:
            down = np.clip(np.arange(rows, rows + self.height), 0, height - 1)
            right = np.clip(np.arange(columns, columns + self.width), 0, width - 1)
            part = image_HW[down[:, None], right]
        if self.scale == 1:
            return np.ascontiguousarray(part)
        size = round(self.width * self.scale), round(self.height * self.scale)
        how = cv2.INTER_AREA if self.scale < 1 else cv2.INTER_CUBIC
        return cv2.resize(part, size, interpolation=how)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A relaxed picture of one region, and the points that are followed in it."""

    window: Window
    picture: Array  # (h, w) uint8
    inside: Array  # (h, w) uint8, 1 in the region: where brightness is compared
    cells: Array  # (N, 2) int, column and row of each point in the window
    axis: Axis
    centre: tuple[float, float]  # of the mask (px), from which the window's shift is counted
    number: int = 0
    amount_px: float = 0.0  # contraction at rest when it was made, against the first reference
    moved_px: tuple[float, float] = (0.0, 0.0)  # resting place when it was made, likewise
    match: float = math.nan  # usual match of relaxed frames with it

    @property
    def points(self) -> Array:
        """The points (N, 2), x and y in px of the whole picture."""
        return (self.cells + 0.5) / self.window.scale - 0.5 + (self.window.x, self.window.y)

    def see(self, image_HW: Array, shift: tuple[int, int] = (0, 0)) -> Array:
        """A frame in the window, moved by `shift` (x, y) px, at the reference's brightness."""
        return levelled(self.window.cut(image_HW, shift), self.picture, self.inside)


def make_reference(
    region_HW: Array, images: Sequence[Array], axis: Axis, edge_px: int = EDGE_PX
) -> Reference:
    """The reference of a region (bool): the composite of the quietest of these images, uint8.

    Points stand `edge_px` from the outline and twice that from the edge of the picture, where new
    tissue comes into view, in pixels of the window where that is enlarged; nearer where half of
    the region would be lost.
    """
    # a post, which has no rim, moves as one: enlarging would cost time and show no more
    window = window_around(region_HW, ENLARGED if edge_px else 1.0)
    border_px = round(2 * edge_px / max(1.0, window.scale))
    seen = away_from_border(region_HW, border_px).astype(np.uint8)
    inside = without_rim(window.cut(seen) > 0, edge_px).astype(np.uint8)
    rows, columns = np.nonzero(inside)
    step = max(1, math.ceil(math.sqrt(len(rows) / MOST_POINTS)))
    kept = (rows % step == 0) & (columns % step == 0)
    cells = np.stack([columns, rows], 1)[kept]
    pictures = [window.cut(image) for image in images]
    alike = [levelled(picture, pictures[0], inside) for picture in pictures]
    picture = composite([alike[i] for i in quietest(alike)])
    return Reference(window, picture, inside, cells, axis, centre_of(region_HW))


def composite(pictures: Sequence[Array]) -> Array:
    """The median picture, uint8, of at most `COMPOSITE` of these, evenly chosen."""
    chosen = pictures[:: math.ceil(len(pictures) / COMPOSITE)]
    return np.round(np.median(chosen, axis=0)).astype(np.uint8)


def quietest(pictures: Sequence[Array]) -> Array:
    """Indices of the quarter of pictures that are most alike: the state to which tissue returns."""
    small = [cv2.resize(p, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA) for p in pictures]
    flat = np.array([one.ravel() for one in small], float)
    norms = (flat**2).sum(1)
    apart = norms[:, None] + norms - 2 * flat @ flat.T
    near = np.argsort(apart, axis=1)[:, : max(3, len(pictures) // 4)]
    return np.asarray(near[np.argmin(np.take_along_axis(apart, near, 1).sum(1))])


def levelled(picture: Array, like: Array, inside: Array) -> Array:
    """A picture brought to the mean and contrast of another inside a region; all (h, w) uint8."""
    mean, spread = (float(x[0, 0]) for x in cv2.meanStdDev(picture, mask=inside))
    to_mean, to_spread = (float(x[0, 0]) for x in cv2.meanStdDev(like, mask=inside))
    gain = float(np.clip(to_spread / spread, 1 / GAIN, GAIN)) if spread > 0 else 1.0
    table = np.clip(np.round((np.arange(256) - mean) * gain + to_mean), 0, 255)
    return cv2.LUT(picture, table.astype(np.uint8))


def flow_field(reference: Reference, picture: Array) -> Array:
    """Dense flow (h, w, 2), in pixels of the window, from a reference to a picture of its window.

    The picture is `Reference.see` of a frame: cut out and brought to the same brightness.
    """
    flow: Array = _dis().calc(reference.picture, picture, None)
    return flow


def displacements(
    reference: Reference, picture: Array, shift: tuple[int, int] = (0, 0)
) -> tuple[Array, float]:
    """Displacement (N, 2) px of the reference's points in one frame, and the match there.

    The picture was seen with the window moved by `shift`, which is added. The match is the
    correlation of the reference's grey values with those where the flow says that the same places
    are now: 1 at best, near 0 where the flow has lost the tissue.
    """
    columns, rows = reference.cells.T
    u = flow_field(reference, picture)[rows, columns]
    x, y = (reference.cells + u).astype(np.float32).T
    seen = cv2.remap(picture, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    match = correlation(reference.picture[rows, columns], seen.ravel())
    return (u / reference.window.scale + shift).astype(np.float32), match


def correlation(a_N: Array, b_N: Array) -> float:
    """Correlation of two lists of grey values; NaN where one is constant."""
    a, b = (x - x.mean(dtype=float) for x in (a_N, b_N))
    size = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / size if size > 0 else math.nan


def window_around(region_HW: Array, most: float = ENLARGED) -> Window:
    """The box of a region with `MARGIN_PX`, at least `SMALLEST_PX`, at about `MOST_PX` pixels.

    It is enlarged `most` times at most.
    """
    (x, width), (y, height) = (
        _side(np.flatnonzero(region_HW.any(axis)), region_HW.shape[1 - axis]) for axis in (0, 1)
    )
    return Window(x, y, width, height, min(most, math.sqrt(MOST_PX / (width * height))))


def away_from_border(region_HW: Array, border_px: int) -> Array:
    """A region (bool) without what lies near the edge of the picture, unless that is half of it."""
    height, width = region_HW.shape
    middle = np.s_[border_px : height - border_px, border_px : width - border_px]
    left = np.zeros_like(region_HW)
    left[middle] = region_HW[middle]
    return left if left.sum() >= region_HW.sum() / 2 else region_HW


def without_rim(inside_hw: Array, rim_px: int) -> Array:
    """A region (bool) without a rim, and with a thinner one where half of it would be lost."""
    padded = np.pad(inside_hw.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    while rim_px and (depth > rim_px).sum() < inside_hw.sum() / 2:
        rim_px -= 1
    return np.asarray(depth > rim_px)


def centre_of(mask_HW: Array) -> tuple[float, float]:
    """Centroid (x, y) px of a mask (bool); NaN where it is empty."""
    moments = cv2.moments(mask_HW.view(np.uint8), binaryImage=True)
    mass = moments["m00"]
    return (moments["m10"] / mass, moments["m01"] / mass) if mass else (math.nan, math.nan)


def _side(held: Array, size: int) -> tuple[int, int]:
    low, high = int(held[0]), int(held[-1]) + 1
    spare = max(MARGIN_PX, math.ceil((SMALLEST_PX - (high - low)) / 2))
    first = max(0, low - spare)
    return first, min(size, high + spare) - first


def _dis() -> Any:
    """This thread's own flow object: OpenCV's must not be shared between threads."""
    if not hasattr(_own, "dis"):
        _own.dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    return _own.dis
