"""One beat: its row in the table, its two limbs, and its times.

A beat is timed at its 50 % upstroke, where the trace is steepest: the peak frames of a perfectly
regular train scatter by 34 to 39 ms with 2 % noise at any frame rate, its 50 % upstrokes by 5 to 6.
The peak itself is timed by laying the mean of the neighbouring beats over each beat's top.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.signal import medfilt

from ehtseg.measuring.levels import (
    crossing_s,
    frame_interval_s,
    lowest_quarter,
    parabola_peak,
    rest_level,
    smoothed,
)
from ehtseg.measuring.mean_beat import MeanBeat, correlation, lay_under, mean_beat, median_curve
from ehtseg.records import Array

BEATS_PER_MEAN = 60  # a mean beat is of neighbours, so that it follows a slow drug effect
FEWEST_FOR_MEAN = 4  # fewer beats do not show the twitch between frames
TYPICAL = 0.9  # correlation with the median beat, from which on a beat belongs to the mean
LEAST_LIKENESS = 0.8  # correlation with the mean beat; see beats.py for what happens below
FOOT = 0.8  # rest is read this share of the 10 to 50 % rise time before the 10 % level
NEAR_PEAK_S = 0.06  # the highest frame is sought so near to a candidate
GAP_S = 3.0  # without frames: a twitch is over, and what comes next is another beginning
HIGHEST = 1.3  # times the highest frame: no peak between frames is above
SHIFT_S = 0.03  # a peak may lie so far, or two frames, from where the mean beat has it
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Beat:
    """One candidate; times in s, levels in the unit of the trace, NaN where not to be had.

    `before_s` and `after_s` are the peaks on either side, or where the recording starts, stops or
    pauses. The relaxed level is `rest + drift_per_s * (t - onset_s)`, the peak `amplitude` above.
    """

    index: int
    onset_s: float  # where the line through 10 % and 50 % of the upstroke meets the relaxed level
    t50_s: float  # 50 % of the upstroke
    peak_s: float
    end_s: float  # 90 % relaxed; else the next beat starts or the recording ends
    amplitude: float
    accepted: bool = True
    reason: str = ""
    rest: float = NAN
    drift_per_s: float = 0.0
    before_s: float = NAN
    after_s: float = NAN
    likeness: float = NAN  # correlation with the mean beat
    clipped: Literal["", "start", "end"] = ""  # by the recording, or by a pause of it


def above_rest(beat: Beat, time_s: Array, x: Array) -> Array:
    """The trace above this beat's relaxed level, drift removed, (T,)."""
    return np.asarray(x - beat.rest - beat.drift_per_s * (time_s - beat.onset_s))


def own_frames(beat: Beat, time_s: Array, x: Array) -> tuple[Array, Array]:
    """Times and heights above rest of the frames between the peaks on either side."""
    first, stop = np.searchsorted(time_s, [beat.before_s, beat.after_s + 1e-9])
    return time_s[first:stop], above_rest(beat, time_s[first:stop], x[first:stop])


def limbs(beat: Beat, time_s: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Upstroke (times, y) from the lowest frame before the peak, relaxation to the lowest after.

    `time_s` and `y` are the beat's own frames. Both limbs hold the peak itself, which lies
    between frames.
    """
    peak = int(np.searchsorted(time_s, beat.peak_s))
    low = int(np.argmin(y[:peak])) if peak else 0
    end = peak + int(np.argmin(y[peak:])) + 1 if peak < len(y) else peak
    return (
        np.append(time_s[low:peak], beat.peak_s),
        np.append(y[low:peak], beat.amplitude),
        np.append(beat.peak_s, time_s[peak:end]),
        np.append(beat.amplitude, y[peak:end]),
    )


def time_beats(time_s: Array, x: Array, peaks_s: Array) -> list[Beat]:
    """Beats at these rough peak times (sorted).

    Three steps: each beat by itself; then with the slow drift of the relaxed level taken out;
    then with each peak timed by the mean of about 60 neighbours.
    """
    x = smoothed(time_s, x)
    bounds_s = with_pauses(time_s, peaks_s)
    beats = [time_one(time_s, x, bounds_s, peak_s) for peak_s in peaks_s]
    beats = [_refined(time_s, x, beat) for beat in _with_drift(beats)]
    n_means = max(1, round(len(beats) / BEATS_PER_MEAN))
    parts = np.array_split(np.arange(len(beats)), n_means)
    return [b for part in parts for b in _timed_by_mean(time_s, x, [beats[k] for k in part])]


def with_pauses(time_s: Array, peaks_s: Array) -> Array:
    """What bounds a beat, sorted: other peaks, both ends of the recording and of its pauses."""
    last = np.flatnonzero(np.diff(time_s) > GAP_S)
    edges_s = [time_s[[0, -1]], time_s[last], time_s[last + 1]]
    return np.sort(np.concatenate([peaks_s, *edges_s]))


def filmed_s(time_s: Array) -> float:
    """How long was filmed, s: without the pauses, however slowly the frames follow each other.

    >>> filmed_s(np.array([0.0, 0.5, 1.0, 1.5, 600.0, 600.5])), filmed_s(np.array([0.0, 9.0, 18.0]))
    (2.0, 18.0)
    """
    steps_s = np.diff(time_s)
    return float(steps_s[steps_s <= max(GAP_S, 2 * frame_interval_s(time_s))].sum())


def time_one(time_s: Array, x: Array, bounds_s: Array, peak_s: float) -> Beat:
    """One beat by itself: the peak from the parabola through the highest frames near `peak_s`.

    Of `bounds_s` (`with_pauses` of the peaks of all beats) the nearest on either side bound it.
    """
    interval_s = frame_interval_s(time_s)
    earlier = int(np.searchsorted(bounds_s, peak_s - interval_s / 2)) - 1
    later = int(np.searchsorted(bounds_s, peak_s + interval_s / 2, side="right"))
    before_s = float(bounds_s[max(earlier, 0)])
    after_s = float(bounds_s[min(later, len(bounds_s) - 1)])
    reach_s = max(NEAR_PEAK_S, 2.1 * interval_s)
    low_s, high_s = max(before_s, peak_s - reach_s), min(after_s, peak_s + reach_s)
    first, low, high = np.searchsorted(time_s, [before_s, low_s, high_s + 1e-9])
    top_s, top = parabola_peak(time_s[low:high], x[low:high])
    rest = lowest_quarter(x[first:high])
    draft = Beat(0, top_s, NAN, top_s, NAN, top - rest, rest=rest)
    draft = replace(draft, before_s=before_s, after_s=after_s)
    return _refined(time_s, x, _refined(time_s, x, draft))


def pooled(time_s: Array, x: Array, beats: list[Beat]) -> tuple[Array, Array]:
    """Frames of all beats as (time from the peak, share of the amplitude), sorted by time.

    Beats are brought to one size by their area, not by their peaks: dividing by a peak that was
    read from the same few frames would flatten the top of the mean.
    """
    early_s = _median([beat.peak_s + beat.t50_s - 2 * beat.onset_s for beat in beats])
    late_s = 1.3 * _median([beat.end_s - beat.peak_s for beat in beats])
    lags: list[Array] = []
    levels: list[Array] = []
    widths: list[float] = []
    for beat in beats:
        frames_s, y = own_frames(beat, time_s, x)
        first, stop = np.searchsorted(frames_s, [beat.peak_s - early_s, beat.peak_s + late_s])
        lag_s, height = frames_s[first:stop] - beat.peak_s, y[first:stop]
        area = float(np.trapezoid(height, lag_s))
        if area > 0:
            lags.append(lag_s)
            levels.append(height / area)
            widths.append(area / beat.amplitude)
    if not lags:
        return np.empty(0), np.empty(0)
    lag_s, level = np.concatenate(lags), np.concatenate(levels) * _median(widths)
    order = np.argsort(lag_s)
    return lag_s[order], level[order]


def mean_of(time_s: Array, x: Array, beats: list[Beat], corner: bool = True) -> MeanBeat | None:
    """The mean of these beats, None where they are fewer than 4.

    Beats that are unlike the median of all are left out: one artefact would pull the rest along.
    """
    known = [beat for beat in beats if np.isfinite(beat.t50_s)]
    interval_s = frame_interval_s(time_s)
    if len(known) < FEWEST_FOR_MEAN:
        return None
    cloud = pooled(time_s, x, known)
    if len(cloud[0]) == 0:
        return None
    curve = median_curve(*cloud, interval_s * float(np.clip(8 / len(known), 1 / 8, 1)))
    alike = [b for b in known if not correlation(*_limb_frames(b, time_s, x), *curve) < TYPICAL]
    if FEWEST_FOR_MEAN <= len(alike) < len(known):
        cloud = pooled(time_s, x, alike)
    return mean_beat(*cloud, interval_s, corner)


def _with_drift(beats: list[Beat]) -> list[Beat]:
    """Each beat with the slope of the slow line through the relaxed levels (medians of 5)."""
    rests = {beat.onset_s: beat.rest for beat in beats if np.isfinite(beat.rest + beat.t50_s)}
    if len(rests) < 5:
        return beats
    onset_s = np.array(sorted(rests))
    rest = np.array([rests[at] for at in onset_s])
    line = medfilt(np.pad(rest, 2, mode="edge"), 5)[2:-2]
    slopes = np.interp([beat.peak_s for beat in beats], onset_s, np.gradient(line, onset_s))
    return [replace(b, drift_per_s=float(slope)) for b, slope in zip(beats, slopes, strict=True)]


def _refined(time_s: Array, x: Array, beat: Beat) -> Beat:
    """The beat with its relaxed level read again just before the upstroke, and its times.

    A beat whose upstroke the recording cut off, or of which no frame is seen, has NaN times.
    """
    frames_s, y = own_frames(beat, time_s, x)
    up_s, up_y, down_s, down_y = limbs(beat, frames_s, y)
    low = lowest_quarter(y[frames_s < beat.peak_s])
    reach = 0.25 * (beat.amplitude - low)
    u50, rise_s = _rise(up_s, up_y, float(np.clip(0.0, low - reach, low + reach)))
    lowest_s = up_s[0] - frame_interval_s(time_s)  # one frame earlier, as noise picks the lowest
    foot_s = max(u50 - (1 + FOOT) * rise_s, lowest_s)  # the upstroke has not begun
    still = frames_s <= foot_s
    begins = _begins(time_s, beat.before_s)
    if len(up_y) < 2 or (begins and not np.any(still)):
        start: Literal["", "start"] = "start" if begins else ""
        return replace(beat, t50_s=NAN, end_s=NAN, clipped=start)
    raised = low
    if np.any(still):
        raised = rest_level(frames_s[still], y[still], foot_s, beat.peak_s - beat.before_s)
    raised = float(np.clip(raised, low - reach, low + reach))
    u50, rise_s = _rise(up_s, up_y, raised)
    onset_s = u50 - 1.25 * rise_s
    end_s = crossing_s(down_s, down_y, raised + 0.1 * (beat.amplitude - raised))
    cut = np.isnan(end_s) and _stops(time_s, float(down_s[-1]))
    return replace(
        beat,
        onset_s=onset_s,
        t50_s=u50,
        end_s=float(down_s[-1]) if np.isnan(end_s) else end_s,
        amplitude=beat.amplitude - raised,
        rest=beat.rest + raised + beat.drift_per_s * (onset_s - beat.onset_s),
        clipped="end" if cut else "",
    )


def _begins(time_s: Array, at_s: float) -> bool:
    """Whether the recording begins here, or goes on after a pause."""
    k = int(np.searchsorted(time_s, at_s))
    return k == 0 or (k < len(time_s) and bool(time_s[k] - time_s[k - 1] > GAP_S))


def _stops(time_s: Array, at_s: float) -> bool:
    """Whether the recording ends here, or pauses."""
    k = int(np.searchsorted(time_s, at_s + 1e-9))
    return k == len(time_s) or (k > 0 and bool(time_s[k] - time_s[k - 1] > GAP_S))


def _rise(time_s: Array, y: Array, rest: float) -> tuple[float, float]:
    """Time of 50 % of the upstroke, and time from 10 to 50 %.

    Where noise hides the 10 % level, the rise is taken as 1.5 times that from 25 to 75 %.
    """
    levels = [rest + share * (float(y[-1]) - rest) for share in (0.1, 0.25, 0.5, 0.75)]
    u10, u25, u50, u75 = (crossing_s(time_s, y, level) for level in levels)
    return u50, float(np.fmin(u50 - u10, 1.5 * (u75 - u25)))


def _timed_by_mean(time_s: Array, x: Array, beats: list[Beat]) -> list[Beat]:
    known = [beat for beat in beats if np.isfinite(beat.t50_s)]
    lag_s = _median([beat.peak_s - beat.t50_s for beat in known])
    timed = [replace(b, peak_s=b.t50_s + lag_s) if b in known else b for b in beats]
    for last in (False, False, True):  # a corner would hold beats where they happen to lie
        mean = mean_of(time_s, x, timed, corner=last)
        if mean is None:
            return _compared(time_s, x, beats)
        timed = [_laid_under(mean, time_s, x, beat) for beat in timed]
    if not _median([beat.likeness for beat in timed]) >= LEAST_LIKENESS:
        return _compared(time_s, x, beats)  # the mean beat is like none of them
    return timed


def _compared(time_s: Array, x: Array, beats: list[Beat]) -> list[Beat]:
    """A few beats, each with its correlation with the others where it lies best on them.

    Their peaks are the highest frames, which may be any on a flat top.
    """
    compared = []
    for beat in beats:
        others = [other for other in beats if other is not beat and np.isfinite(other.t50_s)]
        alike = NAN
        if others and np.isfinite(beat.t50_s):
            frames_s, y = own_frames(beat, time_s, x)
            reach_s, shape = _reach_s(beat, time_s), pooled(time_s, x, others)
            lag_s = frames_s - beat.peak_s + np.linspace(-reach_s, reach_s, 9)[:, None]
            alike = float(np.fmax.reduce([correlation(one_s, y, *shape) for one_s in lag_s]))
        compared.append(replace(beat, likeness=alike))
    return compared


def _laid_under(mean: MeanBeat, time_s: Array, x: Array, beat: Beat) -> Beat:
    if np.isnan(beat.t50_s):
        return beat
    lag_s, y = _limb_frames(beat, time_s, x)
    shift_s, height = lay_under(mean, lag_s, y, _reach_s(beat, time_s))
    if not 0 < height < HIGHEST * np.max(y):
        shift_s = 0.0
    else:
        peak_s = beat.peak_s + mean.peak_lag_s + shift_s
        beat = _refined(time_s, x, replace(beat, peak_s=peak_s, amplitude=height))
    alike = correlation(lag_s - shift_s, y, mean.lag_s, mean.level)
    return replace(beat, likeness=alike)


def _reach_s(beat: Beat, time_s: Array) -> float:
    """How far a beat's peak may lie from where its frames had it."""
    return min(max(2 * frame_interval_s(time_s), SHIFT_S), (beat.after_s - beat.before_s) / 8)


def _limb_frames(beat: Beat, time_s: Array, x: Array) -> tuple[Array, Array]:
    """Times from the peak and heights of the frames up to the lowest one after the peak."""
    frames_s, y = own_frames(beat, time_s, x)
    own = frames_s <= limbs(beat, frames_s, y)[2][-1]
    return frames_s[own] - beat.peak_s, y[own]


def _median(values: list[float]) -> float:
    known = [value for value in values if np.isfinite(value)]
    return float(np.median(known)) if known else NAN
