"""One number for a recording: middle, spread, interval, and what the camera could resolve at all.

The interval is of the mean of this recording's beats (Student's t), widened where a beat resembles
the one before. It says nothing about other tissues: for those the tissue is the unit, not the beat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehtseg.measuring import rhythm
from ehtseg.measuring.beats import BeatFinding, find_beats
from ehtseg.measuring.comparison import half_width, levels
from ehtseg.measuring.kinetics import Meaning, Twitch, durations, table_of_beats
from ehtseg.measuring.levels import frame_interval_s
from ehtseg.measuring.mean_beat import MeanBeat
from ehtseg.measuring.serial import LONGEST_BEATS
from ehtseg.records import Array

FEWEST_BEATS = 5
FEWEST_UPSTROKE_FRAMES = 5
PHANTOM_BEATS = 40
SAME = 1e-9  # of the mean: values that differ by less are equal but for the last digits
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Number:
    """One quantity of one recording, in the unit of its name.

    `low`, `high` hold the mean with 95 % confidence. `bias` is what the method itself adds at
    this frame rate and noise; `resolution` the difference between two beats (or, for a measure of
    irregularity, the value) that a perfectly regular recording would show by chance.
    """

    n: int
    median: float
    mean: float = NAN
    sd: float = NAN
    low: float = NAN
    high: float = NAN
    bias: float = NAN
    resolution: float = NAN


@dataclass(frozen=True, slots=True)
class Limit:
    """What frame rate and noise do to one quantity."""

    bias: float = NAN
    resolution: float = NAN


def number(values: Array, limit: Limit = Limit()) -> Number:
    """Middle, spread and 95 % interval of the mean of a quantity over beats; NaN is left out.

    The interval is Student's, with the variance of the mean and the degrees of freedom that beats
    have of which each resembles the one before (comparison.levels). Wander slower than a tenth of
    the recording counts as its level: the interval is of these beats, not of other days.

    >>> round(number(np.array([1.0, 2.0, 3.0, 2.0])).high, 3)
    3.351
    """
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    n = len(known)
    if n < 2:
        middle = float(known[0]) if n else NAN
        return Number(n, middle, middle, bias=limit.bias, resolution=limit.resolution)
    mean = float(np.mean(known))
    sd = 0.0 if np.ptp(known) <= SAME * abs(mean) else float(np.std(known, ddof=1))
    half = half_width(levels([known], min(n / 10, LONGEST_BEATS))[0])
    middle = float(np.median(known))
    return Number(n, middle, mean, sd, mean - half, mean + half, limit.bias, limit.resolution)


def summary(
    finding: BeatFinding, meaning: Meaning = Meaning(), pacing_bpm: float | None = None
) -> dict[str, Number]:
    """Every quantity of a recording from its accepted beats, by column name.

    Quantities of the rhythm are one number each, with n the number of intervals.
    """
    beats = finding.accepted
    rows = table_of_beats(finding.time_s, finding.x, beats, meaning)
    limits = resolution(finding, meaning)
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else {})}
    numbers = {n: number(values, limits.get(n, Limit())) for n, values in columns.items()}
    amplitudes = np.array([beat.amplitude for beat in beats])
    rr_s = rhythm.intervals_s(np.array([beat.t50_s for beat in beats]), finding.time_s)
    n_known = len(rhythm.known(rr_s))
    for name, value in rhythm_numbers(rr_s, amplitudes, pacing_bpm).items():
        limit = limits.get(name, Limit())
        numbers[name] = Number(n_known, value, bias=limit.bias, resolution=limit.resolution)
    if "rr_s" in numbers:
        numbers["beat_rate_bpm"] = _rate(numbers["rr_s"])
    return numbers


def _rate(rr_s: Number) -> Number:
    """The rate with the interval and the resolution that follow from those of the intervals."""
    if rr_s.n == 0:
        return Number(0, NAN)
    bpm, share = 60 / rr_s.median, rr_s.resolution / rr_s.median
    low, high = 60 / rr_s.high, 60 / rr_s.low if rr_s.low > 0 else NAN
    return Number(rr_s.n, bpm, 60 / rr_s.mean, NAN, low, high, NAN, bpm * share / rr_s.n**0.5)


def rhythm_numbers(
    rr_s: Array, amplitudes: Array, pacing_bpm: float | None = None
) -> dict[str, float]:
    """Every quantity of the rhythm, by column name."""
    sd1_s, sd2_s = rhythm.poincare_s(rr_s)
    numbers = {
        "beat_rate_bpm": rhythm.beat_rate_bpm(rr_s),
        "sdnn_s": rhythm.sdnn_s(rr_s),
        "rmssd_s": rhythm.rmssd_s(rr_s),
        "cv_rr": rhythm.cv_rr(rr_s),
        "prr20_pct": rhythm.prr20_pct(rr_s),
        "sd1_s": sd1_s,
        "sd2_s": sd2_s,
        "pauses": float(rhythm.pauses(rr_s)),
        "missed_beats": float(rhythm.missed_beats(rr_s)),
        "extra_beats": float(rhythm.extra_beats(rr_s)),
        "alternans_amplitude_pct": rhythm.alternans_pct(amplitudes, rr_s),
        "alternans_rr_pct": rhythm.alternans_pct(rr_s, rr_s),
    }
    if pacing_bpm is not None:
        numbers["capture_ratio"] = rhythm.capture_ratio(rr_s, pacing_bpm)
    return numbers


def cautions(finding: BeatFinding) -> tuple[str, ...]:
    """What a reader of the numbers has to know, one sentence each."""
    beats = finding.accepted
    if not beats:
        return (f"No beats to measure: {'; '.join(finding.reasons)}.",)
    said = []
    if finding.verdict != "beating":
        said.append(f"Not certain that this tissue beats: {'; '.join(finding.reasons)}.")
    if len(beats) < FEWEST_BEATS:
        said.append(f"Only {len(beats)} beats; intervals need at least {FEWEST_BEATS}.")
    rows = table_of_beats(finding.time_s, finding.x, beats)
    upstrokes = [row["upstroke_frames"] for row in rows if np.isfinite(row["upstroke_frames"])]
    frames = float(np.median(upstrokes)) if upstrokes else NAN
    fps = 1 / frame_interval_s(finding.time_s)
    if frames < FEWEST_UPSTROKE_FRAMES:
        needed = np.ceil(FEWEST_UPSTROKE_FRAMES * fps / frames / 5) * 5
        said.append(
            f"The upstroke lasts {frames:.1f} frames at {fps:.0f} frames/s; times within it need "
            f"{FEWEST_UPSTROKE_FRAMES} (about {needed:.0f} frames/s). See bias and resolution."
        )
    fused = float(np.mean([np.isnan(row["rt90_ms"]) for row in rows]))
    if fused > 0.2:
        said.append(f"{fused:.0%} of the beats do not relax by 90 % before the next one.")
    return tuple(said)


def resolution(finding: BeatFinding, meaning: Meaning = Meaning()) -> dict[str, Limit]:
    """What this frame rate and this noise do to each quantity, measured on a phantom.

    The phantom repeats the recording's own mean beat with perfect regularity, meets the frames at
    every phase, carries the recording's noise, and goes through the same code. Bias is its median
    minus the mean beat's own value; resolution 1.96 sqrt 2 SD between its beats. Empty where
    there is no mean beat (fewer than 4 beats).
    """
    if finding.mean is None or not np.isfinite(finding.period_s):
        return {}
    found = find_beats(*phantom(finding, finding.mean))
    beats = found.accepted[1:-1]
    if len(beats) < FEWEST_BEATS:
        return {}
    rows = table_of_beats(found.time_s, found.x, beats, meaning)
    size = float(np.median([beat.amplitude for beat in finding.accepted]))
    truth = {f"amplitude_{meaning.unit}": size, **durations(_twitch(finding.mean))}
    limits = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows if np.isfinite(row[name])])
        if len(values) > 1:
            bias = float(np.median(values)) - truth.get(name, NAN)
            limits[name] = Limit(bias, 1.96 * 2**0.5 * float(np.std(values, ddof=1)))
    rr_s = rhythm.intervals_s(np.array([beat.t50_s for beat in beats]))
    for name, value in rhythm_numbers(rr_s, np.array([b.amplitude for b in beats])).items():
        limits[name] = Limit(resolution=value)
    return limits


def phantom(finding: BeatFinding, mean: MeanBeat) -> tuple[Array, Array]:
    """A regular train of the mean beat (time_s, x): same frame interval, noise, amplitude.

    The period is moved to a whole number of frames and 0.382 (golden section), so that beats meet
    the frames at every phase.
    """
    step_s = frame_interval_s(finding.time_s)
    period_s = (round(finding.period_s / step_s) + 0.382) * step_s
    time_s = np.arange(round((PHANTOM_BEATS + 1) * period_s / step_s)) * step_s
    start_s = float(mean.lag_s[0])
    lag_s = (time_s - period_s / 2 - start_s) % period_s + start_s
    size = float(np.median([beat.amplitude for beat in finding.accepted]))
    noise = np.random.default_rng(0).normal(0, finding.noise, time_s.shape)
    return time_s, size * mean.at(lag_s) + noise


def _twitch(mean: MeanBeat) -> Twitch:
    lag_s = np.arange(mean.lag_s[0], mean.lag_s[-1], 0.0005)
    y = mean.at(lag_s)
    peak = int(np.searchsorted(lag_s, mean.peak_lag_s))
    low, end = int(np.argmin(y[:peak])), peak + int(np.argmin(y[peak:])) + 1
    return Twitch(lag_s[low : peak + 1], y[low : peak + 1], lag_s[peak:end], y[peak:end])
