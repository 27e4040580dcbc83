"""Figures of one recording for a paper: the trace with its beats, and the beats over each other.

Colours are those of Okabe and Ito (2008), told apart under every colour blindness; marks differ in
shape as well. SVG keeps its text as text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ehtseg.measuring.beat import above_rest
from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.events import Event
from ehtseg.measuring.levels import filmed_parts
from ehtseg.measuring.traces import stem
from ehtseg.records import Array, in_words
from ehtseg.reporting.pauses import TimeAxis, time_axis
from ehtseg.reporting.report import Clock, Report

INK, GREY, PALE, BLUE, VERMILION = "#1a1a1a", "#8a8a8a", "#ececec", "#0072b2", "#d55e00"
INCHES = (7.2, 2.5)  # a page of two columns
WIDE_INCHES = 5.0  # of it the trace
DOTS_PER_INCH = 300
WORDED = 6  # pauses; bands of more are too narrow for words
ABOUT_TICKS, LETTER_INCHES = 6, 0.075  # labels of an axis with pauses, and a digit's width
MOST_POINTS = 4000  # a line of more would only be thicker
ROWS, ROW = 4, 0.07  # of the words of events: how many, and the height of each in the axes
LETTERS = 48  # of such words
MOST_BEATS = 60  # drawn over each other; with more the marks are small
WORDS = {
    "major_axis": "shortening of the long axis",
    "contraction": "shortening (optical flow)",
    "post_shortening": "shortening between the posts",
    "extent": "shortening end to end",
    "area": "loss of area",
    "mid_width": "gain of mid-width",
    "perimeter": "gain of outline",
    "displacement": "mean displacement",
}
WRITTEN = {"um": "µm", "mm2": "mm²"}  # units in names, as they are written
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ehtseg",
    "font.size": 8,
    "font.family": "sans-serif",
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


def write_figures(report: Report, folder: Path) -> None:
    """trace.svg and trace.png."""
    with mpl.rc_context(STYLE):
        figure = trace_figure(report)
        figure.savefig(folder / "trace.svg", metadata={"Date": None, "Title": report.name})
        figure.savefig(folder / "trace.png", dpi=DOTS_PER_INCH)


def trace_figure(report: Report) -> Figure:
    """The trace from start to end, and its accepted beats laid over each other."""
    page = Figure(INCHES, layout="constrained")
    if report.choice is None or report.finding is None:
        axes = page.subplots()
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no trace: " + "; ".join(report.cannot[:1]), ha="center", wrap=True)
        return page
    left, right = page.subplots(1, 2, width_ratios=(WIDE_INCHES, INCHES[0] - WIDE_INCHES))
    _draw_trace(left, report, report.finding)
    _draw_beats(right, report.finding, report.clock)
    left.set_ylabel(label(report.choice.name))
    return page


def label(trace: str) -> str:
    """The words of an axis for a trace that was turned so that contraction is up.

    >>> label("major_axis_um"), label("area_mm2")
    ('shortening of the long axis (µm)', 'loss of area (mm²)')
    """
    unit = trace.removeprefix(f"{stem(trace)}_")
    return f"{WORDS[stem(trace)]} ({WRITTEN.get(unit, unit)})"


def relaxed_level(finding: BeatFinding) -> float:
    """The level that is drawn as zero: the median of the relaxed line, else of the trace."""
    known = finding.baseline[np.isfinite(finding.baseline)]
    return float(np.median(known if len(known) else finding.x))


def thinned(time_s: Array, x: Array, most: int = MOST_POINTS) -> tuple[Array, Array]:
    """A line of at most about `most` points that looks the same: lowest and highest of each bin."""
    if len(x) <= most:
        return time_s, x
    parts = np.array_split(np.arange(len(x)), most // 2)
    kept = sorted({int(k) for p in parts for k in (p[np.argmin(x[p])], p[np.argmax(x[p])])})
    return time_s[kept], x[kept]


def parted(time_s: Array, x: Array, most: int = MOST_POINTS) -> tuple[Array, Array]:
    """A line as it is drawn: thinned, with a NaN where nothing was seen, so that it ends there.

    >>> time_s, x = parted(np.array([0.0, 0.5, 90.0, 90.5]), np.arange(4.0))
    >>> time_s.tolist(), x.tolist()
    ([0.0, 0.5, 0.5, 90.0, 90.5], [0.0, 1.0, nan, 2.0, 3.0])
    """
    at_s, line = [], []
    for part in filmed_parts(time_s):
        share = max(2, round(most * len(part) / len(time_s)))
        near_s, near = thinned(time_s[part], x[part], share)
        at_s += [near_s, near_s[-1:]]
        line += [near, np.full(1, np.nan)]
    return np.concatenate(at_s)[:-1], np.concatenate(line)[:-1]


def _draw_trace(axes: Axes, report: Report, finding: BeatFinding) -> None:
    zero, scale = relaxed_level(finding), _per_s(report.clock)
    along = time_axis(finding.time_s)
    time_s, x = parted(finding.time_s, finding.x)
    axes.plot(along.at(time_s) * scale, x - zero, color=INK, linewidth=0.7)
    line_s, line = thinned(finding.time_s, finding.baseline)
    axes.plot(along.at(line_s) * scale, line - zero, color=GREY, linewidth=0.7, linestyle="--")
    size = 3.5 if len(finding.beats) <= MOST_BEATS else 1.2
    marks = {"accepted": (BLUE, "o"), "rejected": (VERMILION, "X")}
    for word, (colour, mark) in marks.items():
        chosen = [beat for beat in finding.beats if beat.accepted == (word == "accepted")]
        at_s = np.array([beat.peak_s for beat in chosen])
        level = np.interp(at_s, finding.time_s, finding.x) - zero
        drawn: dict[str, Any] = {"color": colour, "markersize": size, "linestyle": "none"}
        shown = f"{word} ({len(chosen)})"
        axes.plot(along.at(at_s) * scale, level, marker=mark, label=shown, **drawn)
    _draw_events(axes, report.events if report.clock.is_known else (), along)
    axes.set_xlabel(along.label(report.clock.unit))
    if along.pauses():
        _draw_pauses(axes, along, scale)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, fontsize=7)


def _draw_events(axes: Axes, events: Sequence[Event], along: TimeAxis) -> None:
    """Dotted lines, with their words in rows above the trace, beside which they have more room."""
    shown = [event for event in events if event.time_s <= along.true_s[-1]]
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + ROW * min(len(shown), ROWS) * (high - low))
    for number, event in enumerate(shown):
        at_s = float(along.at(np.array(event.time_s)))
        axes.axvline(at_s, color=VERMILION, linewidth=0.6, linestyle=":")
        side = "left" if 2 * at_s < along.drawn_s[0] + along.drawn_s[-1] else "right"
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "ha": side, "va": "top"}
        words = f" {textwrap.shorten(event.label, LETTERS, placeholder=' …')} "
        top = 0.99 - ROW * (number % ROWS)
        axes.text(at_s, top, words, size=6, parse_math=False, **place).set_in_layout(False)


def _draw_pauses(axes: Axes, along: TimeAxis, scale: float) -> None:
    """Grey where nothing was filmed, and true times below the axis."""
    place: dict[str, Any] = {
        "transform": axes.get_xaxis_transform(),
        "ha": "center",
        "va": "center",
    }
    for start_s, end_s, lasted_s in along.pauses():
        axes.axvspan(start_s * scale, end_s * scale, color=PALE, linewidth=0)
        if len(along.pauses()) <= WORDED:
            middle = (start_s + end_s) / 2 * scale
            axes.text(middle, 0.5, in_words(lasted_s), size=6, rotation=90, **place)
    longest = len(f"{along.true_s[-1] * scale:.0f}") + 1
    room_s = float(np.ptp(along.drawn_s)) * longest * LETTER_INCHES / WIDE_INCHES
    ticks_s = along.ticks(ABOUT_TICKS, room_s)
    axes.set_xticks(along.at(ticks_s) * scale, [f"{at:.10g}" for at in ticks_s * scale])


def _draw_beats(axes: Axes, finding: BeatFinding, clock: Clock) -> None:
    """Accepted beats above their relaxed level, laid over each other at the 50 % upstroke."""
    scale = _per_s(clock)
    beats = [beat for beat in finding.accepted if np.isfinite(beat.t50_s)]
    middle = max(0, (len(beats) - MOST_BEATS) // 2)
    shown = beats[middle : middle + MOST_BEATS]
    for beat in shown:
        near = (finding.time_s >= beat.onset_s - 0.1) & (finding.time_s <= beat.end_s + 0.1)
        time_s, x = finding.time_s[near], finding.x[near]
        y = above_rest(beat, time_s, x)
        axes.plot((time_s - beat.t50_s) * scale, y, color=BLUE, linewidth=0.5, alpha=0.6)
    axes.axvline(0, color=GREY, linewidth=0.5)
    axes.set_xlabel(f"from 50 % upstroke ({clock.unit})")
    axes.set_title(f"{len(shown)} of {len(beats)} beats", size=7, loc="left")


def _per_s(clock: Clock) -> float:
    """Units of time per second of the inner clock."""
    return clock.tell("time_s", 1.0)[1]
