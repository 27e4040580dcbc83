"""The course of a long recording as a figure: what stands in windows.csv, events and changes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from ehtseg.measuring.events import Event
from ehtseg.reporting.course import course_figure, has_course, write_course
from ehtseg.reporting.page import write_page
from ehtseg.reporting.report import Report
from test_reporting import report as report

CHANGES = (
    {"name": "rr_s", "beat": 40, "time_s": 130.0, "low_s": 120.0, "high_s": 150.0},
    {"name": "tau_ms", "beat": 40, "time_s": 131.0, "low_s": 121.0, "high_s": 151.0},
)


def windows(starts_s: list[float], width_s: float = 30.0) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "start_s": at, "end_s": at + width_s, "n_beats": 30, "beat_rate_bpm": 60 + k,
            "amplitude_um": 100.0 - k, "cd50_ms": 300.0, "cd90_ms": 500.0 + k, "cv_rr": np.nan,
        }
        for k, at in enumerate(starts_s)
    )  # fmt: skip


def lines(figure: Figure) -> list[list[np.ndarray]]:
    """The windows' values of every panel, line by line."""
    return [
        [np.asarray(line.get_ydata(), float) for line in axes.lines if line.get_marker() == "."]
        for axes in figure.axes
    ]


def test_a_short_recording_has_no_course(report: Report, tmp_path: Path) -> None:
    for few in ((), windows([0.0, 10.0])):
        short = replace(report, windows=few)
        assert not has_course(short)
        assert write_course(short, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []
    unknown = [{**row, "beat_rate_bpm": np.nan} for row in windows([0.0, 10.0, 20.0, 30.0])]
    assert not has_course(replace(report, windows=tuple(unknown)))


def test_panels_hold_the_numbers_of_the_windows(report: Report) -> None:
    long = replace(report, windows=windows([10.0 * k for k in range(20)]), events=(), changes=())
    figure = course_figure(long)
    rate, amplitude, widths = lines(figure)  # no irregularity is known: no panel
    assert rate[0].tolist() == [60 + k for k in range(20)]
    assert amplitude[0].tolist() == [100 - k for k in range(20)]
    assert [line[-1] for line in widths] == [300, 519]
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["rate (beats/min)", "amplitude (µm)"]
    first = np.asarray(figure.axes[0].lines[0].get_xdata(), float)
    assert first[:2].tolist() == [15, 25], "the middle of a window"
    assert figure.axes[-1].get_xlabel() == "time (s), middle of windows of 30 s"


@pytest.mark.parametrize(
    ("every_s", "unit", "at"),
    [(100.0, "s", 115.0), (1200.0, "min", 20.25), (3600.0, "h", 1.0042), (86_400.0, "d", 1.0002)],
)
def test_nothing_is_drawn_across_a_pause(
    report: Report, every_s: float, unit: str, at: float
) -> None:
    clips = replace(report, windows=windows([every_s * k for k in range(6)]), events=(), changes=())
    figure = course_figure(clips)
    rate = lines(figure)[0][0]
    assert np.isnan(rate[1::2]).all()
    assert rate[::2].tolist() == [60, 61, 62, 63, 64, 65]
    assert f"time ({unit})" in figure.axes[-1].get_xlabel()
    assert float(figure.axes[0].lines[0].get_xdata()[2]) == pytest.approx(at, rel=1e-3)  # type: ignore[index]


def test_events_and_lasting_changes_stand_in_it(report: Report, tmp_path: Path) -> None:
    events = (Event(120.0, "$isoprenaline$ <1 µM>"), Event(150.0, "wash"))
    late = (Event(99_999.0, "after the end"),)
    long = replace(
        report,
        windows=windows([10.0 * k for k in range(20)]),
        events=events + late,
        changes=CHANGES,
    )
    figure = course_figure(long)
    dotted = [
        [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]  # type: ignore[index]
        for axes in figure.axes
    ]
    assert dotted == [[120, 150]] * 3
    spans = [len(axes.patches) for axes in figure.axes]
    assert spans == [1, 0, 0], "a change of the interval is one of the rate; tau has no panel"
    assert [text.get_text() for text in figure.axes[0].texts] == [each.label for each in events]
    root = ElementTree.fromstring(write_course(long, tmp_path))
    assert "$isoprenaline$ <1 µM>" in "".join(root.itertext())


def test_the_page_shows_the_course(report: Report, tmp_path: Path) -> None:
    write_page(report, tmp_path / "short.html")
    assert "<h2>Course</h2>" not in (tmp_path / "short.html").read_text()
    long = replace(report, windows=windows([10.0 * k for k in range(20)]), changes=CHANGES)
    svg = write_course(long, tmp_path)
    write_page(long, tmp_path / "long.html", svg)
    page = (tmp_path / "long.html").read_text()
    assert re.search(r'<h2>Course</h2>\s*<img class="drawn" src="data:image/svg\+xml;base64,', page)
    assert (tmp_path / "course.svg").read_text(encoding="utf-8") == svg
    assert write_course(long, tmp_path) == svg, "the same report, the same file"
    assert (tmp_path / "course.png").read_bytes()[:4] == b"\x89PNG"
