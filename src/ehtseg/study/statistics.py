"""From scores to what may be concluded: averages, paired tests, corrections, units that are needed.

Frames of one recording are near copies, so they are averaged first; recordings (or images, where
each has its own source) are the units that count; seeds are repeats. Intervals stand in
intervals.py, sentences in words.py. Source of the rules: protocol of the study, section 11.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy import stats

from ehtseg.learning.scores import Counts, Score, dice
from ehtseg.records import Array
from ehtseg.study.intervals import Interval, interval

ALPHA = 0.05
POWER = 0.8
MARGIN = 0.005  # a difference in Dice or IoU below it makes no difference to anyone
EXACT = 15  # units up to which every flip of signs is tried
COUNTABLE = 100_000  # units beyond which the normal approximation of the power is exact enough

Verdict = Literal["higher", "lower", "equal", "open"]


@dataclass(frozen=True, slots=True)
class Averages:
    """One score, averaged in three ways that answer different questions."""

    per_image: float  # mean over images: long recordings count more
    per_recording: float  # mean over recordings of their means: each tissue counts once
    pooled: float  # the score of all pixels together: large tissues count more
    images: int
    recordings: int


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The score of one row of a study by unit and seed, mean over the images of a unit."""

    units: tuple[str, ...]
    seeds: tuple[int, ...]
    values: Array  # (U, S)


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two rows compared, unit by unit and seed by seed: first - second."""

    difference: Interval
    units: int
    seeds: int
    sd_units: float  # of the differences between units; NaN from one unit
    sd_seeds: float  # of the differences between seeds; NaN from one seed
    test: str
    p: float
    p_holm: float  # p corrected for the family it was tested in; p itself where there is none
    p_equal: float  # that the true difference is MARGIN or more, either way (TOST)
    units_needed: int | None  # to see such a difference; None where it or its SD is unknown or 0


def averages(counts: Sequence[Counts], recordings: Sequence[str], score: Score = dice) -> Averages:
    """The score of images, given their pixel counts and the recording of each.

    >>> averages([Counts(4, 0, 0, 5), Counts(3, 3, 3, 0), Counts(0, 0, 0, 9)], ["a", "a", "b"])
    Averages(per_image=0.8333333333333334, per_recording=0.875, pooled=0.7, images=3, recordings=2)
    """
    values, names = np.array([score(each) for each in counts]), np.array(recordings)
    by_recording = [values[names == name].mean() for name in np.unique(names)]
    return Averages(
        float(values.mean()),
        float(np.mean(by_recording)),
        score(sum(counts, Counts(0, 0, 0, 0))),
        len(values),
        len(by_recording),
    )


def implied_sd(mean_dice: float, mean_iou: float) -> float:
    """The SD of Dice between images that a printed pair of means gives away; NaN if none does.

    IoU = D / (2 - D) for each image, and the curve is convex: the mean IoU lies above the curve by
    half its second derivative times the variance, to second order.

    Source: protocol of the study, section 10.1.

    >>> round(implied_sd(0.915201, 0.848639), 3)
    0.056
    """
    gap = mean_iou - mean_dice / (2 - mean_dice)
    return math.sqrt(gap * (2 - mean_dice) ** 3 / 2) if gap >= 0 else math.nan


def tabulate(values: Sequence[float], units: Sequence[str], seeds: Sequence[int]) -> Table:
    """Scores of images, with the unit and the seed of each, as a table of means.

    Raises: ValueError where a seed has no score for some unit: then units and seeds cannot be
    told apart.
    """
    unit_names, unit_N = np.unique(np.asarray(units), return_inverse=True)
    seed_names, seed_N = np.unique(np.asarray(seeds), return_inverse=True)
    shape = (len(unit_names), len(seed_names))
    cell_N = unit_N * shape[1] + seed_N
    images = np.bincount(cell_N, minlength=shape[0] * shape[1])
    if not images.all():
        unit, seed = np.unravel_index(int(images.argmin()), shape)
        raise ValueError(f"no score of {unit_names[unit]} by seed {seed_names[seed]}")
    sums = np.bincount(cell_N, weights=np.asarray(values, np.float64), minlength=images.size)
    means_US = (sums / images).reshape(shape)
    return Table(tuple(map(str, unit_names)), tuple(map(int, seed_names)), means_US)


def difference(first: Table, second: Table) -> Table:
    """first - second, over the units and seeds that both have.

    Raises: ValueError where they have none in common.
    """
    units = tuple(unit for unit in first.units if unit in set(second.units))
    seeds = tuple(seed for seed in first.seeds if seed in set(second.seeds))
    if not units or not seeds:
        raise ValueError("the two rows have no unit and seed in common")
    return Table(units, seeds, _at(first, units, seeds) - _at(second, units, seeds))


def contrast(first: Table, second: Table) -> Contrast:
    """Compare two rows: interval, paired test, test of equality, units that would be needed.

    Raises: ValueError where they have no unit and seed in common.
    """
    gaps_US = difference(first, second).values
    means_U, means_S = gaps_US.mean(axis=1), gaps_US.mean(axis=0)
    sd_units = float(means_U.std(ddof=1)) if len(means_U) > 1 else math.nan
    test, p = paired_p(means_U)
    mean = float(means_U.mean())
    return Contrast(
        difference=interval(gaps_US),
        units=len(means_U),
        seeds=len(means_S),
        sd_units=sd_units,
        sd_seeds=float(means_S.std(ddof=1)) if len(means_S) > 1 else math.nan,
        test=test,
        p=p,
        p_holm=p,
        p_equal=equality_p(means_U),
        units_needed=units_needed(sd_units, mean) if mean and sd_units > 0 else None,
    )


def contrast_where_shared(first: Table | None, second: Table | None) -> Contrast | None:
    """Compare two rows; None where one has no scores, or they share no unit and seed.

    A study that is carried out in part may have them so.
    """
    if first is None or second is None:
        return None
    shared = all(set(one) & set(other) for one, other in (
        (first.units, second.units), (first.seeds, second.seeds),
    ))  # fmt: skip
    return contrast(first, second) if shared else None


def family(contrasts: Mapping[str, Contrast], planned: int) -> dict[str, Contrast]:
    """Contrasts of a family, each with its p corrected after Holm.

    The family is as large as it was planned: contrasts that could not be tested count as p = 1.
    """
    untested = [1.0] * (planned - len(contrasts))
    corrected = holm([*(each.p for each in contrasts.values()), *untested])
    pairs = zip(contrasts.items(), corrected[: len(contrasts)], strict=True)
    return {name: replace(each, p_holm=float(p)) for (name, each), p in pairs}


def verdict(found: Contrast) -> Verdict:
    """What a contrast allows to say: a difference needs the test and the interval."""
    if found.p_holm < ALPHA and 0 not in found.difference:
        return "higher" if found.difference.estimate > 0 else "lower"
    return "equal" if found.p_equal < ALPHA else "open"


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


def equality_p(differences_U: Array, margin: float = MARGIN) -> float:
    """p of the hypothesis that the true mean difference is `margin` or more, either way (TOST).

    Two one-sided t tests; 1 from one unit. Source: Schuirmann 1987, J Pharmacokin Biopharm 15:657.
    """
    n, mean = len(differences_U), float(differences_U.mean())
    if n < 2:
        return 1.0
    room = margin - abs(mean)  # to the nearer of the two bounds, whose test has the larger p
    if np.ptp(differences_U) == 0:
        return 0.0 if room > 0 else 1.0
    error = float(differences_U.std(ddof=1)) / math.sqrt(n)
    return float(stats.t.sf(room / error, n - 1))


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


def lag_one(series: Sequence[float]) -> float:
    """Correlation of a series with itself one frame later, corrected for its bias, at most 1.

    A short series looks less correlated than its source by about (1 + 4 rho) / n; a constant one
    counts as wholly correlated. Source: Marriott and Pope 1954, Biometrika 41:390.
    """
    x = np.asarray(series, np.float64)
    x = x - x.mean()
    square = float(x @ x)
    if square == 0:
        return 1.0
    rho = float(x[:-1] @ x[1:]) / square
    return min(1.0, rho + (1 + 4 * rho) / len(x))


def effective_count(n: int, rho: float) -> float:
    """How many independent frames n frames with lag-1 correlation rho are worth, from 1 to n.

    For a first-order autoregression the mean of n frames varies as the mean of
    n (1 - rho) / (1 + rho) independent ones. Source: Bayley and Hammersley 1946.

    >>> [round(effective_count(100, rho), 1) for rho in (0.8, 0.9, 0.95)]
    [11.1, 5.3, 2.6]
    """
    return max(1.0, min(float(n), n * (1 - rho) / (1 + rho))) if rho > -1 else float(n)


def _at(table: Table, units: Sequence[str], seeds: Sequence[int]) -> Array:
    rows = [table.units.index(unit) for unit in units]
    return table.values[np.ix_(rows, [table.seeds.index(seed) for seed in seeds])]


def _sign_flip_p(differences_U: Array) -> float:
    """Share of all flips of signs whose mean is as far from 0 as the one that was seen.

    The sign of the first unit is kept: the other half of the flips mirrors this one.
    """
    n = len(differences_U)
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1
    sums = np.abs((1 - 2 * bits) @ differences_U)
    seen = abs(differences_U.sum())
    return float((sums >= seen * (1 - 1e-12)).mean())
