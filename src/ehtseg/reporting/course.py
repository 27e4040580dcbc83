"""The course of a long recording: rate, amplitude and durations in sliding windows, drawn."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ehtseg.measuring.events import Event
from ehtseg.records import Array
from ehtseg.reporting.embedded import as_svg
from ehtseg.reporting.figures import (
    BLUE,
    DOTS_PER_INCH,
    INK,
    LETTERS,
    ROWS,
    STYLE,
    VERMILION,
    WRITTEN,
)
from ehtseg.reporting.report import Report

FEWEST = 3  # windows of known rate, below which there is no course
FEW = 60  # windows, up to which each is seen as a dot
INCHES, PANEL_INCHES = 7.2, 1.05  # the width of all, the height of each panel
ROW = 0.16  # of the words of events above the panels, in heights of one
UNITS = ((1.0, "s", 600.0), (60.0, "min", 10_800.0), (3600.0, "h", 259_200.0))  # up to which span
DAYS = (86_400.0, "d")
PANELS = {  # words of an axis: beginnings of the columns that it shows, and their lines
    "rate (beats/min)": {"beat_rate_bpm": "-"},
    "amplitude": {"amplitude_": "-"},
    "width at 50 and\n90 % relaxed (ms)": {"cd50_ms": "-", "cd90_ms": "--"},
    "CV of intervals": {"cv_rr": "-"},
}
CHANGED = {"rr_s": "beat_rate_bpm"}  # the column in which a change of another quantity is drawn


def write_course(report: Report, folder: Path) -> str:
    """course.svg and course.png of a recording long enough for a course; the SVG, else ""."""
    if not has_course(report):
        return ""
    with mpl.rc_context(STYLE):
        figure = course_figure(report)
        figure.savefig(folder / "course.png", dpi=DOTS_PER_INCH)
    svg = as_svg(figure, report.name)
    (folder / "course.svg").write_text(svg, encoding="utf-8")
    return svg


def has_course(report: Report) -> bool:
    """Whether there are windows enough to draw."""
    return int(np.isfinite(_column(report.windows, "beat_rate_bpm")).sum()) >= FEWEST


def course_figure(report: Report) -> Figure:
    """A panel for each quantity over time, windows at their middle, with events and changes."""
    start_s, end_s = (_column(report.windows, name) for name in ("start_s", "end_s"))
    span_s = end_s[-1] - start_s[0]
    known = (unit[:2] for unit in UNITS if span_s <= unit[2])
    unit_s, unit = next(known, DAYS)
    panels = {words: _drawn(report.windows, lines) for words, lines in PANELS.items()}
    panels = {words: columns for words, columns in panels.items() if columns}
    page = Figure((INCHES, 0.5 + PANEL_INCHES * len(panels)), layout="constrained")
    every = page.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    size = 4.0 if len(start_s) <= FEW else 0.8
    cuts = np.flatnonzero(start_s[1:] > end_s[:-1]) + 1  # nothing is drawn across a pause
    at = np.insert((start_s + end_s) / 2 / unit_s, cuts, np.nan)
    events = [event for event in report.events if start_s[0] <= event.time_s <= end_s[-1]]
    for axes, (words, columns) in zip(every, panels.items(), strict=True):
        for name, line in columns.items():
            values = np.insert(_column(report.windows, name), cuts, np.nan)
            axes.plot(at, values, line, color=INK, linewidth=0.8, marker=".", markersize=size)
        _draw_changes(axes, report.changes, columns, unit_s)
        for event in events:
            axes.axvline(event.time_s / unit_s, color=VERMILION, linewidth=0.6, linestyle=":")
        axes.set_ylabel(_label(words, columns), fontsize=7)
    width_s = end_s - start_s
    most = f"{'up to ' if np.ptp(width_s) > 0.01 * width_s.max() else ''}{width_s.max():.3g} s"
    every[-1].set_xlabel(f"time ({unit}), middle of windows of {most}")
    _name_events(every[0], events, unit_s)
    page.align_ylabels(every)
    return page


def _drawn(windows: Sequence[Mapping[str, Any]], lines: Mapping[str, str]) -> dict[str, str]:
    """The columns of a panel that hold numbers, with their lines."""
    named = {
        name: line for start, line in lines.items() for name in windows[0] if name.startswith(start)
    }
    return {name: line for name, line in named.items() if np.isfinite(_column(windows, name)).any()}


def _column(windows: Sequence[Mapping[str, Any]], name: str) -> Array:
    return np.array([row[name] for row in windows], float)


def _label(words: str, columns: Mapping[str, str]) -> str:
    """The words of a panel, for an amplitude with its unit."""
    _, is_amplitude, unit = next(iter(columns)).partition("amplitude_")
    return f"{words} ({WRITTEN.get(unit, unit)})" if is_amplitude else words


def _draw_changes(
    axes: Axes, changes: Sequence[Mapping[str, Any]], columns: Mapping[str, str], unit_s: float
) -> None:
    """Lasting changes of what a panel shows, with the span in which each lies."""
    for change in changes:
        if CHANGED.get(change["name"], change["name"]) in columns:
            low, high, at = (change[name] / unit_s for name in ("low_s", "high_s", "time_s"))
            axes.axvspan(low, high, color=BLUE, alpha=0.15, linewidth=0)
            axes.axvline(at, color=BLUE, linewidth=0.8)


def _name_events(axes: Axes, events: Sequence[Event], unit_s: float) -> None:
    """The words of events above the first panel, in rows."""
    middle, rows = float(np.mean(axes.get_xlim())), min(len(events), ROWS)
    for number, event in enumerate(events):
        at = event.time_s / unit_s
        place: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "bottom"}
        words = textwrap.shorten(event.label, LETTERS, placeholder=" …")
        row = 1.02 + ROW * (rows - 1 - number % ROWS)
        side = "left" if at < middle else "right"
        axes.text(at, row, words, size=6, ha=side, parse_math=False, **place)
