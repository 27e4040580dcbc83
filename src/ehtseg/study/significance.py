"""Paired tests of units and trainings, their correction for being many, and their power.

Intervals stand in intervals.py. Source of the rules: docs/protocol.md, 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize, stats

from ehtseg.records import Array
from ehtseg.study.intervals import seeds_variance

ALPHA = 0.05
POWER = 0.8
MARGIN = 0.005  # a difference in Dice or IoU below it makes no difference to anyone
EXACT = 15  # units up to which every flip of signs is tried
COUNTABLE = 100_000  # units beyond which the normal approximation of the power is exact enough
TINY = 1e-15  # p below which none is told from another


def paired_p(differences_U: Array) -> tuple[str, float]:
    """Name and two-sided p of the paired test: every flip of signs up to 15 units, then Wilcoxon.

    The smallest p that flips can give is 2^(1 - U): below 6 units no difference can reach 0.05.

    >>> paired_p(np.array([0.02, 0.01, 0.03, 0.02, 0.01, 0.04]))
    ('sign flips', 0.03125)
    """
    n = len(differences_U)
    if n <= EXACT:
        return "sign flips", _sign_flip_p(differences_U)
    if not differences_U.any():
        return "Wilcoxon", 1.0
    return "Wilcoxon", float(stats.wilcoxon(differences_U).pvalue)


def crossed_p(differences_US: Array) -> tuple[str, float]:
    """Name and two-sided p of the paired test over units, and over trainings where several are.

    `paired_p` holds for these trainings; p is at least that of the interval, which counts both.
    """
    test, p = paired_p(differences_US.mean(axis=1))
    if math.isnan(seeds_variance(differences_US)):
        return test, p
    of_both = 2 * tail_p(differences_US, abs(float(differences_US.mean())))
    return test, max(p, min(1.0, of_both))


def holm(p_values: Sequence[float]) -> Array:
    """p-values corrected for having been tested together. Source: Holm 1979, Scand J Stat 6:65.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected = np.empty_like(p)
    corrected[order] = stepped.clip(max=1)
    return corrected


def equality_p(differences_US: Array, margin: float = MARGIN) -> float:
    """p of the hypothesis that the true mean difference is `margin` or more, either way (TOST).

    Two one-sided tests; 1 from one unit. Source: Schuirmann 1987, J Pharmacokin Biopharm 15:657.
    """
    if len(differences_US) < 2:
        return 1.0
    # to the nearer of the two bounds, whose test has the larger p
    return tail_p(differences_US, margin - abs(float(differences_US.mean())))


def tail_p(values_US: Array, room: float) -> float:
    """The level at which a one-sided bound of the mean, as `interval` builds it, lies `room` away.

    Student's t over units where trainings add nothing.
    """
    n_units, n_seeds = values_US.shape
    of_units = float(values_US.mean(axis=1).std(ddof=1)) / math.sqrt(n_units)
    between_seeds = seeds_variance(values_US)
    if not between_seeds > 0:
        if of_units == 0:
            return 0.0 if room > 0 else 1.0
        return float(stats.t.sf(room / of_units, n_units - 1))
    if room <= 0:
        return 0.5 if room == 0 else 1 - tail_p(values_US, -room)

    def beyond(p: float) -> float:
        reach_units, reach_seeds = (stats.t.isf(p, n - 1) for n in (n_units, n_seeds))
        return math.hypot(reach_units * of_units, reach_seeds * math.sqrt(between_seeds)) - room

    return float(optimize.brentq(beyond, TINY, 0.5)) if beyond(TINY) > 0 else TINY


def power(n: int, sd: float, size: float) -> float:
    """Chance that n units show a mean difference of `size` by a two-sided paired t test at 0.05.

    >>> round(power(6, sd=0.02, size=0.03), 2), round(power(10, sd=0.02, size=0.03), 2)
    (0.83, 0.99)
    """
    shift = abs(size) / sd * math.sqrt(n)
    bound = stats.t.ppf(1 - ALPHA / 2, n - 1)
    return float(stats.nct.sf(bound, n - 1, shift) + stats.nct.cdf(-bound, n - 1, shift))


def units_needed(sd: float, size: float) -> int:
    """How many units show a mean difference of `size` with a chance of 80 %.

    `sd` is that of the paired differences between units.

    Raises: ValueError for a size or an SD of 0.

    >>> [units_needed(0.02, size) for size in (0.03, 0.01, 0.005, 0.002)]
    [6, 34, 128, 787]
    """
    if not size or not sd > 0:
        raise ValueError(f"a size and an SD above 0 are needed, not {size} and {sd}")
    z = float(stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER))
    n = max(2, math.floor((z * sd / size) ** 2))  # the t test needs some more than that
    while n < COUNTABLE and power(n, sd, size) < POWER:
        n += 1
    return n


def _sign_flip_p(differences_U: Array) -> float:
    """Share of all flips of signs whose mean is as far from 0 as the one that was seen.

    The sign of the first unit is kept: the other half of the flips mirrors this one.
    """
    n = len(differences_U)
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    sums = np.abs((1 - 2 * bits) @ differences_U)
    seen = abs(differences_U.sum())
    return float((sums >= seen * (1 - 1e-12)).mean())
