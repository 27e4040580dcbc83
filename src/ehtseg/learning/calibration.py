"""Whether probabilities mean what they say: ECE, Brier, NLL, undecided pixels, temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from ehtseg.records import Array, UserError

CLIP = 1e-7  # probabilities nearer to 0 or 1 than float32 can tell are taken as this
UNDECIDED = (0.1, 0.9)  # a pixel between these is undecided
STEPS_PER_LOGIT = 64  # resolution at which `tally` groups pixels
LARGEST_LOGIT = 17  # beyond logit(1 - CLIP)
TEMPERATURES = (0.02, 50.0)  # the range in which a temperature is sought


def brier(probability: Array, truth: Array) -> float:
    """Mean squared difference of probability and truth (0 or 1)."""
    return float(np.square(probability.astype(np.float64) - truth).mean())


def nll(probability: Array, truth: Array) -> float:
    """Mean negative log-likelihood of the truth, in nats; probabilities clipped at 1e-7."""
    of_truth = np.where(truth, probability, 1 - probability.astype(np.float64))
    return float(-np.log(of_truth.clip(CLIP, 1)).mean())


def undecided(probability: Array, where: Array | None = None) -> float:
    """Share of pixels with 0.1 < probability < 0.9, of those `where`; NaN where there is none."""
    between = (probability > UNDECIDED[0]) & (probability < UNDECIDED[1])
    chosen = between if where is None else between[where]
    return float(chosen.mean()) if chosen.size else float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Pixels grouped by predicted logit: tallies of images add up, at constant size.

    Every array has one entry for each of the G groups, which are 1/64 of a logit wide.
    """

    pixels: Array
    positives: Array
    probability: Array  # sum over the pixels of a group

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.pixels + other.pixels,
            self.positives + other.positives,
            self.probability + other.probability,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """A reliability diagram: bins of (about) equally many pixels, by rising probability."""

    pixels: Array
    predicted: Array  # mean probability
    observed: Array  # share of positives


@dataclass(frozen=True, slots=True)
class BrierSplit:
    """What the Brier score of binned probabilities is made of.

    It equals reliability - resolution + uncertainty.
    """

    reliability: float  # mean squared gap of predicted and observed: what calibration can mend
    resolution: float  # how far bins differ from the overall share: what no calibration adds
    uncertainty: float  # share of tissue times share of background: the frames, not the network


def tally(probability: Array, truth: Array) -> Tally:
    """Group the pixels of one image by their predicted logit."""
    p = probability.ravel().astype(np.float64)
    clipped = p.clip(CLIP, 1 - CLIP)
    logit = np.log(clipped / (1 - clipped))
    group = np.rint((logit + LARGEST_LOGIT) * STEPS_PER_LOGIT).astype(np.int64)
    size = 2 * LARGEST_LOGIT * STEPS_PER_LOGIT + 1
    return Tally(
        np.bincount(group, minlength=size),
        np.bincount(group[truth.ravel()], minlength=size),
        np.bincount(group, weights=p, minlength=size),
    )


def no_pixels() -> Tally:
    """The tally of nothing, to which others are added."""
    return tally(np.empty(0), np.empty(0, bool))


def reliability(counted: Tally, bins: int = 15) -> Reliability:
    """Bins of equal mass: a group belongs to the bin in which the middle of its mass falls.

    Pixels of one predicted probability thus stay together, and no order of pixels matters. Where
    most pixels are saturated there are fewer than `bins`.
    """
    middle = counted.pixels.cumsum() - counted.pixels / 2
    bin_G = np.minimum((middle * bins / counted.pixels.sum()).astype(np.int64), bins - 1)
    pixels, positives, probability = (
        np.bincount(bin_G, weights=values, minlength=bins)
        for values in (counted.pixels, counted.positives, counted.probability)
    )
    full = pixels > 0
    return Reliability(
        pixels[full].astype(np.int64),
        probability[full] / pixels[full],
        positives[full] / pixels[full],
    )


def ece(counted: Tally, bins: int = 15) -> float:
    """Expected calibration error: mean |observed - predicted| over bins of equal mass.

    Source: Nguyen and O'Connor 2015, arXiv 1508.05154 (equal-mass bins).
    """
    diagram = reliability(counted, bins)
    gaps = np.abs(diagram.observed - diagram.predicted)
    return float(np.average(gaps, weights=diagram.pixels))


def brier_split(diagram: Reliability) -> BrierSplit:
    """The three parts of the Brier score of binned probabilities.

    Every pixel counts with the mean probability of its bin: what differs within a bin is left out,
    so that the score of the pixels themselves is a little lower or higher.
    Source: Murphy 1973, J. Appl. Meteorol. 12, 595-600.
    """
    weight = diagram.pixels / diagram.pixels.sum()
    overall = float(weight @ diagram.observed)
    return BrierSplit(
        float(weight @ np.square(diagram.predicted - diagram.observed)),
        float(weight @ np.square(diagram.observed - overall)),
        overall * (1 - overall),
    )


def risk(diagram: Reliability, coverage: float) -> float:
    """Share of wrong pixels, cut at 0.5, among the share `coverage` (0 to 1] of surest pixels.

    A pixel is as sure as its bin is far from 0.5, and as often wrong; errors are spread evenly
    over a bin of which a part is taken. The bin in which 0.5 lies holds pixels of either side,
    whose errors its means cannot tell: choose a coverage that leaves it out.
    Source: El-Yaniv and Wiener 2010, JMLR 11, 1605-1641 (risk-coverage trade-off).
    """
    wrong = np.where(diagram.predicted < 0.5, diagram.observed, 1 - diagram.observed)
    order = np.argsort(-np.abs(diagram.predicted - 0.5), kind="stable")
    pixels = diagram.pixels[order].cumsum() / diagram.pixels.sum()
    errors = (diagram.pixels * wrong)[order].cumsum() / diagram.pixels.sum()
    at = np.interp(coverage, np.concatenate([[0], pixels]), np.concatenate([[0], errors]))
    return float(at / coverage)


def is_one_class(counted: Tally) -> bool:
    """Whether the pixels are all tissue, or all background, or none at all."""
    return counted.positives.sum() in (0, counted.pixels.sum())


def fit_temperature(counted: Tally) -> float:
    """The T > 0 for which sigmoid(logit / T) has the least NLL on these (validation) pixels.

    Source: Guo et al. 2017, arXiv 1706.04599.

    Raises: UserError where the pixels are all of one class, for no T is best then.
    """
    if is_one_class(counted):
        raise UserError(
            "validation pixels of both tissue and background to fit a temperature",
            "one of the two only",
            "Choose validation frames in which both are seen.",
        )
    logits = _logits(counted)
    found = minimize_scalar(
        lambda log_temperature: _nll(counted, logits / np.exp(log_temperature)),
        bounds=tuple(np.log(TEMPERATURES)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def nll_of(counted: Tally) -> float:
    """`nll` of tallied pixels: exact but for the width of the groups."""
    return _nll(counted, _logits(counted))


def scaled(counted: Tally, temperature: float) -> Tally:
    """The tally as it would be with every logit divided by a temperature."""
    probability = 1 / (1 + np.exp(-_logits(counted) / temperature))
    return Tally(counted.pixels, counted.positives, counted.pixels * probability)


def at_temperature(probability: Array, temperature: float) -> Array:
    """sigmoid(logit / T), float32.

    >>> at_temperature(np.array([0.5, 0.9]), 2.0).round(3).tolist()
    [0.5, 0.75]
    """
    clipped = probability.astype(np.float64).clip(CLIP, 1 - CLIP)
    scaled = np.log(clipped / (1 - clipped)) / temperature
    return np.asarray(1 / (1 + np.exp(-scaled)), np.float32)


def _logits(counted: Tally) -> Array:
    """The logit of the mean probability of each group; 0 for a group without pixels."""
    mean = np.full(counted.pixels.shape, 0.5)
    np.divide(counted.probability, counted.pixels, out=mean, where=counted.pixels > 0)
    clipped = mean.clip(CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _nll(counted: Tally, logits: Array) -> float:
    of_group = counted.pixels * np.logaddexp(0, logits) - counted.positives * logits
    return float(of_group.sum() / counted.pixels.sum())
