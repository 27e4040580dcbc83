"""The picture itself in one frame, as numbers: brightness, sharpness, traces of compression.

`quality.py` draws flags from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.records import Array

BLOCK_PX, ROWS = 8, 4  # JPEG and MPEG work in blocks of 8 px; every fourth row is looked at


@dataclass(frozen=True, slots=True)
class Look:
    """The picture itself in one frame, as numbers that become columns of `Traces`."""

    brightness_grey: float  # mean grey value in the tissue
    sharpness: float  # SD of the Laplacian there / brightness: a fading lamp does not change it
    repeats: bool  # identical to the frame before, in every pixel
    unchanged: float = math.nan  # share of the tissue's pixels that are as in the frame before
    blockiness: float = math.nan  # steps at every eighth column / steps half-way between


def look(image: Array, mask_HW: Array, before: Array | None = None) -> Look:
    """Brightness, sharpness and repetition of a frame, uint8 (H, W) or (H, W, 3).

    Without tissue in the mask (bool) the first two are NaN.
    Source of sharpness: Pech-Pacheco et al., ICPR 3:314 (2000), variance of the Laplacian.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    inside = mask_HW.view(np.uint8)
    bright = float(cv2.mean(grey, mask=inside)[0])
    _, spread = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S), mask=inside)
    same = before is not None and np.array_equal(image, before)
    sharp = float(spread[0, 0]) / max(bright, 1.0)
    if not mask_HW.any():
        bright = sharp = math.nan
    return Look(bright, sharp, same, unchanged(image, mask_HW, before), blockiness(grey, mask_HW))


def unchanged(image: Array, mask_HW: Array, before: Array | None) -> float:
    """Share of the tissue's pixels that are exactly as in the frame before.

    A camera's noise changes most pixels; what a strong compression leaves out does not change.
    """
    inside = mask_HW[::ROWS]
    if before is None or not inside.any():
        return math.nan
    equal = image[::ROWS] == before[::ROWS]
    return float((equal if equal.ndim == 2 else equal.all(-1))[inside].mean())


def blockiness(grey_HW: Array, mask_HW: Array) -> float:
    """Mean step of grey between the columns of two blocks / the same in the middle of blocks.

    About 1 without compression. Source: Wang, Bovik and Evans, ICIP 3:981 (2000), in short.
    """
    rows, inside = grey_HW[::ROWS].astype(np.int16), mask_HW[::ROWS]
    means = []
    for first in (BLOCK_PX - 1, BLOCK_PX // 2 - 1):
        here = inside[:, first:-1:BLOCK_PX]
        step = np.abs(rows[:, first + 1 :: BLOCK_PX] - rows[:, first:-1:BLOCK_PX])[here]
        means.append(float(step.mean()) if len(step) else math.nan)
    return means[0] / means[1] if means[1] else math.nan
