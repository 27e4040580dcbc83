"""Overlap scores from integer counts: per image, per recording, pooled, at any thresholds.

A pixel is tissue where probability >= threshold. `score_images` counts once; everything else
(`per_image`, `per_recording`, `pooled`, `best_threshold`) is arithmetic on its result. Distances
stand in surfaces.py, calibration in calibration.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ehtseg.records import Array, UserError

EMPTY_RULE = (
    "Empty masks: where prediction and truth are both empty, overlap is 1 and distance 0; "
    "where one of them is, overlap is 0 and distance the diagonal of the image."
)
THRESHOLDS = tuple(step / 100 for step in range(1, 100))
TIE = 5e-3  # mean Dice values as near as this are equal when a threshold is chosen


@dataclass(frozen=True, slots=True)
class Counts:
    """Pixels by prediction and truth.

    >>> Counts(1, 2, 3, 4) + Counts(0, 0, 0, 10)
    Counts(tp=1, fp=2, fn=3, tn=14)
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn
        )


@dataclass(frozen=True, slots=True)
class ImageCounts:
    """The counts of one image, one for each threshold of the `Scored` it stands in."""

    name: str
    recording: str
    counts: tuple[Counts, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """Images counted at thresholds: what every overlap score is computed from."""

    thresholds: tuple[float, ...]
    images: tuple[ImageCounts, ...]


Score = Callable[[Counts], float]
Pair = tuple[Array, Array, str, str]  # probability (H, W), mask (H, W), image name, recording


def dice(counts: Counts) -> float:
    """2 tp / (2 tp + fp + fn); see EMPTY_RULE.

    >>> dice(Counts(tp=2, fp=1, fn=1, tn=0)), dice(Counts(0, 0, 0, 9)), dice(Counts(0, 9, 0, 0))
    (0.6666666666666666, 1.0, 0.0)
    """
    size = 2 * counts.tp + counts.fp + counts.fn
    return 2 * counts.tp / size if size else 1.0


def iou(counts: Counts) -> float:
    """tp / (tp + fp + fn); see EMPTY_RULE.

    >>> iou(Counts(tp=2, fp=1, fn=1, tn=0))
    0.5
    """
    union = counts.tp + counts.fp + counts.fn
    return counts.tp / union if union else 1.0


def counts_of(prediction: Array, truth: Array) -> Counts:
    """Counts of two bool masks of one shape."""
    tp = int(np.count_nonzero(prediction & truth))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def counts_at(probability: Array, truth: Array, thresholds: Sequence[float]) -> tuple[Counts, ...]:
    """Counts at each threshold, exact and in one pass over the pixels.

    Thresholds may stand in any order; they are compared in the precision of the probabilities.
    """
    levels = np.asarray(thresholds, probability.dtype)
    order = np.argsort(levels)
    passed = np.searchsorted(levels[order], probability.ravel(), side="right")
    inside = truth.ravel()
    tp = _at_least(passed[inside], len(levels))
    fp = _at_least(passed[~inside], len(levels))
    positives, negatives = np.count_nonzero(inside), np.count_nonzero(~inside)
    rank = np.argsort(order)
    return tuple(
        Counts(int(t), int(f), int(positives - t), int(negatives - f))
        for t, f in zip(tp[rank], fp[rank], strict=True)
    )


def score_images(pairs: Iterable[Pair], thresholds: Sequence[float] = THRESHOLDS) -> Scored:
    """Count every image at every threshold, one image in memory at a time.

    Raises: UserError for a pair that `check_pair` refuses.
    """
    images = []
    for probability, truth, name, recording in pairs:
        checked = check_pair(probability, truth, name)
        images.append(ImageCounts(name, recording, counts_at(checked, truth, thresholds)))
    return Scored(tuple(thresholds), tuple(images))


def check_pair(probability: Array, truth: Array, name: str) -> Array:
    """The probabilities as floats, once they and the mask are what the scores need.

    A bool prediction counts as probabilities 0 and 1.

    Raises: UserError for logits, NaN, integer masks (0 and 255), or two shapes.
    """
    if truth.dtype != np.bool_:
        values = ", ".join(f"{value:g}" for value in np.unique(truth)[:6])
        raise UserError(
            f"a bool mask for {name}",
            f"{truth.dtype} with the values {values}",
            "Read it with ehtseg.reading.masks.read_mask, or write mask > 127.",
        )
    if probability.shape != truth.shape or truth.ndim != 2:
        raise UserError(
            f"a prediction and a mask of one shape (H, W) for {name}",
            f"{probability.shape} and {truth.shape}",
            "Predict at the resolution of the mask.",
        )
    if probability.dtype == np.bool_:
        return probability.astype(np.float32)
    if probability.dtype.kind == "f" and bool(((probability >= 0) & (probability <= 1)).all()):
        return probability
    raise UserError(
        f"probabilities from 0 to 1 for {name}",
        f"{probability.dtype} from {probability.min():g} to {probability.max():g}",
        "Turn logits into probabilities with the sigmoid and masks into bool; NaN means that "
        "the training has diverged (lower fit.lr).",
    )


def per_image(scored: Scored, score: Score = dice) -> Array:
    """The score of every image (rows) at every threshold (columns)."""
    values = [[score(counts) for counts in image.counts] for image in scored.images]
    return np.array(values, np.float64).reshape(len(scored.images), len(scored.thresholds))


def per_recording(scored: Scored, score: Score = dice) -> dict[str, Array]:
    """The mean over the images of each recording, at every threshold."""
    values, names = per_image(scored, score), np.array([i.recording for i in scored.images])
    return {str(name): values[names == name].mean(0) for name in dict.fromkeys(names)}


def pooled(scored: Scored, score: Score = dice) -> Array:
    """The score of all pixels of all images together, at every threshold."""
    sums = [sum(column, Counts(0, 0, 0, 0)) for column in _columns(scored)]
    return np.array([score(counts) for counts in sums], np.float64)


def mean_at(scored: Scored, threshold: float, score: Score = dice) -> float:
    """The mean over images at one of the thresholds that were counted.

    Raises: ValueError where the threshold was not counted.
    """
    return float(per_image(scored, score)[:, scored.thresholds.index(threshold)].mean())


def best_threshold(scored: Scored) -> float:
    """The threshold with the highest mean Dice over images; of equals, the nearest to 0.5.

    Values within `TIE` of the highest are equals: a plateau is the rule, its tip is chance, and
    it moves from film to film. Source of the width: docs/protocol.md, 3.
    """
    means = per_image(scored, dice).mean(0)
    equals = [
        t for t, mean in zip(scored.thresholds, means, strict=True) if mean >= max(means) - TIE
    ]
    return min(equals, key=lambda threshold: (round(abs(threshold - 0.5), 9), threshold))


def _at_least(passed: Array, n_levels: int) -> Array:
    """How many pixels pass k levels or more, k = 1 .. n, from how many each of them passed."""
    histogram = np.bincount(passed, minlength=n_levels + 1)
    return np.asarray(histogram[::-1].cumsum()[::-1][1:])


def _columns(scored: Scored) -> Iterable[tuple[Counts, ...]]:
    return zip(*(image.counts for image in scored.images), strict=True)
