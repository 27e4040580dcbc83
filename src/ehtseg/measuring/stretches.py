"""What one treatment did: the beats in its stretch of a recording, as one number a measure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ehtseg.measuring.events import EFFECT_S, SETTLE_S
from ehtseg.measuring.levels import frame_interval_s
from ehtseg.measuring.rhythm import SLOWEST_S, beat_rate_bpm, cv_rr
from ehtseg.measuring.windows import seen_share
from ehtseg.records import Array

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


def why_unread(
    beats: Sequence[Mapping[str, float]], span_s: tuple[float, float], frames_s: Array
) -> str:
    """Why a stretch says nothing of the tissue; "" where it does.

    `beats` are the accepted rows of beats.csv, `frames_s` (T,) the times of the frames. A tissue
    that beats elsewhere stands still only where it was filmed without a beat for 10 s.
    """
    start_s, stop_s = span_s
    if stop_s <= start_s:
        return f"nothing was filmed of it, or no more than its first {SETTLE_S:.0f} s"
    if not beats or any(start_s <= beat["t50_s"] < stop_s for beat in beats):
        return ""
    filmed_s = seen_share(frames_s, start_s, stop_s) * (stop_s - start_s)
    if filmed_s + frame_interval_s(frames_s) >= SLOWEST_S:
        return ""
    return f"no beat in the {filmed_s:.0f} s that were filmed of it: too short for an arrest"


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
