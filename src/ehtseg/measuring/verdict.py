"""Beating, not beating, or cannot tell: what a trace allows to conclude, in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ehtseg.measuring.beat import Beat, filmed_s
from ehtseg.measuring.levels import frame_interval_s, swing, without_slow_line
from ehtseg.measuring.rhythm import intervals_s
from ehtseg.records import Array

SURE, DOUBTFUL = 5.0, 3.5  # amplitude in noise levels: beating from SURE on, not below DOUBTFUL
SLOWEST_FPS = 2.0  # below, a twitch may pass between two frames
SHORTEST_S = 2.0  # a recording without a beat must be so long to show that nothing beats
FEWEST_FRAMES_PER_BEAT = 4.0  # a faster rhythm would be seen at a false rate
REPEATS = 0.5  # autocorrelation of a trace that repeats itself
FEW = 4  # of fewer beats it is hard to say that they are alike
AGREED = 0.1  # largest difference between the median interval and the period of the whole trace
MOST = 0.8  # of intervals that are alike, where most are
SHARED = 0.9  # of the mean way of all points that their middle moves: they all move alike
SWAYS = (
    "all of the tissue moves the same way and shortens by no more than noise, as where it sways or "
    "the stage shakes; if it is known to contract between fixed ends, read its displacement: --set "
    "measure.trace=displacement"
)

Verdict = Literal["beating", "not beating", "cannot tell"]


def conclude(
    beats: Sequence[Beat], time_s: Array, noise: float, repeats: tuple[float, float]
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on a trace and its reasons, from all candidates; the first rule that applies.

    `time_s` (T,) of the frames; `noise` SD from frame to frame, in the unit of the amplitudes;
    `repeats` period (s) and autocorrelation of the whole trace (rhythm.periodicity).
    """
    duration_s = filmed_s(time_s)
    known = [beat for beat in beats if beat.accepted]
    if not known:
        return without_beats(time_s, f"none of {len(beats)} candidates is a beat", repeats)
    height = float(np.median([beat.amplitude for beat in known])) / max(noise, 1e-300)
    high = f"the movements are {height:.1f} times as high as the noise"
    if height < DOUBTFUL:
        return without_beats(time_s, f"{high}, no more than noise itself reaches", repeats)
    if len(known) == 1:
        return "cannot tell", (f"one contraction in {duration_s:.1f} s gives no rate",)
    rr_s = intervals_s(np.array([beat.t50_s for beat in known]), time_s)
    seen_s = rr_s[np.isfinite(rr_s)]  # none where pauses part all beats: then no rate is told
    period_s = float(np.median(seen_s)) if len(seen_s) else math.nan
    frames = period_s / frame_interval_s(time_s)
    if frames < FEWEST_FRAMES_PER_BEAT:
        return "cannot tell", (f"{frames:.1f} frames a beat: a faster rhythm would look the same",)
    if height < SURE:
        return "cannot tell", (f"{high}; {SURE:g} are needed to be sure",)
    if height < 2 * SURE and repeats[1] < REPEATS / 2:
        return "cannot tell", (f"{high} and follow no rhythm: they may be noise",)
    unlike = sum(not beat.accepted and np.isfinite(beat.likeness) for beat in beats)
    if unlike > len(known) or (len(known) < FEW and len(beats) > 2 * len(known)):
        return "cannot tell", (f"only {len(known)} of {len(beats)} candidates are alike",)
    above = f"{min(height, 999):.0f} times as high as the noise"
    said = f"{len(known)} beats in {duration_s:.1f} s, {above}"
    apart = repeats[1] >= REPEATS and abs(repeats[0] / period_s - 1) > AGREED
    if apart and not _wanders(rr_s):
        other = f"the whole trace repeats every {repeats[0]:.2f} s, the beats every {period_s:.2f}"
        return "beating", (said, other)
    return "beating", (said,)


def _wanders(rr_s: Array) -> bool:
    """Whether the rate changes over a recording, as under a drug: then no one period is its own.

    Intervals are then like those beside them, but not like all others.

    >>> several = np.linspace(1, 0.6, 40), np.tile([0.8, 1.6], 20), np.ones(40), np.ones(1)
    >>> [_wanders(rr_s) for rr_s in several]
    [True, False, False, False]
    """
    beside, alike = np.abs(np.diff(rr_s) / rr_s[1:]), np.abs(rr_s / np.nanmedian(rr_s) - 1)
    beside, alike = (each[np.isfinite(each)] <= AGREED for each in (beside, alike))
    return bool(len(beside) >= FEW and beside.mean() >= MOST > alike.mean())


def without_beats(
    time_s: Array, reason: str, repeats: tuple[float, float] = (0.0, 0.0)
) -> tuple[Verdict, tuple[str, ...]]:
    """Not beating, unless the recording is too short or slow to show it, or repeats itself."""
    if repeats[1] >= REPEATS:
        hidden = f"the trace repeats every {repeats[0]:.2f} s, though no beat stands out"
        return "cannot tell", (reason, hidden)
    duration_s, interval_s = filmed_s(time_s), frame_interval_s(time_s)
    if interval_s * SLOWEST_FPS > 1:
        slow = f"one frame in {interval_s:.3g} s: a contraction may pass between two of them"
        return "cannot tell", (reason, slow)
    if duration_s < SHORTEST_S:
        short = f"{duration_s:.1f} s may be shorter than the time between two beats"
        return "cannot tell", (reason, short)
    return "not beating", (reason,)


def sways(way_T: Array, shift_x_T: Array, shift_y_T: Array, time_s: Array) -> bool:
    """Whether a region moves as one: its middle moves at least as far as its points do on average.

    `way_T` (T,) is that average, never negative: one swing to either side looks like two beats.
    """
    way, x, y = (swing(without_slow_line(one, time_s)) for one in (way_T, shift_x_T, shift_y_T))
    return math.hypot(x, y) >= SHARED * way
