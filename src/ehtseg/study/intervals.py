"""Intervals of 95 %: of a mean over units and seeds, of a rate, of a difference of rates.

A unit is what is independent of others: a recording, or an image where each has its own source.
Values of shape (U, S) are means over the frames of U units, each scored by the same S trainings
(seeds): units and seeds are crossed. Source of the rules: docs/protocol.md, 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.special import ndtri

from ehtseg.records import Array

LEVEL = 0.95
FEW = 20  # units; below it a bootstrap interval is too narrow, and Student's t is taken
DRAWS = 10_000
Z = float(ndtri((1 + LEVEL) / 2))


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the range of values that go with the data at 95 %.

    `low` and `high` are NaN where there is one unit: nothing is known of others.

    >>> 0 in Interval(0.3, 0.1, 0.5, 6, "t"), 0.2 in Interval(0.3, 0.1, 0.5, 6, "t")
    (False, True)
    """

    estimate: float
    low: float
    high: float
    units: int
    method: str  # or, where the bounds are NaN, what there is only one of

    def __contains__(self, value: float) -> bool:
        return not (value < self.low or value > self.high)


def interval(values_US: Array) -> Interval:
    """The interval of the mean over units and trainings.

    Over units it is Student's t below 20 units and the bootstrap from 20 up; Student's t over
    trainings, too few to resample, is added to each side in squares. One training gives no such
    part; the caller says so.

    Source: Howe 1974, J Am Stat Assoc 69:789 (limits of a sum, added in squares). Coverage is
    simulated (decision 23): 95 to 99.8 %, too wide rather than too narrow.

    >>> found = interval(np.array([[0.5], [1.0], [0.75]]))
    >>> round(found.low, 2), found.estimate, round(found.high, 2), found.method
    (0.13, 0.75, 1.37, 't')
    """
    means_U = values_US.mean(axis=1)
    of_units = t_interval(means_U) if len(means_U) < FEW else bootstrap_interval(means_U)
    middle, beside = of_units.estimate, _half_of_seeds(values_US)
    return replace(
        of_units,
        low=middle - math.hypot(middle - of_units.low, beside),
        high=middle + math.hypot(of_units.high - middle, beside),
    )


def seeds_variance(values_US: Array) -> float:
    """Variance of the mean over trainings, from their own means; NaN from one unit or one seed.

    What is neither of units nor of trainings is in it, and in the variance over units as well.
    To count it once would need its own estimate, which leaves 0 too often where it is large.
    """
    if min(values_US.shape) < 2:
        return math.nan
    means_S = values_US.mean(axis=0)
    return float(means_S.var(ddof=1)) / len(means_S)


def t_interval(means_U: Array) -> Interval:
    """Student's t on the means of units; NaN bounds from one unit."""
    n, estimate = len(means_U), float(means_U.mean())
    if n < 2:
        return Interval(estimate, math.nan, math.nan, n, "one unit")
    half = _quantile(n - 1) * float(means_U.std(ddof=1)) / math.sqrt(n)
    return Interval(estimate, estimate - half, estimate + half, n, "t")


def bootstrap_interval(means_U: Array, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Bootstrap over units, bias-corrected and accelerated (BCa).

    The quantiles lie as far out as Student's t asks for with that many units: the plain ones cover
    92 % with 20 of them instead of 95 %.

    Source: Efron 1987, J Am Stat Assoc 82:171; Hesterberg 2015, Am Stat 69:371 (`_reach`).
    """
    n, estimate = len(means_U), float(means_U.mean())
    if np.ptp(means_U) == 0:
        return Interval(estimate, estimate, estimate, n, "BCa")
    found = stats.bootstrap(
        (means_U,),
        np.mean,
        n_resamples=draws,
        confidence_level=1 - 2 * float(stats.norm.sf(_reach(n))),
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(estimate, float(found.low), float(found.high), n, "BCa")


def wilson(count: int, n: int) -> Interval:
    """The interval of a rate, count of n. Source: Wilson 1927, J Am Stat Assoc 22:209.

    >>> found = wilson(0, 10)
    >>> found.low, round(found.high, 3)
    (0.0, 0.278)
    """
    rate, spread = count / n, Z**2 / n
    center = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(spread * rate * (1 - rate) + spread**2 / 4) / (1 + spread)
    low = 0.0 if count == 0 else center - half
    high = 1.0 if count == n else center + half
    return Interval(rate, low, high, n, "Wilson")


def rate_difference(first: Interval, second: Interval) -> Interval:
    """The interval of first - second, two independent rates with Wilson intervals.

    Source: Newcombe 1998, Stat Med 17:873, method 10.
    """
    gap = first.estimate - second.estimate
    down = math.hypot(first.estimate - first.low, second.high - second.estimate)
    up = math.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(gap, gap - down, gap + up, first.units + second.units, "Newcombe")


def _reach(n: int) -> float:
    """Standard deviations, of a bootstrap over n units, to each side of the estimate.

    A resampled mean varies less than a mean of new units by the root of (n - 1) / n, and the
    SD itself is an estimate.

    >>> round(_reach(20), 3), round(_reach(1000), 3)
    (2.147, 1.963)
    """
    return _quantile(n - 1) * math.sqrt(n / (n - 1))


def _half_of_seeds(values_US: Array) -> float:
    """Half the width that trainings add; 0 where their part is not known."""
    variance = seeds_variance(values_US)
    return 0.0 if math.isnan(variance) else _quantile(values_US.shape[1] - 1) * math.sqrt(variance)


def _quantile(freedom: int) -> float:
    """Student's t at the upper end of the interval."""
    return float(stats.t.ppf((1 + LEVEL) / 2, freedom))
