"""Change points: found to the beat where there is one, and not where beats only resemble others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from ehtseg.measuring.changes import change_points, drawn_steps, find_changes, step_index
from ehtseg.measuring.serial import (
    LONGEST_BEATS,
    lag1,
    long_run_variance,
    share_of_mean,
    unbiased_lag1,
    variances_of_means,
    without_outliers,
)


def walk(n: int, rho: float, seed: int, sd: float = 0.03) -> np.ndarray:
    """First-order process: correlation `rho` from value to value, standard deviation `sd`."""
    white = np.random.default_rng([seed, int(100 * rho)]).normal(0, 1, n + 200)
    return sd * np.sqrt(1 - rho**2) * lfilter([1.0], [1.0, -rho], white)[200:]


def beat_times(log_rr: np.ndarray, mean_s: float = 1.0) -> np.ndarray:
    return np.append(0, np.cumsum(mean_s * np.exp(log_rr)))


@pytest.mark.parametrize("rho", [0, 0.5, 0.8])
def test_a_rate_drop_of_20_percent_after_200_beats_is_found_within_3_beats(rho: float) -> None:
    for seed in range(10):
        log_rr = walk(400, rho, seed)
        log_rr[200:] += np.log(1 / 0.8)
        (change,) = find_changes(beat_times(log_rr), {})
        assert change.name == "rr_s"
        assert abs(change.beat - 1 - 200) <= 3, "interval 200 ends at beat 201"
        assert change.low_s <= change.time_s <= change.high_s
        assert change.change_pct == pytest.approx(25, abs=4)


@pytest.mark.parametrize("rho", [0, 0.5, 0.8])
def test_1000_unchanged_beats_give_at_most_1_false_alarm_in_20_runs(rho: float) -> None:
    alarms = sum(bool(change_points(walk(1000, rho, seed))) for seed in range(20))
    assert alarms <= 1


@pytest.mark.slow
@pytest.mark.parametrize("n", [80, 150, 400, 1000])
@pytest.mark.parametrize("rho", [0, 0.5, 0.8, 0.9])
def test_false_alarms_stay_rare_in_many_runs_of_any_length(rho: float, n: int) -> None:
    alarms = sum(bool(change_points(walk(n, rho, seed))) for seed in range(100, 300))
    assert alarms <= 20, "one in ten"


def test_the_plain_variance_would_flood_the_user_with_changes() -> None:
    from ruptures import KernelCPD

    values = walk(1000, 0.8, 1)
    plain = np.var(np.diff(values)) / 2
    search = KernelCPD(kernel="linear", min_size=10).fit(values[:, None])
    assert len(search.predict(pen=3 * plain * np.log(1000))) > 20
    assert change_points(values) == ()


def test_a_pause_and_missed_beats_are_no_change() -> None:
    log_rr = walk(400, 0.5, 4)
    log_rr[[50, 120, 121, 300]] += np.log(2)
    assert find_changes(beat_times(log_rr), {}) == ()


def test_alternation_is_no_change_and_hides_none() -> None:
    log_rr = walk(300, 0, 5, 0.01) + np.tile([-0.1, 0.1], 150)
    assert change_points(log_rr) == ()
    log_rr[150:] += 0.2
    (point,) = change_points(log_rr)
    assert abs(point - 150) <= 2


def test_each_column_is_judged_by_itself() -> None:
    n = 300
    amplitude = 20 * np.exp(walk(n, 0.5, 6))
    amplitude[180:] *= 0.7
    cd50 = 300 + 100 * walk(n, 0.5, 7)
    cd50[90:] += 40
    cd50[[5, 200]] = np.nan
    t50_s = beat_times(walk(n - 1, 0.5, 8))
    found = find_changes(t50_s, {"amplitude_um": amplitude, "cd50_ms": cd50})
    assert [change.name for change in found] == ["cd50_ms", "amplitude_um"]
    assert all(abs(c.beat - at) <= 2 for c, at in zip(found, (90, 180), strict=True))
    assert found[0].after - found[0].before == pytest.approx(40, abs=3)
    assert found[1].change_pct == pytest.approx(-30, abs=3)


def test_two_changes_are_two() -> None:
    log_rr = walk(450, 0.5, 9)
    log_rr[150:300] -= 0.3
    rates = [change.change_pct for change in find_changes(beat_times(log_rr), {})]
    assert np.sign(rates).tolist() == [-1, 1]


def test_nothing_is_sought_in_a_few_beats_or_without_any_noise() -> None:
    assert change_points(np.r_[np.zeros(39), np.ones(40)]) == ()
    assert change_points(np.zeros(500)) == ()
    assert change_points(np.r_[np.zeros(250), np.ones(250)]) == (250,)
    assert find_changes(np.empty(0), {}) == ()


@pytest.mark.parametrize("size", [0.05, 0.2])
@pytest.mark.parametrize("rho", [0, 0.5])
def test_the_interval_of_the_change_time_holds_it(rho: float, size: float) -> None:
    held = 0
    for seed in range(40):
        values = walk(200, rho, seed) + size * (np.arange(200) >= 100)
        step = int(step_index(values[None])[0])
        low, high = np.percentile(drawn_steps(values, step), [2.5, 97.5], method="nearest")
        held += low <= 100 <= high
    assert held >= 34, "34 of 40 at 95 % would happen once in a hundred times"


def test_long_run_variance_of_a_first_order_process() -> None:
    for rho in (0, 0.5, 0.8):
        truth = 0.03**2 * (1 + rho) / (1 - rho)
        values = [long_run_variance(walk(1000, rho, seed)) for seed in range(20)]
        assert np.median(values) == pytest.approx(truth, rel=0.25)


def test_the_variance_of_a_mean_is_that_of_many_means() -> None:
    means = [walk(50, 0.8, seed).mean() for seed in range(2000)]
    assert share_of_mean(50, 0.8) * 0.03**2 == pytest.approx(np.var(means), rel=0.1)


def test_slow_wander_below_the_noise_of_beats_widens_the_mean() -> None:
    noise = np.random.default_rng(2).normal(0, 0.03, 300)
    values = noise + walk(300, 0.95, 3)
    ((of_mean,), chances) = variances_of_means([values], LONGEST_BEATS)
    by_lag1 = np.var(values) * share_of_mean(300, unbiased_lag1(lag1(values), 300))
    assert of_mean @ chances > 1.5 * by_lag1
    assert chances.max() < 0.5, "several ways remain likely"
    ((of_mean,), chances) = variances_of_means([noise], LONGEST_BEATS)
    assert of_mean @ chances == pytest.approx(0.03**2 / 300, rel=0.25)
    assert chances[0] > 0.5, "independent beats"


def test_stretches_tell_together_how_beats_hang_together() -> None:
    values = walk(200, 0.9, 5)
    _, alone = variances_of_means([values[:50]], LONGEST_BEATS)
    among, together = variances_of_means([values[:50], values[50:], np.ones(9)], LONGEST_BEATS)
    assert together.max() > alone.max(), "more beats leave less doubt"
    assert not among[2].any()
    assert variances_of_means([], LONGEST_BEATS)[0] == []


def test_outliers_are_brought_back_and_levels_kept() -> None:
    values = walk(100, 0, 1)
    values[40] = 5.0
    values[60:70] += 1.0
    calm = without_outliers(values)
    assert calm[40] < 0.3
    assert np.array_equal(calm[61:69], values[61:69])
