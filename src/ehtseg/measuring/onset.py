"""How soon an effect came, and whether anybody saw it come."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import median_filter

from ehtseg.measuring.rhythm import gaps_s
from ehtseg.measuring.stretches import begins_clip
from ehtseg.records import Array

SMOOTH_BEATS = 9  # of the running median in which the time to half of the effect is read
HELD_BEATS = 5  # the median must stay beyond half so long
LONGEST_GAP_S = 5.0  # without frames, up to which a time to effect is still one
NEAR_S = 2.0  # between a gap and the beats beside it
NAN = float("nan")


def half_time_s(t50_s: Array, values: Array, event_s: float, before: float, after: float) -> float:
    """Time from an event until half of the effect is reached and held for 5 beats, s.

    `values` (N,) at `t50_s`, running from the level `before` to `after`; read in their median over
    9 beats, interpolated between beats. 0 where half is reached with the first beat.
    """
    smooth = median_filter(values, SMOOTH_BEATS, mode="nearest")
    share = ((smooth - before) / (after - before))[t50_s >= event_s]
    since_s = t50_s[t50_s >= event_s] - event_s
    held = np.convolve(share >= 0.5, np.ones(HELD_BEATS), mode="valid") == HELD_BEATS
    if not held.any():
        return NAN
    first = int(np.argmax(held))
    if first == 0:
        return 0.0
    near = slice(first - 1, first + 1)
    return float(np.interp(0.5, share[near], since_s[near]))


def why_unseen(event_s: float, half_s: float, frames_s: Array) -> str:
    """Why a time to half of the effect is none: it was reached in a gap; "" where it was seen.

    `half_s` after the event; `frames_s` (T,) times of the frames.

    >>> why_unseen(10.0, 0.5, np.array([0.0, 1.0, 10.0, 11.0]))
    'Filming began with the event, so that the time to half of the effect is not known.'
    """
    if begins_clip(event_s, frames_s):
        return "Filming began with the event, so that the time to half of the effect is not known."
    for last_s, first_s in gaps_s(frames_s, LONGEST_GAP_S):
        near = last_s - NEAR_S <= event_s + half_s <= first_s + NEAR_S
        if near and first_s > event_s:
            return (
                f"Nothing was recorded from {last_s:.0f} to {first_s:.0f} s: half of the effect "
                f"was reached unseen, at the latest {first_s - event_s:.0f} s after the event."
            )
    return ""
