"""Beats found, timed, rejected with a reason, edited by hand; verdicts on what is no beat."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared
from ehtseg.jobs.conclude import conclude
from ehtseg.measuring.beats import BeatFinding, find_beats
from ehtseg.measuring.edits import Edit, apply_edits, needless, read_edits, start_file
from ehtseg.measuring.rhythm import intervals_s, rmssd_s
from ehtseg.measuring.traces import as_traces
from ehtseg.recipe import MeasureRecipe
from ehtseg.records import UserError
from ehtseg.reporting.report import Clock
from twitches import (
    Train,
    compare,
    fea_activation,
    random_train,
    regular_train,
    with_drift,
    with_noise,
    without_frames,
)


def find(train: Train) -> BeatFinding:
    return find_beats(train.time_s, train.x)


def missed_and_extra(train: Train) -> tuple[int, int]:
    t50_s = np.array([beat.t50_s for beat in find(train).accepted])
    return compare(t50_s, train.t50_s, 0.1)


def clean(rate_hz: float = 1.0, fps: float = 50.0, n_beats: int = 10) -> Train:
    return with_noise(regular_train(rate_hz, fps, n_beats), 0.02, 0)


# --- nothing missed, nothing extra -----------------------------------------------------------


def test_the_eight_beats_of_the_finite_element_tissue_are_where_its_formula_puts_them() -> None:
    finding = find_beats(np.arange(200) / 30, fea_activation())
    frames = np.array([beat.peak_s * 30 for beat in finding.accepted])
    assert finding.verdict == "beating"
    assert frames == pytest.approx(12.44 + 24.875 * np.arange(8), abs=0.15)
    assert finding.period_s * 30 == pytest.approx(24.875, abs=0.01)


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("upstroke", ["cosine", "exponential"])
def test_every_beat_with_dropped_frames_and_a_drift_of_three_amplitudes(
    rate_hz: float, upstroke: str
) -> None:
    shape = {"rise_s": min(0.15, 0.35 / rate_hz), "tau_s": min(0.12, 0.3 / rate_hz)}
    train = regular_train(rate_hz, 30, 30, phase=0.4, upstroke=upstroke, **shape)
    train = with_noise(train, 0.02, 10_001)
    assert missed_and_extra(train) == (0, 0)
    hard = without_frames(with_drift(train, 3), 0.1, 10_001)
    assert missed_and_extra(hard) == (0, 0)


def test_noise_of_a_tenth_hides_no_beat() -> None:
    assert all(
        missed_and_extra(random_train(s, 50, 20, 0.1)) == (0, 0) for s in range(10_000, 10_004)
    )


def test_the_posts_of_a_real_tissue_beat_where_its_authors_found_it() -> None:
    with shared("data/eht_d1t3/tracks.csv").open() as file:
        distance = np.array([float(row["post_distance_px"]) for row in csv.DictReader(file)])
    finding = find_beats(np.arange(200) / 30, -distance)
    frames = np.array([beat.peak_s * 30 for beat in finding.accepted])
    assert len(frames) == 8
    assert np.max(np.abs(frames[:6] - [16, 40, 64, 88, 112, 136.5])) < 1
    assert finding.period_s * 30 == pytest.approx(24.1, rel=0.01)


# --- what existing tools get wrong ------------------------------------------------------------


def test_a_regular_train_is_not_made_irregular_by_timing_beats_at_their_peak_frame() -> None:
    train = with_noise(
        regular_train(1.03, 30, 40, upstroke="exponential", rise_s=0.25), 0.02, 10_000
    )
    t50_s = np.array([beat.t50_s for beat in find(train).accepted])
    peak_frames_s = np.array(
        [train.time_s[np.argmax(train.x * (abs(train.time_s - at) < 0.3))] for at in train.peak_s]
    )
    assert 1000 * rmssd_s(intervals_s(peak_frames_s)) > 20
    assert 1000 * rmssd_s(intervals_s(t50_s)) < 8


def test_the_relaxed_level_is_not_the_lowest_frame() -> None:
    train = clean()
    x = train.x.copy()
    x[np.searchsorted(train.time_s, train.onset_s[4] - 0.3)] = -1.0
    assert find_beats(train.time_s, x).beats[4].rest == pytest.approx(0, abs=0.03)


def test_the_baseline_follows_the_relaxed_level_and_not_the_running_mean() -> None:
    train = with_drift(clean(n_beats=20), 3)
    drift = train.x - clean(n_beats=20).x
    inner = slice(100, -100)
    error = find(train).baseline[inner] - drift[inner]
    assert np.sqrt(np.mean(error**2)) < 0.05


def test_a_detrended_beat_keeps_its_amplitude() -> None:
    beats = find(with_drift(clean(n_beats=30), 3)).accepted
    assert np.median([beat.amplitude for beat in beats]) == pytest.approx(1, abs=0.02)


# --- one row a candidate ------------------------------------------------------------------------


def test_a_small_wiggle_is_a_row_with_its_reason_and_not_a_beat() -> None:
    train = clean()
    x = train.x + 0.4 * np.exp(-(((train.time_s - train.peak_s[3] - 0.55) / 0.05) ** 2))
    finding = find_beats(train.time_s, x)
    rejected = [beat for beat in finding.beats if not beat.accepted]
    assert len(finding.accepted) == 10
    assert len(rejected) == 1
    assert "below 35%" in rejected[0].reason
    assert [beat.index for beat in finding.beats] == list(range(11))


def test_a_second_peak_within_the_refractory_limit_is_rejected() -> None:
    train = clean(n_beats=9)
    finding = find_beats(train.time_s, train.x, max_bpm=50)
    reasons = [beat.reason for beat in finding.beats if not beat.accepted]
    assert len(finding.accepted) <= 5
    assert any("1200 ms (refractory limit)" in reason for reason in reasons)


def test_a_bump_of_the_stage_is_unlike_the_mean_beat() -> None:
    train = clean(fps=100)
    ramp = np.clip((train.time_s - train.peak_s[5] - 0.3) / 0.35, 0, 1)
    finding = find_beats(train.time_s, train.x + np.where(ramp < 1, ramp, 0))
    rejected = [beat for beat in finding.beats if not beat.accepted]
    assert len(finding.accepted) == 10
    assert len(rejected) == 1
    assert "unlike the mean beat" in rejected[0].reason


@pytest.mark.parametrize(("cut_s", "clipped"), [(0.62, "start"), (0.58, "start")])
def test_a_first_beat_without_its_start_is_marked_and_not_measured(
    cut_s: float, clipped: str
) -> None:
    train = clean()
    kept = train.time_s >= cut_s
    finding = find_beats(train.time_s[kept], train.x[kept])
    assert finding.beats[0].clipped == clipped
    assert not finding.beats[0].accepted
    assert len(finding.accepted) == 9


def test_a_last_beat_without_its_relaxation_counts_and_is_marked() -> None:
    train = clean()
    kept = train.time_s <= train.peak_s[-1] + 0.12
    last = find_beats(train.time_s[kept], train.x[kept]).beats[-1]
    assert (last.accepted, last.clipped) == (True, "end")
    assert "recording stops" in last.reason


@pytest.mark.parametrize("after_s", [0.1, 0.2, 0.4])
@pytest.mark.parametrize("n_beats", [4, 12])
def test_a_last_beat_whose_peak_was_filmed_counts_however_little_it_relaxes(
    n_beats: int, after_s: float
) -> None:
    """Its prominence towards the end of the recording is small, and no second row stands for it."""
    train = with_noise(regular_train(0.9, 30, n_beats, rise_s=0.2, tau_s=0.2), 0.02, 10_004)
    kept = train.time_s <= train.peak_s[-1] + after_s
    finding = find_beats(train.time_s[kept], train.x[kept])
    assert [beat.accepted for beat in finding.beats] == [True] * n_beats
    assert finding.beats[-1].clipped == "end"
    assert finding.beats[-1].t50_s == pytest.approx(train.t50_s[-1], abs=0.02)
    assert finding.beats[-1].amplitude == pytest.approx(1, abs=0.08)


def test_a_last_beat_without_its_peak_is_a_row_and_no_beat() -> None:
    train = with_noise(regular_train(0.9, 30, 6, rise_s=0.3, tau_s=0.2), 0.02, 10_005)
    kept = train.time_s <= train.peak_s[-1] - 0.07
    finding = find_beats(train.time_s[kept], train.x[kept])
    assert [beat.accepted for beat in finding.beats] == [True] * 5 + [False]
    assert finding.beats[-1].reason == "the recording ends during this beat"


def test_frames_without_a_value_are_left_out() -> None:
    train = clean()
    x = train.x.copy()
    x[::17] = np.nan
    assert len(find_beats(train.time_s, x).accepted) == 10


@pytest.mark.parametrize("time_s", [np.zeros(50), np.arange(49.0)])
def test_times_that_do_not_fit_are_a_bug_of_the_caller(time_s: np.ndarray) -> None:
    with pytest.raises(ValueError, match="time_s"):
        find_beats(time_s, np.zeros(50))


@settings(max_examples=8, deadline=None)
@given(st.floats(1e-3, 1e4), st.floats(-1e3, 1e3), st.floats(-1e4, 1e4))
def test_unit_offset_and_clock_do_not_change_the_beats(a: float, b: float, c: float) -> None:
    train = clean(n_beats=6)
    plain, moved = find(train), find_beats(train.time_s + c, a * train.x + a * b)
    assert len(moved.accepted) == len(plain.accepted)
    for one, other in zip(plain.accepted, moved.accepted, strict=True):
        assert other.t50_s - c == pytest.approx(one.t50_s, abs=0.003)
        assert other.amplitude / a == pytest.approx(one.amplitude, rel=0.01)


# --- verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fps", [30, 100])
def test_noise_does_not_beat(seed: int, fps: int) -> None:
    draw = np.random.default_rng(10_000 + seed)
    time_s = np.arange(20 * fps) / fps
    white = draw.normal(0, 1, len(time_s))
    for x in (white, white + 20 * np.exp(-time_s / 8), np.round(white / 2)):
        assert find_beats(time_s, x).verdict != "beating"


def test_a_still_video_does_not_beat_and_a_short_one_cannot_tell() -> None:
    still = find_beats(np.arange(300) / 30, np.full(300, 7.0))
    assert (still.verdict, still.beats) == ("not beating", ())
    assert find_beats(np.arange(30) / 30, np.full(30, 7.0)).verdict == "cannot tell"
    few = find_beats(np.arange(10) / 30, np.arange(10.0) % 3)
    assert few.verdict == "cannot tell"
    assert "10 frames" in few.reasons[0]


def test_one_beat_is_a_row_but_no_rhythm() -> None:
    finding = find(clean(rate_hz=0.2, n_beats=1))
    assert finding.verdict == "cannot tell"
    assert "one contraction" in finding.reasons[0]
    assert len(finding.accepted) == 1


@pytest.mark.parametrize("n_beats", [2, 3])
def test_two_or_three_beats_with_a_flat_top_are_alike(n_beats: int) -> None:
    """Their highest frames stand anywhere on the top, as with the outline of a hard mask."""
    tops = (
        [0.24, 0.99, 0.99, 0.99, 1, 0.78, 0.56, 0.07],
        [0.5, 0.99, 0.83, 1, 0.98, 0.97, 0.07],
        [0.4, 1.01, 1, 0.99, 0.9],
    )
    x = np.zeros(20 * n_beats + 10)
    for k, top in enumerate(tops[:n_beats]):
        x[20 * k + 12 : 20 * k + 12 + len(top)] = top
    x += np.random.default_rng(10_000).normal(0, 0.02, len(x))
    finding = find_beats(np.arange(len(x)) / 30, x)
    assert (finding.verdict, len(finding.accepted)) == ("beating", n_beats)


def test_five_frames_a_second_cannot_tell_a_fast_rhythm() -> None:
    finding = find(regular_train(1.6, 5, 40, rise_s=0.2, tau_s=0.15))
    assert finding.verdict == "cannot tell"
    assert "frames a beat" in finding.reasons[0]


def test_a_rhythm_under_noise_is_not_called_still() -> None:
    finding = find(with_noise(regular_train(2.0, 30, 60), 0.25, 10_000))
    assert finding.verdict != "not beating"


# --- the beats file -----------------------------------------------------------------------------


def test_edits_add_and_remove_and_survive_a_rerun(tmp_path: Path) -> None:
    path = tmp_path / "beats_edits.csv"
    start_file(path)
    assert read_edits(path) == ()
    train = clean()
    wiggle_s = train.peak_s[3] + 0.55
    x = train.x + 0.4 * np.exp(-(((train.time_s - wiggle_s) / 0.05) ** 2))
    path.write_text(path.read_text() + f"add,{wiggle_s:.2f}\nremove,{train.peak_s[7]:.2f}\n")
    start_file(path)  # a rerun keeps what is there
    for _ in range(2):
        finding = apply_edits(find_beats(train.time_s, x), read_edits(path))
        added = min(finding.beats, key=lambda beat: abs(beat.peak_s - wiggle_s))
        gone = min(finding.beats, key=lambda beat: abs(beat.peak_s - train.peak_s[7]))
        assert (added.accepted, added.reason) == (True, "added by hand")
        assert (gone.accepted, gone.reason) == (False, "removed by hand")
        assert len(finding.accepted) == 10


def test_no_edits_change_nothing() -> None:
    finding = find(clean())
    assert apply_edits(finding, ()) is finding


@pytest.mark.parametrize("line", ["move,1.0", "add,soon", "add", "remove,nan"])
def test_a_wrong_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "edits.csv"
    path.write_text(f"action,time_s\n{line}\n")
    with pytest.raises(UserError, match="line 1"):
        read_edits(path)


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("remove,3,6", "Write 3.6 with a point"),
        ("add,12,48,", "Write 12.48 with a point"),
        ("remove,3.6,a twitch", "“a twitch” behind them. Leave out the rest"),
    ],
)
@pytest.mark.parametrize("header", ["action,time_s", "action,time_s,"])
def test_a_decimal_comma_is_not_cut_off(tmp_path: Path, header: str, line: str, cure: str) -> None:
    path = tmp_path / "edits.csv"
    path.write_text(f"{header}\nremove,1.5\n{line}\n")
    with pytest.raises(UserError, match=f"in line 2 of the table.*{cure}"):
        read_edits(path)


@pytest.mark.parametrize(
    "text",
    [
        "action,time_s\nadd,12.48\n,\n\nremove,3.6\n,\n",
        "# by hand,\naction,time_s,note\nadd,12.48,\n,,\nremove,3.6,a twitch\n",
        "action;time_s\nadd;12,48\n;\nremove;3,6\n",
        "sep=;\n\nAction;Time_s;\nadd;12.48;\nremove;3,6;;\n",
        'action\ttime_s\nadd\t"12,48"\nremove\t3.6\n',
        '\ufeff"# by hand; add"\r\n"action";"time_s"\r\n"add";"12,48"\r\n"remove";"3,6"\r\n',
    ],
)
def test_edits_are_read_as_a_spreadsheet_saves_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "edits.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_edits(path) == (Edit("add", 12.48), Edit("remove", 3.6))


@pytest.mark.parametrize("header", ["remove,3.6", "action,time", "action,time_s,time_s"])
def test_edits_without_their_columns_are_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "edits.csv"
    path.write_text(f"{header}\nremove,3.6\n")
    with pytest.raises(UserError, match="Begin the table with the line:  action,time_s"):
        read_edits(path)
    path.write_text("# nothing yet\n\n")
    assert read_edits(path) == ()


@pytest.mark.parametrize(
    ("is_known", "edit", "said"),
    [
        (True, Edit("remove", 1.2), r"within 0.3 s of 1.2 s.* at \S+ s\. .*column peak_s"),
        (False, Edit("remove", 60), r"within 15 frames of 60 frames.* at \S+ frames.*peak_frames"),
        (False, Edit("add", 9999), "between 0 frames and .* frames, got .* at 9999 frames"),
    ],
)
def test_an_edit_that_fits_no_beat_is_told_in_the_unit_of_the_clock(
    is_known: bool, edit: Edit, said: str
) -> None:
    train = clean()
    traces = as_traces(train.time_s, {"extent_px": 80 - 4 * train.x}, None)
    with pytest.raises(UserError, match=said) as raised:
        conclude(traces, Clock(is_known, 50.0), MeasureRecipe(), [edit])
    assert ("frames" in str(raised.value)) != is_known


@pytest.mark.parametrize(
    ("edit", "said"), [(Edit("remove", 1.15), "nearest"), (Edit("add", 99.0), "between")]
)
def test_an_edit_that_fits_no_beat_is_refused(edit: Edit, said: str) -> None:
    with pytest.raises(UserError, match=said):
        apply_edits(find(clean()), (edit,))


@pytest.mark.parametrize("off_s", [0.0, 0.004, 0.1, -0.1, 0.2, 0.3])
def test_a_beat_that_is_there_cannot_be_added_once_more(off_s: float) -> None:
    found = find(clean())
    add = Edit("add", found.accepted[4].peak_s + off_s)
    assert (flag := needless(found, [add, add])) is not None
    assert "in lines 1, 2 of its table" in flag.reason
    assert apply_edits(found, [add]) is found


def test_one_beat_added_twice_is_one_beat() -> None:
    train = clean()
    at_s = train.peak_s[3] + 0.55
    x = train.x + 0.4 * np.exp(-(((train.time_s - at_s) / 0.05) ** 2))
    found = find_beats(train.time_s, x)
    adds = [Edit("add", at_s), Edit("add", at_s + 0.1)]
    assert (flag := needless(found, adds)) is not None
    assert "in line 2 of its table" in flag.reason
    edited = apply_edits(found, adds)
    assert len(edited.accepted) == len(found.accepted) + 1
    removed = apply_edits(found, [*adds, Edit("remove", at_s)])
    assert len(removed.accepted) == len(found.accepted)
    back = [Edit("remove", found.accepted[2].peak_s), Edit("add", found.accepted[2].peak_s)]
    assert needless(found, back) is None
    assert len(apply_edits(found, back).accepted) == len(found.accepted)


def test_a_beat_added_where_nothing_rises_is_not_accepted() -> None:
    found = find(clean())
    edited = apply_edits(found, [Edit("add", found.accepted[4].peak_s + 0.4)])
    assert min(beat.amplitude for beat in edited.accepted) > 0
    assert len(edited.accepted) == len(found.accepted)
    (row,) = (beat for beat in edited.beats if beat.reason.startswith("added by hand"))
    assert row.reason == "added by hand, but nothing rises there"


def test_a_beat_taken_out_by_hand_is_no_noise() -> None:
    train = regular_train(1.0, 30, 12)
    x = train.x + np.random.default_rng(5).normal(0, 0.01, len(train.x))
    finding = find_beats(train.time_s, x)
    edited = apply_edits(finding, [Edit("remove", finding.accepted[5].peak_s)])
    assert len(edited.accepted) == len(finding.accepted) - 1
    assert edited.noise == pytest.approx(finding.noise, rel=0.3)


def test_a_correction_leaves_the_other_beats_as_they_are() -> None:
    """A first beat that the start cuts is none, and yet it ends the one after it."""
    time_s = np.arange(0, 30, 1 / 30)
    for first_s in (-0.15, -0.1, -0.05, 0.0, 0.03):
        since_s = np.maximum(time_s[:, None] - np.arange(first_s, 30.2, 1.0), 0)
        twitches = (1 - np.exp(-2 * since_s / 0.12)) * np.exp(-since_s / 0.25)
        x = 24 * twitches.sum(1) + np.random.default_rng(0).normal(0, 0.1, len(time_s))
        finding = find_beats(time_s, x)
        edited = apply_edits(finding, [Edit("remove", finding.accepted[15].peak_s)])
        assert len(edited.accepted) == len(finding.accepted) - 1, first_s
