"""A manifest and what was analysed: wells, doses, likeness, and what cannot be told of them."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from ehtseg.doors.cli import app
from ehtseg.jobs.joining import lines_of, recordings_of
from ehtseg.jobs.kept import times_seen
from ehtseg.jobs.plate import plate_of
from ehtseg.jobs.recording import Facts
from ehtseg.measuring.doses import DoseMean, hill
from ehtseg.measuring.manifest import read_manifest
from ehtseg.measuring.stretches import measures_of, stretch_s, why_unread
from ehtseg.records import UserError
from ehtseg.reporting.batch import write_batch
from ehtseg.reporting.plate import Plate, plate_rows
from ehtseg.reporting.plate_figures import (
    MOST_CURVES,
    PANELS,
    doses_figure,
    plate_figure,
    plate_figures,
)
from heartbeats import beating, phases, write_recording

HEADER = "file,well,drug,dose,unit,time,pacing,start\n"
DOSES = (0.0, 0.03, 0.3, 3.0, 30.0)
WELLS = ("A1", "A2", "B1", "B2")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def analysed(
    folder: Path, source: Path, bpm: float, trace: str = "contraction_um", end_s: float = 60.0
) -> tuple[Path, dict[str, Any]]:
    """Results as `analyse` leaves them: beats.csv of a regular train, and the record."""
    folder.mkdir(parents=True)
    t50_s = np.arange(0.4, end_s, 60 / bpm) if bpm else np.empty(0)
    lines = [f"{t},{60 / bpm},{10 * bpm / 60},yes," for t in t50_s] + ["1.1,0.2,1,no,small"]
    (folder / "beats.csv").write_text("t50_s,rr_s,amplitude_um,accepted,reason\n")
    with open(folder / "beats.csv", "a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    frames_s = np.arange(0, end_s + 1e-9, 0.05)
    names = ("columns.time_s", "columns.contraction_px", "columns.area_px")
    np.savez(folder / "traces.npz", **dict.fromkeys(names, frames_s))
    summary = {"recording": folder.name, "verdict": "beating" if bpm else "not beating"}
    summary |= {"trace": trace, "beats": len(t50_s), "rejected": 1, "errors": 0, "warnings": 0}
    recording = {"path": str(source), "end_s": end_s}
    found = {"summary": summary, "recording": recording, "cannot_be_concluded": []}
    return folder, {**found, "source": {"path": str(source)}}


def study(tmp_path: Path, **changed: Any) -> tuple[Any, list[tuple[Path, dict[str, Any]]]]:
    """Four wells with a baseline and four doses each; the rate follows a Hill curve, EC50 0.5."""
    lines, sources, results = [], [], []
    for w, well in enumerate(WELLS):
        for k, dose in enumerate(DOSES):
            name = f"{well}_{k}"
            path = tmp_path / f"{name}.tif"
            path.touch()
            drug = f"iso,{dose},uM" if dose else ",,"
            lines.append(f"{name}.tif,{well},{drug},,,")
            up = float(hill(np.array([dose]), 60 + 5 * w, 0.5, 1.0)[0]) if dose else 0.0
            bpm = (50 + w) * (1 + up / 100) * (1 + 0.002 * ((3 * w + 2 * k) % 5))
            sources.append(path)
            results.append(analysed(tmp_path / "out" / name, path, changed.get(name, bpm)))
    (tmp_path / "m.csv").write_text(HEADER + "\n".join(lines) + "\n")
    return lines_of(tmp_path / "m.csv", sources), results


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plate, Path]:
    folder = tmp_path_factory.mktemp("plate")
    lines, results = study(folder)
    found = plate_of(lines, results)
    write_batch([(path.name, record) for path, record in results], folder / "out", found)
    return found, folder / "out"


def test_the_dose_response_of_a_plate(plate: tuple[Plate, Path]) -> None:
    found, out = plate
    (rate,) = (row for row in rows(out / "hill.csv") if row["measure"] == "beat_rate_bpm")
    assert rate["accepted"] == "yes"
    assert float(rate["ec50"]) == pytest.approx(0.5, rel=0.15)
    assert float(rate["emax_pct"]) == pytest.approx(67.5, rel=0.1)
    doses = [row for row in rows(out / "doses.csv") if row["measure"] == "beat_rate_bpm"]
    assert [float(row["dose"]) for row in doses] == list(DOSES[1:])
    assert {row["wells"] for row in doses} == {"4"}
    assert any("iso changes beat_rate_bpm" in sentence for sentence in found.can)


def test_the_tables_of_a_plate(plate: tuple[Plate, Path]) -> None:
    _, out = plate
    wells = rows(out / "plate.csv")
    assert [row["well"] for row in wells] == list(WELLS)
    assert (wells[0]["condition"], wells[0]["changed_by"]) == ("no drug", "iso 30 uM")
    assert float(wells[0]["beat_rate_bpm"]) == pytest.approx(50, rel=0.01)
    assert float(wells[0]["beat_rate_bpm_change_pct"]) == pytest.approx(60, abs=2)
    treatments = rows(out / "treatments.csv")
    assert len(treatments) == 20
    assert treatments[0]["beat_rate_bpm_change_pct"] == "", "a baseline has no change"
    alike = rows(out / "similarity.csv")
    assert [float(row[row["well"]]) for row in alike] == [1.0] * 4


def test_many_wells_are_drawn_without_numbers_that_overlap(plate: tuple[Plate, Path]) -> None:
    wells = tuple(f"chip {k:02d} $x$" for k in range(40))
    table = plate[0].table
    few = replace(table, wells=wells[:6], values=np.tile(table.values[:1], (6, 1)))
    many = replace(table, wells=wells, values=np.tile(table.values[:1], (40, 1)))
    name = table.measures[0]
    left, *others = plate_figure(replace(plate[0], table=few), [name]).axes
    assert (len(left.texts), len(others)) == (6, PANELS - 1)
    page = plate_figure(replace(plate[0], table=many), [name])
    page.canvas.draw()
    axes, scale = page.axes
    assert not axes.texts
    assert scale.get_label() == "<colorbar>"
    labels = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert not any(one.overlaps(next_one) for one, next_one in pairwise(labels))
    assert axes.get_xticklabels()[0].get_text() == wells[0]


def test_doses_are_written_below_their_panel_and_no_small_change_fills_it(
    plate: tuple[Plate, Path],
) -> None:
    curve = replace(plate[0].curves[0], points=(("A1", 1.0, 0.1), ("A1", 2.0, 0.2)))
    means = tuple(DoseMean("iso", dose, "uM", 1, 0.1) for dose in (1.0, 2.0))
    curve = replace(curve, means=means)
    page = doses_figure([curve])
    page.canvas.draw()
    axes = page.axes[0]
    both = [*axes.get_xticklabels(), *axes.get_xticklabels(minor=True)]
    assert [words for label in both if (words := label.get_text())] == ["1", "2"]
    low, high = axes.get_ylim()
    assert low <= -10 < 10 <= high


def test_of_hundreds_of_curves_some_are_drawn(plate: tuple[Plate, Path], tmp_path: Path) -> None:
    bare = replace(plate[0].curves[0].fit, accepted=False, reason="few")
    others = [replace(plate[0].curves[0], fit=bare) for _ in range(MOST_CURVES)]
    fitted = plate[0].curves[0]
    found = replace(plate[0], curves=(*others, fitted))
    assert fitted.fit.accepted
    page = plate_figures(found)["doses"]
    drawn = [axes for axes in page.axes if axes.get_xlabel()]
    assert len(drawn) == MOST_CURVES
    assert "EC50" in drawn[0].get_title(loc="left")


def test_the_page_is_complete_in_itself(plate: tuple[Plate, Path]) -> None:
    _, out = plate
    page = (out / "index.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 3
    assert "http" not in page.replace("http-equiv", "")
    for name in ("plate", "similarity", "doses"):
        assert (out / f"{name}.png").stat().st_size > 5000
        assert "<svg" in (out / f"{name}.svg").read_text()


def test_what_is_missing_is_said_with_its_line(tmp_path: Path) -> None:
    lines, results = study(tmp_path, A2_0=0.0)
    changed = [
        (folder, record)
        for folder, record in results
        if folder.name != "B1_2"  # its analysis failed
    ]
    changed[1][1]["summary"]["verdict"] = "cannot tell"
    changed[2][1]["summary"]["trace"] = "area_mm2"
    found = plate_of(lines, changed, strangers=2)
    said = " ".join(found.cannot)
    assert "line 3 (A1, iso 0.03 uM): whether it beats cannot be told" in said
    assert "Change in amplitude_um (line 4): read from area_mm2" in said
    assert "line 14 (B1, iso 0.3 uM): its recording could not be analysed" in said
    assert "(lines 8, 9, 10, 11): no value in well A2 here or at its baseline" in said
    assert "2 recordings stand in no line" in said
    (first, second, *_) = plate_rows(found)
    assert second["beat_rate_bpm"] == 0, "it does not beat"
    assert np.isnan(second["beat_rate_bpm_change_pct"])
    assert first["beat_rate_bpm_change_pct"] == pytest.approx(60, abs=2)


def test_an_unknown_file_or_well_is_refused_with_what_can_still_be_concluded(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.tif").touch()
    sources = [tmp_path / "a.tif"]
    path = tmp_path / "m.csv"
    path.write_text(HEADER + "b.tif,A1,,,,,,\n")
    with pytest.raises(UserError, match=r"no recording b.tif \(nearest: a.tif\).*by itself"):
        lines_of(path, sources)
    text = "a.tif,A1,,,,,,\na.tif,A1,x,1,uM,00:01:00,,\na.tif,AI,x,2,uM,00:02:00,,\n"
    path.write_text(HEADER + text)
    with pytest.raises(UserError, match=r"unknown well AI.*its beats, kinetics and flags"):
        lines_of(path, sources)


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("A1", "A2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "film.tif").touch()
    sources = [tmp_path / name / "film.tif" for name in ("A1", "A2")]
    path = tmp_path / "m.csv"
    path.write_text(HEADER + "A1/film.tif,A1,,,,,,\nA2/film.tif,A2,,,,,,\n")
    assert [file for _, file in lines_of(path, sources)] == sources
    path.write_text(HEADER + "film.tif,A1,,,,,,\n")
    with pytest.raises(UserError, match=r"2 recordings are called film.tif: add its folder"):
        lines_of(path, sources)


def test_an_umlaut_is_one_however_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "Mu\u0308ller.tif").touch()  # as macOS may store it
    (tmp_path / "m.csv").write_text(HEADER + "M\u00fcller.tif,A1,,,,,,\n", encoding="utf-8")
    (source,) = tmp_path.glob("*.tif")
    assert [file for _, file in lines_of(tmp_path / "m.csv", [source])] == [source]


def test_one_spelling_and_one_unit_a_drug(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(HEADER + "a,A1,Iso,300,nM,,,\nb,A1,iso,1,uM,,,\n")
    first, second = read_manifest(path)
    assert (first.drug, first.dose, first.unit) == ("Iso", 300, "nM")
    assert (second.drug, second.dose, second.unit) == ("Iso", 1000, "nM")


def test_times_of_day_past_midnight_need_dates(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    lines = "a,A1,,,,,,{}\na,A1,iso,1,uM,00:10:00,,{}\nb,A1,iso,2,uM,,,{}\nc,A2,,,,,,08:00:00\n"
    path.write_text(HEADER + lines.format("23:50:00", "23:50:00", "00:20:00"))
    with pytest.raises(UserError, match=r"line 4: A1 at 00:20:00, below a line at 23:50:00.*dates"):
        read_manifest(path)
    path.write_text(HEADER + lines.format("2026-11-20 23:50:00", "", "00:20:00"))
    with pytest.raises(UserError, match="line 4: of A1 one start has a date and one has none"):
        read_manifest(path)
    path.write_text(HEADER + lines.format("2026-11-20 23:50:00", "", "2026-11-21 00:20:00"))
    first, _, last, _ = (row.stamp for row in read_manifest(path))
    assert first is not None
    assert last is not None
    assert (last.at - first.at).total_seconds() == 1800
    path.write_text(HEADER + lines.format("09:50:00", "", "10:20:00"))
    assert len(read_manifest(path)) == 4


def test_a_line_is_read_while_it_holds() -> None:
    beats = [{"t50_s": float(t), "rr_s": 1.0 if t < 60 else 0.5} for t in range(120)]
    assert measures_of(beats, (0, 60))["beat_rate_bpm"] == 60
    assert measures_of(beats, (61, 120))["beat_rate_bpm"] == 120
    assert measures_of(beats, (200, 300))["beat_rate_bpm"] == 0, "an arrest"
    assert stretch_s(60, 400, True) == (220, 400)
    assert stretch_s(60, 80, True) == (80, 80), "nothing has settled yet"


def one_film(tmp_path: Path, text: str, end_s: float | None) -> Plate:
    """The plate of one film at 60 beats a minute that is filmed for 60 s."""
    (tmp_path / "a.tif").touch()
    (tmp_path / "m.csv").write_text(HEADER + text)
    folder, record = analysed(tmp_path / "out" / "a", tmp_path / "a.tif", 60)
    record["recording"]["end_s"] = end_s
    return plate_of(lines_of(tmp_path / "m.csv", [tmp_path / "a.tif"]), [(folder, record)])


@pytest.mark.parametrize("time", ["00:00:35", "00:00:45", "00:01:00", "00:10:00"])
def test_a_treatment_that_was_hardly_filmed_has_no_value(tmp_path: Path, time: str) -> None:
    found = one_film(tmp_path, f"a.tif,A1,,,,,,\na.tif,A1,iso,1,uM,{time},,\n", 60.0)
    assert found.rows[0]["beat_rate_bpm"] == pytest.approx(60)
    assert np.isnan(found.rows[1]["beat_rate_bpm"])
    assert np.isnan(found.rows[1]["beat_rate_bpm_change_pct"])
    assert "nothing was filmed of it, or no more than its first 30 s" in found.rows[1]["reason"]
    assert "line 3 (A1, iso 1 uM)" in " ".join(found.cannot)
    assert found.curves == (), "it enters no mean over wells"


def test_without_a_frame_rate_lines_in_a_file_have_no_place(tmp_path: Path) -> None:
    found = one_film(tmp_path, "a.tif,A1,,,,,,\na.tif,A1,iso,1,uM,00:00:20,,\n", None)
    assert {row["reason"] for row in found.rows} == {"its frame rate is unknown: give --fps"}


def two_files(tmp_path: Path, lines: str, t50_s: np.ndarray) -> Plate:
    """Files of 600 s that begin 3600 s apart, joined; beats at 60 a minute, but for `t50_s`."""
    sources = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for source in sources:
        source.touch()
    (tmp_path / "m.csv").write_text(HEADER + lines)
    folder, record = analysed(tmp_path / "out" / "A1", sources[0], 60, end_s=4200.0)
    frames_s = np.concatenate([np.arange(0, 600, 0.05), np.arange(3600, 4200, 0.05)])
    np.savez(folder / "traces.npz", **dict.fromkeys(NPZ, frames_s))
    beats = [f"{t},1,10,yes," for t in t50_s]
    (folder / "beats.csv").write_text(
        "\n".join(["t50_s,rr_s,amplitude_um,accepted,reason", *beats])
    )
    record["recording"] |= {"files": [str(one) for one in sources], "starts_s": [0.0, 3600.0]}
    return plate_of(lines_of(tmp_path / "m.csv", sources), [(folder, record)])


NPZ = ("columns.time_s", "columns.contraction_px")
FILMED = np.concatenate([np.arange(0.5, 600), np.arange(3600.5, 4200)])
DOSES_IN_FILES = "a.tif,A1,,,,,,\na.tif,A1,iso,1,uM,{},,\nb.tif,A1,iso,10,uM,{},,\n"


def test_a_treatment_before_a_gap_is_read_where_it_was_filmed(tmp_path: Path) -> None:
    found = two_files(tmp_path, DOSES_IN_FILES.format("00:05:00", ""), FILMED)
    base, low, high = found.rows
    assert (base["from_s"], base["to_s"]) == (0, 300)
    assert (low["from_s"], low["to_s"]) == pytest.approx((419.95, 599.95))
    assert low["beat_rate_bpm_change_pct"] == pytest.approx(0, abs=1)
    assert (high["from_s"], high["to_s"]) == pytest.approx((3600, 4199.95))


def test_a_treatment_that_holds_over_a_gap_is_read_at_its_end(tmp_path: Path) -> None:
    found = two_files(tmp_path, DOSES_IN_FILES.format("00:09:50", "00:05:00"), FILMED)
    assert (found.rows[1]["from_s"], found.rows[1]["to_s"]) == (3720, 3900)
    assert found.rows[1]["beat_rate_bpm_change_pct"] == pytest.approx(0, abs=1)


@pytest.mark.parametrize("times", [("00:09:50", ""), ("00:20:00", ""), ("01:00:10", "00:05:00")])
def test_a_treatment_in_a_gap_or_after_its_file_is_not_read(
    tmp_path: Path, times: tuple[str, str]
) -> None:
    found = two_files(tmp_path, DOSES_IN_FILES.format(*times), FILMED)
    assert np.isnan(found.rows[1]["beat_rate_bpm"])
    assert "nothing was filmed of it" in found.rows[1]["reason"]


def test_an_arrest_needs_film_that_shows_it(tmp_path: Path) -> None:
    beats = [{"t50_s": 1.0, "rr_s": 1.0}]
    frames_s = np.concatenate([np.arange(0, 100, 0.05), np.arange(600, 700, 0.05)])
    assert why_unread(beats, (20.0, 100.0), frames_s) == ""
    assert why_unread(beats, (600.0, 609.95), frames_s) == "", "ten seconds, to the last frame"
    assert "no beat in the 5 s that were filmed" in why_unread(beats, (425.0, 605.0), frames_s)
    short = why_unread([], (600.0, 603.0), frames_s)
    assert "no beat in the 3 s" in short, "3 s show no arrest, even of a tissue that beats nowhere"
    assert why_unread([], (600.0, 660.0), frames_s) == "", "a wholly filmed arrest is one"
    arrested = two_files(tmp_path, DOSES_IN_FILES.format("00:05:00", ""), FILMED[FILMED < 600])
    assert arrested.rows[2]["beat_rate_bpm"] == 0
    assert arrested.rows[2]["beat_rate_bpm_change_pct"] == -100


def test_a_tissue_that_stops_within_a_treatment_has_no_value(tmp_path: Path) -> None:
    """It beats until 480 s of 600 s: neither 60 a minute nor 0 stands for the dose."""
    beats = FILMED[(FILMED < 480) | (FILMED > 3600)]
    found = two_files(tmp_path, DOSES_IN_FILES.format("00:05:00", ""), beats)
    stopped = found.rows[1]
    assert np.isnan(stopped["beat_rate_bpm"])
    assert np.isnan(stopped["amplitude_um"])
    assert np.isnan(stopped["beat_rate_bpm_change_pct"])
    assert "no beat in the last 120 s that were filmed: the tissue stopped" in stopped["reason"]
    assert "line 3 (A1, iso 1 uM): no beat in the last" in " ".join(found.cannot)
    rates = [curve for curve in found.curves if curve.measure == "beat_rate_bpm"]
    assert [dose for curve in rates for _, dose, _ in curve.points] == [10]
    assert found.rows[2]["beat_rate_bpm"] == pytest.approx(60)


@pytest.mark.parametrize(
    ("step_s", "last_s", "read"), [(1, 91, True), (1, 89, False), (5, 88, True)]
)
def test_a_stop_is_told_from_a_slow_beat(step_s: float, last_s: float, read: bool) -> None:
    beats = [{"t50_s": float(t)} for t in np.arange(last_s, 0, -step_s)[::-1]]
    frames_s = np.arange(0, 100.01, 0.05)
    assert (why_unread(beats, (0.0, 100.0), frames_s) == "") == read


def test_frames_without_a_trace_show_no_arrest(tmp_path: Path) -> None:
    """The mask was lost in the last minute: nobody knows whether the tissue beat."""
    time_s, contraction = np.arange(0, 600, 0.05), np.ones(12_000)
    contraction[time_s > 500] = np.nan
    path = tmp_path / "traces.npz"
    np.savez(path, **dict(zip(NPZ, (time_s, contraction), strict=True)))
    assert times_seen(path, "contraction_px").max() == pytest.approx(500)


def test_files_of_a_well_are_joined_where_their_starts_are_known(tmp_path: Path) -> None:
    sources = [tmp_path / f"{name}.tif" for name in "abc"]
    path = tmp_path / "m.csv"
    starts = "a.tif,A1,,,,,60,09:00:00\nb.tif,A1,iso,1,uM,,60,09:05:00\nc.tif,A2,,,,,,\n"
    path.write_text(HEADER + starts)
    facts = Facts(fps=20)
    one, other = recordings_of(sources, facts, lines_of(path, sources))
    assert (one.files, one.name, one.pacing_bpm) == (tuple(sources[:2]), "A1", 60)
    assert [(file.name, event.label) for file, event in one.facts.marks] == [
        ("a.tif", "no drug"),
        ("b.tif", "iso 1 uM"),
    ]
    assert other.files == (sources[2],)
    with pytest.raises(UserError, match="several files to --join"):
        recordings_of(sources[:1], Facts(join=True))


def test_two_files_joined_by_a_manifest_show_the_effect(tmp_path: Path) -> None:
    """The story: a baseline, then a drug given between two files; one recording, one well."""
    for name, period in (("a", 20), ("b", 14)):
        frames, soft = beating(phases(100, period=period))
        write_recording(tmp_path, name, frames, soft)
    text = "a.tif,A1,,,,,,09:00:00\nb.tif,A1,iso,1,uM,,,09:01:00\n"
    (tmp_path / "m.csv").write_text(HEADER + text)
    words = ["analyse", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--fps", "20"]
    words += ["--masks", str(tmp_path / "masks"), "--manifest", str(tmp_path / "m.csv")]
    words += ["--set", "measure.movie=false", "--set", "measure.uncertainty=none"]
    app([*words, "--out", str(tmp_path / "out")], standalone_mode=False)
    out = tmp_path / "out"
    record = json.loads((out / "A1" / "record.json").read_text())
    assert record["recording"]["starts_s"] == [0.0, 60.0]
    assert "b.tif follows a.tif after a gap of 55 s" in " ".join(record["notes"])
    beats = [row for row in rows(out / "A1" / "beats.csv") if row["accepted"] == "yes"]
    assert {row["rr_s"] for row in beats if float(row["t50_s"]) < 61} >= {""}
    assert float(rows(out / "A1" / "frames.csv")[100]["time_s"]) == 60
    assert {row["event"] for row in rows(out / "A1" / "effects.csv")} == {"iso 1 uM"}
    (well,) = rows(out / "plate.csv")
    assert float(well["beat_rate_bpm"]) == pytest.approx(60, rel=0.02)
    assert float(well["beat_rate_bpm_change_pct"]) == pytest.approx(100 * 20 / 14 - 100, abs=3)


def test_files_ten_hours_apart_have_a_movie_without_the_gap(tmp_path: Path) -> None:
    for name in "ab":
        write_recording(tmp_path, name, *beating(phases(60)))
    text = "a.tif,A1,,,,,,2026-11-20 20:00:00\nb.tif,A1,iso,1,uM,,,2026-11-21 06:00:00\n"
    (tmp_path / "m.csv").write_text(HEADER + text)
    words = ["analyse", str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), "--fps", "20"]
    words += ["--masks", str(tmp_path / "masks"), "--manifest", str(tmp_path / "m.csv")]
    app([*words, "--out", str(tmp_path / "out")], standalone_mode=False)
    record = json.loads((tmp_path / "out" / "A1" / "record.json").read_text())
    assert "overlay.mp4 shows the gap between frames as 1 s." in record["notes"]
    assert not [flag for flag in record["flags"] if "disagree" in flag]
    with av.open(str(tmp_path / "out" / "A1" / "overlay.mp4")) as movie:
        assert float(list(movie.decode(video=0))[-1].time or 0) == pytest.approx(2.95 + 1 + 2.95)


def test_a_bad_manifest_stops_the_command_before_anything_is_written(tmp_path: Path) -> None:
    frames, soft = beating(phases(6))
    source = write_recording(tmp_path, "a", frames, soft)
    (tmp_path / "m.csv").write_text(HEADER + "a.tif,A1,,,,,,\nb.tif,A2,iso,1,mol,,,\n")
    words = ["analyse", str(source), "--masks", str(tmp_path / "masks"), "--fps", "20"]
    words += ["--manifest", str(tmp_path / "m.csv"), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match=r"'mol' is none of .*analysed by itself"):
        app(words, standalone_mode=False)
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="a manifest outside --out"):
        lines_of(tmp_path / "out" / "plate.csv", [source], tmp_path / "out")
