"""Recordings to beats and pages, end to end; bad input: test_bad_recordings.py."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import shared
from ehtseg.doors.cli import app
from ehtseg.jobs.analyse import AnalyseResult, analyse
from ehtseg.jobs.analysis import FILES, MOVIE
from ehtseg.jobs.recording import Facts
from ehtseg.measuring.events import read_event
from ehtseg.recipe import Recipe, make_recipe
from ehtseg.records import UserError
from heartbeats import PERIOD, beating, phases, write_recording
from test_segment import dark_run

QUIET = make_recipe({"measure": {"movie": False, "uncertainty": "none"}})


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def one(
    tmp_path: Path,
    frames: np.ndarray,
    masks: np.ndarray,
    facts: Facts | None = None,
    movie: bool = False,
) -> AnalyseResult:
    """One recording analysed with its masks."""
    source = write_recording(tmp_path, "film", frames, masks)
    told = {"recipe": QUIET if not movie else Recipe(), "facts": facts or Facts(fps=20)}
    (result,) = analyse([source], tmp_path / "out", masks=tmp_path / "masks", **told)
    return result


def said(result: AnalyseResult, key: str) -> str:
    assert result.record is not None, result.reason
    return " ".join(result.record[key])


def summary(result: AnalyseResult) -> dict[str, Any]:
    assert result.record is not None, result.reason
    found: dict[str, Any] = result.record["summary"]
    return found


def test_a_beating_strip_end_to_end(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    result = one(
        tmp_path,
        frames,
        masks,
        Facts(fps=20, um_per_px=4, events=(read_event("3 wash"),)),
        movie=True,
    )
    folder = tmp_path / "out" / "film"
    assert result.folder == folder
    assert {path.name for path in folder.iterdir()} == {*FILES, MOVIE}
    assert summary(result)["verdict"] == "beating"
    beats = rows(folder / "beats.csv")
    assert [beat["accepted"] for beat in beats] == ["yes"] * 8
    numbers = {row["parameter"]: row for row in rows(folder / "kinetics.csv")}
    assert float(numbers["beat_rate_bpm"]["median"]) == pytest.approx(60, rel=0.01)
    assert all(row["how"] for row in numbers.values())
    intervals = np.diff([float(beat["t50_s"]) for beat in beats])
    assert intervals == pytest.approx(PERIOD / 20, abs=0.02)
    table = rows(folder / "frames.csv")
    assert len(table) == 160
    assert float(table[3]["time_s"]) == pytest.approx(0.15)
    assert len(rows(folder / "windows.csv")) == 1
    (rate,) = (r for r in rows(folder / "effects.csv") if r["quantity"] == "beat_rate_bpm")
    assert (rate["event"], rate["verdict"]) == ("wash", "cannot tell")
    assert json.loads((folder / "qc.json").read_text())["verdict"] == "beating"
    assert "<svg" in (folder / "report.html").read_text()
    assert rows(tmp_path / "out" / "summary.csv")[0]["recording"] == "film"


@pytest.mark.slow
def test_the_real_microbundle_from_its_masks(tmp_path: Path) -> None:
    data = shared("data/eht_d1t3")
    (result,) = analyse([data], tmp_path, masks=data / "masks", recipe=QUIET)
    beats = rows(tmp_path / "eht_d1t3" / "beats.csv")
    assert summary(result)["verdict"] == "beating"
    assert [beat["accepted"] for beat in beats] == ["yes"] * 8
    times_s = [float(beat["t50_s"]) for beat in beats]
    assert np.median(np.diff(times_s)) * 30 == pytest.approx(24.1, rel=0.01)


def test_unchanged_results_stay_and_a_failure_stops_nobody(tmp_path: Path) -> None:
    frames, masks = beating(phases(60))
    good = write_recording(tmp_path, "good", frames, masks)
    bad = write_recording(tmp_path, "bad", frames, masks[:50])
    told = Facts(fps=20)

    def again(facts: Facts) -> list[AnalyseResult]:
        places = {"out": tmp_path / "out", "masks": tmp_path / "masks"}
        return analyse([bad, good], recipe=QUIET, facts=facts, **places)

    first, second, third = again(told), again(told), again(Facts(fps=25))
    assert [result.status for result in first] == ["failed", "done"]
    assert "60 frames" in first[0].reason
    assert "50 masks" in first[0].reason
    assert "one mask alone" in first[0].reason
    assert [result.status for result in second] == ["failed", "unchanged"]
    assert third[1].status == "done"
    assert not (tmp_path / "out" / "bad").exists()


def test_a_failure_tells_of_results_from_an_earlier_run(tmp_path: Path) -> None:
    frames, masks = beating(phases(60))
    assert one(tmp_path, frames, masks).status == "done"
    failed = one(tmp_path, frames, masks[:50])
    assert failed.status == "failed"
    assert f"What stands in {tmp_path / 'out' / 'film'} and in summary.csv" in failed.reason
    assert [row["recording"] for row in rows(tmp_path / "out" / "summary.csv")] == ["film"]


def test_a_copy_of_results_is_no_second_recording(tmp_path: Path) -> None:
    frames, masks = beating(phases(60))
    one(tmp_path, frames, masks)
    out = tmp_path / "out"
    for name in ("before_the_move", "film_backup", ".film.part"):
        shutil.copytree(out / "film", out / name)
    result = one(tmp_path, frames, masks)
    assert (result.status, result.folder) == ("unchanged", out / "film")
    assert [row["recording"] for row in rows(out / "summary.csv")] == ["film"]
    page = (out / "index.html").read_text()
    assert "film/report.html" in page
    assert "film_backup" not in page


def test_a_tissue_at_rest_has_no_upstrokes_to_doubt(tmp_path: Path) -> None:
    sway = 0.2 * np.random.default_rng(1).normal(0, 0.3, 160).cumsum()
    frames, masks = beating(np.zeros(160), sway)
    result = one(tmp_path, frames, masks)
    assert summary(result)["verdict"] == "not beating"
    told = (tmp_path / "out" / "film" / "qc.json").read_text()
    assert "few_beats" in told
    assert "few_frames_in_upstroke" not in told


def test_masks_that_change_are_read_again(tmp_path: Path) -> None:
    frames, masks = beating(phases(60))
    assert one(tmp_path, frames, masks).status == "done"
    assert one(tmp_path, frames, np.roll(masks, 1, axis=1)).status == "done"


def test_one_mask_for_all_frames_gives_motion(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    result = one(tmp_path, frames, masks[:1])
    assert summary(result)["trace"] == "contraction_px"
    assert summary(result)["beats"] == 8
    assert "one mask stands for all frames" in said(result, "cannot_be_concluded")


def test_a_lost_mask_now_and_then_makes_no_beat(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    masks[[35, 76, 118]] = 0
    result = one(tmp_path, frames, masks)
    assert summary(result)["beats"] == 8
    assert "3 of 160 frames" in said(result, "cannot_be_concluded")


def test_hard_masks_that_stand_still_between_steps_do_not_win(tmp_path: Path) -> None:
    frames, soft = beating(phases(160))
    result = one(tmp_path, frames, soft >= 0.5)
    assert summary(result)["trace"] == "contraction_px"
    assert summary(result)["beats"] == 8


def test_a_beat_removed_by_hand_stays_removed(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    one(tmp_path, frames, masks)
    folder = tmp_path / "out" / "film"
    third = rows(folder / "beats.csv")[2]
    edits = f"# a twitch of the stage\naction,time_s\nremove,{third['peak_s']}\n"
    (folder / "beats_edit.csv").write_text(edits)
    again = one(tmp_path, frames, masks)
    assert again.status == "done"
    assert summary(again)["beats"] == 7
    row = rows(folder / "beats.csv")[2]
    assert (row["accepted"], row["reason"]) == ("no", "removed by hand")
    assert (folder / "beats_edit.csv").read_text() == edits
    assert one(tmp_path, frames, masks).status == "unchanged"


def test_a_beat_added_where_one_is_changes_nothing_and_that_is_said(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    one(tmp_path, frames, masks)
    folder = tmp_path / "out" / "film"
    before = rows(folder / "beats.csv")
    edits = f"action,time_s\nadd,{before[2]['peak_s']}\nadd,{float(before[5]['peak_s']) + 0.05}\n"
    (folder / "beats_edit.csv").write_text(edits)
    again = one(tmp_path, frames, masks)
    assert again.status == "done"
    assert rows(folder / "beats.csv") == before
    assert "adds in lines 1, 2 of its table what is a beat already" in said(again, "flags")


def test_without_a_frame_rate_times_are_in_frames(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    result = one(tmp_path, frames, masks, Facts(events=(read_event("3 wash"),)))
    beats = rows(tmp_path / "out" / "film" / "beats.csv")
    assert not [name for name in beats[0] if name.endswith(("_s", "_ms"))]
    intervals = np.diff([float(beat["t50_frames"]) for beat in beats])
    assert intervals == pytest.approx(PERIOD, abs=0.4)
    assert "time_s" not in rows(tmp_path / "out" / "film" / "frames.csv")[0]
    names = [row["parameter"] for row in rows(tmp_path / "out" / "film" / "kinetics.csv")]
    assert sorted(set(names)) == sorted(names), "each stands there once"
    assert "the frame rate is unknown" in said(result, "cannot_be_concluded")
    assert "Effects of events" in said(result, "cannot_be_concluded")


@pytest.mark.parametrize(
    ("count", "why"), [(1, "1 frame is"), (2, "2 frames are"), (9, "9 frames")]
)
def test_hardly_any_frame_is_still_told_of_with_the_true_reason(
    tmp_path: Path, count: int, why: str
) -> None:
    frames, masks = beating(phases(count))
    result = one(tmp_path, frames, masks)
    assert summary(result)["verdict"] == "cannot tell"
    assert result.folder is not None
    page = (result.folder / "report.html").read_text()
    for told in (said(result, "cannot_be_concluded"), said(result, "flags"), page):
        assert why in told
        assert "too few, 10 are needed" in told
        assert "nine tenths" not in told


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    result = one(tmp_path, frames, masks[:, :-2])
    assert result.status == "failed"
    assert "128 x 72 px" in result.reason
    assert "128 x 70 px" in result.reason


@pytest.mark.parametrize("pages", [30, 1])
def test_one_masks_file_is_not_taken_for_several_recordings(tmp_path: Path, pages: int) -> None:
    frames, masks = beating(phases(30))
    films = [write_recording(tmp_path, name, frames, masks[:pages]) for name in ("a", "b")]
    place = tmp_path / "masks" / "a.tif"
    results = analyse(films, tmp_path / "out", masks=place, recipe=QUIET, facts=Facts(fps=20))
    assert [result.status for result in results] == ["done", "failed"]
    assert "masks named as b.tif" in results[1].reason
    assert "b.tif or b/" in results[1].reason
    (alone,) = analyse(films[1:], tmp_path / "out", masks=place, recipe=QUIET)
    assert alone.status == "done"


def test_a_network_or_masks_but_not_both(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    source = write_recording(tmp_path, "film", frames, masks)
    with pytest.raises(UserError, match="both"):
        analyse([source], tmp_path / "out", run=tmp_path / "run", masks=tmp_path / "masks")


def test_the_command_line_says_what_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames, masks = beating(phases(100))
    source = write_recording(tmp_path, "film", frames, masks)
    words = [str(source), "--masks", str(tmp_path / "masks"), "--out", str(tmp_path / "out")]
    words += ["--set", "measure.movie=false"]
    app(["analyse", *words, "--fps", "20", "--event", "99 wash"], standalone_mode=False)
    told = capsys.readouterr().out
    assert "beating, 5 beats" in told
    assert "Not: “wash” at 99 s" in told
    with pytest.raises(UserError, match="isoprenaline"):
        app(["analyse", *words, "--event", "wash"], standalone_mode=False)


def test_results_are_no_recordings(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    result = one(tmp_path, frames, masks)
    with pytest.raises(UserError, match="only results"):
        analyse([result.folder or tmp_path], tmp_path / "out", masks=tmp_path / "masks")


def test_an_out_among_the_recordings_is_passed_over(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    source, out = write_recording(tmp_path, "film", frames, masks), tmp_path / "out"
    told = {"masks": tmp_path / "masks", "recipe": QUIET}
    analyse([source], out, **told)
    for name in ("heat.png", "heat.svg"):  # as a plate has them
        (out / name).touch()
    assert [one.status for one in analyse([source, out], out, **told)] == ["unchanged"]
    (out / "shot.png").touch()
    assert len(analyse([source, out], out, **told)) == 2, "a picture of somebody else"


def test_names_as_long_as_a_file_may_have(tmp_path: Path) -> None:
    frames, masks = beating(phases(30))
    sources = [write_recording(tmp_path, 250 * mark, frames, masks) for mark in "ab"]
    told = {"masks": tmp_path / "masks", "recipe": QUIET}
    results = analyse(sources, tmp_path / "out", **told)
    assert [one.status for one in results] == ["done", "done"], results[0].reason
    (joined,) = analyse(sources, tmp_path / "long", facts=Facts(fps=20, join=True), **told)
    assert joined.status == "done", joined.reason


def test_a_network_sees_what_the_masks_show(tmp_path: Path) -> None:
    frames, masks = beating(phases(160))
    source = write_recording(tmp_path, "film", frames, masks)
    run = dark_run(tmp_path / "run")
    told = {"run": run, "recipe": QUIET, "facts": Facts(fps=20)}
    (result,) = analyse([source], tmp_path / "out", **told)
    assert summary(result)["verdict"] == "beating"
    assert summary(result)["beats"] == 8
    assert "the network run" in (result.record or {})["masks_from"]
    assert "no limit of doubt" in said(result, "notes")
    assert not list((tmp_path / "out").glob(".*")), "parts are deleted"
    again = analyse([source], tmp_path / "out", **told)
    assert again[0].status == "unchanged"
