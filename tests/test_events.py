"""Events: read as a user writes them; effects with intervals that hold the truth; wash-out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from ehtseg.measuring.comparison import Level, freedom, levels, log_ratio, recovered, steady
from ehtseg.measuring.events import Event, effects, read_event
from ehtseg.measuring.onset import half_time_s
from ehtseg.records import UserError


def walk(n: int, rho: float, seed: int, sd: float = 0.03) -> np.ndarray:
    white = np.random.default_rng([seed, int(100 * rho), 9]).normal(0, 1, n + 200)
    return sd * np.sqrt(1 - rho**2) * lfilter([1.0], [1.0, -rho], white)[200:]


def recording(
    seed: int, course: list[tuple[float, float]], rho: float = 0.6
) -> tuple[np.ndarray, np.ndarray, tuple[float, float]]:
    """Beat times, amplitudes and span of parts (seconds, factor on rate and amplitude)."""
    end_s = sum(seconds for seconds, _ in course)
    edges = np.cumsum([seconds for seconds, _ in course])
    factors = np.array([factor for _, factor in course])
    noise, t50_s = walk(int(4 * end_s), rho, seed), [0.0]
    while t50_s[-1] < end_s:
        part = min(int(np.searchsorted(edges, t50_s[-1], side="right")), len(factors) - 1)
        t50_s.append(t50_s[-1] + np.exp(noise[len(t50_s)]) / factors[part])
    times = np.array(t50_s[:-1])
    parts = np.minimum(np.searchsorted(edges, times, side="right"), len(factors) - 1)
    amplitude = 10 * factors[parts] * np.exp(walk(len(times), rho, seed + 1000, 0.05))
    return times, amplitude, (0.0, end_s)


@pytest.mark.parametrize(
    ("text", "time_s", "drug", "dose", "unit"),
    [
        ("00:12:30 isoprenaline 1 uM", 750, "isoprenaline", 1, "uM"),
        ("1:00:00.5 E-4031 30 nM", 3600.5, "E-4031", 30, "nM"),
        ("12:30 4-AP 1.5e-1 mM", 750, "4-AP", 0.15, "mM"),
        ("90 s omecamtiv mecarbil 300nM", 90, "omecamtiv mecarbil", 300, "nM"),
        ("1800 wash", 1800, "wash", None, ""),
        ("00:01:00 pacing 2 Hz", 60, "pacing", 2, "Hz"),
    ],
)
def test_an_event_is_read_as_it_is_written(
    text: str, time_s: float, drug: str, dose: float | None, unit: str
) -> None:
    event = read_event(text)
    assert (event.time_s, event.drug, event.dose, event.unit) == (time_s, drug, dose, unit)


@pytest.mark.parametrize(
    "text",
    [
        "isoprenaline 1 uM",
        "00:12:30",
        "00:75:00 wash",
        "12:61 wash",
        "5 ml 1 uMol",
        "",
        "60 1 uM iso",
    ],
)
def test_an_event_that_cannot_be_read_says_the_form_expected(text: str) -> None:
    with pytest.raises(UserError, match="00:12:30 isoprenaline 1 uM"):
        read_event(text)


@pytest.mark.parametrize(
    "text",
    ["30 min isoprenaline 1 uM", "12.5 mins iso 1 uM", "1 h wash", "2 Hours wash", "750 ms wash",
     "5 sec. iso 1 uM", "90 seconds wash", "30 minutes"],
)  # fmt: skip
def test_a_time_in_another_unit_is_not_read_as_seconds(text: str) -> None:
    word = text.split()[1]
    with pytest.raises(UserError, match=f"“{word}” after the number in .*00:12:30 isoprenaline"):
        read_event(text)


def test_a_second_wash_is_a_wash() -> None:
    event = read_event("750 wash 2")
    assert (event.is_wash, event.label, event.dose) == (True, "wash 2", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("750 medium 12", "no unit after “12” in “750 medium 12”"),
        ("750 iso 5", "no unit after “5”"),
        ("750 iso 1.25", "no unit after “1.25”"),
        ("750 iso 12 mol", "the unit “mol” in"),
        ("750 iso 12,5uM", "the unit “,5uM” in"),
    ],
)
def test_a_dose_is_named_whole_where_its_unit_is_missing(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read_event(text)


def test_an_effect_is_found_with_its_interval_and_onset() -> None:
    t50_s, amplitude, span_s = recording(15, [(300, 1.0), (300, 1.3)])
    found = effects(t50_s, {"amplitude_um": amplitude}, [read_event("300 iso 1 uM")], span_s)
    assert [effect.name for effect in found] == ["beat_rate_bpm", "amplitude_um"]
    for effect in found:
        assert effect.verdict == "effect"
        assert effect.low_pct < effect.change_pct < effect.high_pct
        assert effect.change_pct == pytest.approx(30, abs=5)
        assert effect.high_pct - effect.low_pct < 10
        assert effect.half_time_s < 10
        assert effect.notes == ()
    assert found[0].before == pytest.approx(60, rel=0.03)
    assert found[0].after == pytest.approx(78, rel=0.03)


def test_no_effect_is_not_called_one_and_not_called_absent() -> None:
    t50_s, _, span_s = recording(2, [(600, 1.0)])
    (effect,) = effects(t50_s, {}, [Event(300, "DMSO", "DMSO")], span_s)
    assert effect.verdict == "no effect shown"
    assert effect.low_pct < 0 < effect.high_pct
    assert np.isnan(effect.half_time_s)


def test_doses_are_compared_with_the_baseline_before_the_first() -> None:
    t50_s, _, span_s = recording(3, [(200, 1.0), (200, 1.2), (200, 1.5)])
    events = [read_event("400 iso 1 uM"), read_event("200 iso 100 nM")]
    low, high = effects(t50_s, {}, events, span_s)
    assert (low.event.time_s, high.event.time_s) == (200, 400)
    assert low.change_pct == pytest.approx(20, abs=4)
    assert high.change_pct == pytest.approx(50, abs=5)
    assert low.n_before == high.n_before


@pytest.mark.parametrize(("left", "share"), [(1.0, 100), (1.2, 50), (1.44, 0)])
def test_wash_out_is_the_share_of_the_effect_that_is_gone(left: float, share: float) -> None:
    t50_s, _, span_s = recording(4, [(300, 1.0), (300, 1.44), (300, left)])
    events = [read_event("300 iso 1 uM"), read_event("600 wash")]
    _, wash = effects(t50_s, {}, events, span_s)
    assert wash.recovered_pct == pytest.approx(share, abs=5)
    assert 5 < wash.recovered_high_pct - wash.recovered_low_pct < 25
    assert (wash.verdict == "effect") == (left > 1)
    assert wash.change_pct == pytest.approx(100 * (left - 1), abs=4)


def test_no_recovery_is_given_for_an_effect_that_was_none() -> None:
    t50_s, _, span_s = recording(5, [(900, 1.0)])
    events = [read_event("300 vehicle"), read_event("600 wash")]
    _, wash = effects(t50_s, {}, events, span_s)
    assert np.isnan(wash.recovered_pct)
    assert "not certain" in wash.notes[-1]


def test_the_time_to_half_of_an_exponential_onset() -> None:
    t50_s = np.arange(0, 400, 0.8)
    since = np.maximum(t50_s - 100, 0)
    values = 0.3 * (1 - np.exp(-since / 40)) + walk(len(t50_s), 0.3, 6, 0.01)
    assert half_time_s(t50_s, values, 100, 0.0, 0.3) == pytest.approx(40 * np.log(2), abs=4)


@pytest.mark.parametrize(
    ("time_s", "said"), [(0, "before the recording"), (600, "after the recording"), (9e9, "after")]
)
def test_an_event_outside_the_recording_says_what_still_stands(time_s: float, said: str) -> None:
    t50_s, amplitude, span_s = recording(7, [(600, 1.0)])
    found = effects(t50_s, {"amplitude_um": amplitude}, [Event(time_s, "iso", "iso")], span_s)
    assert len(found) == 2
    for effect in found:
        assert effect.verdict == "cannot tell"
        assert said in effect.reason
        assert "Rate and kinetics stand" in effect.reason


def test_a_drug_before_the_recording_spoils_the_baseline_of_the_next() -> None:
    t50_s, _, span_s = recording(8, [(300, 1.0), (300, 1.3)])
    found = effects(t50_s, {}, [Event(0, "iso 1 uM", "iso"), Event(300, "X", "X")], span_s)
    assert "already holds “iso 1 uM”" in found[1].notes[0]


def test_an_arrest_and_a_few_beats_are_told_and_not_calculated() -> None:
    t50_s, _, span_s = recording(9, [(300, 1.0), (300, 1.0)])
    stopped = t50_s[t50_s < 310]
    (effect,) = effects(stopped, {}, [Event(300, "X", "X")], span_s)
    assert effect.verdict == "cannot tell"
    assert "stood still" in effect.reason
    (few,) = effects(t50_s[(t50_s > 260) & (t50_s < 400)], {}, [Event(300, "X", "X")], (0.0, 400.0))
    assert "held the truth in 93 to 99 % of simulations; they stay wide" in few.notes[-1]
    (effect,) = effects(t50_s[t50_s > 290], {}, [Event(300, "X", "X")], span_s)
    assert "Only" in effect.reason
    assert np.isnan(effect.change_pct)
    assert effects(np.empty(0), {}, [Event(300, "X", "X")], span_s)[0].verdict == "cannot tell"


STOPS = pytest.mark.parametrize("frames_s", [None, np.arange(0, 600, 1 / 30)])


@STOPS
def test_a_tissue_that_stops_in_the_window_is_not_told_as_beating(
    frames_s: np.ndarray | None,
) -> None:
    t50_s, amplitude, span_s = recording(9, [(600, 1.0)])
    beating = t50_s < 480
    columns = {"amplitude_um": amplitude[beating]}
    found = effects(t50_s[beating], columns, [Event(300, "X", "X")], span_s, frames_s)
    for effect in found:
        assert effect.verdict == "cannot tell"
        assert effect.reason.startswith("From 420 to 600 s no beat in the last 12")
        assert np.isnan([effect.after, effect.change_pct, effect.half_time_s]).all()
    (resumed,) = effects(
        t50_s[beating | (t50_s > 500)], {}, [Event(300, "X", "X")], span_s, frames_s
    )
    assert resumed.verdict != "cannot tell", "a pause that ends is an interval"


@STOPS
@pytest.mark.parametrize(
    ("step_s", "stop_s", "told"), [(1, 591, True), (1, 589, False), (4, 589, True)]
)
def test_a_short_silence_at_the_end_is_no_stop(
    step_s: float, stop_s: float, told: bool, frames_s: np.ndarray | None
) -> None:
    t50_s = np.arange(0.5, stop_s, step_s)
    (effect,) = effects(t50_s, {}, [Event(300, "X", "X")], (0, 600), frames_s)
    assert (effect.verdict != "cannot tell") == told, effect.reason


def test_only_film_counts_as_silence() -> None:
    """No frame from 590 to 640 s, and 3 s after it: nobody saw the tissue stand still."""
    frames_s = np.concatenate([np.arange(0, 590, 0.05), np.arange(640, 643, 0.05)])
    found = effects(np.arange(0.5, 590), {}, [Event(300, "X", "X")], (0, 643), frames_s)
    assert found[0].n_after > 100
    assert found[0].verdict != "cannot tell"


def test_a_baseline_that_stops_is_none() -> None:
    t50_s = np.concatenate([np.arange(0, 200, 1.0), np.arange(301, 600, 1.0)])
    (effect,) = effects(t50_s, {}, [Event(300, "X", "X")], (0, 600))
    assert effect.reason.startswith("From 120 to 300 s no beat in the last 101 s")


@pytest.mark.parametrize(
    ("under_drug", "said"),
    [
        (np.arange(305, 600, 15.0), "Too few beats under the drug to tell what was recovered."),
        (np.empty(0), "Too few beats under the drug to tell what was recovered."),
        (np.arange(300, 500, 0.7), "Under the drug no beat in the last 10"),
    ],
)
def test_a_wash_after_a_drug_that_left_too_few_beats_had_a_drug(
    under_drug: np.ndarray, said: str
) -> None:
    t50_s = np.concatenate([np.arange(0, 300, 1.0), under_drug, np.arange(601, 900, 1.0)])
    t50_s = t50_s + 0.01 * walk(len(t50_s), 0, 11, 1.0)
    events = [read_event("300 verapamil 10 uM"), read_event("600 wash")]
    _, wash = effects(t50_s, {}, events, (0, 900))
    assert wash.notes[-1].startswith(said)
    assert np.isnan(wash.recovered_pct)


def test_a_wash_without_a_drug_has_nothing_to_recover() -> None:
    t50_s, _, span_s = recording(5, [(900, 1.0)])
    (wash,) = effects(t50_s, {}, [read_event("600 wash")], span_s)
    assert wash.notes[-1] == "No drug before this wash: nothing to recover."


def test_a_baseline_that_drifts_is_told() -> None:
    t50_s = np.arange(0, 600, 1.0)
    falling = 10 * np.exp(-t50_s / 400 + walk(600, 0.2, 10, 0.01))
    found = effects(t50_s + 0.01 * walk(600, 0, 11), {"amplitude_um": falling}, [Event(300, "X")],
                    (0, 600))  # fmt: skip
    assert any("baseline itself drifts" in note for note in found[1].notes)


def coverage(rho: float, n: int, runs: int, noise: float = 0.0) -> float:
    """Share of the intervals that hold the true change, of synthetic effects of random size."""
    held = 0
    for seed in range(runs):
        change = np.random.default_rng([seed, n]).uniform(-0.4, 0.4)
        values = walk(3 * n, rho, seed) + noise * walk(3 * n, 0, seed + runs, 1.0)
        before, after = levels([values[:n], values[n:] + change])
        interval = log_ratio(before, after)
        held += interval.low <= change <= interval.high
    return held / runs


@pytest.mark.parametrize("rho", [0, 0.5, 0.8])
def test_the_interval_covers_the_truth_in_92_to_98_of_100(rho: float) -> None:
    assert 0.92 <= coverage(rho, 100, 1000) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("n", [20, 60, 200])
@pytest.mark.parametrize("rho", [0, 0.3, 0.5, 0.8, 0.9])
def test_coverage_at_every_length_and_correlation(rho: float, n: int) -> None:
    assert 0.92 <= coverage(rho, n, 3000) <= (1.0 if n == 20 else 0.985)


@pytest.mark.slow
@pytest.mark.parametrize("n", [60, 100, 300])
@pytest.mark.parametrize("rho", [0.8, 0.9, 0.95])
def test_coverage_under_slow_wander_with_as_much_noise_of_single_beats(rho: float, n: int) -> None:
    assert 0.91 <= coverage(rho, n, 2000, noise=0.03) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0, 0.5, 0.8])
def test_coverage_of_the_whole_road_from_beats_to_effect(rho: float) -> None:
    held = []
    for seed in range(300):
        factor = float(np.random.default_rng(seed).uniform(0.7, 1.4))
        t50_s, amplitude, span_s = recording(seed, [(250, 1.0), (250, factor)], rho)
        found = effects(t50_s, {"amplitude_um": amplitude}, [Event(250, "X", "X")], span_s)
        held += [e.low_pct <= 100 * (factor - 1) <= e.high_pct for e in found]
    assert 0.92 <= np.mean(held) <= 0.985


def test_independent_beats_would_give_an_interval_far_too_narrow() -> None:
    narrow = 0
    for seed in range(200):
        values = walk(200, 0.8, seed)
        half = 1.96 * np.sqrt(values[:100].var() / 100 + values[100:].var() / 100)
        narrow += abs(values[:100].mean() - values[100:].mean()) > half
    assert narrow > 60, "it should be 10 of 200"


def test_fieller_interval_covers_the_share_recovered() -> None:
    draw = np.random.default_rng(12)
    held = 0
    for _ in range(1000):
        base, drug, wash = draw.normal([0, -1, -0.4], 0.1)
        one = np.full(1, 0.01), np.full(1, 1e6), np.ones(1)
        known = [Level(50, mean, *one) for mean in (base, drug, wash)]
        share = recovered(*known)
        held += share.low <= 0.6 <= share.high
    assert 0.93 <= held / 1000 <= 0.97


def test_levels_of_what_does_not_vary() -> None:
    flat = levels([np.zeros(50), np.ones(50)])
    change = log_ratio(*flat)
    assert (change.estimate, change.low, change.high) == (1, 1, 1)
    assert steady(np.zeros(50))
    nothing, five = np.zeros(2), np.full(2, 5.0)
    assert freedom([nothing, nothing], [five, five]).tolist() == [1, 1]
