"""Levels of one quantity in several stretches of beats, and how they differ, with 95 % intervals.

Stretches hold values of consecutive beats, mostly as logarithms. Coverage of the intervals on
first-order processes (lag-1 correlation 0 to 0.9, 20 to 600 beats a stretch): 95 to 98 %. With slow
wander (lag-1 0.8 to 0.95) under as much noise of single beats: 80 to 93 % at 60 beats, 91 to 96 %
at 300.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

from ehtseg.measuring.serial import lag1, unbiased_lag1, variance_of_mean
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


def levels(stretches: Sequence[Array]) -> list[Level]:
    """The level of each stretch (N_k,); their lag-1 correlation is read from all together."""
    known = [part for part in stretches if len(part) > 1]
    powers = [float(np.var(part)) * len(part) for part in known]
    total = sum(powers)
    measured = sum(p * lag1(part) for p, part in zip(powers, known, strict=True))
    n = sum(len(part) for part in known) / max(len(known), 1)
    rho = unbiased_lag1(measured / total if total > 0 else 0.0, n)
    return [_level(part, rho) for part in stretches]


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


def _level(part: Array, rho: float) -> Level:
    if len(part) < 2:
        return Level(len(part), float(np.mean(part)) if len(part) else NAN, NAN, 1.0)
    return Level(len(part), float(np.mean(part)), *variance_of_mean(part, rho))
