"""Stretches without frames (joined files, a camera that paused): what passes unseen is not told."""

from __future__ import annotations

import numpy as np
import pytest

from ehtseg.measuring import rhythm
from ehtseg.measuring.beat import Beat
from ehtseg.measuring.beats import find_beats
from ehtseg.measuring.events import Event, effects
from ehtseg.measuring.kinetics import table_of_beats
from ehtseg.measuring.levels import even
from ehtseg.measuring.summary import summary
from ehtseg.measuring.verdict import without_beats
from ehtseg.measuring.windows import seen_share, sliding_windows


def with_gap(before_s: float, gap_s: float, after_s: float, fps: float = 20.0) -> np.ndarray:
    """Times of frames of two files with a gap between them."""
    first = np.arange(0, before_s, 1 / fps)
    return np.concatenate([first, before_s + gap_s + np.arange(0, after_s, 1 / fps)])


def test_an_interval_across_a_gap_is_none() -> None:
    frames_s = with_gap(10.0, 100.0, 10.0)
    t50_s = np.concatenate([np.arange(0.5, 10), np.arange(110.5, 120)])
    rr_s = rhythm.intervals_s(t50_s, frames_s)
    assert np.flatnonzero(np.isnan(rr_s)).tolist() == [9]
    assert rhythm.beat_rate_bpm(rr_s) == pytest.approx(60)
    assert rhythm.pauses(rr_s) == rhythm.missed_beats(rr_s) == 0
    assert (rhythm.sdnn_s(rr_s), rhythm.rmssd_s(rr_s)) == pytest.approx((0, 0), abs=1e-9)
    assert rhythm.pauses(rhythm.intervals_s(t50_s)) == 1, "without the frames' times it looks so"


def test_dropped_frames_are_no_gap() -> None:
    frames_s = np.delete(np.arange(0, 10, 0.05), [30, 31, 90])
    assert np.isfinite(rhythm.intervals_s(np.arange(0.5, 10), frames_s)).all()


def test_differences_of_intervals_do_not_reach_over_a_gap() -> None:
    rr_s = np.array([1.0, 1.1, np.nan, 2.0, 2.1])
    assert rhythm.rmssd_s(rr_s) == pytest.approx(0.1)


def test_the_table_of_beats_has_no_interval_across_a_gap() -> None:
    time_s = with_gap(3.0, 60.0, 3.0)
    x = np.exp(-(((time_s % 1.0) - 0.5) ** 2) / 0.01)
    beats = [
        Beat(
            k, at - 0.2, at - 0.1, at, at + 0.3, 1.0, rest=0.0, before_s=at - 0.5, after_s=at + 0.5
        )
        for k, at in enumerate([0.5, 1.5, 2.5, 63.5, 64.5])
    ]
    rr_s = [row["rr_s"] for row in table_of_beats(time_s, x, beats)]
    assert rr_s == pytest.approx([np.nan, 1, 1, np.nan, 1], nan_ok=True)


def test_a_window_in_a_gap_is_no_arrest() -> None:
    frames_s = with_gap(60.0, 60.0, 60.0)
    t50_s = np.concatenate([np.arange(0.5, 60), np.arange(120.5, 180)])
    table = sliding_windows(t50_s, {}, (0.0, 179.95), frames_s=frames_s)
    rate = dict(zip(table["start_s"], table["beat_rate_bpm"], strict=True))
    assert rate[20.0] == rate[130.0] == pytest.approx(60)
    assert table["start_s"].tolist() == [0, 10, 20, 120, 130, 140], "none in the gap"
    assert np.isfinite(table["beat_rate_bpm"]).all()
    arrested = sliding_windows(t50_s, {}, (0.0, 180.0), frames_s=np.arange(0, 180, 0.05))
    assert arrested["beat_rate_bpm"][8] == 0, "frames without a beat are an arrest"


def test_a_window_that_is_mostly_a_short_gap_has_no_rate() -> None:
    frames_s = with_gap(60.0, 20.0, 60.0)
    t50_s = np.concatenate([np.arange(0.5, 60), np.arange(80.5, 140)])
    table = sliding_windows(t50_s, {}, (0.0, 140.0), frames_s=frames_s)
    rate = dict(zip(table["start_s"], table["beat_rate_bpm"], strict=True))
    assert np.isnan(rate[50.0]), "20 of its 30 s were not filmed"
    assert rate[30.0] == rate[80.0] == pytest.approx(60)


def test_short_clips_hours_apart_have_a_window_each() -> None:
    """On one grid of 30 s a clip of 12 s filled less than half of each window: no rate at all."""
    frames_s = np.concatenate([3600.0 * k + np.arange(0, 12, 0.05) for k in range(24)])
    t50_s = np.concatenate([3600.0 * k + np.arange(0.5, 12, 1 + k / 24) for k in range(24)])
    table = sliding_windows(t50_s, {}, (0.0, float(frames_s[-1])), frames_s=frames_s)
    assert table["start_s"] == pytest.approx(3600.0 * np.arange(24))
    assert table["end_s"] - table["start_s"] == pytest.approx(11.95)
    assert table["beat_rate_bpm"] == pytest.approx(60 / (1 + np.arange(24) / 24))


@pytest.mark.parametrize(("clip_s", "rate"), [(4.0, np.nan), (20.0, 0.0)])
def test_a_clip_too_short_for_an_arrest_has_no_rate(clip_s: float, rate: float) -> None:
    frames_s = np.concatenate([np.arange(0, 30, 0.05), 3600 + np.arange(0, clip_s, 0.05)])
    table = sliding_windows(np.arange(0.5, 30), {}, (0.0, float(frames_s[-1])), frames_s=frames_s)
    assert table["n_beats"].tolist() == [30, 0]
    assert table["beat_rate_bpm"] == pytest.approx([60, rate], nan_ok=True)


@pytest.mark.parametrize("pause_s", [600.0, 86_400.0, 30 * 86_400.0])
def test_a_pause_costs_the_same_however_long_it_is(pause_s: float) -> None:
    """A month on a grid of 20 points a second would be 400 MB for one trace."""
    frames_s = with_gap(30.0, pause_s, 30.0)
    x = 10 + np.maximum(0, np.sin(2 * np.pi * 1.1 * frames_s)) ** 4
    grid_s, values = even(frames_s, x)
    assert len(grid_s) == len(values) == 2 * 600 + 60 * 20 - 1
    assert (grid_s[0], grid_s[-1]) == pytest.approx((frames_s[0], frames_s[-1]))
    assert (np.diff(grid_s) > 0).all()
    filmed = np.r_[0:600, -600:0]
    np.testing.assert_allclose(grid_s[filmed], frames_s, rtol=0, atol=1e-6)
    np.testing.assert_allclose(values[filmed], x, rtol=0, atol=1e-6)
    period_s, strength = rhythm.periodicity(frames_s, x)
    assert (period_s, strength > 0.9) == (pytest.approx(1 / 1.1, abs=0.03), True)


def test_an_effect_reached_in_a_gap_has_no_time() -> None:
    frames_s = with_gap(200.0, 600.0, 200.0)
    draw = np.random.default_rng(1)
    first = np.arange(0.5, 200, 1.0)
    t50_s = np.concatenate([first, np.arange(800.5, 1000, 0.7)])
    t50_s = t50_s + draw.normal(0, 0.005, len(t50_s))
    event = Event(201.0, "iso 1 uM", "iso", 1.0, "uM")
    (effect,) = effects(t50_s, {}, [event], (0.0, 1000.0), frames_s)
    assert effect.verdict == "effect"
    assert effect.change_pct == pytest.approx(100 / 0.7 - 100, abs=2)
    assert np.isnan(effect.half_time_s)
    assert "reached unseen, at the latest 599 s" in " ".join(effect.notes)


def test_an_effect_that_a_short_clip_begins_with_is_read_in_all_of_it() -> None:
    """A line of a manifest knows no time but that of its file: the drug was given before it."""
    frames_s = np.concatenate([3600.0 * k + np.arange(0, 25, 0.05) for k in range(3)])
    steps_s = (1.0, 0.8, 0.6)
    t50_s = np.concatenate([3600 * k + np.arange(0.5, 25, step) for k, step in enumerate(steps_s)])
    events = [Event(3600.0, "iso 1 nM"), Event(7200.0, "iso 10 nM")]
    found = effects(t50_s, {}, events, (0.0, float(frames_s[-1])), frames_s)
    assert [one.verdict for one in found] == ["effect", "effect"]
    assert [one.change_pct for one in found] == pytest.approx([25, 100 / 0.6 - 100], abs=0.1)
    assert [one.n_after for one in found] == [30, 40]
    for one in found:
        assert np.isnan(one.half_time_s)
        assert "Filming began with the event" in " ".join(one.notes)
    given = [Event(3605.0, "iso 1 nM")]  # while the camera ran: 30 s have to pass
    (late,) = effects(t50_s[t50_s < 3630], {}, given, (0.0, 3625.0), frames_s[frames_s < 3630])
    assert (late.verdict, late.n_after) == ("cannot tell", 0)


def test_an_effect_is_read_in_what_was_filmed_before_a_gap() -> None:
    """A dose at 300 s of a film that stops at 600 s; the next one begins with the next film."""
    frames_s = with_gap(600.0, 3000.0, 600.0)
    draw = np.random.default_rng(2)
    t50_s = np.concatenate(
        [np.arange(0.5, 300), np.arange(300.5, 600, 0.7), np.arange(3600.5, 4200, 0.5)]
    )
    t50_s = t50_s + draw.normal(0, 0.005, len(t50_s))
    doses = [Event(300.0, "iso 1 uM", "iso"), Event(3600.0, "iso 10 uM", "iso")]
    low, high = effects(t50_s, {}, doses, (0.0, 4199.95), frames_s)
    assert low.change_pct == pytest.approx(100 / 0.7 - 100, abs=2)
    assert high.change_pct == pytest.approx(100, abs=2)
    assert low.n_after == pytest.approx(180 / 0.7, abs=2)
    blind = effects(t50_s, {}, doses, (0.0, 4199.95))[0]
    assert blind.n_after == 0, "without the frames' times the gap looks like an arrest"


def test_what_was_not_filmed_is_not_called_an_arrest() -> None:
    frames_s = with_gap(600.0, 3000.0, 600.0)
    t50_s = np.concatenate([np.arange(0.5, 600), np.arange(3601.5, 4200)])
    in_the_gap = [Event(1000.0, "iso 1 uM", "iso"), Event(3601.0, "iso 10 uM", "iso")]
    unseen, later = effects(t50_s, {}, in_the_gap, (0.0, 4199.95), frames_s)
    assert unseen.verdict == "cannot tell"
    assert "Only 1 s were filmed from 3421 to 3601 s" in unseen.reason
    assert later.n_before == pytest.approx(180, abs=1), "the baseline is that of the first film"
    soon = [Event(580.0, "iso 1 uM", "iso"), Event(3600.0, "iso 10 uM", "iso")]
    assert "or a pause" in effects(t50_s, {}, soon, (0.0, 4199.95), frames_s)[0].reason


def test_a_slow_camera_has_no_gaps() -> None:
    assert seen_share(np.arange(0, 600, 1.5), 0.0, 300.0) == 1


def test_the_beat_before_a_pause_is_not_as_long_as_the_pause() -> None:
    """Twenty beats; the last one before the pause, and the last of all, have not relaxed."""
    time_s = with_gap(10.0, 600.0, 10.0)
    since_s = (time_s + 0.5) % 1.0
    x = np.where(since_s < 0.2, since_s / 0.2, np.exp(-(since_s - 0.2) / 0.25))
    x = x + np.random.default_rng(5).normal(0, 0.01, len(x))
    found = find_beats(time_s, x)
    assert found.verdict == "beating"
    assert len(found.accepted) == 20
    assert max(beat.end_s - beat.onset_s for beat in found.accepted) < 1.1
    cut = [beat for beat in found.accepted if beat.clipped == "end"]
    assert [beat.peak_s for beat in cut] == pytest.approx([9.7, 619.7], abs=0.05)
    assert "stops before this beat has relaxed" in cut[0].reason


def test_beats_that_are_all_parted_by_gaps_have_no_rate() -> None:
    time_s = np.concatenate([600 * k + np.arange(0, 1.2, 1 / 30) for k in range(8)])
    x = np.exp(-(((time_s % 600) - 0.5) ** 2) / 0.01)
    finding = find_beats(time_s, x + np.random.default_rng(0).normal(0, 0.01, len(x)))
    assert len(finding.accepted) == 8
    numbers = summary(finding)
    assert numbers["beat_rate_bpm"].n == numbers["rr_s"].n == 0
    assert np.isnan(numbers["beat_rate_bpm"].median)
    assert numbers["amplitude_px"].median == pytest.approx(1, abs=0.05)
    assert finding.verdict == "beating"
    assert np.isnan(finding.period_s)
    assert np.isnan(numbers["missed_beats"].resolution)


@pytest.mark.parametrize("seed", range(6))
def test_a_camera_that_stalls_ends_no_analysis(seed: int) -> None:
    """Between two frames the grid may have a maximum where nothing was filmed."""
    rng = np.random.default_rng(seed)
    steps_s = np.where(rng.random(600) < 0.05, rng.uniform(0.2, 1, 600), 1 / 30)
    time_s = np.cumsum(steps_s) - steps_s[0]
    since_s = (time_s - 0.5) % 1.0
    x = 10 * np.exp(-(((since_s - 0.2) / 0.1) ** 2)) + rng.normal(0, 0.1, len(time_s))
    finding = find_beats(time_s, x)
    assert len(finding.accepted) > 5


def test_the_verdict_counts_what_was_filmed() -> None:
    """Two looks of a second, an hour apart, are neither an hour nor enough to see no beat."""
    verdict, reasons = without_beats(with_gap(0.8, 3600.0, 0.8), "nothing moves")
    assert verdict == "cannot tell"
    assert "1.5 s may be shorter" in reasons[1]
    time_s = with_gap(6.0, 600.0, 6.0)
    x = np.exp(-(((time_s % 1.0) - 0.5) ** 2) / 0.01)
    assert "beats in 11.9 s" in find_beats(time_s, x).reasons[0]
