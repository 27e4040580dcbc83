"""When the beating changed: change points on the per-beat table, each with an interval in time.

Hundreds of beats, not a hundred thousand samples. Abrupt and lasting changes only: a ramp is found
as one or several steps, and nothing is sought in fewer than 80 beats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from ehtseg.measuring.rhythm import intervals_s
from ehtseg.measuring.serial import lag1, long_run_variance, unbiased_lag1, without_outliers
from ehtseg.records import Array

FEWEST_BEATS = 80  # in fewer, a change in the middle spoils every window that noise is read from
SHORTEST_BEATS = 10  # of a stretch between two changes
STRICTNESS = 3.0  # penalty of a change: this x long-run variance x log n
NEAR_BEATS = 500  # either side of a change in which its time is drawn again
DRAWS = 400
SEED = 0
COVERED = (2.5, 97.5)  # percentiles of the drawn change times


@dataclass(frozen=True, slots=True)
class Change:
    """One lasting change of one quantity; levels in the unit of its name.

    `low_s` to `high_s` hold the time with 95 % confidence; they are equal where the change is so
    large that only one beat can be its first.
    """

    name: str
    beat: int  # row of the first changed beat
    time_s: float
    low_s: float
    high_s: float
    before: float  # mean level between the change before and this one
    after: float

    @property
    def change_pct(self) -> float:
        """The change in % of the level before; NaN from a level of 0."""
        return 100 * (self.after / self.before - 1) if self.before else float("nan")


def find_changes(t50_s: Array, columns: Mapping[str, Array]) -> tuple[Change, ...]:
    """Changes of the interval and of other columns of the per-beat table, in order of time.

    `t50_s` (N,) times of the accepted beats, `columns` name -> (N,), NaN where a beat has no
    value. `rr_s` and names that start with "amplitude" are taken as logarithms, so that 20 % up
    and down weigh the same; durations as they are. A changed interval starts at the beat before.
    """
    t50_s = np.asarray(t50_s, float)
    table = {"rr_s": np.append(np.nan, intervals_s(t50_s)), **columns}
    starts_s = {"rr_s": np.append(np.nan, t50_s[:-1])}
    found: list[Change] = []
    for name, values in table.items():
        known = np.isfinite(values) & ((values > 0) | (not _is_log(name)))
        rows = np.flatnonzero(known)
        at_s = starts_s.get(name, t50_s)[rows]
        found += _changes_of(name, np.asarray(values, float)[rows], at_s, rows)
    return tuple(sorted(found, key=lambda change: change.time_s))


def change_points(values: Array) -> tuple[int, ...]:
    """Indices at which a new mean level starts, (N,) values of consecutive beats.

    Kernel change-point detection with a linear kernel: the segmentation with the least sum of
    squares plus 3 s^2 log n for each change, where s^2 is the long-run variance. With the plain
    variance of differences, 1000 unchanged beats of lag-1 correlation 0.8 give 41 changes.
    Source: Celisse et al. 2018, Comput. Stat. Data Anal. 128:200 (detection); Killick, Fearnhead
    and Eckley 2012, J. Am. Stat. Assoc. 107:1590 (exact search).
    """
    if len(values) < FEWEST_BEATS:
        return ()
    from ruptures import KernelCPD

    level = without_outliers(values)
    penalty = STRICTNESS * long_run_variance(level) * float(np.log(len(level)))
    smallest = 1e-12 * float(np.var(level))  # of a train without any noise
    if penalty <= 0 and smallest == 0:
        return ()
    search = KernelCPD(kernel="linear", min_size=SHORTEST_BEATS)
    ends = search.fit(level[:, None]).predict(pen=max(penalty, smallest))
    return tuple(int(end) for end in ends[:-1])


def step_index(rows_DN: Array) -> Array:
    """Where one step splits each row best, (D,): index of the first value of the new level.

    The split that leaves the least squares, at least 10 values from either end.
    """
    n = rows_DN.shape[1]
    first = np.arange(SHORTEST_BEATS, n - SHORTEST_BEATS + 1)
    sums = np.cumsum(rows_DN, axis=1)
    ahead = sums[:, first - 1] - first / n * sums[:, -1:]
    return np.asarray(first[np.argmax(ahead**2 / (first * (n - first)), axis=1)])


def drawn_steps(values: Array, step: int) -> Array:
    """Bootstrap of the index of one step in `values` (N,), (D,) indices.

    What is left of the values about both levels is taken as a first-order process; its innovations
    are drawn anew and the step is sought again.
    Source: Buehlmann 1997, Bernoulli 3:123 (sieve bootstrap, here of order 1).
    """
    levels = np.where(np.arange(len(values)) < step, values[:step].mean(), values[step:].mean())
    left = values - levels
    rho = unbiased_lag1(lag1(left), len(left) / 2)
    innovations = left[1:] - rho * left[:-1]
    innovations -= innovations.mean()
    draw = np.random.default_rng(SEED)
    warm = 100  # beats until the process has forgotten its start
    picked = draw.choice(innovations, (DRAWS, warm + len(values)))
    noise = lfilter([1.0], [1.0, -rho], picked, axis=1)[:, warm:]
    return step_index(levels + noise)


def _changes_of(name: str, values: Array, at_s: Array, rows: Array) -> list[Change]:
    level = np.log(values) if _is_log(name) else values
    points = change_points(level)
    level = without_outliers(level) if points else level
    return [
        _change(name, level, at_s, rows, (start, here, end))
        for start, here, end in _neighbours(points, len(values))
    ]


def _change(
    name: str, level: Array, at_s: Array, rows: Array, span: tuple[int, int, int]
) -> Change:
    start, here, end = span
    first, stop = max(start, here - NEAR_BEATS), min(end, here + NEAR_BEATS)
    steps = drawn_steps(level[first:stop], here - first) + first
    low, high = np.percentile(steps, COVERED, method="nearest").astype(int)
    before, after = float(level[start:here].mean()), float(level[here:end].mean())
    if _is_log(name):
        before, after = float(np.exp(before)), float(np.exp(after))
    times = float(at_s[here]), float(at_s[min(low, here)]), float(at_s[max(high, here)])
    return Change(name, int(rows[here]), *times, before, after)


def _neighbours(points: Sequence[int], n: int) -> list[tuple[int, int, int]]:
    edges = [0, *points, n]
    return list(zip(edges[:-2], edges[1:-1], edges[2:], strict=True))


def _is_log(name: str) -> bool:
    return name == "rr_s" or name.startswith("amplitude")
