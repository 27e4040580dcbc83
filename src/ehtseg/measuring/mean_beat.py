"""The mean beat: many beats laid over each other show the twitch finer than the camera does.

Each beat meets the frames at another phase. A peak read from the frames of one beat comes 10 to
15 ms too early at 30 frames/s and 2 % noise, because a twitch falls faster than it rises near its
peak; laid under the mean beat it is 1 to 2 ms off.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Polynomial

from ehtseg.records import Array

TOP = (0.2, 0.3)  # the top: from 20 % on the upstroke to 30 % on the way down
NEAR_PEAK = 0.6  # level from which on frames decide on the height of a beat
FEWEST_IN_TOP = 12  # frames; fewer do not carry the fit
FEWEST_PLACES = 7  # quarters of a frame interval with a frame in them: as many as weights
FEWEST_TO_COMPARE = 8  # frames; with fewer a lost frame alone changes the shape
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class MeanBeat:
    """Rest 0, peak 1; times from the peak, as the beats themselves had it."""

    lag_s: Array  # increasing: bins of an eighth of a frame interval, in the top every 0.5 ms
    level: Array  # medians of the bins, in the top the smooth fit
    top_s: tuple[float, float]  # from where to where the top goes

    @property
    def peak_lag_s(self) -> float:
        """Where the mean beat is highest, s from the peak as the beats had it."""
        return float(self.lag_s[np.argmax(np.where(self._in_top, self.level, -np.inf))])

    @property
    def _in_top(self) -> Array:
        return np.asarray((self.lag_s >= self.top_s[0]) & (self.lag_s <= self.top_s[1]))

    def at(self, lag_s: Array) -> Array:
        """Level at these times from the peak; constant beyond the ends."""
        return np.asarray(np.interp(lag_s, self.lag_s, self.level))


def mean_beat(
    lag_s: Array, level: Array, interval_s: float, corner: bool = True
) -> MeanBeat | None:
    """The mean beat from the frames of all beats; None where too few of them lie in the top.

    `lag_s` (N,) times from each beat's peak, sorted; `level` (N,) shares of amplitude;
    `interval_s` between frames; `corner` allows the peak to be one.
    """
    if len(lag_s) < FEWEST_IN_TOP:
        return None
    centre_s, curve = median_curve(lag_s, level, interval_s / 8)
    left_s, right_s = _window(centre_s, curve)
    inside = (lag_s >= left_s) & (lag_s <= right_s)
    places = np.unique(np.floor(4 * lag_s[inside] / interval_s))
    if np.count_nonzero(inside) < FEWEST_IN_TOP or len(places) < FEWEST_PLACES:
        return None
    grid_s = np.arange(left_s, right_s, 0.0005)
    top = _top(lag_s[inside], level[inside], grid_s, corner)
    left, right = centre_s < grid_s[0], centre_s > grid_s[-1]
    lags_s = np.concatenate([centre_s[left], grid_s, centre_s[right]])
    levels = np.concatenate([curve[left], top, curve[right]])
    return MeanBeat(lags_s, levels / np.max(top), (left_s, right_s))


def median_curve(lag_s: Array, level: Array, width_s: float) -> tuple[Array, Array]:
    """Mean times and median levels of the frames in bins of `width_s`."""
    starts = np.flatnonzero(np.diff(np.floor(lag_s / width_s))) + 1
    centre_s = np.array([part.mean() for part in np.split(lag_s, starts)])
    return centre_s, np.array([np.median(part) for part in np.split(level, starts)])


def lay_under(mean: MeanBeat, lag_s: Array, y: Array, reach_s: float) -> tuple[float, float]:
    """Shift (s) and height (unit of y) that lay the mean beat over one beat's frames.

    `y` is above rest, `lag_s` counted from the beat's peak; least squares over shifts of at most
    `reach_s` in steps of 1 ms. NaN, NaN with fewer than 3 frames on it. The onset is part of it:
    the shift of an exponential relaxation alone could not be told from its height.
    """
    inside = (lag_s >= mean.lag_s[0]) & (lag_s <= mean.lag_s[-1])
    if np.count_nonzero(inside) < 3:
        return NAN, NAN
    shifts_s = np.arange(-reach_s, reach_s + 0.0005, 0.001)
    shape = mean.at(lag_s[inside] - shifts_s[:, None])
    height = (shape @ y[inside]) / np.sum(shape**2, axis=1)
    misfit = np.sum((height[:, None] * shape - y[inside]) ** 2, axis=1)
    best = int(np.argmin(misfit))
    near = shape[best] >= NEAR_PEAK  # the height of this beat, however it relaxes
    if np.any(near):
        top = shape[best][near]
        return float(shifts_s[best]), float(top @ y[inside][near] / np.sum(top**2))
    return float(shifts_s[best]), float(height[best])


def correlation(lag_s: Array, y: Array, shape_lag_s: Array, shape: Array) -> float:
    """Correlation of one beat's frames with a shape; NaN with fewer than 8 frames on it.

    `lag_s`, `y` (F,) the frames, in any unit; `shape_lag_s` (sorted), `shape` the shape.
    """
    if len(shape) == 0:
        return NAN
    inside = (lag_s >= shape_lag_s[0]) & (lag_s <= shape_lag_s[-1])
    expected = np.interp(lag_s[inside], shape_lag_s, shape)
    if len(expected) < FEWEST_TO_COMPARE or np.ptp(y[inside]) == 0 or np.ptp(expected) == 0:
        return NAN
    return float(np.corrcoef(expected, y[inside])[0, 1])


def _window(lag_s: Array, curve: Array) -> tuple[float, float]:
    smooth = np.convolve(np.pad(curve, 2, mode="edge"), np.ones(5) / 5, mode="valid")
    peak = int(np.argmin(np.abs(lag_s)))
    before = np.flatnonzero(smooth[:peak] < TOP[0])
    after = np.flatnonzero(smooth[peak:] < TOP[1])
    left = before[-1] if len(before) else 0
    right = peak + after[0] if len(after) else len(lag_s) - 1
    return float(lag_s[left]), float(lag_s[right])


def _top(lag_s: Array, level: Array, at_s: Array, corner: bool) -> Array:
    """The top at `at_s`: a polynomial, or two cubics that meet in a corner if they fit better.

    A polynomial rounds off the corner of a twitch that relaxes at once; a corner at a round peak
    comes too early. Both have 8 free numbers, so that the smaller misfit may choose.
    """
    smooth = Polynomial.fit(lag_s, level, 7)
    if not corner:
        return np.asarray(smooth(at_s))
    knot_s, width_s = _corner(lag_s, level), float(np.ptp(lag_s))
    weights, misfit = _fit(lag_s - knot_s, level, width_s)
    if misfit > np.sum((smooth(lag_s) - level) ** 2):
        return np.asarray(smooth(at_s))
    return np.asarray(_cubics(at_s - knot_s, width_s) @ weights)


def _corner(lag_s: Array, level: Array) -> float:
    """Where two cubics meet with the least misfit."""
    width_s = float(np.ptp(lag_s))

    def misfit(at_s: float) -> float:
        return _fit(lag_s - at_s, level, width_s)[1]

    coarse_s = np.linspace(lag_s[0] + 0.2 * width_s, lag_s[-1] - 0.2 * width_s, 25)
    knot_s, step_s = float(min(coarse_s, key=misfit)), float(coarse_s[1] - coarse_s[0])
    return float(min(np.linspace(knot_s - step_s, knot_s + step_s, 17), key=misfit))


def _fit(lag_s: Array, level: Array, width_s: float) -> tuple[Array, float]:
    """Least-squares weights and misfit; neither cubic may go down towards the knot."""
    design = _cubics(lag_s, width_s)
    kept = np.arange(design.shape[1])
    weights = np.zeros(len(kept))
    for _ in range(3):  # at most two slopes can have to go
        weights[:] = 0
        weights[kept] = np.linalg.lstsq(design[:, kept], level, rcond=None)[0]
        wrong = [k for k, sign in ((1, 1), (2, -1)) if sign * weights[k] < 0]
        if not wrong:
            break
        kept = np.setdiff1d(kept, wrong)
    return weights, float(np.sum((design @ weights - level) ** 2))


def _cubics(lag_s: Array, width_s: float) -> Array:
    left, right = np.minimum(lag_s, 0) / width_s, np.maximum(lag_s, 0) / width_s
    columns = [np.ones_like(lag_s), left, right, left**2, right**2, left**3, right**3]
    return np.stack(columns, axis=1)
