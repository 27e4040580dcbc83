"""From records of frames to traces over time: units, jitter, and which trace to trust.

A frame is measured in `shapes.py` and `flow.py`; here the records become columns. Every trace
that shows contraction is turned so that contraction is UP before it is compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from scipy import signal

from ehtseg.measuring.levels import filmed_parts, swing, without_slow_line
from ehtseg.records import Array, UserError

FEWEST_FRAMES = 10  # of a trace that beats can be read from
WORTHY_SNR = 5.0  # below, a trace is hardly more than noise
SLACK_S = 0.5  # two traces are compared at lags up to this
DIGITS = 1e-6  # of the largest value: single precision through sums
ENDS = {"extent_px": 2, "mid_width_px": 2, "first_end_px": 1, "last_end_px": 1}  # of outlines

# Traces that show contraction, and the sign that turns contraction up. The first is the default.
SIGNS: dict[str, int] = {
    "major_axis": -1,
    "contraction": 1,
    "post_shortening": 1,
    "extent": -1,
    "area": -1,
    "mid_width": 1,
    "perimeter": -1,
    "displacement": 1,
}
DEFAULT = "major_axis"
# Chosen last: displacement, a mean of lengths, cannot fall below its own noise; a perimeter also
# tells how rough an outline is, and its amplitude is no size of a contraction.
LAST = ("displacement", "perimeter")
# Of what the picture shows. Where the border cuts a tissue, contraction brings more of it into the
# picture than it takes from it, so that these tell nothing.
SEEN_SIZES = ("area", "perimeter")


@dataclass(frozen=True, slots=True, eq=False)
class Traces:
    """Columns over time, each with its unit in its name, and the noise of each.

    `jitter` has the unit of its column: see `jitter`. `texts` holds words a frame (touches, ...).
    """

    time_s: Array
    columns: dict[str, Array]
    jitter: dict[str, float]
    texts: dict[str, tuple[str, ...]]
    um_per_px: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """One trace beside the chosen one, both with contraction up and slow drift taken off."""

    name: str
    swing: float  # 5 % to 95 % range, in the unit of the name
    jitter: float
    snr: float  # swing / jitter
    correlation: float  # at the best lag
    lag_s: float  # positive: this trace comes after the chosen one
    missing: float  # share of frames without a value


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The trace that beats are read from: `signal` is that column with contraction up."""

    name: str
    reason: str
    signal: Array
    agreement: tuple[Agreement, ...]  # best first; the chosen one included


def collect(time_s: Array, *records: Iterable[Any], um_per_px: float | None = None) -> Traces:
    """Records of frames (FrameShape, FlowFrame, ...) as columns; um and mm² where a scale is known.

    Each of `records` has one dataclass instance a frame. Numbers become columns, words `texts`.

    Raises: UserError where the numbers of frames differ.
    """
    columns: dict[str, Array] = {}
    for rows in map(list, records):
        if len(rows) != len(time_s):
            raise UserError(
                f"one record for each of {len(time_s)} time stamps",
                f"{len(rows)}{' of ' + type(rows[0]).__name__ if rows else ''}",
                "Check that masks and video have the same number of frames.",
            )
        columns |= columns_of(rows)
    return as_traces(time_s, columns, um_per_px)


def columns_of(rows: Sequence[Any]) -> dict[str, Array]:
    """Records of frames, all of one dataclass, as columns (T,): numbers as float, words as str."""
    columns = {}
    for field in fields(rows[0]) if rows else ():
        values = [getattr(row, field.name) for row in rows]
        columns[field.name] = np.array(values, str if isinstance(values[0], str) else float)
    return columns


def as_traces(time_s: Array, columns: Mapping[str, Array], um_per_px: float | None) -> Traces:
    """Columns (T,) of numbers and words as traces; um and mm² where a scale is known."""
    texts = {name: tuple(c.tolist()) for name, c in columns.items() if c.dtype.kind == "U"}
    scaled = {}
    for name, values in columns.items():
        if name not in texts:
            told, factor = with_unit(name, um_per_px)
            scaled[told] = values * factor
    noise = {name: jitter(values) for name, values in scaled.items()}
    for name, least_px in least_jitter_px(columns).items():
        told, factor = with_unit(name, um_per_px)
        noise[told] = float(np.fmax(noise[told], factor * least_px))
    return Traces(np.asarray(time_s, float), scaled, noise, texts, um_per_px)


def with_unit(name: str, um_per_px: float | None) -> tuple[str, float]:
    """The name of a column with its unit, and the factor from pixels.

    >>> with_unit("area_px", 500.0), with_unit("extent_px", 4.0), with_unit("extent_px", None)
    (('area_mm2', 0.25), ('extent_um', 4.0), ('extent_px', 1.0))
    """
    if um_per_px is None or not name.endswith("_px"):
        return name, 1.0
    if name == "area_px":
        return "area_mm2", um_per_px**2 / 1e6
    return name.removesuffix("px") + "um", um_per_px


def jitter(values_T: Array) -> float:
    """Frame-to-frame noise of a trace: robust SD of its second differences / sqrt(6).

    Independent noise of SD s gives second differences of SD s sqrt(6); a slow signal gives almost
    none. 1.4826 median |second difference| ignores the few frames of a quick upstroke, but where
    most frames move (fast beating, low frame rate) it is an upper bound. A trace that stands still
    in most frames shows none, and would win against any other: `rounding` is the least that it
    has. NaN below 8 differences.
    Source: the mean square successive difference of von Neumann et al., Ann. Math. Stat. 12:153
    (1941), one difference further.
    """
    second = np.diff(values_T, 2)
    second = second[np.isfinite(second)]
    if len(second) < 8:
        return math.nan
    seen = float(1.4826 * np.median(np.abs(second)) / math.sqrt(6))
    return max(seen, rounding(values_T))


def rounding(values_T: Array) -> float:
    """SD of rounding, in the unit of the trace: to the smallest step between frames, and of digits.

    A step of size d rounds with an SD of d / sqrt(12). Steps matter for hard masks; a trace that
    takes any value has some that are next to nothing.
    Source: Bennett, Bell System Technical Journal 27:446 (1948).

    >>> round(rounding(np.array([5.0, 5.0, 6.0, 8.0])), 3)
    0.289
    """
    digits = DIGITS * float(np.nanmax(np.abs(values_T), initial=0))
    steps = np.abs(np.diff(values_T))
    steps = steps[steps > digits]
    return max(float(steps.min(initial=math.inf)) / math.sqrt(12) if len(steps) else 0.0, digits)


def least_jitter_px(columns: Mapping[str, Array]) -> dict[str, float]:
    """SD (px) that lengths cannot go below where masks are hard: each end is a whole pixel.

    Hard masks are known by areas of whole pixels. Such an end stands still and then jumps, which
    `jitter` does not see where the tissue rests in most frames. Each end rounds by 1 / sqrt(12).
    Source: Bennett, Bell System Technical Journal 27:446 (1948).

    >>> least_jitter_px({"area_px": np.array([7.5]), "extent_px": np.array([4.2])})
    {}
    """
    area = columns.get("area_px", np.full(1, np.nan))
    area = area[np.isfinite(area)]
    if not len(area) or np.any(area != np.round(area)):
        return {}
    return {name: math.sqrt(ends / 12) for name, ends in ENDS.items() if name in columns}


def stem(name: str) -> str:
    """A column's name without its unit.

    >>> stem("major_axis_um")
    'major_axis'
    """
    return name.rpartition("_")[0]


def agree(chosen_T: Array, other_T: Array, step_s: float) -> tuple[float, float]:
    """Correlation of two evenly sampled traces at their best lag, and that lag (s).

    A positive lag means that `other` comes later. Lags up to `SLACK_S` are tried; the peak of the
    cross-correlation is refined by a parabola. What is NaN in both counts as neither high nor low.
    (nan, nan) where one of them does not move.
    """
    a, b = (np.nan_to_num(x - np.nanmean(x)) for x in (chosen_T, other_T))
    size = math.sqrt(float(a @ a) * float(b @ b))
    if size == 0:
        return math.nan, math.nan
    cross = signal.correlate(b, a, mode="full") / size
    reach = min(max(1, round(SLACK_S / step_s)), len(a) - 1)
    near = cross[len(a) - 1 - reach : len(a) + reach]
    peak = int(np.argmax(near))
    bend = 0.0
    if 0 < peak < len(near) - 1:
        left, top, right = near[peak - 1 : peak + 2]
        bend = 0.5 * (left - right) / (left - 2 * top + right)
    return float(near[peak]), float((peak - reach + bend) * step_s)


def choose_trace(traces: Traces, wanted: str | None = None) -> Choice | None:
    """The trace with the best signal-to-noise, why, and how the others agree with it.

    Signal: 5 to 95 % range after slow drift is taken off; noise: `jitter`. A trace that misses
    more than a tenth of the frames cannot be chosen, and those of `LAST` only where every other
    trace is below `WORTHY_SNR`. None where no trace can be chosen. `wanted`, a name
    without its unit, goes before the best one where it can be chosen.

    Raises: UserError for a `wanted` that no trace is called.
    """
    if wanted is not None and wanted not in SIGNS:
        raise UserError(f"a trace ({', '.join(SIGNS)})", f"{wanted!r}", "Choose one of these.")
    up = _turned_up(traces)
    if not up:
        return None
    snr = {name: _snr(flat, traces.jitter[name]) for name, (_, flat) in up.items()}
    ranked = sorted(snr, key=lambda name: -snr[name])
    asked = [one for one in ranked if stem(one) == wanted]
    name = asked[0] if asked else _best(ranked, snr)
    step_s = float(np.median(np.diff(traces.time_s)))
    even = _grid(traces.time_s, step_s)
    level = {one: np.interp(even, traces.time_s, flat) for one, (_, flat) in up.items()}
    table = []
    for one in ranked:
        known = np.isfinite(up[one][0])
        both = agree(level[name], level[one], step_s)
        noise, missing = traces.jitter[one], 1 - float(known.mean())
        table.append(Agreement(one, swing(up[one][1]), noise, snr[one], *both, missing))
    why = f"{name} was asked for." if asked else _why(name, snr)
    return Choice(name, why, up[name][0], tuple(table))


def _grid(time_s: Array, step_s: float) -> Array:
    """Even times (s) over the frames (T,); a gap, however long, is `SLACK_S` of NaN."""
    pause_s = np.full(round(SLACK_S / step_s) + 1, np.nan)
    ends = [time_s[part][[0, -1]] for part in filmed_parts(time_s)]
    parts = [(np.arange(first, last + step_s / 2, step_s), pause_s) for first, last in ends]
    return np.concatenate([times_s for part in parts for times_s in part][:-1])


def whole(traces: Traces, name: str) -> Array:
    """A column (T,); NaN where it is the size of a tissue of which the picture shows a part."""
    values, touches = traces.columns[name], traces.texts.get("touches")
    if touches is None or stem(name) not in SEEN_SIZES:
        return values
    return np.where(np.array(touches, str) != "", np.nan, values)


def _turned_up(traces: Traces) -> dict[str, tuple[Array, Array]]:
    """Traces that may be chosen: name -> (contraction up, the same without its slow line)."""
    found = {}
    for name in traces.columns:
        values = whole(traces, name)
        enough = len(values) >= FEWEST_FRAMES and np.isfinite(values).mean() >= 0.9
        if stem(name) in SIGNS and enough:
            turned = SIGNS[stem(name)] * values
            found[name] = turned, without_slow_line(turned, traces.time_s)
    return found


def _snr(flat_T: Array, noise: float) -> float:
    moved = swing(flat_T)
    if moved == 0 or math.isnan(noise):
        return 0.0
    return moved / noise if noise > 0 else math.inf


def _best(ranked: list[str], snr: dict[str, float]) -> str:
    first = [name for name in ranked if stem(name) not in LAST]
    worthy = [name for name in first if snr[name] >= WORTHY_SNR] or ranked
    if snr[worthy[0]] >= 1:  # below, it moves by less than its own rounding
        return worthy[0]
    return next((name for name in ranked if stem(name) == DEFAULT), ranked[0])


def _why(name: str, snr: dict[str, float]) -> str:
    others = [f"{one} {value:.0f}" for one, value in snr.items() if one != name]
    beside = f"; the others: {', '.join(others)}" if others else "; it is the only one"
    weak = ". That is hardly more than noise" if snr[name] < WORTHY_SNR else ""
    passed = any(value > snr[name] for value in snr.values())
    best = "best signal-to-noise" + passed * " of those with the size of a contraction"
    return f"{name} has the {best} ({snr[name]:.0f}{beside}){weak}."
