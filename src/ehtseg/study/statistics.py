"""From scores to what may be concluded: averages, contrasts of rows, families of them.

Frames of one recording are near copies, so they are averaged first; recordings (or images, where
each has its own source) are the units that count; seeds are repeats. Intervals stand in
intervals.py, tests in significance.py, sentences in words.py. Source of the rules:
docs/protocol.md, 4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ehtseg.learning.scores import Counts, Score, dice
from ehtseg.records import Array
from ehtseg.study.intervals import Interval, interval, seeds_variance
from ehtseg.study.significance import ALPHA, crossed_p, equality_p, holm, units_needed

Verdict = Literal["higher", "lower", "equal", "open", "one training"]


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
    error_seeds: float  # standard error of the difference over seeds; NaN if unknown
    test: str
    p: float
    p_holm: float  # p corrected for the family it was tested in; p itself where there is none
    family: int  # how many contrasts were tested together
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

    Source: docs/protocol.md, 1.

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
    mean, (test, p) = float(means_U.mean()), crossed_p(gaps_US)
    return Contrast(
        difference=interval(gaps_US),
        units=len(means_U),
        seeds=len(means_S),
        sd_units=sd_units,
        sd_seeds=float(means_S.std(ddof=1)) if len(means_S) > 1 else math.nan,
        error_seeds=math.sqrt(seeds_variance(gaps_US)),
        test=test,
        p=p,
        p_holm=p,
        family=1,
        p_equal=equality_p(gaps_US),
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

    The family is as large as it was planned: contrasts that could not be tested, or are not
    judged because a row has one training, count as p = 1.
    """
    untested = [1.0] * (planned - len(contrasts))
    judged = (each.p if each.seeds > 1 else 1.0 for each in contrasts.values())
    corrected = holm([*judged, *untested])
    pairs = zip(contrasts.items(), corrected[: len(contrasts)], strict=True)
    size = len(corrected)
    return {name: replace(each, p_holm=float(p), family=size) for (name, each), p in pairs}


def verdict(found: Contrast) -> Verdict:
    """What a contrast allows to say: a difference needs the test and the interval.

    One training of each row says nothing of others.
    """
    if found.seeds < 2:
        return "one training"
    if found.p_holm < ALPHA and 0 not in found.difference:
        return "higher" if found.difference.estimate > 0 else "lower"
    return "equal" if found.p_equal < ALPHA else "open"


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
