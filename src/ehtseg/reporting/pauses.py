"""A time axis on which long pauses are short: clips of one tissue may lie hours from each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

from ehtseg.measuring.levels import filmed_parts
from ehtseg.records import Array

ONE_PAUSE, ALL_PAUSES = 0.04, 0.25  # how wide they are drawn, in shares of what was filmed


@dataclass(frozen=True, slots=True, eq=False)
class TimeAxis:
    """Where moments are drawn, in s: straight between knots, two of them for each filmed part."""

    true_s: Array  # (2 P,) start and end of each part
    drawn_s: Array  # (2 P,)

    def at(self, time_s: Array) -> Array:
        """Where moments are drawn; NaN stays NaN."""
        return np.interp(time_s, self.true_s, self.drawn_s)

    def pauses(self) -> list[tuple[float, float, float]]:
        """Each pause that is drawn short: from where, to where, and how long it is, s."""
        ends, starts = slice(1, -1, 2), slice(2, None, 2)
        lasted_s = self.true_s[starts] - self.true_s[ends]
        table = np.stack([self.drawn_s[ends], self.drawn_s[starts], lasted_s], 1)
        return [(float(start), float(end), float(lasted)) for start, end, lasted in table]

    def label(self, unit: str) -> str:
        """What stands below the axis."""
        return f"time ({unit}){'; grey: not filmed, drawn short' if self.pauses() else ''}"

    def ticks(self, about: int, room_s: float) -> Array:
        """Moments to be labelled: round ones, `about` so many on the whole axis, and each part's
        start; of those that are drawn nearer to each other than `room_s` the later one is left out.
        """
        starts_s = self.true_s[::2]
        steps = MaxNLocator(about, steps=[1, 2, 5, 10])
        step_s = float(np.diff(steps.tick_values(0, np.ptp(self.drawn_s)))[0])
        first = np.ceil(self.true_s[::2] / step_s).astype(int)
        stop = np.floor(self.true_s[1::2] / step_s).astype(int) + 1
        round_s = [step_s * np.arange(*each) for each in zip(first, stop, strict=True)]
        kept = _apart(starts_s, self.at(starts_s), room_s) if len(starts_s) > 1 else starts_s[:0]
        for moment_s in np.concatenate(round_s):
            near = np.abs(self.at(kept) - self.at(moment_s)) < room_s
            kept = kept if near.any() else np.append(kept, moment_s)
        return np.sort(kept)


def time_axis(time_s: Array) -> TimeAxis:
    """The axis of frames at these times (T,): as they are, unless less than half was filmed.

    Then a pause takes at most 4 % of what was filmed, all of them together at most 25 %.

    >>> axis = time_axis(np.array([0.0, 0.5, 1.0, 3600.0, 3600.5, 3601.0]))
    >>> axis.drawn_s.round(2).tolist(), axis.pauses()[0][2]
    ([0.0, 1.0, 1.08, 2.08], 3599.0)
    """
    ends_s = np.array([time_s[part][[0, -1]] for part in filmed_parts(time_s)])
    lasted_s, paused_s = np.ptp(ends_s, axis=1), ends_s[1:, 0] - ends_s[:-1, 1]
    widest_s = lasted_s.sum() * min(ONE_PAUSE, ALL_PAUSES / max(len(paused_s), 1))
    if paused_s.sum() <= lasted_s.sum():
        return TimeAxis(ends_s[[0, -1], [0, 1]], ends_s[[0, -1], [0, 1]])
    is_long = np.append(paused_s > widest_s, True)
    true_s = np.stack([ends_s[np.append(True, is_long[:-1]), 0], ends_s[is_long, 1]], 1).ravel()
    steps_s = np.diff(true_s)
    steps_s[1::2] = widest_s
    return TimeAxis(true_s, true_s[0] + np.append(0.0, steps_s.cumsum()))


def _apart(moments_s: Array, drawn_s: Array, room_s: float) -> Array:
    """Of moments in order those that are drawn at least `room_s` after the one before."""
    kept = [0]
    for k in range(1, len(moments_s)):
        kept += [k] if drawn_s[k] - drawn_s[kept[-1]] >= room_s else []
    return moments_s[kept]
