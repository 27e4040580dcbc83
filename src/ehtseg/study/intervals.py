"""Intervals of 95 %: of a mean over units and seeds, of a rate, of a difference of rates.

A unit is what is independent of others: a recording, or an image where each has its own source.
Values of shape (U, S) are means over the frames of U units, each scored by the same S trainings
(seeds): units and seeds are crossed. Source of the rules: protocol of the study, section 11.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.special import ndtr, ndtri

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
    method: str

    def __contains__(self, value: float) -> bool:
        return not (value < self.low or value > self.high)


def interval(values_US: Array) -> Interval:
    """The interval of the mean over units: Student's t below 20 units, the bootstrap from 20 up.

    >>> found = interval(np.array([[0.5], [1.0], [0.75]]))
    >>> round(found.low, 2), found.estimate, round(found.high, 2), found.method
    (0.13, 0.75, 1.37, 't')
    """
    few = len(values_US) < FEW
    return t_interval(values_US.mean(axis=1)) if few else bootstrap_interval(values_US)


def t_interval(means_U: Array) -> Interval:
    """Student's t on the means of units; NaN bounds from one unit."""
    n, estimate = len(means_U), float(means_U.mean())
    if n < 2:
        return Interval(estimate, math.nan, math.nan, n, "none from one unit")
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * means_U.std(ddof=1)) / math.sqrt(n)
    return Interval(estimate, estimate - half, estimate + half, n, "t")


def bootstrap_interval(values_US: Array, draws: int = DRAWS, seed: int = 0) -> Interval:
    """Two-level bootstrap, bias-corrected and accelerated (BCa): units are drawn, then seeds.

    Seeds are drawn once for all units of a draw, because one training scores all of them: drawn
    anew for each unit, what a training has in common would average out and the interval would be
    too narrow. The quantiles lie as far out as Student's t asks for with that many units: the
    plain ones cover 92 % with 20 of them instead of 95 %.

    Source: Efron 1987, J Am Stat Assoc 82:171 (BCa; acceleration from the jackknife, here over
    both levels); Owen 2007, Ann Appl Stat 1:386 (crossed levels); Hesterberg 2015, Am Stat 69:371
    (`_reach`).
    """
    n_units, n_seeds = values_US.shape
    estimate = float(values_US.mean())
    if np.ptp(values_US) == 0:
        return Interval(estimate, estimate, estimate, n_units, "BCa")
    shares_DU, shares_DS = _resampled(n_units, n_seeds, draws, seed)
    means_D = np.einsum("ds,ds->d", shares_DU @ values_US, shares_DS)
    below = (means_D < estimate).mean() + (means_D == estimate).mean() / 2
    bias = ndtri(np.clip(below, 1 / draws, 1 - 1 / draws))
    reach = _reach(n_units)
    shifted = bias + np.array([-reach, reach])
    levels = ndtr(bias + shifted / (1 - _acceleration(values_US) * shifted))
    low, high = np.quantile(means_D, levels)
    return Interval(estimate, float(low), float(high), n_units, "BCa")


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
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(n / (n - 1))


@lru_cache(maxsize=2)
def _resampled(n_units: int, n_seeds: int, draws: int, seed: int) -> tuple[Array, Array]:
    """How large a share each unit (D, U) and each seed (D, S) has in each draw."""
    rng = np.random.default_rng(seed)
    shares = [rng.multinomial(n, np.full(n, 1 / n), draws) / n for n in (n_units, n_seeds)]
    for each in shares:
        each.setflags(write=False)  # they are kept, and shared by all calls
    return shares[0], shares[1]


def _acceleration(values_US: Array) -> float:
    """How fast the standard error changes with the mean, from leaving out each unit and seed."""
    levels = [values_US.mean(axis=1), values_US.mean(axis=0)]
    pulls = np.concatenate([(means - means.mean()) / len(means) for means in levels])
    spread = float((pulls**2).sum())
    return float((pulls**3).sum()) / (6 * spread**1.5) if spread else 0.0
