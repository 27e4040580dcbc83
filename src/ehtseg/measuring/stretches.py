"""What one treatment did: the beats in its stretch of a recording, as one number a measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ehtseg.measuring.levels import filmed_parts, frame_interval_s
from ehtseg.measuring.rhythm import SLOWEST_S, beat_rate_bpm, cv_rr, intervals_s, known
from ehtseg.measuring.windows import seen_share
from ehtseg.records import Array

EFFECT_S = 180.0  # an effect is read in the last so many seconds before the next event or the end
SETTLE_S = 30.0  # but not so soon after the event
SILENT_INTERVALS = 3.0  # usual ones without a beat, from which on a tissue may have stopped
# One of each kind: wells are compared by these, and a second duration would count double.
MEASURES = (
    "beat_rate_bpm", "cv_rr", "amplitude_um", "amplitude_px", "fs_pct", "fac_pct",
    "ttp10_ms", "cd50_ms", "rt50_ms", "force_mN",
)  # fmt: skip
NO_RATIO = ("cv_rr",)  # of a regular tissue almost 0: no change in % can be given
OF_ONE_TRACE = ("amplitude", "fs_pct", "fac_pct")  # sizes: compared only where read alike


def stretch_s(begin_s: float, stop_s: float, follows: bool) -> tuple[float, float]:
    """From when to when a treatment is read that holds, and was filmed, from `begin_s` to `stop_s`.

    Of one that `follows` another in a running file the last 180 s, not sooner than 30 s after it
    began, as of an event; of one that a file begins with all of it.

    >>> stretch_s(600.0, 900.0, True), stretch_s(0.0, 900.0, False), stretch_s(600.0, 615.0, True)
    ((720.0, 900.0), (0.0, 900.0), (615.0, 615.0))
    """
    if not follows:
        return begin_s, stop_s
    return min(max(begin_s + SETTLE_S, stop_s - EFFECT_S), stop_s), stop_s


def begins_clip(event_s: float, frames_s: Array) -> bool:
    """Whether filming began with an event after a pause, in which it may long have settled.

    So it is of a line of a manifest that knows no other time than the start of its file.

    >>> frames_s = np.array([0.0, 0.5, 1.0, 60.0, 60.5, 61.0])
    >>> [begins_clip(at, frames_s) for at in (1.0, 30.0, 60.0, 60.5)]
    [False, False, True, False]
    """
    first_s = np.array([frames_s[part[0]] for part in filmed_parts(frames_s)[1:]])
    return bool(np.any(np.abs(first_s - event_s) <= frame_interval_s(frames_s) / 2))


def why_unread(
    beats: Sequence[Mapping[str, float]], span_s: tuple[float, float], frames_s: Array
) -> str:
    """Why a stretch says nothing of the tissue; "" where it does.

    `beats` are the accepted rows of beats.csv, `frames_s` (T,) the times of the frames. A tissue
    stands still only where it was filmed without a beat for 10 s; where it stops within the
    stretch, neither the beats before nor the standstill stand for the whole.
    """
    start_s, stop_s = span_s
    if stop_s <= start_s:
        return f"nothing was filmed of it, or no more than its first {SETTLE_S:.0f} s"
    t50_s = _column(beats, "t50_s")
    if silent := why_silent(t50_s, span_s, frames_s):
        return silent
    if np.any((t50_s >= start_s) & (t50_s < stop_s)):
        return ""
    filmed_s = seen_share(frames_s, start_s, stop_s) * (stop_s - start_s)
    if filmed_s + frame_interval_s(frames_s) >= SLOWEST_S:
        return ""
    return f"no beat in the {filmed_s:.0f} s that were filmed of it: too short for an arrest"


def why_silent(t50_s: Array, span_s: tuple[float, float], frames_s: Array | None) -> str:
    """That a stretch was filmed for long after the last of its beats; "" where not.

    Long is 10 s and three usual intervals. No interval closes such a silence, so that a rate from
    intervals does not know of it. A stretch without any beat is another matter: an arrest.

    >>> why_silent(np.arange(60.0), (0.0, 99.0), None)
    'no beat in the last 40 s that were filmed: the tissue stopped, or its beats were not seen'
    >>> why_silent(np.arange(60.0), (0.0, 65.0), None)
    ''
    """
    first, stop = np.searchsorted(t50_s, span_s)
    if first == stop:
        return ""
    last_s, stop_s = float(t50_s[stop - 1]), span_s[1]
    seen = 1.0 if frames_s is None else seen_share(frames_s, last_s, stop_s)
    rr_s = known(intervals_s(t50_s[max(first - 1, 0) : stop], frames_s))
    usual_s = float(np.median(rr_s)) if len(rr_s) else 0.0
    silent_s = seen * (stop_s - last_s)
    if silent_s < max(SLOWEST_S, SILENT_INTERVALS * usual_s):
        return ""
    said = "that were filmed: the tissue stopped, or its beats were not seen"
    return f"no beat in the last {silent_s:.0f} s {said}"


def measures_of(
    beats: Sequence[Mapping[str, float]], span_s: tuple[float, float]
) -> dict[str, float]:
    """Each measure in a stretch: medians over its beats, rate and irregularity from its intervals.

    `beats` are the accepted rows of beats.csv. Without a beat the rate is 0; with one it is NaN.
    """
    inside = [beat for beat in beats if span_s[0] <= beat["t50_s"] < span_s[1]]
    rr_s = _column(inside, "rr_s")
    rate = beat_rate_bpm(rr_s) if inside else 0.0
    found = {"beat_rate_bpm": rate, "cv_rr": cv_rr(rr_s) if len(rr_s) > 1 else math.nan}
    for name in MEASURES[2:]:
        values = _column(inside, name)
        found[name] = float(np.median(values)) if len(values) else math.nan
    return found


def _column(beats: Sequence[Mapping[str, float]], name: str) -> Array:
    values = np.array([beat.get(name, math.nan) for beat in beats], float)
    return np.asarray(values[np.isfinite(values)])
