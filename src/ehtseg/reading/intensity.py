"""One intensity scaling and one number of channels for a whole recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.reading.pixels import EIGHT_BIT, to_uint8, without_alpha
from ehtseg.records import Array, Scaling

PERCENTILES = (0.5, 99.5)
SAMPLED_FRAMES = 32  # of a deep recording, spread over it
SAMPLED_PIXELS = 2**18  # of each of them
FIRST_FRAMES = 8  # of an 8-bit recording, on which grey or colour is decided
NEUTRAL = 4  # a grey frame has no channel further than this from its grey value (of 255)


@dataclass(frozen=True, slots=True)
class Look:
    """How the stored values of a recording become images: decided once, the same for all."""

    scaling: Scaling
    is_grey: bool


def sampled_indices(n_frames: int, deep: bool) -> frozenset[int]:
    """The frames that decide: spread over a deep recording, the first ones of an 8-bit one."""
    last = max(n_frames - 1, 0)
    if deep:
        return frozenset(np.linspace(0, last, SAMPLED_FRAMES, dtype=int).tolist())
    return frozenset(range(min(last + 1, FIRST_FRAMES)))


def thinned(values: Array) -> Array:
    """Some pixels of a frame (H, W[, C]), evenly spread, as (M, 1[, C])."""
    step = max(1, values.shape[0] * values.shape[1] // SAMPLED_PIXELS)
    return values.reshape(-1, 1, *values.shape[2:])[::step].copy()


def decide_look(sample: Sequence[Array], deep: bool) -> Look:
    """Scaling and channels from the thinned frames that decide.

    8 bits are left as they are. Deeper values are scaled linearly between two percentiles of all
    sampled pixels. The recording is grey where no sampled frame has colour.
    """
    scaling = _percentile_scaling(sample) if deep else EIGHT_BIT
    return Look(scaling, all(not has_colour(to_uint8(values, scaling)) for values in sample))


def as_image(values: Array, look: Look) -> tuple[Array, bool]:
    """A frame as uint8 (H, W) or (H, W, 3), and whether its colour was lost by that."""
    image = to_uint8(values, look.scaling)
    if image.ndim == 2:
        return (image if look.is_grey else np.repeat(image[..., None], 3, axis=2)), False
    image = np.ascontiguousarray(image)
    if not look.is_grey:
        return image, False
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), has_colour(image)


def has_colour(image: Array) -> bool:
    """Whether an image (H, W[, 3]) differs anywhere from its own grey version."""
    if image.ndim == 2:
        return False
    image = np.ascontiguousarray(image)
    grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return bool(cv2.absdiff(image, grey).max() > NEUTRAL)


def _percentile_scaling(sample: Sequence[Array]) -> Scaling:
    pooled = np.concatenate([without_alpha(values).ravel() for values in sample])
    low, high = np.percentile(pooled, PERCENTILES).tolist()
    source = f"percentiles {PERCENTILES[0]} and {PERCENTILES[1]} of {len(sample)} frames"
    return Scaling(low, high if high > low else low + 1, source)
