"""Trivial opponents: what a segmentation has to beat before it has shown anything.

Each is fitted on the training frames and gives a function from an image to the probability
(H, W) of tissue, float32 in [0, 1]. None of them has seen a network. Pixels of the training frames
that do not count choose no threshold and count in no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

from ehtseg.learning.scores import counts_of, dice
from ehtseg.reading.geometry import to_working_size
from ehtseg.reading.masks import IGNORED
from ehtseg.records import Array, UserError

# image uint8 (H, W) or (H, W, 3), mask bool (H, W) or label uint8 (H, W) as `read_small` gives it
Frames = Iterable[tuple[Array, Array]]
Predictor = Callable[[Array], Array]  # image -> probability (H, W)

CHOICE_SIZE = 64  # rules are compared on frames of about 64 x 64 pixels
LEVELS = tuple(range(16, 256, 16))  # fixed grey levels that are tried
OFFSETS = tuple(range(-60, 61, 12))  # distances from Otsu's level that are tried
SMOOTHING = (0.008, 0.03)  # Gaussian sigma as a share of sqrt(H W)
THUMBNAIL = (64, 64)  # frames are compared at this size


@dataclass(frozen=True, slots=True)
class Rule:
    """Tissue is where the smoothed grey value is above (or below) a level, with holes filled.

    With `largest` only the largest connected part of it is kept.
    """

    largest: bool
    bright: bool
    from_otsu: bool  # the level counts from Otsu's level of each frame, else from 0
    level: int
    smoothing: float

    def __call__(self, image: Array) -> Array:
        """Probability 0 or 1 of every pixel."""
        return self.mask(smooth(grey(image), self.smoothing)).astype(np.float32)

    def mask(self, smoothed: Array) -> Array:
        """The mask of a frame that is smoothed already."""
        level = self.level + (otsu(smoothed) if self.from_otsu else 0)
        filled = fill_holes(smoothed >= level if self.bright else smoothed < level)
        return largest_part(filled) if self.largest else filled


RULES = tuple(
    Rule(largest, bright, from_otsu, level, smoothing)
    for smoothing, largest, bright in product(SMOOTHING, (False, True), (True, False))
    for from_otsu, levels in ((False, LEVELS), (True, OFFSETS))
    for level in levels
)


def fit_threshold(frames: Frames) -> Rule:
    """The best of `RULES` by mean Dice over the training frames; of equals, the first."""
    sums = np.zeros(len(RULES))
    for image, label in some(frames):
        small = to_working_size(grey(image), CHOICE_SIZE)
        truth = resized(label == 1, small.shape[:2]) >= 0.5
        kept = resized(label != IGNORED, small.shape[:2]) >= 0.5
        smoothed = {share: smooth(small, share) for share in SMOOTHING}
        found = (rule.mask(smoothed[rule.smoothing]) for rule in RULES)
        sums += [dice(counts_of(mask[kept], truth[kept])) for mask in found]
    return RULES[int(sums.argmax())]


def fit_mean_mask(frames: Frames) -> Predictor:
    """The mean of the training masks, brought to the size of the first one and then the image's."""
    total, count, shape = np.zeros((1, 1)), np.zeros((1, 1)), (1, 1)
    for _, label in some(frames):
        if not count.any():
            shape = (label.shape[0], label.shape[1])
            total, count = np.zeros(shape), np.zeros(shape)
        kept = label != IGNORED
        total = total + resized(label == 1, shape)
        count = count + (1 if kept.all() else resized(kept, shape))
    mean = (total / np.where(count == 0, 1, count)).clip(0, 1).astype(np.float32)
    return lambda image: resized(mean, image.shape[:2])


def fit_nearest_mask(frames: Frames) -> Predictor:
    """The mask of the training frame most like the image (correlation of thumbnails)."""
    thumbnails, masks = [], []
    for image, label in some(frames):
        thumbnails.append(thumbnail(image))
        masks.append((np.packbits(label == 1), label.shape))
    known = np.stack(thumbnails)

    def predict(image: Array) -> Array:
        packed, shape = masks[int((known @ thumbnail(image)).argmax())]
        mask = np.unpackbits(packed, count=shape[0] * shape[1]).reshape(shape)
        return resized(mask, image.shape[:2])

    return predict


BASELINES: dict[str, Callable[[Frames], Predictor]] = {
    "threshold": fit_threshold,
    "mean_mask": fit_mean_mask,
    "nearest_mask": fit_nearest_mask,
}


def grey(image: Array) -> Array:
    """A frame as uint8 (H, W)."""
    return image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))


def smooth(image: Array, share: float) -> Array:
    """A grey frame blurred with a Gaussian of sigma = share * sqrt(H W) pixels."""
    sigma_px = share * float(np.sqrt(image.size))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))


def otsu(image: Array) -> float:
    """Otsu's grey level of a uint8 frame."""
    return float(cv2.threshold(image, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[0])


def fill_holes(mask: Array) -> Array:
    """The mask with every background region filled that does not reach the edge of the image.

    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)
    >>> bool(fill_holes(ring).all())
    True
    """
    outside = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    cv2.floodFill(outside, None, (0, 0), 2)
    return np.asarray(outside[1:-1, 1:-1] != 2)


def largest_part(mask: Array) -> Array:
    """The largest connected part of a mask (diagonal neighbours count); an empty mask as it is."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    return np.asarray(labels == 1 + areas.argmax()) if areas.size else mask


def resized(mask: Array, shape: tuple[int, ...]) -> Array:
    """A mask, bool or probability, brought to (H, W) bilinearly: float32 in [0, 1]."""
    values = mask.astype(np.float32)
    if values.shape == tuple(shape):
        return values
    shrinks = shape[0] * shape[1] < values.size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (shape[1], shape[0]), interpolation=how)).clip(0, 1)


def thumbnail(image: Array) -> Array:
    """A frame as a vector of mean 0 and length 1: the dot product of two is their correlation."""
    small = cv2.resize(grey(image), THUMBNAIL, interpolation=cv2.INTER_AREA)
    vector = np.asarray(small, np.float32).ravel()
    vector = vector - vector.mean()
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length if length else vector)


def some(frames: Frames) -> Iterator[tuple[Array, Array]]:
    """The frames, of which there has to be at least one.

    Raises: UserError where there is none.
    """
    empty = True
    for pair in frames:
        empty = False
        yield pair
    if empty:
        raise UserError(
            "training frames to fit the baselines on", "none", "Give a split with training frames."
        )
