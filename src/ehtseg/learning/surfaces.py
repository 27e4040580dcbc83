"""How far apart two outlines are: HD95, ASSD, NSD and boundary IoU, in pixels of the image.

The outline of a mask is its pixels with a background pixel above, below, left or right of them;
outside the image is background. See EMPTY_RULE in scores.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
from scipy.ndimage import distance_transform_cdt, distance_transform_edt

from ehtseg.records import Array

Distances = tuple[Array, Array]  # from each outline pixel to the other mask's outline, both ways


def outline(mask: Array) -> Array:
    """The outermost pixels of a mask, bool (H, W).

    >>> outline(np.ones((3, 3), bool)).astype(int).tolist()
    [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    padded = np.pad(mask, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.asarray(mask & ~inner)


def near_outline(mask: Array, width_px: int = 5) -> Array:
    """The band of pixels within `width_px` of the outline, on both sides, bool (H, W)."""
    y, x = np.mgrid[-width_px : width_px + 1, -width_px : width_px + 1]
    disc = (y * y + x * x <= width_px * width_px).astype(np.uint8)
    return np.asarray(cv2.dilate(outline(mask).astype(np.uint8), disc) > 0)


def outline_distances(prediction: Array, truth: Array) -> Distances:
    """Euclidean distance (px) of each outline pixel to the nearest one of the other mask.

    Both are empty where both masks are; where one mask is, every distance is the diagonal.
    """
    outlines = outline(prediction), outline(truth)
    either = outlines[0] | outlines[1]
    if not either.any():
        return np.empty(0), np.empty(0)
    diagonal = math.hypot(*truth.shape)
    rows, columns = np.flatnonzero(either.any(1)), np.flatnonzero(either.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    ours, theirs = outlines[0][box], outlines[1][box]
    return _distances(ours, theirs, diagonal), _distances(theirs, ours, diagonal)


def hd95_px(distances: Distances) -> float:
    """95th percentile of the distances each way, the larger of the two (Hausdorff distance, 95 %).

    Source: MONAI's and the challenges' convention; not the percentile of both ways together.
    """
    return max((float(np.percentile(way, 95)) for way in distances if way.size), default=0.0)


def assd_px(distances: Distances) -> float:
    """Average symmetric surface distance: the mean over the outline pixels of both masks."""
    together = np.concatenate(distances)
    return float(together.mean()) if together.size else 0.0


def nsd(distances: Distances, tolerance_px: float = 2.0) -> float:
    """Normalised surface Dice: share of outline pixels of both masks within the tolerance.

    Source: Nikolov et al. 2018, arXiv 1809.04430, on pixels.
    """
    together = np.concatenate(distances)
    return float((together <= tolerance_px).mean()) if together.size else 1.0


def boundary_iou(prediction: Array, truth: Array, width_share: float = 0.02) -> float:
    """IoU of the inner rims of both masks; a rim is as wide as 2 % of the diagonal.

    Source: Cheng et al. 2021, arXiv 2103.16562 (rim by erosions with a 3 x 3 square).
    """
    width_px = max(1, round(width_share * math.hypot(*truth.shape)))
    ours, theirs = _rim(prediction, width_px), _rim(truth, width_px)
    union = np.count_nonzero(ours | theirs)
    return float(np.count_nonzero(ours & theirs) / union) if union else 1.0


def outline_jitter_px(masks: Iterable[Array]) -> float:
    """Noise of the outline from frame to frame, px: mean |second difference of its place| / sqrt 6.

    The place of the outline near a pixel is its signed distance from there; what moves steadily
    has no second difference, and independent noise of SD s gives s sqrt(2 / pi). The edge of the
    picture is no outline. NaN below three frames, or where no frame between two others has one.
    Source: as `jitter` in measuring/traces.py, for an outline instead of a trace.
    """
    found: list[Array] = []
    before: list[Array] = []  # two frames
    for mask in masks:
        after_HW = signed_distance(mask)
        if len(before) == 2:
            here = before[1] == 0.5  # pixels of the mask with background beside them
            second = before[0][here] - 2 * before[1][here] + after_HW[here]
            found.append(np.abs(second))
        before = [*before[-1:], after_HW]
    together = np.concatenate(found) if found else np.empty(0)
    return float(together.mean() / math.sqrt(6)) if together.size else math.nan


def signed_distance(mask: Array) -> Array:
    """Distance (px) of each pixel from the outline, float32 (H, W): above 0 inside, below outside.

    The outline lies halfway between pixels; where there is none, it is as far as the diagonal.

    >>> signed_distance(np.array([[False, False, True, True]])).tolist()
    [[-1.5, -0.5, 0.5, 1.5]]
    """
    if mask.all() or not mask.any():
        far = math.hypot(*mask.shape)
        return np.full(mask.shape, far if mask.all() else -far, np.float32)
    inner, outer = (
        cv2.distanceTransform(side.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for side in (mask, ~mask)
    )
    return np.where(mask, inner - 0.5, 0.5 - outer).astype(np.float32)


def _distances(origin: Array, target: Array, diagonal: float) -> Array:
    if not target.any():
        return np.full(np.count_nonzero(origin), diagonal)
    return np.asarray(distance_transform_edt(~target)[origin])


def _rim(mask: Array, width_px: int) -> Array:
    depth = distance_transform_cdt(np.pad(mask, 1), "chessboard")[1:-1, 1:-1]
    return np.asarray(mask & (depth <= width_px))
