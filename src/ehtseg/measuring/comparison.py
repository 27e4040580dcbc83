"""Levels of one quantity in several stretches of beats, and how they differ, with 95 % intervals.

Stretches hold values of consecutive beats, mostly as logarithms. What the intervals cover, on
first-order processes and on slow wander under noise of single beats, stands in docs/log.md: 90 to
98 % from 60 beats a stretch on, and at 20 beats 87 % (slow wander) to 99.9 % (independent beats).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from ehtseg.measuring.serial import LONGEST_BEATS, lag1, unbiased_lag1, variances_of_means
from ehtseg.records import Array

SURE = 0.95
STEADY = 0.99  # a stretch has a trend only beyond this interval
FEWEST_FOR_TREND = 20
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Level:
    """Mean of a stretch of beats, the variance of that mean, and its degrees of freedom."""

    n: int
    mean: float
    variance: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval; NaN bounds where the data do not bound it."""

    estimate: float
    low: float = NAN
    high: float = NAN


def levels(stretches: Sequence[Array], longest_beats: float = LONGEST_BEATS) -> list[Level]:
    """The level of each stretch (N_k,); how their beats hang together is read from all.

    Wander with a time constant of up to `longest_beats` counts as spread about the level.
    """
    known = [k for k, part in enumerate(stretches) if len(part) > 1]
    told = variances_of_means([stretches[k] for k in known], longest_beats)
    spread = dict(zip(known, told, strict=True))
    return [
        Level(len(part), float(np.mean(part)) if len(part) else NAN, *spread.get(k, (NAN, 1.0)))
        for k, part in enumerate(stretches)
    ]


def freedom(variances: Sequence[float], freedoms: Sequence[float]) -> float:
    """Degrees of freedom of a sum of independent variances, at least 1.

    Source: Satterthwaite 1946, Biometrics Bull. 2:110.

    >>> freedom([1.0, 1.0], [10.0, 10.0])
    20.0
    """
    terms = [v**2 / f for v, f in zip(variances, freedoms, strict=True)]
    return max(sum(variances) ** 2 / sum(terms), 1.0) if sum(terms) > 0 else 1.0


def half_width(level: Level) -> float:
    """Half of the 95 % interval of a level; NaN where one beat is all there is."""
    return float(student_t.ppf((1 + SURE) / 2, level.freedom) * level.variance**0.5)


def log_ratio(before: Level, after: Level) -> Estimate:
    """Difference of two levels, after - before: of logarithms, the logarithm of the ratio."""
    change = after.mean - before.mean
    variance = before.variance + after.variance
    free = freedom([before.variance, after.variance], [before.freedom, after.freedom])
    half = half_width(Level(before.n + after.n, change, variance, free))
    return Estimate(change, change - half, change + half)


def recovered(before: Level, drug: Level, wash: Level) -> Estimate:
    """Share of an effect that is gone after a wash: (wash - drug) / (before - drug).

    NaN bounds where the effect itself is not certain: then no share of it is.
    Source: Fieller 1954, J. R. Stat. Soc. B 16:175.
    """
    above, below = wash.mean - drug.mean, before.mean - drug.mean
    known = (before, drug, wash)
    free = freedom([one.variance for one in known], [one.freedom for one in known])
    t2 = float(student_t.ppf((1 + SURE) / 2, free)) ** 2
    var_above, var_below = wash.variance + drug.variance, before.variance + drug.variance
    g = t2 * var_below / below**2 if below else 1.0
    if g >= 1:
        return Estimate(above / below if below else NAN)
    if var_below == 0:
        return Estimate(above / below, above / below, above / below)
    ratio, common = above / below, drug.variance
    spread = var_above - 2 * ratio * common + ratio**2 * var_below
    spread -= g * (var_above - common**2 / var_below)
    middle = (ratio - g * common / var_below) / (1 - g)
    half = (t2 * max(spread, 0.0)) ** 0.5 / abs(below) / (1 - g)
    return Estimate(ratio, middle - half, middle + half)


def steady(stretch: Array) -> bool:
    """Whether a stretch shows no trend at 99 %; True where it is too short to tell.

    The slope of the straight line through it, against the spread that correlated beats about that
    line give to it.
    """
    n = len(stretch)
    if n < FEWEST_FOR_TREND:
        return True
    place = np.arange(n) - (n - 1) / 2
    slope = float(place @ stretch) / float(place @ place)
    left = stretch - np.mean(stretch) - slope * place
    rho = unbiased_lag1(lag1(left), n / 2)
    worth = max(n * (1 - rho) / (1 + rho) - 2, 1.0)
    variance = float(left @ left) / worth / float(place @ place)
    return bool(abs(slope) <= student_t.ppf((1 + STEADY) / 2, worth) * variance**0.5)
