"""Kinetics of single beats: one small function for each quantity, then the table of beats.

Naming rule, as for action potentials: x in CD_x and RT_x is the share RELAXED, so that CD90 is the
width at 10 % of the amplitude. All crossings are interpolated; all windows are in seconds.
Durations are blunt where beats fuse: a level that a beat does not come back to gives NaN, as does
one that it crosses while frames are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ehtseg.measuring.beat import Beat, limbs, own_frames
from ehtseg.measuring.levels import crossing_s, frame_interval_s, smoothed
from ehtseg.measuring.rhythm import corrected_cd_ms, intervals_s
from ehtseg.records import Array

VELOCITY_S = 0.1  # window of the local parabolas whose slope is the velocity
MARGIN_S = 0.3  # frames beside a beat that the windows may reach
HOLE_STEPS, HOLE_S = 4.0, 0.05  # a step longer than both hides when it crossed a level
TAU_RANGE = (0.8, 0.1)  # of the amplitude: where the decay constant is fitted
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a trace stands for: its unit, and for a size the share that is reported.

    A trace points up in contraction, so that a length or an area enters as `zero - size`; with
    `zero` the relaxed size of each beat is `zero - rest`.
    """

    unit: str = "px"
    share: Literal["", "fs_pct", "fac_pct"] = ""
    zero: float = NAN


@dataclass(frozen=True, eq=False)
class Twitch:
    """The two limbs of one beat above its relaxed level, each with the peak itself."""

    up_s: Array
    up_y: Array
    down_s: Array
    down_y: Array
    longest_s: float = np.inf  # between two frames, for a time between them to be known

    @property
    def peak_s(self) -> float:
        """Time of the peak."""
        return float(self.up_s[-1])

    @property
    def amplitude(self) -> float:
        """Height of the peak above the relaxed level."""
        return float(self.up_y[-1])

    def up(self, share: float) -> float:
        """Time at which the upstroke crosses this share of the amplitude, s."""
        return crossing_s(self.up_s, self.up_y, share * self.amplitude, self.longest_s)

    def down(self, share: float) -> float:
        """Time at which the relaxation comes back to this share of the amplitude, s."""
        return crossing_s(self.down_s, self.down_y, share * self.amplitude, self.longest_s)


def ttp10_ms(twitch: Twitch) -> float:
    """Time to peak from 10 % of the amplitude, ms.

    Source: definition of MUSCLEMOTION (Sala et al. 2018, Circ. Res. 122:e5), always from 10 %.
    """
    return 1000 * (twitch.peak_s - twitch.up(0.1))


def c50_ms(twitch: Twitch) -> float:
    """Contraction time from 50 % of the upstroke to the peak, ms."""
    return 1000 * (twitch.peak_s - twitch.up(0.5))


def upstroke_ms(twitch: Twitch) -> float:
    """Time from 10 to 90 % of the amplitude on the upstroke, ms."""
    return 1000 * (twitch.up(0.9) - twitch.up(0.1))


def rt_ms(twitch: Twitch, relaxed_pct: float) -> float:
    """Relaxation time from the peak to `relaxed_pct` % relaxed, ms."""
    return 1000 * (twitch.down(1 - relaxed_pct / 100) - twitch.peak_s)


def cd_ms(twitch: Twitch, relaxed_pct: float) -> float:
    """Contraction duration: width at `relaxed_pct` % relaxed, ms; CD50 is the half width."""
    level = 1 - relaxed_pct / 100
    return 1000 * (twitch.down(level) - twitch.up(level))


def tau_ms(twitch: Twitch) -> float:
    """Decay constant of y = c exp(-t / tau) from 80 to 10 % of the amplitude, ms.

    Straight line through log y, each frame weighted by y squared, so that equal noise counts
    equally at every height. NaN with fewer than 3 frames in the range.
    """
    y = twitch.down_y / twitch.amplitude
    inside = (y <= TAU_RANGE[0]) & (y >= TAU_RANGE[1])
    inside &= twitch.down_s <= np.nan_to_num(twitch.down(TAU_RANGE[1]), nan=np.inf)
    if np.count_nonzero(inside) < 3:
        return NAN
    slope = np.polyfit(twitch.down_s[inside], np.log(y[inside]), 1, w=y[inside])[0]
    return float(-1000 / slope) if slope < 0 else NAN


def shortening_pct(amplitude: float, relaxed_size: float) -> float:
    """Share of the relaxed length (fractional shortening) or area (area change) lost at peak, %."""
    return 100 * amplitude / relaxed_size if relaxed_size > 0 else NAN


def vmax_per_s(twitch: Twitch, time_s: Array, slope_per_s: Array) -> tuple[float, float, float]:
    """Largest contraction and relaxation velocity (per s), and the time between them (ms).

    `slope_per_s` (T,) at `time_s`, from local parabolas over 100 ms (levels.smoothed, order 1):
    at 30 frames/s the central difference, which reads fast upstrokes too slow.
    """
    rising = (time_s >= twitch.up_s[0]) & (time_s <= twitch.peak_s)
    falling = (time_s >= twitch.peak_s) & (time_s <= twitch.down_s[-1])
    if not np.any(rising) or not np.any(falling):
        return NAN, NAN, NAN
    up, down = np.argmax(slope_per_s[rising]), np.argmin(slope_per_s[falling])
    gap_ms = 1000 * float(time_s[falling][down] - time_s[rising][up])
    return float(slope_per_s[rising][up]), float(-slope_per_s[falling][down]), gap_ms


def durations(twitch: Twitch) -> dict[str, float]:
    """Every time of a twitch, by column name."""
    return {
        "ttp10_ms": ttp10_ms(twitch),
        "c50_ms": c50_ms(twitch),
        "upstroke_ms": upstroke_ms(twitch),
        "rt50_ms": rt_ms(twitch, 50),
        "rt90_ms": rt_ms(twitch, 90),
        "cd10_ms": cd_ms(twitch, 10),
        "cd50_ms": cd_ms(twitch, 50),
        "cd80_ms": cd_ms(twitch, 80),
        "cd90_ms": cd_ms(twitch, 90),
        "tau_ms": tau_ms(twitch),
    }


def beat_kinetics(
    time_s: Array, x: Array, beat: Beat, meaning: Meaning = Meaning()
) -> dict[str, float]:
    """The kinetics of one beat by column name, NaN where the trace does not show them.

    `time_s`, `x` (T,) the trace in which the beat was found.
    """
    first, stop = np.searchsorted(time_s, [beat.before_s - MARGIN_S, beat.after_s + MARGIN_S])
    time_s, x = time_s[first:stop], x[first:stop]
    unit = meaning.unit
    row = {f"amplitude_{unit}": beat.amplitude}
    if meaning.share:
        row[meaning.share] = shortening_pct(beat.amplitude, meaning.zero - beat.rest)
    twitch = twitch_of(time_s, x, beat)
    slope_per_s = smoothed(time_s, x, VELOCITY_S, order=1) - beat.drift_per_s
    up_per_s, down_per_s, gap_ms = vmax_per_s(twitch, time_s, slope_per_s)
    return {
        **row,
        **durations(twitch),
        f"vmax_contraction_{unit}_s": up_per_s,
        f"vmax_relaxation_{unit}_s": down_per_s,
        "vmax_gap_ms": gap_ms,
        "upstroke_frames": upstroke_ms(twitch) / 1000 / frame_interval_s(time_s),
    }


def twitch_of(time_s: Array, x: Array, beat: Beat) -> Twitch:
    """The limbs of a beat in its trace, lightly smoothed."""
    longest_s = max(HOLE_STEPS * frame_interval_s(time_s), HOLE_S)
    return Twitch(*limbs(beat, *own_frames(beat, time_s, smoothed(time_s, x))), longest_s)


def table_of_beats(
    time_s: Array, x: Array, beats: Sequence[Beat], meaning: Meaning = Meaning()
) -> list[dict[str, float]]:
    """The kinetics of every beat, with the interval since the accepted beat before.

    Rows of beats that have no upstroke hold nothing. `cd50_fridericia_ms` and
    `cd90_fridericia_ms` are corrected to 60 beats/min by the interval before the beat.
    """
    rows: list[dict[str, float]] = []
    rr_s = _intervals_s(time_s, beats)
    for beat, interval_s in zip(beats, rr_s, strict=True):
        if np.isnan(beat.t50_s):
            rows.append({})
            continue
        row = {"rr_s": interval_s, **beat_kinetics(time_s, x, beat, meaning)}
        for name in ("cd50", "cd90"):
            row[f"{name}_fridericia_ms"] = corrected_cd_ms(row[f"{name}_ms"], row["rr_s"])
        rows.append(row)
    return rows


def _intervals_s(time_s: Array, beats: Sequence[Beat]) -> Iterator[float]:
    """Of each beat since the accepted beat before; NaN where one may have passed unseen."""
    accepted_s = np.array([beat.t50_s for beat in beats if beat.accepted])
    known = np.append(NAN, intervals_s(accepted_s, time_s))
    count, last_s = 0, NAN
    for beat in beats:
        if beat.accepted:
            yield float(known[count])
            count, last_s = count + 1, beat.t50_s
        else:
            yield beat.t50_s - last_s
