"""Recordings that are not as they should be, through the command: what still holds, what does not.

Every case has its exit code: 0 where something could be concluded or it could be said why not, 2
where a recording could not be analysed; and leaves no half-written folder behind.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from conftest import Cli
from ehtseg.jobs.analysis import FILES
from ehtseg.seeing import shipped
from heartbeats import beating, phases, write_recording
from recordings import write_video
from test_segment import dark_run

QUIET = ("--set", "measure.movie=false", "--set", "measure.uncertainty=none")
BASE = "film.tif,A1,,,,\nfilm.tif,A1,x,1,uM,00:00:02\n"  # lines of a manifest
Films = Callable[..., "Answer"]


@dataclass(frozen=True)
class Answer:
    """What the command said of film.tif, and what it left in its folder."""

    code: int
    said: str
    out: Path
    name: str = "film"

    @property
    def holds(self) -> str:
        """The sentences on what can be concluded."""
        return self._part(lambda line: line.startswith("  ") and "Not: " not in line)

    @property
    def fails(self) -> str:
        """The sentences on what cannot."""
        return self._part(lambda line: "Not: " in line)

    def rows(self, table: str) -> list[dict[str, str]]:
        with open(self.out / self.name / table, encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def verdict(self) -> str:
        told = json.loads((self.out / self.name / "qc.json").read_text())
        return str(told["verdict"])

    def is_whole(self) -> bool:
        """Whether everything was written, and nothing else: no part of a run that is over."""
        left = {path.name for path in self.out.iterdir()}
        there = {path.name for path in (self.out / self.name).iterdir()}
        return left == {self.name, "summary.csv", "index.html"} and set(FILES) <= there

    def is_nothing(self) -> bool:
        """Whether no folder of this recording was left, not even a hidden one."""
        return not self.out.exists() or not any(path.is_dir() for path in self.out.iterdir())

    def _part(self, belongs: Callable[[str], bool]) -> str:
        return "\n".join(line.strip() for line in self.said.splitlines() if belongs(line))


@pytest.fixture
def film(tmp_path: Path, ehtseg: Cli) -> Films:
    def run(frames: np.ndarray, masks: np.ndarray, *words: object, fps: object = 20) -> Answer:
        source = write_recording(tmp_path, "film", frames, masks)
        told = ("--masks", tmp_path / "masks", "--out", tmp_path / "out", "--fps", fps)
        code, out, err = ehtseg("analyse", source, *told, *QUIET, *words)
        return Answer(code, out + err, tmp_path / "out")

    return run


def test_a_still_video_does_not_beat(film: Films) -> None:
    found = film(*beating(np.zeros(160)))
    assert (found.code, found.verdict()) == (0, "not beating")
    assert found.is_whole()
    assert "the tissue does not beat" in found.holds
    assert found.rows("kinetics.csv") == []


def test_one_beat_is_a_contraction_without_a_rate(film: Films) -> None:
    found = film(*beating(phases(80, period=1000, first=30)))
    assert (found.code, found.is_whole()) == (0, True)
    assert "1 contraction at" in found.holds
    assert "Rate and irregularity: a single beat has no interval" in found.fails


def test_a_tissue_that_sways_does_not_beat(film: Films) -> None:
    sway_px = 2 * np.sin(2 * np.pi * 1.1 * np.arange(160) / 20)
    found = film(*beating(np.zeros(160), sway_px))
    assert (found.code, found.verdict()) == (0, "cannot tell")
    assert "the tissue moves the same way" in found.fails
    assert found.rows("kinetics.csv") == []
    assert film(*beating(phases(160), sway_px)).verdict() == "beating"


def test_no_tissue_in_the_masks(film: Films) -> None:
    frames, masks = beating(phases(60))
    found = film(frames, np.zeros_like(masks))
    assert (found.code, found.verdict(), found.is_whole()) == (0, "cannot tell", True)
    assert "60 of 60 frames: no tissue is found" in found.fails
    assert "nothing follows for the tissue" in found.holds


def test_no_tissue_for_the_network(
    tmp_path: Path, ehtseg: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dark_run(tmp_path / "run")
    monkeypatch.setattr(shipped, "chosen_run", lambda _named: run)
    bright = np.full((40, 72, 128), 220, np.uint8)
    source = write_video(tmp_path / "film.mkv", list(bright), rate=20)
    words = ("--out", tmp_path / "out", *QUIET)
    code, out, err = ehtseg("analyse", source, *words)
    found = Answer(code, out + err, tmp_path / "out")
    assert (found.code, found.verdict(), found.is_whole()) == (0, "cannot tell", True)
    assert "40 of 40 frames: no tissue is found" in found.fails


def test_tissue_at_the_edge_is_refused_its_length_and_keeps_its_beats(film: Films) -> None:
    found = film(*beating(phases(160), np.full(160, 24.0)))
    assert (found.code, found.verdict(), found.is_whole()) == (0, "beating", True)
    assert "8 contractions at the times in beats.csv" in found.holds
    assert "Sizes of the whole tissue" in found.fails
    assert "160 of 160 frames" in found.fails
    assert {row["major_axis_px"] for row in found.rows("frames.csv")} == {""}


def test_time_stamps_in_whole_seconds_tell_no_rate(tmp_path: Path, ehtseg: Cli) -> None:
    frames, masks = beating(phases(100))
    times_ms = [1000 * (k // 20) for k in range(100)]
    source = write_video(tmp_path / "film.mkv", list(frames), times_ms=times_ms)
    tifffile.imwrite(tmp_path / "film.tif", masks)
    words = ("--masks", tmp_path / "film.tif", "--out", tmp_path / "out", *QUIET[2:])
    code, out, err = ehtseg("analyse", source, *words)
    found = Answer(code, out + err, tmp_path / "out")
    assert (found.code, found.verdict(), found.is_whole()) == (0, "beating", True)
    assert "the frame rate is unknown. Give it with --fps" in found.fails
    record = json.loads((tmp_path / "out" / "film" / "record.json").read_text())
    assert "Most time stamps repeat the one before" in " ".join(record["notes"])
    code, _, _ = ehtseg("analyse", source, *words, "--fps", 20)
    assert float(found.rows("summary.csv")[0]["beat_rate_bpm"]) == pytest.approx(60, rel=0.01)


def test_tissue_cut_at_one_end_is_not_read_upside_down(film: Films) -> None:
    """Its free end comes nearer, its centre moves in: more of it is seen when it contracts."""
    phase = phases(160)
    found = film(*beating(phase, 40 - 12 * phase))
    area = np.array([float(row["area_px"]) for row in found.rows("frames.csv")])
    assert np.corrcoef(area, phase)[0, 1] > 0.9
    (summary,) = found.rows("summary.csv")
    assert (summary["verdict"], summary["trace"]) == ("beating", "contraction_px")
    assert float(summary["cd50_ms"]) == pytest.approx(339, abs=20)
    assert "its area is that of what is seen" in found.fails


def test_tissue_that_drifts_out_of_the_picture(film: Films) -> None:
    """The second half of the recording has nothing but ground."""
    away = np.concatenate([np.zeros(80), np.linspace(0, 140, 40), np.full(80, 140.0)])
    found = film(*beating(phases(200), away))
    assert (found.code, found.is_whole()) == (0, True)
    assert found.verdict() != "beating"
    assert "no tissue is found in them" in found.fails
    assert "it touches the edge of the picture" in found.fails


def test_five_frames_a_second(film: Films) -> None:
    found = film(*beating(phases(640)[::4]), fps=5)
    assert (found.code, found.is_whole()) == (0, True)
    assert "contractions at the times in beats.csv" in found.holds
    assert "Record at a higher frame rate" in found.fails


def test_a_variable_rate_is_measured_on_the_times_of_the_file(tmp_path: Path, ehtseg: Cli) -> None:
    frames, masks = beating(phases(240))
    kept = np.random.default_rng(3).random(240) > 0.1
    write_recording(tmp_path, "film", frames[:1], masks[kept])
    times_ms = [int(ms) for ms in np.flatnonzero(kept) * 50]
    source = write_video(tmp_path / "film.mkv", list(frames[kept]), times_ms=times_ms)
    words = ("--masks", tmp_path / "masks", "--out", tmp_path / "out", *QUIET)
    code, out, err = ehtseg("analyse", source, *words)
    found = Answer(code, out + err, tmp_path / "out")
    assert (found.code, found.is_whole()) == (0, True)
    assert "12 contractions" in found.holds
    times_s = [float(row["t50_s"]) for row in found.rows("beats.csv") if row["accepted"] == "yes"]
    assert np.diff(times_s) == pytest.approx(1.0, abs=0.06)
    flags = json.loads((found.out / "film" / "qc.json").read_text())["flags"]
    assert "dropped_frames" in {flag["code"] for flag in flags}
    numbers = {row["parameter"]: row for row in found.rows("kinetics.csv")}
    assert float(numbers["fac_pct"]["median"]) == pytest.approx(8, abs=0.5)  # as it was made
    assert float(numbers["fac_pct"]["resolution"]) < 2


def test_ten_frames(film: Films) -> None:
    found = film(*beating(phases(10)))
    assert (found.code, found.verdict(), found.is_whole()) == (0, "cannot tell", True)
    assert "Whether and how regularly the tissue beats" in found.fails


def test_ten_hours_of_a_frame_every_five_minutes(film: Films) -> None:
    """A time lapse: 120 pictures over ten hours show a tissue, but no beat of it."""
    found = film(*beating(phases(120)), fps=1 / 300)
    assert (found.code, found.verdict(), found.is_whole()) == (0, "cannot tell", True)
    assert "one frame in 300 s" in found.fails
    assert float(found.rows("frames.csv")[-1]["time_s"]) == pytest.approx(119 * 300)


@pytest.mark.slow
def test_ten_hours_with_a_minute_of_film_at_either_end(tmp_path: Path, ehtseg: Cli) -> None:
    frames, masks = beating(phases(200))
    for name in ("a", "b"):
        write_recording(tmp_path, name, frames, masks)
    (tmp_path / "m.csv").write_text(
        "file,well,drug,dose,unit,start\n"
        "a.tif,A1,,,,2026-11-20 09:00:00\nb.tif,A1,iso,1,uM,2026-11-20 19:00:00\n"
    )
    words = ("--fps", 20, "--masks", tmp_path / "masks", "--manifest", tmp_path / "m.csv")
    code, out, err = ehtseg(
        "analyse", tmp_path / "a.tif", tmp_path / "b.tif", *words, "--out", tmp_path / "out", *QUIET
    )
    found = Answer(code, out + err, tmp_path / "out", "A1")
    assert (found.code, found.verdict()) == (0, "beating")
    assert "20 contractions" in found.holds
    windows = found.rows("windows.csv")
    assert [float(row["start_s"]) for row in windows] == [0, 36_000], "none where nothing is known"
    assert [float(row["beat_rate_bpm"]) for row in windows] == pytest.approx([60, 60], rel=0.02)


def test_masks_and_video_of_different_length(film: Films) -> None:
    frames, masks = beating(phases(60))
    found = film(frames, masks[:50])
    assert (found.code, found.is_nothing()) == (2, True)
    assert "60 frames" in found.said
    assert "50 masks" in found.said
    assert "give one mask alone" in found.said


def test_where_nothing_was_analysed_there_is_no_page_of_nothing(
    tmp_path: Path, ehtseg: Cli
) -> None:
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and then nothing")
    _, masks = beating(phases(2))
    tifffile.imwrite(tmp_path / "masks.tif", masks)
    words = ("--masks", tmp_path / "masks.tif", "--out", tmp_path / "out")
    code, out, err = ehtseg("analyse", tmp_path / "broken.tif", *words)
    assert code == 2
    assert "broken.tif: failed" in out + err
    assert "index.html" not in out + err
    assert not list((tmp_path / "out").glob("*"))


def test_a_recording_that_fails_leaves_the_others_and_the_exit_code(
    tmp_path: Path, ehtseg: Cli
) -> None:
    frames, masks = beating(phases(60))
    write_recording(tmp_path, "good", frames, masks)
    write_recording(tmp_path, "bad", frames, masks[:50])
    (tmp_path / "broken.tif").write_bytes(b"II*\0 and then nothing")
    out = tmp_path / "out"
    words = ("--fps", 20, "--masks", tmp_path / "masks", "--out", out, *QUIET)
    code, said, _ = ehtseg(
        "analyse", *(tmp_path / f"{n}.tif" for n in ("bad", "broken", "good")), *words
    )
    assert code == 2
    assert said.count("failed.") == 2
    assert {path.name for path in out.iterdir()} == {"good", "summary.csv", "index.html"}


def test_an_event_outside_the_recording(film: Films) -> None:
    found = film(*beating(phases(100)), "--event", "00:12:30 isoprenaline 1 uM")
    assert (found.code, found.is_whole()) == (0, True)
    assert "5 contractions" in found.holds
    assert "“isoprenaline 1 uM” at 750 s lies after the recording" in found.fails
    assert "Rate and kinetics stand" in found.fails


def test_an_event_just_before_the_end_has_no_effect_to_read(film: Films) -> None:
    found = film(*beating(phases(100)), "--event", "3 isoprenaline 1 uM")
    assert (found.code, found.is_whole()) == (0, True)
    assert "Effect of “isoprenaline 1 uM”: Only 2 beats" in found.fails
    assert "an effect is read from 30 s after its event on" in found.fails
    assert "stood still" not in found.said


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (f"{BASE}film.tif,AI,x,2,uM,00:00:03\n", "unknown well AI"),
        ("other.tif,A1,,,,\n", "no recording other.tif"),
        ("film.tif,A1,iso,1,mol,\n", "'mol' is none of"),
    ],
)
def test_a_manifest_with_unknown_wells_files_or_units(
    film: Films, lines: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "m.csv").write_text("file,well,drug,dose,unit,time\n" + lines)
    found = film(*beating(phases(10)), "--manifest", tmp_path / "m.csv")
    assert (found.code, found.is_nothing()) == (2, True)
    assert said in found.said
    assert "Without --manifest each recording can still be analysed by itself" in found.said


def test_a_folder_of_masks_without_one_of_this_name(tmp_path: Path, ehtseg: Cli) -> None:
    frames, masks = beating(phases(10))
    source = write_recording(tmp_path, "film", frames, masks)
    tifffile.imwrite(tmp_path / "unread.tif", frames)
    out = tmp_path / "out"
    code, said, _ = ehtseg(
        "analyse", source, "--masks", tmp_path / "none", "--out", out, "--fps", 20
    )
    assert code == 2
    assert "no such file or folder" in said
    assert not out.exists()
