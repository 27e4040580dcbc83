"""Kinetics and rhythm against formulas, hand-made twitches, and the errors of existing tools."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from scipy.signal import butter, filtfilt, find_peaks, peak_widths, savgol_filter

from conftest import shared
from ehtseg.measuring import rhythm
from ehtseg.measuring.beats import find_beats
from ehtseg.measuring.kinetics import (
    Meaning,
    Twitch,
    cd_ms,
    rt_ms,
    shortening_pct,
    table_of_beats,
    tau_ms,
    ttp10_ms,
    upstroke_ms,
)
from ehtseg.measuring.levels import crossing_s, noise_sd, smoothed
from ehtseg.measuring.summary import cautions, number, resolution, summary
from twitches import (
    errors,
    make_train,
    random_train,
    regular_train,
    with_drift,
    with_noise,
    without_frames,
)

TRIANGLE = Twitch(
    np.array([0, 0.1]), np.array([0.0, 2.0]), np.array([0.1, 0.3]), np.array([2.0, 0])
)


def medians(train: object) -> dict[str, float]:
    finding = find_beats(train.time_s, train.x)  # type: ignore[attr-defined]
    rows = table_of_beats(finding.time_s, finding.x, finding.accepted)
    return {name: float(np.nanmedian([row[name] for row in rows])) for name in rows[0]}


# --- bias on trains that were never used for tuning (seeds from 10,000 on) ------------------------


def mean_errors(fps: float, n_trains: int) -> dict[str, float]:
    each = [errors(random_train(seed, fps)) for seed in range(10_000, 10_000 + n_trains)]
    return {name: float(np.mean([row[name] for row in each])) for name in each[0]}


def check(found: dict[str, float]) -> None:
    assert abs(found["cd50_ms"]) <= 3
    assert abs(found["rt50_ms"]) <= 3
    assert abs(found["ttp10_ms"]) <= 10
    assert found["rmssd_ms"] <= 8
    assert (found["missed"], found["extra"]) == (0, 0)


def test_bias_at_30_frames_a_second_on_16_trains() -> None:
    check(mean_errors(30, 16))


@pytest.mark.slow
@pytest.mark.parametrize("fps", [30, 50, 100])
def test_bias_on_200_trains(fps: float) -> None:
    check(mean_errors(fps, 200))


@pytest.mark.slow
def test_bias_at_20_frames_a_second_is_larger_and_known() -> None:
    found = mean_errors(20, 200)
    assert abs(found["cd50_ms"]) <= 5
    assert abs(found["rt50_ms"]) <= 12


def test_dropped_frames_and_drift_do_not_distort_kinetics() -> None:
    train = regular_train(1.07, 30, 40, upstroke="cosine", rise_s=0.18, tau_s=0.12)
    hard = without_frames(with_drift(with_noise(train, 0.02, 10_000), 3), 0.1, 10_000)
    found, truth = medians(hard), train.kinetics_ms()
    assert found["cd50_ms"] == pytest.approx(truth["cd50_ms"], abs=5)
    assert found["rt50_ms"] == pytest.approx(truth["rt50_ms"], abs=6)
    assert found["ttp10_ms"] == pytest.approx(truth["ttp10_ms"], abs=10)


@pytest.mark.parametrize(
    ("fps", "lost", "is_told"), [(30, 2, True), (30, 12, False), (150, 6, True)]
)
def test_a_level_crossed_while_frames_are_missing_has_no_time(
    fps: int, lost: int, is_told: bool
) -> None:
    """Frames are lost in the relaxation of the tenth beat, from half its height on."""
    train = with_noise(regular_train(1.2, fps, 20, upstroke="cosine", rise_s=0.18), 0.005, 10_000)
    whole = find_beats(train.time_s, train.x)
    expected = table_of_beats(whole.time_s, whole.x, whole.accepted)
    half_s = whole.accepted[9].peak_s + expected[9]["rt50_ms"] / 1000
    first = int(np.searchsorted(train.time_s, half_s)) - 1
    left = np.delete(np.arange(len(train.time_s)), range(first, first + lost))
    finding = find_beats(train.time_s[left], train.x[left])
    rows = table_of_beats(finding.time_s, finding.x, finding.accepted)
    assert len(rows) == len(expected)
    assert np.isfinite(rows[9]["cd50_ms"]) == np.isfinite(rows[9]["rt50_ms"]) == is_told
    assert np.isfinite(rows[9]["ttp10_ms"])
    kept = [row["cd50_ms"] for row in (*rows[:9], *rows[10:])]
    assert kept == pytest.approx([r["cd50_ms"] for r in (*expected[:9], *expected[10:])], abs=6)


def test_a_round_twitch_is_measured_as_well_as_one_with_a_corner() -> None:
    """x = (1 - exp(-t / 60 ms))^3 exp(-t / 120 ms), truth from a fine grid without noise."""
    fine_s = np.arange(0, 1.2, 1e-4)
    shape = (1 - np.exp(-fine_s / 0.06)) ** 3 * np.exp(-fine_s / 0.12)
    peak = int(np.argmax(shape))
    truth = Twitch(fine_s[: peak + 1], shape[: peak + 1], fine_s[peak:], shape[peak:])
    time_s = np.arange(60 * 30) / 30
    x = np.interp((time_s - 0.5) % 1.2131, fine_s, shape, right=0) / shape.max()
    x += np.random.default_rng(10_000).normal(0, 0.02, len(x))
    finding = find_beats(time_s, x)
    rows = table_of_beats(finding.time_s, finding.x, finding.accepted)
    for name, expected, limit in [
        ("cd50_ms", cd_ms(truth, 50), 3),
        ("rt50_ms", rt_ms(truth, 50), 3),
        ("ttp10_ms", ttp10_ms(truth), 10),
    ]:
        assert np.median([row[name] for row in rows]) == pytest.approx(expected, abs=limit), name


def test_half_width_of_a_real_tissue_is_that_of_its_authors() -> None:
    folder = shared("data/reference_results/microbundlepillartrack_tutorial_d1t3")
    displacement = np.loadtxt(folder / "pillar1_pillar_force_abs.txt") / 1.64  # uN -> px
    finding = find_beats(np.arange(len(displacement)) / 30, displacement)
    rows = table_of_beats(finding.time_s, finding.x, finding.accepted)
    theirs = np.loadtxt(folder / "pillar1_t50_beat_width_info.txt")[0]
    ours = np.array([row["cd50_ms"] for row in rows]) * 30 / 1000
    assert ours == pytest.approx(theirs, rel=0.05)


# --- definitions on a triangle: up in 100 ms, down in 200 ms --------------------------------------


def test_every_duration_of_a_triangle() -> None:
    assert ttp10_ms(TRIANGLE) == pytest.approx(90)
    assert upstroke_ms(TRIANGLE) == pytest.approx(80)
    assert [rt_ms(TRIANGLE, p) for p in (50, 90)] == pytest.approx([100, 180])
    assert [cd_ms(TRIANGLE, p) for p in (10, 50, 80, 90)] == pytest.approx([30, 150, 240, 270])


def test_decay_constant_of_an_exponential() -> None:
    down_s = np.arange(0.0, 1.0, 1 / 30)
    twitch = Twitch(np.array([-0.1, 0]), np.array([0.0, 3]), down_s, 3 * np.exp(-down_s / 0.14))
    assert tau_ms(twitch) == pytest.approx(140, rel=1e-6)
    assert np.isnan(tau_ms(TRIANGLE))


def test_shortening_is_a_share_of_the_relaxed_size() -> None:
    train = regular_train(1.0, 100, 6, amplitude=40.0)
    finding = find_beats(train.time_s, train.x)
    meaning = Meaning("um", "fs_pct", zero=1000.0)
    row = table_of_beats(finding.time_s, finding.x, finding.accepted, meaning)[2]
    assert row["amplitude_um"] == pytest.approx(40, rel=0.02)
    assert row["fs_pct"] == pytest.approx(4, rel=0.02)
    assert np.isnan(shortening_pct(40, 0))


def test_velocities_of_a_slow_raised_cosine_are_those_of_its_formula() -> None:
    train = regular_train(0.4, 100, 8, rise_s=0.5, tau_s=0.3)
    found = medians(train)
    assert found["vmax_contraction_px_s"] == pytest.approx(np.pi / 2 / 0.5, rel=0.02)
    assert found["vmax_relaxation_px_s"] == pytest.approx(1 / 0.3, rel=0.2)


# --- what existing tools get wrong --------------------------------------------------------------


def test_rmssd_is_of_successive_differences() -> None:
    rr_s = np.array([1.00, 1.02, 0.98, 1.01, 0.99])
    assert np.sqrt(np.mean(rr_s**2)) == pytest.approx(1.0, abs=1e-3)  # without differences
    assert rhythm.rmssd_s(rr_s) == pytest.approx(0.0287, abs=5e-5)


def test_crossings_lie_between_frames() -> None:
    train = with_noise(regular_train(1.07, 30, 40, rise_s=0.2, tau_s=0.15), 0.02, 10_000)
    whole = []
    for onset_s, peak_s in zip(train.onset_s, train.peak_s, strict=True):
        above = train.time_s[(train.x >= 0.5) & (abs(train.time_s - peak_s) < 0.5)]
        frame_s = 1 / 30
        whole.append(1000 * (above[-1] - above[0] + 2 * frame_s))
        assert onset_s < above[0]
    truth = train.kinetics_ms()["cd50_ms"]
    assert np.median(whole) - truth > 20
    assert abs(medians(train)["cd50_ms"] - truth) < 3


def test_noise_at_a_crossing_moves_it_neither_early_nor_late() -> None:
    time_s = np.arange(200) / 1000
    draw = np.random.default_rng(10_000)
    ramps = [1 - time_s / 0.2 + draw.normal(0, 0.05, 200) for _ in range(300)]
    first = [time_s[np.argmax(x < 0.5)] for x in ramps]
    ours = [crossing_s(np.append(-1e-3, time_s), np.append(1.2, x), 0.5) for x in ramps]
    assert np.mean(first) < 0.093
    assert np.nanmean(ours) == pytest.approx(0.1, abs=0.002)


def test_widths_are_not_taken_from_the_base_of_a_prominence() -> None:
    """A premature beat rises from the relaxation before it: its base is not its relaxed level."""
    onset_s = np.array([0.5, 1.5, 2.5, 3.02, 4.0, 5.0, 6.0])
    train = make_train(onset_s, np.arange(700) / 100, rise_s=0.2, tau_s=0.25)
    levels = (0.5, 0.1)
    truth_ms = [1000 * (train.rise_s - train.up_s(p) + train.down_s(p)[3]) for p in levels]
    tops, _ = find_peaks(train.x, prominence=0.3)
    theirs_ms = [10 * peak_widths(train.x, tops, rel_height=h)[0][3] for h in (0.5, 0.9)]
    finding = find_beats(train.time_s, train.x)
    rows = table_of_beats(finding.time_s, finding.x, finding.accepted)
    assert np.min(np.abs(np.subtract(theirs_ms, truth_ms))) > 50
    assert [rows[3]["cd50_ms"], rows[3]["cd90_ms"]] == pytest.approx(truth_ms, abs=8)
    assert np.isnan(rows[2]["cd90_ms"])  # it never relaxed by 90 %: said, not guessed


def test_no_low_pass_at_half_the_frequency_it_claims() -> None:
    train = regular_train(1.0, 100, 12, rise_s=0.12, tau_s=0.06)
    b, a = butter(2, 5 / 100)  # 5 Hz normalised by Fs and not by Fs / 2: really 2.5 Hz
    blurred = medians(type(train)(**{**vars(train), "x": filtfilt(b, a, train.x)}))
    truth = train.kinetics_ms()
    assert blurred["ttp10_ms"] - truth["ttp10_ms"] > 20
    assert blurred["cd50_ms"] - truth["cd50_ms"] > 20
    assert medians(train)["ttp10_ms"] == pytest.approx(truth["ttp10_ms"], abs=3)
    assert medians(train)["amplitude_px"] == pytest.approx(1, abs=0.02)


def test_a_window_in_frames_would_change_its_meaning_with_the_frame_rate() -> None:
    train = regular_train(1.03, 20, 40, upstroke="cosine", rise_s=0.2, tau_s=0.12)
    framed = type(train)(**{**vars(train), "x": savgol_filter(train.x, 11, 2)})
    truth = train.kinetics_ms()["ttp10_ms"]
    assert medians(framed)["ttp10_ms"] - truth > 25
    assert abs(medians(train)["ttp10_ms"] - truth) < 10


def test_smoothing_over_30_ms_leaves_30_frames_a_second_as_they_are() -> None:
    time_s, x = np.arange(30) / 30, np.random.default_rng(0).normal(0, 1, 30)
    assert smoothed(time_s, x) is x
    assert (
        np.std(smoothed(np.arange(1000) / 1000, np.random.default_rng(0).normal(0, 1, 1000))) < 0.5
    )


def test_time_to_peak_means_from_10_percent_whatever_else_is_asked_for() -> None:
    assert list(inspect.signature(ttp10_ms).parameters) == ["twitch"]


def test_a_velocity_is_as_long_as_its_time_axis_and_not_shifted() -> None:
    time_s = np.arange(100) / 50
    x = np.sin(2 * np.pi * time_s)
    slope = smoothed(time_s, x, 0.1, order=1)
    assert slope.shape == time_s.shape
    assert slope == pytest.approx(2 * np.pi * np.cos(2 * np.pi * time_s), abs=0.35)


def test_velocities_stay_with_their_beat_when_one_is_rejected() -> None:
    heights = np.array([1.0, 1.3, 0.8, 1.1, 0.9, 1.2, 1.0, 0.7])
    train = make_train(0.5 + np.arange(8.0), np.arange(900) / 100, amplitude=heights)
    bump = np.exp(-(((train.time_s - train.peak_s[3] - 0.5) / 0.025) ** 2))
    finding = find_beats(train.time_s, train.x + bump)
    rows = table_of_beats(finding.time_s, finding.x, finding.beats)
    fast = [
        r["vmax_contraction_px_s"] for b, r in zip(finding.beats, rows, strict=True) if b.accepted
    ]
    assert len(finding.beats) == 9
    assert np.array(fast) / heights == pytest.approx(np.full(8, np.median(fast / heights)), rel=0.1)


def test_the_rate_of_an_irregular_heart_is_not_the_mean_of_its_rates() -> None:
    rr_s = np.array([1.0, 1.0, 0.4, 1.6, 1.0, 1.0, 3.0, 1.0])
    assert np.mean(60 / rr_s) > 63
    assert 60 / np.mean(rr_s) < 50
    assert rhythm.beat_rate_bpm(rr_s) == 60


# --- rhythm -------------------------------------------------------------------------------------


def test_a_missing_beat_hides_no_alternans_and_makes_none() -> None:
    sizes, at_s = np.tile([10.0, 6.0], 20), np.arange(40.0)
    seen = np.arange(40) != 19
    rr_s = np.diff(at_s[seen])
    assert rhythm.alternans_pct(sizes[seen], rr_s) == pytest.approx(50, abs=2)
    assert rhythm.alternans_pct(rr_s, rr_s) == 0
    rr_s[7] = np.nan  # a pause of the camera: the longer part counts
    assert rhythm.alternans_pct(sizes[seen], rr_s) == pytest.approx(50, abs=2)


def test_bigeminy_is_alternans_of_intervals_and_no_missing_beats() -> None:
    rr_s = np.tile([0.6, 1.4], 10)
    assert rhythm.alternans_pct(rr_s, rr_s) == pytest.approx(80)
    assert rhythm.alternans_pct(np.tile([10.0, 6.0], 11)[:21], rr_s) == pytest.approx(50, abs=2)


def test_rhythm_by_hand() -> None:
    rr_s = rhythm.intervals_s(np.array([0, 1, 2, 2.5, 4, 5, 7.5, 8.5]))
    assert rhythm.pauses(rr_s) == 1
    assert rhythm.missed_beats(rr_s) == 2
    assert rhythm.extra_beats(rr_s) == 1
    assert rhythm.prr20_pct(rr_s) == pytest.approx(100 * 3 / 7)
    assert rhythm.sdnn_s(rr_s) == pytest.approx(np.std(rr_s, ddof=1))
    assert rhythm.poincare_s(rr_s)[0] == pytest.approx(rhythm.rmssd_s(rr_s) / 2**0.5)
    assert rhythm.alternans_pct(np.array([1.0, 0.8] * 4)) == pytest.approx(100 * 0.2 / 0.9)
    assert np.isnan(rhythm.rmssd_s(rr_s[:1]))
    assert np.isnan(rhythm.beat_rate_bpm(rr_s[:0]))


@pytest.mark.parametrize(("rr", "ratio"), [(0.5, 1.0), (1.0, 0.5), (0.7, 0.0)])
def test_capture_of_pacing_at_120(rr: float, ratio: float) -> None:
    assert rhythm.capture_ratio(np.full(20, rr), 120) == pytest.approx(ratio)


def test_corrected_durations_agree_at_60_and_differ_as_published_at_120() -> None:
    formulas = ("fridericia", "bazett", "framingham", "hodges")
    assert [rhythm.corrected_cd_ms(300, 1.0, f) for f in formulas] == pytest.approx([300] * 4)
    at_120 = [rhythm.corrected_cd_ms(300, 0.5, f) for f in formulas]
    assert at_120 == pytest.approx([378.0, 424.3, 377.0, 405.0], abs=0.1)
    assert all(np.isnan(rhythm.corrected_cd_ms(300, rr_s, "bazett")) for rr_s in (0.0, -0.1))


def test_periodicity_finds_the_period_and_its_double_under_alternans() -> None:
    train = regular_train(1.25, 30, 30)
    period_s, strength = rhythm.periodicity(train.time_s, train.x)
    assert period_s == pytest.approx(0.8, abs=0.04)
    assert strength > 0.8
    heights = np.tile([1.0, 0.5], 15)
    alternating = make_train(np.arange(30) * 0.8 + 0.4, train.time_s, amplitude=heights)
    assert rhythm.periodicity(train.time_s, alternating.x)[0] == pytest.approx(1.6, abs=0.04)
    said = find_beats(train.time_s, alternating.x)
    assert len(said.accepted) == 30
    assert "whole trace repeats every 1.6" in said.reasons[-1]


def test_a_rate_that_changes_is_no_second_period() -> None:
    """Under a drug the trace repeats best at some multiple: no doubt about the beats."""
    rr_s = np.concatenate([np.full(30, 1.0), np.linspace(1.0, 0.66, 20), np.full(60, 0.66)])
    onsets_s = 0.4 + np.cumsum(rr_s)
    train = make_train(onsets_s, np.arange(0, onsets_s[-1] + 1, 1 / 30))
    period_s, strength = rhythm.periodicity(train.time_s, train.x)
    assert abs(period_s / 0.66 - 1) > 0.1, "the case that was told as a doubt"
    assert strength > 0.5
    found = find_beats(train.time_s, train.x)
    assert len(found.accepted) >= 108
    assert len(found.reasons) == 1


# --- summary --------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_covers_95_percent_also_where_beats_resemble_the_last() -> None:
    draw = np.random.default_rng(10_000)
    for alike in (0.0, 0.5):
        hits = 0
        for _ in range(1000):
            steps = draw.normal(0, 1, 60)
            for k in range(1, 60):
                steps[k] += alike * steps[k - 1]
            found = number(steps)
            hits += found.low <= 0 <= found.high
        assert 925 <= hits <= 985


def test_numbers_of_nothing_and_of_one_beat() -> None:
    assert number(np.array([])).n == 0
    assert number(np.array([np.nan, 3.0])).median == 3.0
    assert np.isnan(number(np.array([3.0])).low)


def test_equal_beats_have_no_spread_in_their_last_digits() -> None:
    same = number(700 / 3 + np.array([0.0, 3e-14, 6e-14]))
    assert same.sd == 0
    assert number(np.array([1.0, 1.0 + 1e-6])).sd > 0


def test_summary_has_the_columns_that_people_know_and_honest_limits() -> None:
    train = with_noise(regular_train(1.07, 30, 40, rise_s=0.15, tau_s=0.12), 0.02, 10_000)
    finding = find_beats(train.time_s, train.x)
    numbers = summary(finding, Meaning("um", "fac_pct", 1e3), pacing_bpm=64.2)
    known = "beat_rate_bpm rr_s sdnn_s rmssd_s cv_rr amplitude_um fac_pct ttp10_ms cd50_ms cd90_ms"
    known += " rt50_ms rt90_ms vmax_contraction_um_s vmax_relaxation_um_s tau_ms capture_ratio"
    assert set(known.split()) <= set(numbers)
    assert numbers["beat_rate_bpm"].median == pytest.approx(64.2, rel=2e-3)
    assert numbers["capture_ratio"].median == 1
    cd50 = numbers["cd50_ms"]
    assert (cd50.n, cd50.low < cd50.mean < cd50.high) == (40, True)
    assert 1.96 * 2**0.5 * cd50.sd == pytest.approx(cd50.resolution, rel=0.5)
    assert 0 < numbers["rmssd_s"].resolution < 0.008
    assert numbers["rmssd_s"].median < 2 * numbers["rmssd_s"].resolution


def test_cautions_name_short_upstrokes_few_beats_and_fused_beats() -> None:
    few = regular_train(1.0, 30, 3, rise_s=0.12)
    said = " ".join(cautions(find_beats(few.time_s, few.x)))
    assert "Only 3 beats" in said
    assert "frames at 30 frames/s" in said
    slow = regular_train(1.0, 100, 10, rise_s=0.2)
    assert cautions(find_beats(slow.time_s, slow.x)) == ()
    still = find_beats(np.arange(300) / 30, np.zeros(300))
    assert "No beats" in cautions(still)[0]
    assert summary(still)["rmssd_s"].n == 0
    assert resolution(still) == {}


def test_noise_is_measured_under_a_fast_twitch() -> None:
    train = with_noise(regular_train(3.01, 30, 60, rise_s=0.1, tau_s=0.08), 0.05, 10_000)
    assert noise_sd(train.x, train.time_s) > 0.08  # from frame to frame the twitch itself moves
    assert find_beats(train.time_s, train.x).noise == pytest.approx(0.05, rel=0.3)
