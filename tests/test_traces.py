"""Columns, units, noise, and the choice among traces, against made-up truth."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

from ehtseg.measuring import traces
from ehtseg.measuring.flow import FlowFrame
from ehtseg.measuring.shapes import FrameShape
from ehtseg.measuring.traces import Traces, choose_trace, collect, jitter, whole
from ehtseg.records import Array, UserError

TIME_S = np.arange(900) / 30


def twitching(delay_s: float = 0.0, time_s: Array = TIME_S) -> Array:
    """A train of twitches of height 1 and 1.1 s period."""
    phase = (time_s - delay_s) % 1.1
    return np.where(phase < 0.2, np.sin(np.pi * phase / 0.4) ** 2, np.exp(-(phase - 0.2) / 0.12))


def recording(**columns: Array) -> Traces:
    noise = {name: jitter(values) for name, values in columns.items()}
    return Traces(TIME_S[: len(next(iter(columns.values())))], columns, noise, {}, None)


def test_records_become_columns_with_their_unit():
    shapes = [FrameShape(area_px=1000, extent_px=90, parts=1, touches="left"), FrameShape()]
    flow = [FlowFrame(1.0, 2.0, 3.0, 4.0, 0.9, 0), FlowFrame()]
    plain = collect(np.array([0.0, 0.1]), shapes, flow)
    assert plain.columns["area_px"].tolist() == [1000, 0]
    assert plain.columns["contraction_px"][0] == 1
    assert math.isnan(plain.columns["extent_px"][1])
    assert plain.texts["touches"] == ("left", "")
    scaled = collect(np.array([0.0, 0.1]), shapes, flow, um_per_px=4.0)
    assert scaled.columns["area_mm2"][0] == pytest.approx(0.016)  # BeatProfiler says 16000
    assert scaled.columns["extent_um"][0] == 360
    assert scaled.columns["contraction_um"][0] == 4
    assert scaled.columns["match"][0] == 0.9
    assert not any(name.endswith("_px") for name in scaled.columns)


def test_masks_and_video_of_different_length_are_said_so():
    with pytest.raises(UserError, match="3 time stamps, got 2 of FrameShape"):
        collect(np.arange(3.0), [FrameShape()] * 2)
    with pytest.raises(UserError, match="got 0"):
        collect(np.arange(3.0), [])


@pytest.mark.parametrize("seed", range(3))
def test_jitter_is_the_noise_of_a_slow_trace(seed):
    noise = np.random.default_rng(seed).normal(0, 0.3, 3000)
    slow = 40 * np.sin(np.arange(3000) / 200) + 0.01 * np.arange(3000)
    assert jitter(noise) == pytest.approx(0.3, rel=0.06)
    assert jitter(noise + slow) == pytest.approx(0.3, rel=0.06)


def test_jitter_ignores_the_few_frames_of_an_upstroke_and_missing_ones():
    rng = np.random.default_rng(3)
    x = 20 * twitching() + rng.normal(0, 0.3, 900)
    x[::50] = np.nan
    assert 0.25 < jitter(x) < 0.75
    assert math.isnan(jitter(x[:9]))
    assert math.isnan(jitter(np.full(50, np.nan)))


def test_the_trace_with_the_best_signal_to_noise_is_chosen_and_said():
    rng = np.random.default_rng(0)
    x = twitching()
    choice = choose_trace(
        recording(
            major_axis_px=500 - 20 * x + rng.normal(0, 2, 900),
            contraction_px=20 * x + rng.normal(0, 0.3, 900),
            area_px=5e4 - 800 * x + rng.normal(0, 300, 900),
            centroid_x_px=50 + 9 * x,  # no contraction can be read from it
        )
    )
    assert choice is not None
    assert choice.name == "contraction_px"
    assert "contraction_px has the best signal-to-noise" in choice.reason
    assert [one.name for one in choice.agreement] == ["contraction_px", "major_axis_px", "area_px"]
    assert "weak" not in choice.reason


def test_contraction_is_up_in_the_chosen_trace():
    x = twitching()
    noise = np.random.default_rng(1).normal(0, 0.2, 900)
    choice = choose_trace(recording(major_axis_px=500 - 20 * x + noise))
    assert choice is not None
    assert np.corrcoef(choice.signal, x)[0, 1] > 0.99
    assert "only one" in choice.reason


def test_agreement_gives_correlation_and_lag():
    rng = np.random.default_rng(2)
    early, late = twitching(), twitching(delay_s=0.1)
    choice = choose_trace(
        recording(
            contraction_px=10 * early + rng.normal(0, 0.1, 900),
            major_axis_px=400 - 10 * late + rng.normal(0, 0.4, 900),
            mid_width_px=100 - 5 * early + rng.normal(0, 0.4, 900),  # thinner, not thicker
        )
    )
    assert choice is not None
    table = {one.name: one for one in choice.agreement}
    assert table["contraction_px"].correlation == pytest.approx(1)
    assert table["contraction_px"].lag_s == pytest.approx(0, abs=1e-6)
    assert table["major_axis_px"].lag_s == pytest.approx(0.1, abs=0.01)
    assert table["major_axis_px"].correlation > 0.95
    assert table["mid_width_px"].correlation < 0.5


def test_a_refused_trace_cannot_be_chosen():
    rng = np.random.default_rng(4)
    refused = 500 - 20 * twitching()
    refused[: 900 // 5] = np.nan
    noisy = 5e4 - 800 * twitching() + rng.normal(0, 100, 900)
    choice = choose_trace(recording(major_axis_px=refused, area_px=noisy))
    assert choice is not None
    assert choice.name == "area_px"
    assert choose_trace(recording(major_axis_px=np.full(900, np.nan))) is None
    assert choose_trace(recording(major_axis_px=np.zeros(5))) is None


def cut_off(share: float) -> Traces:
    """A tissue that the border cuts in this share of the frames: its area grows in contraction."""
    rng = np.random.default_rng(4)
    touches = tuple(np.where(np.arange(900) < share * 900, "left", ""))
    columns = {
        "area_px": 5e4 + 800 * twitching() + rng.normal(0, 5, 900),
        "perimeter_px": 900 + 9 * twitching() + rng.normal(0, 0.05, 900),
        "mid_width_px": 100 + 4 * twitching() + rng.normal(0, 0.2, 900),
    }
    found = recording(**columns)
    return Traces(TIME_S, found.columns, found.jitter, {"touches": touches}, None)


def test_no_contraction_is_read_from_the_area_of_a_part_of_a_tissue():
    choice = choose_trace(cut_off(1.0))
    assert choice is not None
    assert [one.name for one in choice.agreement] == ["mid_width_px"]
    assert np.corrcoef(choice.signal, twitching())[0, 1] > 0.95
    now_and_then = choose_trace(cut_off(0.05), "area")
    assert now_and_then is not None
    assert np.flatnonzero(np.isnan(now_and_then.signal)).tolist() == list(range(45))
    assert (
        whole(cut_off(1.0), "mid_width_px").tolist()
        == cut_off(1.0).columns["mid_width_px"].tolist()
    )


def test_the_unsigned_displacement_is_chosen_only_where_no_signed_trace_will_do():
    rng = np.random.default_rng(5)
    x, quiet, loud = twitching(), rng.normal(0, 0.05, 900), rng.normal(0, 3, 900)
    good = recording(contraction_px=5 * x + quiet * 4, displacement_px=5 * x + quiet)
    poor = recording(contraction_px=0 * x + loud, displacement_px=5 * x + quiet)
    assert (good_choice := choose_trace(good)) is not None
    assert (poor_choice := choose_trace(poor)) is not None
    assert good_choice.name == "contraction_px"
    assert poor_choice.name == "displacement_px"


def test_noise_alone_is_called_hardly_more_than_noise():
    rng = np.random.default_rng(6)
    choice = choose_trace(recording(major_axis_px=rng.normal(500, 1, 900)))
    assert choice is not None
    assert "hardly more than noise" in choice.reason
    still = choose_trace(recording(major_axis_px=np.full(900, 500.0), area_px=np.ones(900)))
    assert still is not None
    assert still.name == "major_axis_px"


def test_slow_drift_is_not_taken_for_signal():
    rng = np.random.default_rng(7)
    drifting = 500 + 3 * TIME_S + rng.normal(0, 1, 900)
    beating = 5e4 - 800 * twitching() + rng.normal(0, 60, 900)
    choice = choose_trace(recording(major_axis_px=drifting, area_px=beating))
    assert choice is not None
    assert choice.name == "area_px"


def test_traces_with_dropped_frames_are_compared_on_true_time():
    kept = np.sort(np.random.default_rng(8).permutation(900)[:800])
    time_s = TIME_S[kept]
    noise = np.random.default_rng(9).normal(0, 0.02, (2, 800))
    columns = {
        "contraction_px": twitching(0.0, time_s) + noise[0] * 0.5,
        "major_axis_px": -twitching(0.05, time_s) + noise[1],
    }
    found = Traces(time_s, columns, {n: jitter(x) for n, x in columns.items()}, {}, None)
    choice = choose_trace(found)
    assert choice is not None
    assert choice.agreement[1].lag_s == pytest.approx(
        0.05 * (1 if choice.name == "contraction_px" else -1), abs=0.01
    )


def test_a_gap_of_hours_neither_counts_nor_costs_memory():
    """Two films ten hours apart, between which the tissue was moved and became brighter."""
    time_s = np.concatenate([TIME_S, 36_000 + TIME_S])
    later = np.repeat([0.0, 1.0], 900)
    noise = np.random.default_rng(3).normal(0, 0.02, (2, 1800))
    columns = {
        "contraction_px": twitching(0.0, time_s) + 3 * later + noise[0] * 0.5,
        "major_axis_px": 2 * later - twitching(0.05, time_s) + noise[1],
    }
    found = Traces(time_s, columns, {n: jitter(x) for n, x in columns.items()}, {}, None)
    tracemalloc.start()
    choice = choose_trace(found)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert choice is not None
    (other,) = (one for one in choice.agreement if one.name != choice.name)
    assert other.correlation > 0.9
    assert abs(other.lag_s) == pytest.approx(0.05, abs=0.01)
    assert most < 5e6


def test_ends_of_hard_masks_that_jump_by_pixels_are_not_taken_for_quiet():
    """In most frames they stand still; soft masks place them between pixels."""
    length = 450.3 - 1.7 * twitching() - 0.02 * np.random.default_rng(1).random(900)
    area = np.round(5e4 - 200 * twitching())
    for um_per_px in (None, 4.0):
        columns = {"area_px": area, "extent_px": np.round(length), "mid_width_px": length}
        hard = traces.as_traces(TIME_S, columns, um_per_px)
        soft = traces.as_traces(TIME_S, columns | {"area_px": area + 0.3}, um_per_px)
        unit, factor = ("px", 1) if um_per_px is None else ("um", 4)
        for name in (f"extent_{unit}", f"mid_width_{unit}"):
            assert hard.jitter[name] == pytest.approx(factor * (2 / 12) ** 0.5)
            assert soft.jitter[name] < hard.jitter[name]


def test_a_better_trace_that_is_no_size_is_not_called_worse_or_chosen():
    rng = np.random.default_rng(5)
    x, quiet = twitching(), rng.normal(0, 0.05, 900)
    better = {"displacement_px": 5 * x + quiet, "perimeter_px": 900 - 5 * x + quiet}
    choice = choose_trace(recording(contraction_px=5 * x + quiet * 4, **better))
    assert choice is not None
    assert "contraction_px has the best signal-to-noise of those with the size" in choice.reason


def test_any_record_of_numbers_and_words_can_be_collected():
    @dataclass
    class Row:
        length_px: float
        flag: bool
        word: str

    found = collect(np.arange(2.0), [Row(1.0, True, "a"), Row(2.0, False, "b")], um_per_px=2.0)
    assert found.columns["length_um"].tolist() == [2.0, 4.0]
    assert found.columns["flag"].tolist() == [1.0, 0.0]
    assert found.texts == {"word": ("a", "b")}
    assert traces.stem("post_shortening_um") == "post_shortening"
