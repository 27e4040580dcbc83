"""Beating, not beating, or cannot tell: what a trace allows to conclude, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from ehtseg.measuring.beat import Beat

SURE, DOUBTFUL = 5.0, 3.5  # amplitude in noise levels: beating from SURE on, not below DOUBTFUL
SHORTEST_S = 2.0  # a recording without a beat must be so long to show that nothing beats
FEWEST_FRAMES_PER_BEAT = 4.0  # a faster rhythm would be seen at a false rate
AGREED = 0.05  # largest difference between the period of the intervals and of the whole trace

Verdict = Literal["beating", "not beating", "cannot tell"]


def conclude(
    beats: Sequence[Beat], duration_s: float, interval_s: float, noise: float
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on a trace and its reasons, from all candidates.

    `interval_s` between frames; `noise` SD from frame to frame, in the unit of the amplitudes.
    The first rule that applies decides.
    """
    known = [beat for beat in beats if beat.accepted]
    if not known:
        return without_beats(duration_s, f"none of {len(beats)} candidates is a beat")
    height = float(np.median([beat.amplitude for beat in known])) / max(noise, 1e-300)
    high = f"the movements are {height:.1f} noise levels high"
    if height < DOUBTFUL:
        return without_beats(duration_s, f"{high}, no more than noise itself reaches")
    if len(known) == 1:
        return "cannot tell", (f"one contraction in {duration_s:.1f} s gives no rate",)
    period_s = float(np.median(np.diff([beat.t50_s for beat in known])))
    if period_s < FEWEST_FRAMES_PER_BEAT * interval_s:
        return "cannot tell", (
            f"{period_s / interval_s:.1f} frames a beat: a faster rhythm would look the same",
        )
    if height < SURE:
        return "cannot tell", (f"{high}; {SURE:g} are needed to be sure",)
    unlike = sum(not beat.accepted and np.isfinite(beat.likeness) for beat in beats)
    if unlike > len(known):
        return "cannot tell", (f"{unlike} of {len(beats)} candidates are unlike each other",)
    said = f"{len(known)} beats in {duration_s:.1f} s, {min(height, 999):.0f} noise levels high"
    return "beating", (said,)


def without_beats(duration_s: float, reason: str) -> tuple[Verdict, tuple[str, ...]]:
    """Not beating, unless the recording is too short to show even that."""
    if duration_s < SHORTEST_S:
        short = f"{duration_s:.1f} s may be shorter than the time between two beats"
        return "cannot tell", (reason, short)
    return "not beating", (reason,)
