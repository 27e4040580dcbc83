"""What is read from a trace: level crossings, resting level, peaks, noise, slopes, slow drift.

A trace here is `time_s` (T,), strictly increasing, even or not, and `x` (T,), contraction up.
Every window is in seconds, so that a result does not change its meaning with the frame rate.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import detrend, savgol_filter

from ehtseg.records import Array

LIGHT_S = 0.03  # window of the lightest smoothing: none below 170 frames/s
OUTLIER, FEWEST_FOR_OUTLIERS = 5.0, 6  # medians off the line; frames below which all count
GAP_S = 1.0  # without a frame
BRIDGE_S = 60.0  # more than the longest window that looks across a pause
BLOCK_S = 10.0  # a slow line is drawn through medians of blocks of this length
BLOCK_FRAMES = 10  # at least so many a block, or the line would be the trace itself
SAMPLE_FRAMES = 2000
REST_SHARE, REST_S = 0.25, 0.5  # rest is read in this share of the interval, at most so long


def frame_interval_s(time_s: Array) -> float:
    """Median time between frames, s; of long recordings it is read from some 2,000 of them."""
    first = np.arange(0, len(time_s) - 1, max(1, len(time_s) // SAMPLE_FRAMES))
    return float(np.median(time_s[first + 1] - time_s[first]))


def even(time_s: Array, x: Array) -> tuple[Array, Array]:
    """The trace on an even grid of the median frame interval; dropped frames are bridged.

    A pause, however long, has the points of at most `BRIDGE_S` (or two intervals), set wider apart:
    clips of one tissue may lie days from each other.
    """
    step_s, steps_s = frame_interval_s(time_s), np.diff(time_s)
    most_s = max(BRIDGE_S, 2 * step_s)
    paused = bool((steps_s > most_s).any())
    shut_s = np.cumsum([time_s[0], *np.minimum(steps_s, most_s)]) if paused else time_s
    grid_s = shut_s[0] + step_s * np.arange(round(np.ptp(shut_s) / step_s) + 1)
    values = np.interp(grid_s, shut_s, x)
    return np.interp(grid_s, shut_s, time_s) if paused else grid_s, values


def smoothed(time_s: Array, x: Array, window_s: float = LIGHT_S, order: int = 0) -> Array:
    """The trace (or its derivative per s, `order` 1) by local parabolas over `window_s`, (T,).

    The window holds an odd number of frames, at least 3; with 3 the trace itself comes back,
    untouched, and the derivative is the central difference.
    Source: Savitzky and Golay 1964, Anal. Chem. 36:1627.
    """
    grid_s, values = even(time_s, x)
    step_s = frame_interval_s(time_s)
    frames = min(2 * int(window_s / step_s / 2) + 1, len(values) - (len(values) + 1) % 2)
    frames = max(frames, 3)
    if order == 0 and frames == 3:
        return x
    result = savgol_filter(values, frames, 2, deriv=order, delta=step_s, mode="interp")
    return np.asarray(np.interp(time_s, grid_s, result))


def crossing_s(time_s: Array, x: Array, level: float, longest_s: float = np.inf) -> float:
    """When a limb that starts on one side of `level` and ends on the other crosses it, s.

    Linear interpolation between frames. Where noise crosses several times, their alternating sum
    counts the time spent beyond the level: the first crossing alone would be early on average and
    the last one late. NaN for a limb with both ends on one side, and where the trace crosses in a
    step of more than `longest_s`.

    >>> crossing_s(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.5, 2.0]), 1.0)
    1.3333333333333333
    """
    above = x >= level
    if len(x) < 2 or above[0] == above[-1]:
        return float("nan")
    total_s, sign = 0.0, 1
    for k in np.flatnonzero(above[1:] != above[:-1]):
        if time_s[k + 1] - time_s[k] > longest_s:
            return float("nan")
        share = (level - x[k]) / (x[k + 1] - x[k])
        total_s += sign * float(time_s[k] + share * (time_s[k + 1] - time_s[k]))
        sign = -sign
    return total_s


def noise_sd(x: Array, abscissa: Array) -> float:
    """Standard deviation of independent noise on a smooth curve, in the unit of x.

    Each value is compared with the straight line between its neighbours.
    Source: Gasser, Sroka and Jennen-Steinmetz 1986, Biometrika 73:625 (mean of absolute values).
    """
    if len(x) < 3:
        return float("nan")
    span = np.maximum(abscissa[2:] - abscissa[:-2], 1e-12)
    right = (abscissa[1:-1] - abscissa[:-2]) / span
    residual = (1 - right) * x[:-2] + right * x[2:] - x[1:-1]
    size = np.sqrt((1 - right) ** 2 + right**2 + 1)
    return float(np.sqrt(np.pi / 2) * np.mean(np.abs(residual / size)))


def parabola_peak(time_s: Array, x: Array) -> tuple[float, float]:
    """Time and height of the parabola through the highest frame and its two neighbours."""
    k = int(np.argmax(x))
    if k in (0, len(x) - 1):
        return float(time_s[k]), float(x[k])
    near_s = time_s[k - 1 : k + 2] - time_s[k]
    a, b, c = np.polyfit(near_s, x[k - 1 : k + 2], 2)
    shift_s = float(np.clip(-b / (2 * a), near_s[0], near_s[2])) if a < 0 else 0.0
    return float(time_s[k]) + shift_s, float(a * shift_s**2 + b * shift_s + c)


def rest_level(time_s: Array, x: Array, at_s: float, interval_s: float) -> float:
    """Relaxed level before a beat: the straight line through the last frames, read at `at_s`.

    `time_s` and `x` end just before the upstroke; the line is drawn through the last quarter of
    the interval between two beats (at most 0.5 s, at least 3 frames). A line and not a mean,
    because at fast rates the relaxation still runs on: the mean reads 4 % of the amplitude too
    high at 30 frames/s, and the lowest frames read too low because noise made them the lowest.
    """
    first_s = at_s - min(REST_SHARE * interval_s, REST_S)
    start = max(min(int(np.searchsorted(time_s, first_s)), len(time_s) - 3), 0)
    near_s, level = time_s[start:] - at_s, x[start:]
    if len(level) < 3:
        return float(np.mean(level))
    off = np.abs(_line(near_s, level, near_s) - level)
    kept = off <= max(OUTLIER * float(np.median(off)), 1e-12)
    if len(level) < FEWEST_FOR_OUTLIERS or np.count_nonzero(kept) < 3:
        kept[:] = True
    return float(_line(near_s[kept], level[kept], np.zeros(1))[0])


def lowest_quarter(y: Array) -> float:
    """Median of the lowest quarter of the frames: about the relaxed level, whatever the noise."""
    return float(np.median(np.sort(y)[: max(1, len(y) // 4)])) if len(y) else float("nan")


def without_slow_line(values_T: Array, time_s: Array) -> Array:
    """A trace less its straight trend and the line through medians of its `BLOCK_S` blocks.

    Each part between gaps (`filmed_parts`) by itself; frames without a value are interpolated. For
    comparing traces only: kinetics are read from the trace itself.
    """
    known = np.isfinite(values_T)
    level = np.interp(time_s, time_s[known], values_T[known])
    return np.concatenate([_flat(level[p], time_s[p]) for p in filmed_parts(time_s)])


def _flat(values_T: Array, time_s: Array) -> Array:
    level = detrend(values_T)
    parts = _blocks(time_s)
    middles = [float(time_s[part].mean()) for part in parts]
    medians = [float(np.median(level[part])) for part in parts]
    return np.asarray(level - np.interp(time_s, middles, medians))


def filmed_parts(time_s: Array) -> list[Array]:
    """Frame numbers of the parts between gaps: more than 1 s without a frame, and two usual steps.

    >>> [part.tolist() for part in filmed_parts(np.array([0.0, 0.5, 1.0, 90.0, 90.5]))]
    [[0, 1, 2], [3, 4]]
    """
    longest_s = max(GAP_S, 2 * frame_interval_s(time_s))
    return np.split(np.arange(len(time_s)), np.flatnonzero(np.diff(time_s) > longest_s) + 1)


def _blocks(time_s: Array) -> list[Array]:
    """Frame numbers in blocks of about `BLOCK_S`, more where frames are rare; none in a gap."""
    frames, span_s = np.arange(len(time_s)), time_s[-1] - time_s[0]
    blocks = min(round(span_s / BLOCK_S), len(time_s) // BLOCK_FRAMES)
    if blocks < 2:
        return [frames]
    block = ((time_s - time_s[0]) / span_s * blocks).astype(int).clip(max=blocks - 1)
    return np.split(frames, np.flatnonzero(np.diff(block)) + 1)


def swing(values_T: Array) -> float:
    """The 5 % to 95 % range: what a trace moves by, without its outliers."""
    low, high = np.percentile(values_T, [5, 95])
    return float(high - low)


def _line(time_s: Array, x: Array, at_s: Array) -> Array:
    lean = time_s - time_s.mean()
    slope = float(lean @ x) / float(lean @ lean)
    return np.asarray(x.mean() + slope * (at_s - time_s.mean()))
