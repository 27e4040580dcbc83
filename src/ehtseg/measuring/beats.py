"""From a trace to beats: one row for each candidate, accepted or not with the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from ehtseg.measuring.beat import (
    BEATS_PER_MEAN,
    LEAST_LIKENESS,
    Beat,
    mean_of,
    own_frames,
    time_beats,
    time_one,
    with_pauses,
)
from ehtseg.measuring.levels import even, frame_interval_s, noise_sd
from ehtseg.measuring.mean_beat import MeanBeat
from ehtseg.measuring.rhythm import intervals_s, periodicity
from ehtseg.measuring.verdict import Verdict, conclude, without_beats
from ehtseg.records import Array

MAX_BPM = 360.0  # refractory limit: no second beat within 167 ms
SMALLEST_SHARE = 0.35  # of the typical prominence; smaller candidates are rejected
LISTED_SHARE = 0.2  # candidates below this share are noise and get no row
BLUR_S = 0.04  # of the trace in which candidates are sought; never of one that is measured
TWITCH_S = 3.0  # a twitch is over within this time on either side of its peak
RHYTHMIC = 0.3  # autocorrelation from which on the period is trusted
LONGEST_S = 6.0  # what takes longer is drift
FEWEST_FRAMES = 20
EDGE_FRAMES = 2  # a maximum so near to the edge of the recording may be the slope of a beat
CUT_START, NO_RISE = "the recording starts during this beat", "no rise from a relaxed level"
REMOVED = "removed by hand"
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class BeatFinding:
    """Every candidate of a trace, and what can be concluded from them."""

    verdict: Verdict
    reasons: tuple[str, ...]
    beats: tuple[Beat, ...]
    period_s: float  # median interval of the accepted beats
    noise: float  # SD from frame to frame, in the unit of the trace
    baseline: Array  # (T,) relaxed level
    time_s: Array  # (T,) frames that have a value
    x: Array  # (T,)
    mean: MeanBeat | None = None  # of at most 60 accepted beats in the middle

    @property
    def accepted(self) -> tuple[Beat, ...]:
        """The accepted beats, in order of time."""
        return tuple(beat for beat in self.beats if beat.accepted)


def find_beats(time_s: Array, x: Array, *, max_bpm: float = MAX_BPM) -> BeatFinding:
    """Find the beats of a trace, contraction up.

    `time_s` (T,) s, strictly increasing, even or not; `x` (T,) in any unit; frames with NaN are
    left out. Candidates are maxima by their prominence. The typical beat is the prominence that,
    squared and times the number of candidates of at least this size, is largest: neither many
    small wiggles nor a few artefacts can take its place. Candidates below 35 % of it, within the
    refractory limit of a larger one, or unlike the mean beat are rejected, with the reason.

    Raises: ValueError for lengths that differ and for times that do not increase.
    """
    if x.shape != time_s.shape or x.ndim != 1:
        raise ValueError(f"time_s {time_s.shape} and x {x.shape} must be (T,)")
    known = np.isfinite(time_s) & np.isfinite(x)
    time_s, x = time_s[known].astype(float), x[known].astype(float)
    if np.any(np.diff(time_s) <= 0):
        raise ValueError("time_s must increase")
    if len(x) < FEWEST_FRAMES:
        few = f"only {len(x)} frames have a value, {FEWEST_FRAMES} are needed"
        return _nothing(time_s, x, "cannot tell", (few,))
    repeats = periodicity(time_s, x)
    peaks_s, prominence = _candidates(time_s, x, *repeats)
    if len(peaks_s) == 0:
        return _nothing(time_s, x, *without_beats(time_s, "nothing moves"))
    typical = _typical(prominence)
    listed = prominence >= LISTED_SHARE * typical
    peaks_s, share = peaks_s[listed], prominence[listed] / typical
    large = share >= SMALLEST_SHARE
    crowded = _too_soon(peaks_s, np.where(large, share, 0), 60 / max_bpm)
    small = f"of the typical beat's prominence, below {SMALLEST_SHARE:.0%}"
    soon = f"a larger beat within {60000 / max_bpm:.0f} ms (refractory limit)"
    aside = [(at, f"{s:.0%} {small}") for at, s in zip(peaks_s, share, strict=True)]
    aside = [row for row, ok in zip(aside, large, strict=True) if not ok]
    aside += [(at, soon) for at in peaks_s[large & crowded]]
    return measured(time_s, x, peaks_s[large & ~crowded], aside)


def measured(
    time_s: Array,
    x: Array,
    peaks_s: Array,
    aside: Sequence[tuple[float, str]] = (),
    by_hand: Mapping[float, bool] = MappingProxyType({}),
) -> BeatFinding:
    """The finding for rough peak times: beats, unless they look unlike the mean beat.

    `aside` are rejected candidates (peak time, reason) that do not part the beats beside them.
    `by_hand` says of some of `peaks_s` whether a person accepts them.
    """
    peaks_s = np.sort(peaks_s)
    beats = time_beats(time_s, x, peaks_s)
    bounds_s = with_pauses(time_s, peaks_s)
    beats = [_judged(b, by_hand.get(float(at))) for b, at in zip(beats, peaks_s, strict=True)]
    others = [
        replace(time_one(time_s, x, bounds_s, at), accepted=False, reason=reason)
        for at, reason in aside
    ]
    others += _cut_off(time_s, x, beats)
    rows = sorted([*beats, *others], key=lambda beat: beat.peak_s)
    rows = [replace(beat, index=k) for k, beat in enumerate(rows)]
    return _concluded(time_s, x, rows)


def baseline(time_s: Array, beats: Sequence[Beat]) -> Array:
    """Relaxed level at each frame: straight lines between the accepted beats' onsets, (T,)."""
    known = [beat for beat in beats if beat.accepted and np.isfinite(beat.rest)]
    if not known:
        return np.full(time_s.shape, NAN)
    return np.interp(time_s, [beat.onset_s for beat in known], [beat.rest for beat in known])


def _candidates(time_s: Array, x: Array, period_s: float, strength: float) -> tuple[Array, Array]:
    """Times and prominences of the maxima of the blurred trace.

    Prominence is counted from the higher of the lowest points on either side, within one and a
    half periods where the trace has a rhythm: further away drift would be taken for height. With a
    rhythm, a beat that the recording cuts is counted from the side that was filmed.
    """
    grid_s, values = even(time_s, x)
    step_s = frame_interval_s(time_s)
    blurred = gaussian_filter1d(values, BLUR_S / step_s, mode="nearest")
    rhythmic = strength >= RHYTHMIC
    reach_s = min(1.5 * period_s, TWITCH_S) if rhythmic else TWITCH_S
    window = 2 * round(reach_s / step_s) + 1
    if rhythmic:
        blurred = np.pad(blurred, 1, constant_values=float(np.min(blurred)))
    peaks, found = find_peaks(blurred, prominence=1e-9 * np.ptp(x), wlen=max(window, 3))
    peaks = peaks - rhythmic
    seen = (peaks >= EDGE_FRAMES) & (peaks < len(values) - EDGE_FRAMES)
    return _in_frames(time_s, grid_s[peaks[seen]], found["prominences"][seen])


def _in_frames(time_s: Array, peaks_s: Array, size: Array) -> tuple[Array, Array]:
    """Peaks that the grid has where nothing was filmed go to the nearest frame, each once."""
    after = np.searchsorted(time_s, peaks_s).clip(1, len(time_s) - 1)
    nearest = after - (peaks_s - time_s[after - 1] < time_s[after] - peaks_s)
    off = np.abs(time_s[nearest] - peaks_s) > frame_interval_s(time_s)
    moved_s, kept = np.unique(np.where(off, time_s[nearest], peaks_s), return_index=True)
    return moved_s, size[kept]


def _typical(prominence: Array) -> float:
    falling = np.sort(prominence)[::-1]
    best = np.argmax(falling**2 * np.arange(1, len(falling) + 1))
    return float(np.median(falling[: best + 1]))


def _too_soon(peaks_s: Array, size: Array, refractory_s: float) -> Array:
    """Which peaks lie within the refractory time of a larger one that stays, (K,) bool."""
    out = np.zeros(len(peaks_s), bool)
    for k in np.argsort(-size, kind="stable"):
        if size[k] > 0 and not out[k]:
            near = (np.abs(peaks_s - peaks_s[k]) < refractory_s) & (size > 0)
            near[k] = False
            out |= near
    return out


def _judged(beat: Beat, by_hand: bool | None) -> Beat:
    if by_hand is not None:
        rises = bool(np.isfinite(beat.t50_s) and beat.amplitude > 0)
        said = "added by hand" + (not rises) * ", but nothing rises there"
        return replace(beat, reason=said if by_hand else REMOVED, accepted=by_hand and rises)
    if np.isnan(beat.t50_s):
        cut = CUT_START if beat.clipped == "start" else NO_RISE
        return replace(beat, accepted=False, reason=cut)
    if beat.likeness < LEAST_LIKENESS:
        reason = f"unlike the mean beat: correlation {beat.likeness:.2f}, below {LEAST_LIKENESS}"
        return replace(beat, accepted=False, reason=reason)
    if beat.end_s - beat.onset_s > LONGEST_S:
        return replace(beat, accepted=False, reason=f"longer than {LONGEST_S:g} s: drift")
    if beat.clipped == "end":
        return replace(beat, reason="the recording stops before this beat has relaxed")
    return beat


def _cut_off(time_s: Array, x: Array, beats: Sequence[Beat]) -> list[Beat]:
    """Rows for a first and last beat of which the recording holds no peak between two limbs."""
    known = [beat for beat in beats if beat.accepted]
    if not known:
        return []
    least = 0.5 * float(np.median([beat.amplitude for beat in known]))
    rows: list[Beat] = []
    ahead = x[time_s < min(known[0].onset_s, known[0].peak_s)]
    if len(ahead) > 2 and float(np.mean(ahead[:2])) - known[0].rest > least:
        rows.append(_half(float(time_s[0]), "start", CUT_START))
    after_s, after = time_s[time_s > known[-1].end_s], x[time_s > known[-1].end_s]
    if len(after) > 2 and float(np.mean(after[-2:])) - known[-1].rest > least:
        rows.append(_half(float(after_s[-1]), "end", "the recording ends during this beat"))
    return rows


def _half(peak_s: float, clipped: Literal["start", "end"], reason: str) -> Beat:
    return Beat(0, NAN, NAN, peak_s, NAN, NAN, accepted=False, reason=reason, clipped=clipped)


def _concluded(time_s: Array, x: Array, beats: list[Beat]) -> BeatFinding:
    known = [beat for beat in beats if beat.accepted]
    middle = max(0, (len(known) - BEATS_PER_MEAN) // 2)
    sample = known[middle : middle + BEATS_PER_MEAN]
    mean = mean_of(time_s, x, sample)
    aside = [beat for beat in beats if beat.reason == REMOVED]
    noise = noise_sd(x, time_s) if mean is None else unexplained_sd(time_s, x, sample, mean, aside)
    verdict, reasons = conclude(beats, time_s, noise, periodicity(time_s, x))
    if verdict == "not beating":
        why = f"not beating: {reasons[0]}"
        beats = [replace(b, accepted=False, reason=b.reason or why) for b in beats]
        known = []
    rr_s = intervals_s(np.array([beat.t50_s for beat in known]), time_s)
    period_s = float(np.median(rr_s[np.isfinite(rr_s)])) if np.isfinite(rr_s).any() else NAN
    level = baseline(time_s, known)
    return BeatFinding(verdict, reasons, tuple(beats), period_s, noise, level, time_s, x, mean)


def unexplained_sd(
    time_s: Array, x: Array, beats: Sequence[Beat], mean: MeanBeat, aside: Sequence[Beat] = ()
) -> float:
    """SD of what remains of the trace when the mean beat, at each beat's size, is taken out.

    Over the frames from the first to the last of `beats`, but for those of the beats `aside`. From
    one frame to the next a fast twitch moves more than the noise, so that differences of frames
    would overstate it.
    """
    left = x - baseline(time_s, beats)
    for beat in beats:
        frames_s, y = own_frames(beat, time_s, x)
        lag_s = frames_s - beat.peak_s
        inside = (lag_s >= mean.lag_s[0]) & (lag_s <= mean.lag_s[-1])
        first = int(np.searchsorted(time_s, frames_s[0]))
        shape = beat.amplitude * mean.at(lag_s[inside])
        left[first : first + len(y)][inside] = y[inside] - shape
    covered = (time_s >= beats[0].onset_s) & (time_s <= beats[-1].end_s)
    for beat in aside:
        covered &= ~((time_s >= beat.onset_s) & (time_s <= beat.end_s))
    return float(np.sqrt(np.pi / 2) * np.mean(np.abs(left[covered])))


def _nothing(time_s: Array, x: Array, verdict: Verdict, reasons: tuple[str, ...]) -> BeatFinding:
    level = np.full(time_s.shape, NAN)
    noise = noise_sd(x, time_s)
    return BeatFinding(verdict, reasons, (), NAN, noise, level, time_s, x)
