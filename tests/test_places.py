"""Which files are recordings, what their results are called, and what stands in --out already."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Cli
from ehtseg.jobs.analyse import analyse
from ehtseg.jobs.naming import unique_names
from ehtseg.jobs.plate import plate_of
from ehtseg.jobs.posts import marked_posts
from ehtseg.jobs.recording import Facts, Recording
from ehtseg.jobs.segment import find_sources
from ehtseg.measuring.doses import DoseMean
from ehtseg.measuring.events import read_event
from ehtseg.measuring.manifest import Treatment
from ehtseg.reading.finding import find_videos
from ehtseg.reading.video import open_video
from ehtseg.recipe import make_recipe
from ehtseg.records import UserError
from ehtseg.reporting.plate import Curve
from heartbeats import beating, phases, write_recording

QUIET = make_recipe({"measure": {"movie": False, "uncertainty": "none"}})
HEADER = "file,well,drug,dose,unit,time\n"
DOSES = ((0.0, "nM"), (1.0, "uM"), (3.0, "uM"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    frames, masks = beating(phases(60))
    for name in "ab":
        write_recording(tmp_path, name, frames, masks)
    return tmp_path


def test_a_dot_in_the_name_of_joined_files_or_a_well_is_no_suffix(tmp_path: Path) -> None:
    days = [tmp_path / f"2026.11.{day}_a_to_2026.11.{day}_b" for day in (20, 21)]
    assert unique_names(days) == [day.name for day in days]
    assert unique_names([tmp_path / "chip 1.2", tmp_path / "b.AVI"]) == ["chip 1.2", "b"]


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS takes no such name")
def test_a_name_in_another_encoding_stops_nobody_else(films: Path) -> None:
    odd = os.path.join(os.fsencode(films), "Prüfung.tif".encode("latin1"))
    os.rename(films / "b.tif", odd)
    sources, (unread,) = find_sources([films / "a.tif", os.fsdecode(odd)])
    assert sources == [films / "a.tif"]
    assert "Expected a name in UTF-8" in str(unread.error)
    str(unread.error).encode()


def test_the_same_command_into_the_folder_of_the_films_again(films: Path) -> None:
    """What stands in --out about all recordings is no recording."""
    (films.parent / "m.csv").write_text(HEADER + "a.tif,A1,iso,0,uM,\nb.tif,A2,iso,1,uM,\n")
    told = Facts(fps=20, manifest=films.parent / "m.csv")

    def again(videos: list[Path]) -> list[str]:
        places = {"out": films, "masks": films / "masks"}
        return [r.status for r in analyse(videos, recipe=QUIET, facts=told, **places)]

    assert again([films / "a.tif", films / "b.tif"]) == ["done"] * 2
    assert (films / "plate.png").is_file()
    assert again([path for path in films.iterdir() if path.is_file()]) == ["unchanged"] * 2
    assert again([films]) == ["unchanged"] * 2


def test_a_drawing_beside_films_is_no_frame_but_a_picture_is(films: Path) -> None:
    Image.new("L", (8, 8)).save(films / "plate.png")
    with pytest.raises(UserError, match="2 videos and 1 images"):
        find_videos([films])
    (films / "plate.svg").write_text("<svg/>")
    assert [path.name for path in find_videos([films])] == ["a.tif", "b.tif"]


def test_a_part_that_is_missing_is_told_and_not_left_out(films: Path) -> None:
    parts = [films / "a.tif", films / "typo.tif", films / "b.tif"]
    for few in (parts, parts[:2]):
        with pytest.raises(UserError, match=r"no such file: .*typo\.tif"):
            analyse(few, films / "out", masks=films / "masks", facts=Facts(fps=20, join=True))


def test_a_missing_film_is_not_blamed_on_the_manifest(films: Path) -> None:
    (films.parent / "m.csv").write_text(HEADER + "typo.tif,A1,,,,\n")
    told = Facts(fps=20, manifest=films.parent / "m.csv")
    places = {"out": films / "out", "masks": films / "masks"}
    with pytest.raises(UserError, match=r"no such file: .*typo\.tif"):
        analyse([films / "a.tif", films / "typo.tif"], facts=told, **places)
    with pytest.raises(UserError, match=r"no recording typo\.tif"):
        analyse([films / "a.tif"], facts=told, **places)


def test_where_all_failed_no_empty_folder_is_left(films: Path) -> None:
    (result,) = analyse([films / "a.tif"], films / "out", masks=films / "nothing")
    assert result.status == "failed"
    assert not (films / "out").exists()


def test_joined_files_that_were_moved_are_described_anew(films: Path) -> None:
    both = Recording((films / "a.tif", films / "b.tif"), Facts(fps=20), "ab")
    source = both.describe()
    assert both.is_described(source)
    (films / "x").mkdir()
    moved = (films / "b.tif").rename(films / "x" / "b.tif")
    assert not Recording((films / "a.tif", moved), Facts(fps=20), "ab").is_described(source)


def test_options_that_would_do_nothing_are_refused(ehtseg: Cli, films: Path) -> None:
    words = ["analyse", films / "a.tif", "--out", films / "out", "--masks", films / "masks"]
    for more, said in (
        (["--set", "fit.lr=5"], "a decision that is used here (segment.* and measure.*)"),
        (["--raw-masks"], "Leave --raw-masks out"),
    ):
        code, _, told = ehtseg(*words, *more)
        assert code == 2
        assert said in " ".join(told.split())
    assert not (films / "out").exists()


def test_the_unit_of_a_curve_is_that_of_its_doses() -> None:
    means = tuple(DoseMean("iso", dose, unit, 3, 0.0) for dose, unit in DOSES)
    curve = Curve("beat_rate_bpm", "iso", None, means, (), None)  # type: ignore[arg-type]
    assert curve.unit == "uM"


def test_with_several_drugs_the_last_line_of_a_well_counts() -> None:
    """100 nM is no higher dose than 10 mM of something else."""
    doses = (("", 0.0, ""), ("iso", 100.0, "nM"), ("caffeine", 10.0, "mM"))
    lines = [
        (Treatment(n, "a.tif", "A1", drug, dose, unit, float(n)), Path("a.tif"))
        for n, (drug, dose, unit) in enumerate(doses)
    ]
    assert plate_of(lines, []).conditions["A1"] == ("no drug", "caffeine 10 mM")
    assert plate_of(lines[:2], []).conditions["A1"] == ("no drug", "iso 100 nM")
    vehicle = (Treatment(0, "a.tif", "A1", "DMSO", 0.0, "", 0.0), Path("a.tif"))
    more = (Treatment(3, "a.tif", "A1", "iso", 1.0, "nM", 3.0), Path("a.tif"))
    assert plate_of([vehicle, lines[1], more], []).conditions["A1"] == ("DMSO 0", "iso 100 nM")


def test_labels_with_dollar_signs_are_words(films: Path) -> None:
    facts = Facts(fps=20, events=(read_event("1 price $x_{$ y"),))
    (result,) = analyse(
        [films / "a.tif"], films / "out", masks=films / "masks", recipe=QUIET, facts=facts
    )
    assert result.status == "done"
    assert "$x_{$" in (films / "out" / "a" / "trace.svg").read_text()


def test_posts_painted_black_on_transparency(films: Path) -> None:
    painted = np.zeros((72, 128, 4), np.uint8)
    painted[20:50, 10:30, 3] = painted[20:50, 90:110, 3] = 255
    Image.fromarray(painted).save(films / "posts.png")
    video = open_video(films / "a.tif")
    first, second = marked_posts(str(films / "posts.png"), video).tracker.posts
    assert (first[30, 20], second[30, 100]) == (True, True)
    with pytest.raises(UserError, match=r"two boxes .* “10\.5,3,4,5;1,2,3,4”"):
        marked_posts("10.5,3,4,5;1,2,3,4", video)
