"""How doubt about masks reaches the numbers, against spreads that are known beforehand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ehtseg.measuring.beats import BeatFinding, find_beats
from ehtseg.measuring.kinetics import Meaning
from ehtseg.measuring.uncertainty import (
    SeenAgain,
    parameter_spread,
    sample,
    spread,
    uncertainty_of,
    ways_of,
)
from twitches import regular_train

RNG = np.random.default_rng(0)
TIME_S = np.arange(600) / 30


def test_spread_over_passes_is_the_sample_sd_and_minds_gaps() -> None:
    values = RNG.normal(0, 1, (5, 7))
    assert spread(values) == pytest.approx(np.std(values, axis=0, ddof=1))
    values[0, 2], values[:4, 3] = np.nan, np.nan
    found = spread(values)
    assert found[2] == pytest.approx(np.std(values[1:, 2], ddof=1))
    assert np.isnan(found[3])


def test_uncertain_masks_reach_each_parameter_by_their_own_weight() -> None:
    passes = np.array([1.0, 2.0, 4.0])[:, None] * np.sin(TIME_S)
    found = parameter_spread(
        passes,
        lambda x: {"amplitude": np.ptp(x), "zero_s": 3.0, "per_beat": np.array([x.max(), 7.0])},
    )
    sd = np.std([1, 2, 4], ddof=1)
    assert found["amplitude"] == pytest.approx([2 * sd], rel=1e-3)
    assert found["zero_s"] == pytest.approx([0])
    assert found["per_beat"] == pytest.approx([sd, 0], rel=1e-3)


def beating(count: int = 40, fps: float = 30) -> tuple[np.ndarray, BeatFinding]:
    train = regular_train(1.0, fps, count)
    x = 10 * train.x + np.random.default_rng(3).normal(0, 0.02, len(train.x))
    return train.time_s, find_beats(train.time_s, x)


def test_a_sample_holds_whole_beats_from_start_to_end() -> None:
    time_s, finding = beating()
    spans = sample(finding, time_s, 300)
    assert len(spans) == 3
    assert sum(stop - first for first, stop in spans) <= 300
    assert spans[0][0] < 30
    assert spans[-1][1] > len(time_s) - 60
    for first, stop in spans:
        held = [b for b in finding.accepted if first < 30 * b.onset_s and 30 * b.end_s < stop]
        assert len(held) >= 2


@pytest.mark.parametrize("most", [1, 45, 60, 10_000])
def test_a_sample_is_at_least_a_beat_and_at_most_the_recording(most: int) -> None:
    time_s, finding = beating(6)
    spans = sample(finding, time_s, most)
    assert all(0 <= first < stop <= len(time_s) for first, stop in spans)
    assert sum(stop - first for first, stop in spans) <= max(most, 46)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    found = SeenAgain(("a", "b"), spans, tuple(np.zeros((2, b - a)) for a, b in spans))
    assert uncertainty_of(finding, Meaning(), time_s, found).n_beats >= 1


def test_without_a_beat_there_is_nothing_to_look_at_again() -> None:
    time_s = np.arange(300) / 30
    assert sample(find_beats(time_s, np.zeros(300)), time_s, 180) == ()


def again(factors: tuple[float, ...], time_s: np.ndarray, finding: BeatFinding) -> SeenAgain:
    """Ways in which the same contraction looks so many times as large."""
    spans = sample(finding, time_s, 300)
    values = tuple(np.outer(factors, finding.x[first:stop]) for first, stop in spans)
    return SeenAgain(tuple(map(str, factors)), spans, values)


def test_masks_that_differ_in_size_widen_amplitudes_and_not_times() -> None:
    time_s, finding = beating()
    factors = (1.0, 1.1, 0.9)
    found = uncertainty_of(finding, Meaning("um"), time_s, again(factors, time_s, finding))
    expected = float(np.std(factors, ddof=1)) * 10
    assert found.sd["amplitude_um"] == pytest.approx(expected, rel=0.05)
    assert found.sd["cd50_ms"] < 1
    assert found.sd["rr_s"] < 0.001
    assert found.n_beats >= 6
    assert "sdnn_s" not in found.sd


def test_ways_that_agree_leave_no_doubt() -> None:
    time_s, finding = beating()
    found = uncertainty_of(finding, Meaning(), time_s, again((1.0, 1.0, 1.0), time_s, finding))
    known = [sd for sd in found.sd.values() if np.isfinite(sd)]
    assert max(known) == pytest.approx(0, abs=1e-9)


def test_an_outline_that_comes_late_moves_times_alike() -> None:
    time_s, finding = beating()
    spans = sample(finding, time_s, 300)
    late = np.interp(time_s - 0.01, time_s, finding.x)
    values = tuple(np.stack([finding.x[a:b], late[a:b]]) for a, b in spans)
    found = uncertainty_of(finding, Meaning(), time_s, SeenAgain(("as", "late"), spans, values))
    assert found.sd["rr_s"] < 0.002, "a common delay is no irregularity"
    assert found.sd["amplitude_px"] < 0.2


def test_the_whole_recording_tells_of_the_rhythm_too() -> None:
    time_s, finding = beating()
    noise = np.random.default_rng(5).normal(0, 0.3, (4, len(time_s)))
    values = (np.vstack([np.zeros(len(time_s)), noise]),)
    everything = SeenAgain(tuple("abcde"), ((0, len(time_s)),), values)
    found = uncertainty_of(finding, Meaning(), time_s, everything)
    assert 0 < found.sd["sdnn_s"] < 0.02
    assert found.n_beats == len(finding.accepted)


def test_frames_outside_the_stretches_stay_as_they_were() -> None:
    time_s, finding = beating()
    found = again((1.0, 2.0), time_s, finding)
    _, moved = ways_of(finding, time_s, found)
    changed = np.flatnonzero(~np.isclose(moved, finding.x, atol=1e-9))
    inside = np.concatenate([np.arange(*span) for span in found.stretches])
    assert set(changed) <= set(inside)
    assert len(changed) > 0.8 * len(inside)
