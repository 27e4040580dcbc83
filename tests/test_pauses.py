"""Long pauses are drawn short; what was filmed keeps its proportions, labels their true times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehtseg.measuring.events import Event
from ehtseg.reporting.figures import trace_figure
from ehtseg.reporting.page import trace_data
from ehtseg.reporting.pauses import time_axis
from ehtseg.reporting.report import Report
from test_reporting import report as report


def clips(count: int, filmed_s: float, every_s: float) -> np.ndarray:
    return np.concatenate([every_s * k + np.arange(0, filmed_s, 0.05) for k in range(count)])


@pytest.mark.parametrize(
    "time_s",
    [
        clips(1, 30, 0),
        clips(3, 60, 100),  # more than half was filmed
        np.delete(np.arange(0, 60, 0.05), slice(100, 140)),  # a stall of two seconds
    ],
)
def test_a_film_of_short_pauses_is_drawn_as_it_is(time_s: np.ndarray) -> None:
    axis = time_axis(time_s)
    assert axis.pauses() == []
    np.testing.assert_allclose(axis.at(time_s), time_s, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("count", "every_s"), [(2, 604_800.0), (24, 3600.0), (300, 600.0)])
def test_pauses_take_little_room_and_films_keep_their_proportions(
    count: int, every_s: float
) -> None:
    time_s = clips(count, 30, every_s)
    axis = time_axis(time_s)
    drawn_s, filmed_s = axis.at(time_s), count * 29.95
    steps_s, is_pause = np.diff(drawn_s), np.diff(time_s) > 1
    assert steps_s[~is_pause] == pytest.approx(0.05)
    assert len(axis.pauses()) == is_pause.sum() == count - 1
    assert 0 < steps_s[is_pause].min() <= steps_s[is_pause].max() <= 0.0401 * filmed_s
    assert steps_s[is_pause].sum() <= 0.2501 * filmed_s
    assert {round(lasted_s, 6) for *_, lasted_s in axis.pauses()} == {round(every_s - 29.95, 6)}


def test_a_stall_beside_a_long_pause_stays_as_it_is() -> None:
    time_s = np.concatenate([clips(1, 30, 0), 31.5 + clips(1, 30, 0), 7200 + clips(1, 30, 0)])
    axis = time_axis(time_s)
    assert len(axis.pauses()) == 1
    assert float(axis.at(np.array(31.5))) == pytest.approx(31.5)


@pytest.mark.parametrize("count", [2, 12, 100])
def test_labels_have_room_and_clips_their_start(count: int) -> None:
    axis = time_axis(clips(count, 30, 3600))
    room_s = 0.1 * np.ptp(axis.drawn_s)
    ticks_s = axis.ticks(8, room_s)
    assert np.diff(axis.at(ticks_s)).min() >= room_s * (1 - 1e-9)
    assert {0.0, 3600.0} <= set(ticks_s) or count > 10
    assert len(ticks_s) >= 5
    inside = [any(3600 * k <= at <= 3600 * k + 30 for k in range(count)) for at in ticks_s]
    assert all(inside), "no label where nothing was filmed"


def test_page_and_figure_tell_true_times(report: Report) -> None:
    assert report.finding is not None
    time_s = report.finding.time_s.copy()
    half = len(time_s) // 2
    time_s[half:] += 7200
    paused = replace(
        report,
        finding=replace(report.finding, time_s=time_s),
        events=(Event(3600.0, "isoprenaline"),),
    )
    data = trace_data(paused)
    (start, end, words), (true_s, drawn_s) = data["pauses"][0], data["knots"]
    assert words == "2 h"
    assert true_s[1:3] == pytest.approx(time_s[half - 1 : half + 1], abs=1e-4)
    assert (start, end) == (drawn_s[1], drawn_s[2])
    assert "not filmed" in data["xLabel"]
    assert data["time"][-1] == pytest.approx(time_s[-1], abs=1e-4), "times stay true"

    left = trace_figure(paused).axes[0]
    labels = [float(text.get_text()) for text in left.get_xticklabels()]
    assert any(at >= time_s[half] for at in labels)
    assert left.get_xlim()[1] < 100, "the pause is drawn short"
    at = next(line for line in left.lines if line.get_linestyle() == ":").get_xdata()[0]
    assert start < at < end, "what was given in the pause stands in it"
    assert "2 h" in [text.get_text() for text in left.texts]
    without = trace_data(report)
    assert (without["pauses"], "filmed" in without["xLabel"]) == ([], False)
