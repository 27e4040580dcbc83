"""Posts at the command line: boxes or masks, deflection as a trace, force or why there is none."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ehtseg.doors.cli import app
from ehtseg.jobs.analyse import AnalyseResult, analyse
from ehtseg.jobs.posts import marked_posts
from ehtseg.jobs.recording import Facts
from ehtseg.measuring.force import read_post
from ehtseg.measuring.posts import two_boxes
from ehtseg.reading.video import open_video
from ehtseg.recipe import make_recipe
from ehtseg.records import UserError
from heartbeats import beating, phases, write_recording

BOXES = "22,24,14,24;92,24,14,24"  # both ends of the strip; their middles are 70 px apart
ROUND = "diameter_mm: [1.0, 0.05]\nmodulus_kPa: [1700, 0]\nlength_mm: [12, 0]\nheight_mm: [12, 0]\n"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_post_is_read_with_the_sd_of_each_size(tmp_path: Path) -> None:
    path = tmp_path / "post.yaml"
    path.write_text(ROUND + "um_per_px_sd_pct: 2\nstiffness_mN_mm: [0.2, 0.01]\n")
    post = read_post(path)
    assert (post.modulus_kPa.value, post.um_per_px_share_sd) == (1700, 0.02)
    assert post.stiffness_mN_mm is not None
    path.write_text(ROUND.replace("diameter_mm: [1.0, 0.05]", "width_mm: [1, 0]"))
    with pytest.raises(UserError, match="no thickness_mm"):
        read_post(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("diameter_mm: 1.0\n", "diameter_mm: 1.0"),
        (ROUND + "radius_mm: [1, 0]\n", r"radius_mm\?"),
        (ROUND + "um_per_px_sd_pct: -2\n", "um_per_px_sd_pct: -2"),
        ("a: [", "readable YAML"),
        (ROUND.replace("height_mm: [12", "height_mm: [13"), "at most 12 mm"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "post.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_post(path)


@pytest.mark.parametrize("text", ["0,0,9,9", "0,0,9,9;1,1,9", "0,0,9,9;60,0,9,9"])
def test_boxes_have_to_be_two_inside_the_picture(text: str) -> None:
    with pytest.raises(UserError, match="two boxes"):
        two_boxes(text, (48, 64))


def test_masks_of_posts_fit_the_picture(tmp_path: Path) -> None:
    frames, soft = beating(phases(6))
    video = open_video(write_recording(tmp_path, "film", frames, soft))
    marked = np.zeros((72, 128), np.uint8)
    marked[20:50, 90:110], marked[20:50, 10:30] = 128, 255
    Image.fromarray(marked).save(tmp_path / "posts.png")
    first, second = marked_posts(str(tmp_path / "posts.png"), video).tracker.posts
    assert (first[30, 20], second[30, 100]) == (True, True), "left first"
    Image.fromarray(marked[:, :64]).save(tmp_path / "posts.png")
    with pytest.raises(UserError, match=r"128 x 72 px, as film.tif, got 64 x 72"):
        marked_posts(str(tmp_path / "posts.png"), video)
    with pytest.raises(UserError, match="at least 200 px"):
        marked_posts("0,0,9,9;50,0,9,9", video)


@pytest.mark.parametrize("place", ["film/masks.tif", "film.tif", "film/0.png"])
def test_posts_that_are_painted_anew_are_read_again(tmp_path: Path, place: str) -> None:
    frames, soft = beating(phases(60))
    source = write_recording(tmp_path, "film", frames, soft)
    posts = tmp_path / "posts" / place
    posts.parent.mkdir(parents=True)
    recipe = make_recipe({"measure": {"movie": False, "uncertainty": "none"}})

    def again(right_px: int) -> AnalyseResult:
        marked = np.zeros((72, 128), np.uint8)
        marked[20:50, 10:30], marked[20:50, right_px : right_px + 20] = 255, 255
        Image.fromarray(marked).save(posts)
        facts = Facts(fps=20, posts=str(tmp_path / "posts"))
        places = {"out": tmp_path / "out", "masks": tmp_path / "masks"}
        return analyse([source], recipe=recipe, facts=facts, **places)[0]

    assert [again(x).status for x in (90, 90, 95, 95)] == ["done", "unchanged", "done", "unchanged"]


def test_force_from_two_boxes_end_to_end(tmp_path: Path) -> None:
    """The strip is 8 % shorter in a beat, so that its ends come 5.6 px nearer."""
    frames, soft = beating(phases(120))
    source = write_recording(tmp_path, "film", frames, soft)
    (tmp_path / "post.yaml").write_text(ROUND)
    words = ["analyse", str(source), "--masks", str(tmp_path / "masks"), "--fps", "20"]
    words += ["--posts", BOXES, "--post-geometry", str(tmp_path / "post.yaml")]
    words += ["--set", "measure.movie=false", "--set", "measure.uncertainty=none"]
    words += ["--set", "measure.trace=post_shortening", "--out", str(tmp_path / "out")]
    folder = tmp_path / "out" / "film"
    app(words, standalone_mode=False)
    unscaled = json.loads((folder / "record.json").read_text())
    assert "Expected a scale" in " ".join(unscaled["cannot_be_concluded"])
    assert "force_mN" not in rows(folder / "frames.csv")[0]
    app([*words, "--um-per-px", "10"], standalone_mode=False)
    record = json.loads((folder / "record.json").read_text())
    assert record["summary"]["trace"] == "post_shortening_um"
    assert "uncalibrated" in " ".join(record["can_be_concluded"])
    shortening_mm = 0.08 * 70 * 10 / 1000
    expected_mN = shortening_mm / 2 * 3 * 1700 * np.pi / 64 / 12**3
    beats = [row for row in rows(folder / "beats.csv") if row["accepted"] == "yes"]
    assert len(beats) == 6
    for beat in beats:
        assert float(beat["force_mN"]) == pytest.approx(expected_mN, rel=0.1)
        assert float(beat["force_sd_mN"]) == pytest.approx(0.2 * float(beat["force_mN"]))
        assert float(beat["fs_pct"]) == pytest.approx(8, rel=0.1)
    (force,) = (r for r in rows(folder / "kinetics.csv") if r["parameter"] == "force_mN")
    assert "uncalibrated" in force["how"]
    assert float(record["summary"]["force_mN"]) == pytest.approx(expected_mN, rel=0.1)
