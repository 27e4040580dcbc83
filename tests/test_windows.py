"""Sliding windows: the course of rate, amplitude, duration and irregularity over a recording."""

from __future__ import annotations

import numpy as np
import pytest

from ehtseg.measuring.windows import sliding_windows, window_starts_s


def beats(*parts: tuple[float, float]) -> np.ndarray:
    """Beat times of parts of (seconds, rate in 1/min), one after the other."""
    times, start = [], 0.0
    for seconds, rate_bpm in parts:
        times.append(start + np.arange(0, seconds - 1e-9, 60 / rate_bpm))
        start += seconds
    return np.concatenate(times)


def test_a_drop_of_the_rate_shows_in_the_windows_after_it() -> None:
    t50_s = beats((60, 120), (60, 60))
    table = sliding_windows(t50_s, {}, (0, 120))
    assert table["start_s"].tolist() == list(range(0, 100, 10))
    assert np.allclose(table["beat_rate_bpm"][table["end_s"] <= 60], 120)
    assert np.allclose(table["beat_rate_bpm"][table["start_s"] >= 60], 60)
    assert np.allclose(table["n_beats"][[0, -1]], [60, 30])


def test_medians_keep_the_names_and_units_and_leave_nan_out() -> None:
    t50_s = beats((60, 60))
    amplitude = np.where(t50_s < 30, 12.0, 6.0)
    cd50 = np.where(t50_s % 2 == 0, 300.0, np.nan)
    table = sliding_windows(t50_s, {"amplitude_um": amplitude, "cd50_ms": cd50}, (0, 60), 30, 30)
    assert table["amplitude_um"].tolist() == [12.0, 6.0]
    assert table["cd50_ms"].tolist() == [300.0, 300.0]


def test_irregularity_is_that_of_the_window_and_not_of_the_recording() -> None:
    quiet, wild = np.full(30, 1.0), np.tile([0.7, 1.3], 15)
    t50_s = np.cumsum(np.concatenate([quiet, wild]))
    table = sliding_windows(t50_s, {}, (0, 60.5), 30, 30)
    assert table["rmssd_s"][0] == pytest.approx(0, abs=1e-9)
    assert table["rmssd_s"][1] == pytest.approx(0.6, rel=0.05)
    assert table["cv_rr"][1] == pytest.approx(0.3, rel=0.05)


def test_an_arrest_is_rate_zero_and_not_an_empty_cell() -> None:
    t50_s = np.concatenate([beats((60, 60)), 180 + beats((60, 60))])
    table = sliding_windows(t50_s, {"amplitude_um": np.ones_like(t50_s)}, (0, 240), 30, 30)
    silent = (table["start_s"] >= 60) & (table["end_s"] <= 180)
    assert np.all(table["n_beats"][silent] == 0)
    assert np.all(table["beat_rate_bpm"][silent] == 0)
    assert np.all(np.isnan(table["amplitude_um"][silent]))
    assert np.all(np.isnan(table["sdnn_s"][silent]))


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_too_few_beats_give_nan_and_no_warning(count: int) -> None:
    t50_s = np.arange(count, dtype=float)
    table = sliding_windows(t50_s, {"cd50_ms": np.full(count, 200.0)}, (0, 10))
    assert len(table["start_s"]) == 1
    assert table["end_s"][0] == 10, "a window does not reach beyond the recording"
    assert np.isnan(table["rmssd_s"][0])
    assert np.isnan(table["beat_rate_bpm"][0]) == (count == 1)


def test_no_beat_is_lost_between_windows_that_touch() -> None:
    t50_s = np.sort(np.random.default_rng(3).uniform(0, 300, 400))
    table = sliding_windows(t50_s, {}, (0, 300), 30, 30)
    assert table["n_beats"].sum() == 400


def test_ten_hours_are_one_pass() -> None:
    assert len(window_starts_s(0, 36_000, 30, 10)) == 3598
