"""Clean masks: small holes filled, specks and small other things dropped, and what was done.

A piece is a connected region of the mask; pieces nearer to each other than `GAP` are one tissue, so
that a thin dark line through a tissue never costs half of it. Nothing large changes silently:

    hole    background inside a tissue. Filled up to `MAX_HOLE` of its tissue (a post takes about a
            tenth); a larger one, as in a ring, stays open and is counted in `open_px`
    speck   a piece below `MIN_PART` of the largest piece: dropped
    tissue  the largest, and every other of at least `MIN_TISSUE` of it, stay and are counted in
            `tissues`; smaller ones are dropped
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np

from ehtseg.records import Array

MIN_PART = 0.1  # pieces below this share of the largest piece are specks, not tissue
MIN_TISSUE = 0.3  # of the largest tissue: what may be a second one, and not debris
GAP = 0.02  # of the picture's side (the square root of its area)
MAX_HOLE = 0.2  # of the tissue around it; a ring with a hole of 0.41 of its width has this

NOTES = {
    "filled": "Holes in the tissue were filled in {where} (at most {most} px in one).",
    "dropped": "Specks or other small things were dropped in {where} (at most {most} px in one).",
    "open": "The tissue has holes larger than a fifth of it in {where}, as a ring has: they were "
    "not filled (at most {most} px in one).",
    "tissues": "Several tissues of similar size stand side by side in {where} (at most {most}): "
    "all were kept, and areas are their sum. Crop the recording to one tissue.",
}


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """The probabilities of one frame, cleaned, and what that changed."""

    probability: Array  # (H, W) float32: 1 in filled holes, 0 where something was dropped
    raw: Array  # (H, W) float32, as the network gave it
    filled_px: int = 0
    dropped_px: int = 0
    open_px: int = 0  # of holes that are too large to be filled
    tissues: int = 0  # 0 where none was found


@dataclass(slots=True, eq=False)
class Tidied:
    """What cleaning did to a recording, counted while its frames pass by."""

    frames: int = 0
    passed: int = 0  # frames that a run before an interruption saw
    largest_px: dict[str, int] = field(default_factory=dict)  # by the name of what was done
    times: dict[str, int] = field(default_factory=dict)  # frames in which it was done

    def add(self, cleaned: Cleaned) -> None:
        """Count one frame."""
        self.frames += 1
        found = {
            "filled": cleaned.filled_px,
            "dropped": cleaned.dropped_px,
            "open": cleaned.open_px,
            "tissues": cleaned.tissues if cleaned.tissues > 1 else 0,
        }
        for what, number in found.items():
            self.largest_px[what] = max(self.largest_px.get(what, 0), number)
            self.times[what] = self.times.get(what, 0) + (number > 0)

    def notes(self) -> Iterator[str]:
        """What is to be said of it, in sentences; none where nothing was done."""
        for what, said in NOTES.items():
            if self.times.get(what):
                where = f"{self.times[what]} of {self.frames} frames"
                where += " after the interruption" if self.passed else ""
                yield said.format(where=where, most=self.largest_px[what])


def as_it_is(probability_HW: Array, threshold: float) -> Cleaned:
    """The probabilities untouched, for raw masks; tissues are counted nevertheless."""
    mask = (probability_HW >= threshold).view(np.uint8)
    tissues = 1 if is_solid(mask) else int(tissues_of(mask)[1].sum())
    return Cleaned(probability_HW, probability_HW, tissues=tissues)


def clean(probability_HW: Array, threshold: float) -> Cleaned:
    """The probabilities (float32, (H, W)) whose mask at `threshold` is clean.

    >>> haze = np.zeros((40, 40), np.float32)
    >>> haze[5:35, 5:35], haze[20:22, 20:22], haze[2, 38] = 0.9, 0.1, 0.9
    >>> cleaned = clean(haze, 0.5)
    >>> cleaned.filled_px, cleaned.dropped_px, cleaned.tissues
    (4, 1, 1)
    """
    mask = (probability_HW >= threshold).view(np.uint8)
    if is_solid(mask):
        return Cleaned(probability_HW, probability_HW, tissues=1)
    kept, is_tissue = tissues_of(mask)
    if not is_tissue.any():
        return Cleaned(probability_HW, probability_HW)
    filled, open_px = _holes(kept)
    dropped = (mask == 1) & (kept == 0) & ~filled
    result = probability_HW
    if dropped.any() or filled.any():
        result = np.where(filled, np.float32(1), probability_HW)
        result[dropped] = 0
    return Cleaned(
        result,
        probability_HW,
        int(np.count_nonzero(filled & (mask == 0))),
        int(np.count_nonzero(dropped)),
        open_px,
        int(is_tissue.sum()),
    )


def is_solid(mask: Array) -> bool:
    """Whether a mask (uint8, (H, W)) is one piece without a hole; faster than counting pieces.

    One outline is one piece, of pixels that touch by sides or corners, without background inside.
    """
    outlines, _ = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return len(outlines) == 1


def tissues_of(mask: Array) -> tuple[Array, Array]:
    """What is kept of a mask (uint8, (H, W)), and which groups of pieces are tissues.

    The kept mask holds 1 + the group's number in pixels of a tissue, and 0 elsewhere.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = stats[:, cv2.CC_STAT_AREA].astype(np.int64)
    areas[0] = 0
    if count == 1:
        return pieces, np.zeros(1, bool)
    group_of = _groups(pieces, count, GAP * math.sqrt(mask.size))
    solid = areas >= MIN_PART * areas.max()
    totals = np.bincount(group_of, np.where(solid, areas, 0))
    is_tissue = (totals > 0) & (totals >= MIN_TISSUE * totals.max())
    keep = solid & is_tissue[group_of]
    return np.where(keep, 1 + group_of, 0).astype(np.int32)[pieces], is_tissue


def _groups(pieces: Array, count: int, gap_px: float) -> Array:
    """The number of the group to which each piece belongs; the background's counts for nothing."""
    if count == 2:
        return np.zeros(2, int)
    half = max(1, round(gap_px / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * half + 1,) * 2)
    near = cv2.dilate((pieces > 0).astype(np.uint8), disc)
    _, grown = cv2.connectedComponents(near, connectivity=8)
    group_of = np.zeros(count, int)
    inside = pieces > 0
    group_of[pieces[inside]] = grown[inside] - 1  # every piece lies in one grown region
    return group_of


def _holes(kept: Array) -> tuple[Array, int]:
    """Where the holes to be filled are, bool (H, W), and the pixels of those that stay open.

    A hole that the picture's edge cuts is none. Its tissue is the one above its highest pixel.
    """
    count, regions, stats, _ = cv2.connectedComponentsWithStats(
        (kept == 0).astype(np.uint8), connectivity=4
    )
    left, top, width, height, area = stats.T
    bottom, right = kept.shape[0] - (top + height), kept.shape[1] - (left + width)
    is_hole = (left > 0) & (top > 0) & (bottom > 0) & (right > 0)
    is_hole[0] = False  # the tissue itself
    fill = np.zeros(count, bool)
    size_of = np.bincount(kept.ravel())
    for number in np.flatnonzero(is_hole):
        column = int(np.argmax(regions[top[number]] == number))
        around = size_of[kept[top[number] - 1, column]]
        fill[number] = area[number] <= MAX_HOLE * around
    return fill[regions], int(area[is_hole & ~fill].sum())
