"""Regularity of the heart beat from beat times: rate, variability, pauses, alternans, capture.

`t50_s` (N,) are the times of consecutive beats (50 % upstroke), `rr_s` (N - 1,) the intervals
between them, NaN where a beat may have passed unseen. Where there are too few beats for a number,
it is NaN.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ehtseg.measuring.levels import even, frame_interval_s
from ehtseg.records import Array

NAN = float("nan")
SLOWEST_S = 10.0  # longest period that is looked for
PAUSE_S = 5.0  # without frames, from which on a stretch ends where the frames do
SLOW_S = 1.5  # of the running mean that stands for drift
PAUSE = 2.0  # an interval of more than twice the median
MISSED = 1.5  # an interval from here on has room for a beat that was not seen
PREMATURE = 0.8  # a beat after less than this share of the median interval
UNSEEN = 0.5  # of the median interval: a beat may hide in a stretch without frames from here on
CAPTURED = 0.1  # an interval this near to the pacing interval is a captured beat


def gaps_s(time_s: Array, longest_s: float) -> Array:
    """Stretches without a frame that are longer than `longest_s`, (G, 2): last and first frame.

    >>> gaps_s(np.array([0.0, 0.1, 0.2, 5.0, 5.1]), 1.0).tolist()
    [[0.2, 5.0]]
    """
    after = np.flatnonzero(np.diff(time_s) > longest_s)
    return np.stack([time_s[after], time_s[after + 1]], axis=1)


def filmed_until_s(frames_s: Array, stop_s: float) -> float:
    """Until when there were frames before `stop_s`: until then, or to the frame before a gap.

    >>> frames_s = np.array([0.0, 0.1, 0.2, 50.0])
    >>> filmed_until_s(frames_s, 0.15), filmed_until_s(frames_s, 40.0), filmed_until_s(frames_s, 51)
    (0.15, 0.2, 51)
    """
    last_s = float(np.max(frames_s, where=frames_s < stop_s, initial=-np.inf))
    return stop_s if stop_s - last_s <= PAUSE_S else last_s


def intervals_s(t50_s: Array, frames_s: Array | None = None) -> Array:
    """Intervals between consecutive beats, s, (N - 1,).

    With the times of the frames (T,): NaN across a gap in them (files that were joined, a camera
    that paused) of half the median interval, for then a beat may have passed unseen.
    """
    rr_s = np.diff(np.asarray(t50_s, float))
    if frames_s is None or len(rr_s) == 0 or len(frames_s) < 2:
        return rr_s
    unseen_s = max(UNSEEN * float(np.median(rr_s)), 2.5 * float(np.median(np.diff(frames_s))))
    for last_s, first_s in gaps_s(np.asarray(frames_s, float), unseen_s):
        rr_s[(t50_s[:-1] < first_s) & (t50_s[1:] > last_s)] = NAN
    return rr_s


def known(rr_s: Array) -> Array:
    """The intervals that are known."""
    return np.asarray(rr_s[np.isfinite(rr_s)])


def beat_rate_bpm(rr_s: Array) -> float:
    """Beat rate, 1/min: 60 / median interval; a missed beat or a pause hardly moves it."""
    return 60 / float(np.median(known(rr_s))) if len(known(rr_s)) else NAN


def sdnn_s(rr_s: Array) -> float:
    """Standard deviation of the intervals, s (n - 1 in the denominator).

    Source: Task Force of the ESC and NASPE 1996, Circulation 93:1043.
    """
    return float(np.std(known(rr_s), ddof=1)) if len(known(rr_s)) > 1 else NAN


def rmssd_s(rr_s: Array) -> float:
    """Root mean square of the differences between successive intervals, s.

    Source: Task Force of the ESC and NASPE 1996, Circulation 93:1043.

    >>> round(rmssd_s(np.array([1.00, 1.02, 0.98, 1.01, 0.99])), 4)
    0.0287
    """
    steps = known(np.diff(rr_s))
    return float(np.sqrt(np.mean(steps**2))) if len(steps) else NAN


def cv_rr(rr_s: Array) -> float:
    """Coefficient of variation of the intervals: SD / mean."""
    return sdnn_s(rr_s) / float(np.mean(known(rr_s))) if len(known(rr_s)) > 1 else NAN


def prr20_pct(rr_s: Array) -> float:
    """Share of intervals that are more than 20 % off the median interval, %."""
    rr_s = known(rr_s)
    if len(rr_s) == 0:
        return NAN
    middle = np.median(rr_s)
    return float(100 * np.mean(np.abs(rr_s - middle) > 0.2 * middle))


def poincare_s(rr_s: Array) -> tuple[float, float]:
    """SD1 and SD2 of the plot of each interval against the one before, s.

    SD1 = RMSSD / sqrt 2; SD2^2 = 2 SDNN^2 - SD1^2.
    Source: Brennan, Palaniswami and Kamen 2001, IEEE Trans. Biomed. Eng. 48:1342.
    """
    sd1 = rmssd_s(rr_s) / np.sqrt(2)
    return float(sd1), float(np.sqrt(max(2 * sdnn_s(rr_s) ** 2 - sd1**2, 0)))


def pauses(rr_s: Array) -> int:
    """Number of intervals longer than twice the median."""
    rr_s = known(rr_s)
    return int(np.sum(rr_s > PAUSE * np.median(rr_s))) if len(rr_s) else 0


def missed_beats(rr_s: Array) -> int:
    """Beats that would fill the gaps: round(interval / median) - 1 over intervals >= 1.5 medians.

    >>> missed_beats(np.array([1.0, 1.0, 2.0, 1.0, 3.1, 1.0, 1.0]))
    3
    """
    rr_s = known(rr_s)
    if len(rr_s) == 0:
        return 0
    ratio = rr_s / np.median(rr_s)
    return int(np.sum(np.round(ratio[ratio >= MISSED]) - 1))


def extra_beats(rr_s: Array) -> int:
    """Premature beats: beats that follow after less than 80 % of the median interval."""
    rr_s = known(rr_s)
    return int(np.sum(rr_s < PREMATURE * np.median(rr_s))) if len(rr_s) else 0


def alternans_pct(values: Array, rr_s: Array | None = None) -> float:
    """Alternation of a quantity from beat to beat: |mean of even - mean of odd| / mean, %.

    For amplitudes mechanical alternans; for intervals bigeminy. `values` are those of beats, or of
    `rr_s` (s), the intervals between them (None: all alike), which tell where a beat is missing:
    it is counted, and an interval that spans it is left out. Where an interval is unknown nobody
    can count, and the longest part without one is taken. NaN below 6 values.
    """
    all_of = np.asarray(values, float)
    if len(all_of) < 6:
        return NAN
    steps = beats_on(np.ones(len(all_of) - 1) if rr_s is None else np.asarray(rr_s, float))
    parts = np.split(np.arange(len(steps) + 1), np.flatnonzero(steps == 0) + 1)
    part = max(parts, key=len)
    number = np.cumsum([0, *steps[part[:-1]]])
    if len(all_of) == len(steps):  # of intervals
        part, number = part[:-1][steps[part[:-1]] == 1], number[:-1][steps[part[:-1]] == 1]
    even, odd = all_of[part][number % 2 == 0], all_of[part][number % 2 == 1]
    if len(part) < 6 or not (len(even) and len(odd)) or np.any(np.isnan(all_of[part])):
        return NAN
    return float(100 * abs(np.mean(even) - np.mean(odd)) / np.mean(all_of[part]))


def beats_on(rr_s: Array) -> Array:
    """How many beats on the end of each interval is, whole numbers; 0 where it is unknown.

    An interval counts against the median of two in a row halved, which bigeminy leaves alone, and
    spans a missing beat from 1.7 times that on.

    >>> beats_on(np.array([1.0, 1.0, 2.0, 1.0, np.nan, 0.6, 1.4, 0.6, 1.4])).tolist()
    [1, 1, 2, 1, 0, 1, 1, 1, 1]
    """
    pairs_s = known((rr_s[1:] + rr_s[:-1]) / 2)
    usual_s = np.median(pairs_s if len(pairs_s) else known(rr_s)) if len(known(rr_s)) else NAN
    spans = np.maximum(np.floor(np.nan_to_num(rr_s / usual_s) + 0.3), 1)
    return np.where(np.isfinite(rr_s), spans, 0).astype(int)


def capture_ratio(rr_s: Array, pacing_bpm: float) -> float:
    """Share of pacing pulses that were answered by a beat one pacing interval after the last.

    Each interval spans round(interval / pacing interval) pulses, at least 1; it counts as
    captured where it is within 10 % of the pacing interval times a whole number. 1 for 1:1
    capture, 0.5 for 2:1 block.

    >>> capture_ratio(np.full(9, 1.0), pacing_bpm=120)
    0.5
    """
    rr_s = known(rr_s)
    if len(rr_s) == 0:
        return NAN
    step_s = 60 / pacing_bpm
    pulses = np.maximum(np.round(rr_s / step_s), 1)
    captured = np.abs(rr_s - pulses * step_s) <= CAPTURED * step_s
    return float(np.sum(captured) / np.sum(pulses))


def corrected_cd_ms(cd_ms: float, rr_s: float, formula: str = "fridericia") -> float:
    """A contraction duration corrected to 60 beats/min; made for QT, so report the raw one too.

    "fridericia" CD / RR^(1/3) (Acta Med. Scand. 1920, 53:469), "bazett" CD / RR^(1/2) (Heart
    1920, 7:353), "framingham" CD + 154 ms (1 - RR/s) (Sagie et al. 1992, Am. J. Cardiol. 70:797),
    "hodges" CD + 1.75 ms (rate - 60) (Hodges et al. 1983, J. Am. Coll. Cardiol. 1:694).

    NaN where the interval is not positive. Raises: KeyError for another formula.
    """
    rr_s = rr_s if rr_s > 0 else NAN
    corrected: dict[str, float] = {
        "fridericia": cd_ms / rr_s ** (1 / 3),
        "bazett": cd_ms / rr_s**0.5,
        "framingham": cd_ms + 154 * (1 - rr_s),
        "hodges": cd_ms + 1.75 * (60 / rr_s - 60),
    }
    return corrected[formula]


def periodicity(time_s: Array, x: Array) -> tuple[float, float]:
    """Period (s) at which the whole trace repeats, and how well (autocorrelation, at most 1).

    Knows nothing of single beats, and so checks what was made of them: it sees a rhythm that the
    noise hides, and twice the interval where beats alternate. NaN, 0 where nothing repeats.
    """
    step_s = frame_interval_s(time_s)
    values = even(time_s, x)[1]
    fast = values - gaussian_filter1d(values, SLOW_S / step_s, mode="nearest")
    n_lags = min(len(fast) // 2, round(SLOWEST_S / step_s))
    spectrum = np.abs(np.fft.rfft(fast, 2 * len(fast))) ** 2
    product = np.fft.irfft(spectrum)[:n_lags] / (len(fast) - np.arange(n_lags))
    if n_lags < 3 or product[0] <= 0:
        return NAN, 0.0
    peaks, _ = find_peaks(product / product[0])
    if len(peaks) == 0:
        return NAN, 0.0
    height = product[peaks] / product[0]
    first = int(peaks[np.argmax(height >= 0.9 * np.max(height))])
    return first * step_s, float(product[first] / product[0])
