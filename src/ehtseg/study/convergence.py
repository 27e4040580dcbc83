"""How soon a training gets there: steps to a level of validation Dice, and how two rows compare.

A training that ends before it reaches the level is censored: all that is known is that it takes
longer. All trainings are censored by their budget alone, so that up to the smallest budget the
restricted mean (area under the Kaplan-Meier curve) is the plain mean of min(steps, horizon).
Source: Royston and Parmar 2013, BMC Med Res Methodol 13:152.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ehtseg.records import Array
from ehtseg.study.intervals import LEVEL, Interval
from ehtseg.study.results import Columns, select

GOOD = 0.9  # validation Dice that counts as having learnt the task
SHARE = 0.95  # of the Dice at the end of the own training


@dataclass(frozen=True, slots=True)
class Reached:
    """Steps until a level was first seen; where it never was, the steps of the whole training."""

    steps: float
    censored: bool


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """The validation Dice of one training, epoch by epoch."""

    seed: int
    steps: Array  # (E,)
    dice: Array  # (E,)

    @property
    def grain(self) -> float:
        """Steps from one look at the validation frames to the next."""
        return float(np.diff(self.steps, prepend=0).max())

    def to(self, level: float) -> Reached:
        """When the level was first seen.

        >>> course = Course(0, np.array([10.0, 20.0]), np.array([0.5, 0.93]))
        >>> course.to(0.9), course.to(0.95)
        (Reached(steps=20.0, censored=False), Reached(steps=20.0, censored=True))
        """
        there = np.flatnonzero(self.dice >= level)
        steps = self.steps[there[0]] if len(there) else self.steps[-1]
        return Reached(float(steps), not len(there))

    def to_share(self, share: float = SHARE) -> Reached:
        """When this share of the Dice of the last epoch was first seen; never, where that is 0."""
        final = float(self.dice[-1])
        return self.to(share * final) if final > 0 else Reached(float(self.steps[-1]), True)


def courses(curves: Columns, row: str, seeds: Array) -> list[Course]:
    """The courses of the given seeds of a row, by seed."""
    found = []
    for seed in np.unique(seeds).tolist():
        one = select(curves, row=row, seed=seed)
        order = np.argsort(one["steps"])
        if len(order):
            found.append(Course(int(seed), one["steps"][order], one["val_dice"][order]))
    return found


def horizon(*groups: Sequence[Course]) -> float:
    """Steps up to which every one of the trainings was watched."""
    return min(float(course.steps[-1]) for group in groups for course in group)


def restricted(times: Sequence[Reached], end: float) -> Array:
    """Steps to the level, at most `end`, one a training."""
    return np.array([min(time.steps, end) for time in times])


def mean_ratio(first: Array, second: Array, grain: float = 0.0) -> Interval:
    """The interval of mean(first) / mean(second), two independent sets of positive numbers.

    Numbers that are only known to the next multiple of `grain` have an error of grain² / 12 more.
    Delta method on the logarithm, degrees of freedom after Welch; NaN bounds where one set has a
    single number. Source of the degrees of freedom: Welch 1947, Biometrika 34:28.

    >>> found = mean_ratio(np.array([10.0, 10.0]), np.array([20.0, 20.0]), grain=5)
    >>> round(found.low, 2), found.estimate, round(found.high, 2)
    (0.4, 0.5, 0.63)
    """
    groups, units = (first, second), len(first) + len(second)
    ratio = float(first.mean() / second.mean())
    if min(len(group) for group in groups) < 2:
        return Interval(ratio, math.nan, math.nan, units, "one training")
    scales = [len(g) * float(g.mean()) ** 2 for g in groups]
    seen = [float(g.var(ddof=1)) / scale for g, scale in zip(groups, scales, strict=True)]
    total = sum(seen) + sum(grain**2 / 12 / scale for scale in scales)
    unsure = sum(v**2 / (len(g) - 1) for v, g in zip(seen, groups, strict=True))
    freedom = total**2 / unsure if unsure else math.inf
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(total)
    return Interval(ratio, ratio * math.exp(-half), ratio * math.exp(half), units, "delta")
