"""Frames worth labelling: spread over the motion, written as the start of a labelled folder."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from conftest import shared, tissue_frame
from ehtseg.jobs.frames import farthest_first, pick_frames, share_out, thumbnails
from ehtseg.jobs.naming import unique_names
from ehtseg.learning.adapt import adapt
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import split_dataset
from ehtseg.reading.video import open_video
from ehtseg.recipe import DataRecipe, Recipe
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder
from recordings import numbered, write_video


def resting_phases(count: int, period: float = 61.7, active: float = 12.3) -> np.ndarray:
    """The phase of contraction of a tissue that rests four fifths of each beat."""
    step = np.arange(count) % period
    return np.where(step < active, np.sin(np.pi * step / active) ** 2, 0.0)


def write_beating(path: Path, phases: np.ndarray, size: int = 96) -> Path:
    rng = np.random.default_rng(0)
    return write_video(path, [tissue_frame(size, phase, rng)[0] for phase in phases])


def farthest_left_out(motion: np.ndarray, picked: list[int]) -> float:
    """How far the motion of some frame is from that of the nearest picked one."""
    return float(np.abs(motion[:, None] - motion[picked][None]).min(axis=1).max())


def evenly_in_time(count: int, n: int) -> list[int]:
    return np.linspace(0, count - 1, n).round().astype(int).tolist()


@pytest.mark.parametrize("n", [6, 12])
def test_picks_cover_the_motion_better_than_even_times_do(tmp_path: Path, n: int) -> None:
    phases = resting_phases(300)
    picks = pick_frames([write_beating(tmp_path / "a.mkv", phases)], n, tmp_path / "out")
    chosen = [frame.frame for frame in picks.frames]
    assert len(chosen) == n
    ours = farthest_left_out(phases, chosen)
    assert ours < 0.3
    by_chance = [
        farthest_left_out(phases, np.random.default_rng(k).choice(300, n, replace=False).tolist())
        for k in range(50)
    ]
    assert ours < farthest_left_out(phases, evenly_in_time(300, n))
    assert ours < np.median(by_chance)


def test_picks_cover_a_real_recording_better_than_even_times_do() -> None:
    folder = shared("data/eht_d1t3")
    with (folder / "tracks.csv").open() as file:
        distance = np.array([float(row["post_distance_px"]) for row in csv.DictReader(file)])
    small = thumbnails(open_video(folder).frames())
    for n in (5, 10, 20, 50):
        chosen = farthest_first(small, n)
        assert len(set(chosen)) == n
        ours = farthest_left_out(distance, chosen)
        assert ours < 0.8 * farthest_left_out(distance, evenly_in_time(200, n))


def test_near_duplicates_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    phases = np.repeat([0.0, 0.5, 1.0], 20)
    picks = pick_frames([write_beating(tmp_path / "a.mkv", phases)], 30, tmp_path / "out")
    assert sorted(frame.frame // 20 for frame in picks.frames) == [0, 1, 2]
    assert "3 frames were picked instead of 30" in picks.notes[-1]


def test_light_that_flickers_is_no_motion() -> None:
    rng = np.random.default_rng(0)
    still = tissue_frame(96, 0.0, rng)[0].astype(float)
    moved = tissue_frame(96, 0.6, rng)[0].astype(float)
    lit = [np.rint(np.clip(still * gain, 0, 255)) for gain in (0.6, 0.8, 1.0, 1.0, 0.7)]
    stack = np.stack([*lit, moved]).astype(np.uint8)
    assert farthest_first(thumbnails(_frames(stack)), 2)[1] == 5


def _frames(stack: np.ndarray):
    from ehtseg.records import Frame

    return (Frame(index, None, image) for index, image in enumerate(stack))


def test_the_same_recording_gives_the_same_picks(tmp_path: Path) -> None:
    path = write_beating(tmp_path / "a.mkv", resting_phases(120))
    first = pick_frames([path], 8, tmp_path / "first")
    second = pick_frames([path], 8, tmp_path / "second")
    assert first.frames == second.frames


def test_the_folder_is_one_to_paint_masks_into(tmp_path: Path) -> None:
    path = write_beating(tmp_path / "day 1.mkv", resting_phases(120))
    out = tmp_path / "deep" / "data"
    picks = pick_frames([path], 7, out, um_per_px=2.5)
    assert sorted(child.name for child in out.iterdir()) == ["images", "masks", "meta.json"]
    assert list((out / "masks").iterdir()) == []
    truth = {frame.index: frame for frame in open_video(path).frames()}
    for pick in picks.frames:
        assert pick.file == f"day 1_{pick.frame:06d}.png"
        assert pick.time_s == pytest.approx(pick.frame / 25)
        np.testing.assert_array_equal(
            np.asarray(Image.open(out / "images" / pick.file)), truth[pick.frame].image
        )
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["fps"], meta["um_per_px"]) == (25, 2.5)
    assert [row["file"] for row in meta["frames"]] == [pick.file for pick in picks.frames]
    told = meta["recordings"]["day 1"]
    assert told["source"] == str(path)
    assert told["scaling"] == {"low": 0.0, "high": 255.0, "source": "8-bit as it is"}
    assert (told["n_frames"], told["fps_source"]) == (120, "the file's header")


def test_with_masks_painted_it_is_a_dataset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_beating(tmp_path / f"{name}.mkv", resting_phases(90))
    picks = pick_frames([tmp_path / "*.mkv"], 9, tmp_path / "out")
    for pick in picks.frames:
        mask = np.zeros((96, 96), np.uint8)
        mask[30:60, 20:70] = 255
        Image.fromarray(mask).save(tmp_path / "out" / "masks" / pick.file)
    dataset = open_dataset([tmp_path / "out"])
    assert {(f.recording, f.frame, f.time_s) for f in dataset.frames} == {
        (pick.movie, pick.frame, pick.time_s) for pick in picks.frames
    }
    assert {frame.recording for frame in dataset.frames} == {"a", "b"}
    assert open_video(tmp_path / "out").n_frames == 9


def test_many_labels_of_one_film_can_be_trained_on_as_adapt_proposes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    unlike = [rng.integers(0, 255, (96, 96)).astype(np.uint8) for _ in range(30)]
    write_video(tmp_path / "a.mkv", [frame for frame in unlike for _ in range(2)])
    picks = pick_frames([tmp_path / "a.mkv"], 25, tmp_path / "out")
    for pick in picks.frames:
        Image.fromarray(np.eye(96, dtype=bool)).save(tmp_path / "out" / "masks" / pick.file)
    dataset = open_dataset([tmp_path / "out"])
    run = RunFolder(tmp_path / "a run", Recipe(), {})
    with pytest.raises(UserError, match=r"1 to 20 .*, got 25\.") as caught:
        adapt(dataset, run, tmp_path / "my net")
    words = shlex.split(caught.value.cure.partition(":  ")[2])
    assert words[:5] == [
        "ehtseg",
        "train",
        str(tmp_path / "out"),
        "--out",
        str(tmp_path / "my net"),
    ]
    assert f"fit.start={run.path}" in words
    data = DataRecipe.model_validate({"split": words[words.index("--split") + 1]})
    sets = split_dataset(dataset, data, seed=0)
    assert sets.train
    assert sets.validation
    assert sets.test
    with pytest.raises(UserError, match="--split blocks"):
        split_dataset(dataset, DataRecipe(), seed=0)


def test_deep_recordings_are_written_in_their_one_scaling(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    deep = np.stack([tissue_frame(64, p, rng)[0] for p in resting_phases(60)]).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", deep * 17 + 300)
    picks = pick_frames([tmp_path / "a.tif"], 3, tmp_path / "out", fps=30)
    scaling = json.loads((tmp_path / "out/meta.json").read_text())["recordings"]["a"]["scaling"]
    assert scaling["source"] == "percentiles 0.5 and 99.5 of 32 frames"
    for pick in picks.frames:
        share = (deep[pick.frame] * 17.0 + 300 - scaling["low"]) / (
            scaling["high"] - scaling["low"]
        )
        written = np.asarray(Image.open(tmp_path / "out" / "images" / pick.file))
        np.testing.assert_array_equal(written, np.rint(np.clip(share, 0, 1) * 255))
        assert pick.time_s == pytest.approx(pick.frame / 30)


def test_colour_frames_are_written_in_colour(tmp_path: Path) -> None:
    rgb = [np.stack([f, f // 2, f // 4], axis=-1) for f in numbered(8)]
    picks = pick_frames([write_video(tmp_path / "a.mkv", rgb, pix_fmt="bgr0")], 2, tmp_path / "out")
    written = np.asarray(Image.open(tmp_path / "out" / "images" / picks.frames[0].file))
    np.testing.assert_array_equal(written, rgb[picks.frames[0].frame])


def test_unlike_recordings_have_no_common_rate(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", numbered(12), rate=25)
    write_video(tmp_path / "b.mkv", numbered(12), rate=50)
    pick_frames([tmp_path], 4, tmp_path / "out")
    meta = json.loads((tmp_path / "out" / "meta.json").read_text())
    assert meta["fps"] is None
    assert [told["fps"] for told in meta["recordings"].values()] == [25, 50]


def test_recordings_of_one_name_keep_apart(tmp_path: Path) -> None:
    for day in ("mon", "tue"):
        (tmp_path / day).mkdir()
        write_video(tmp_path / day / "a.mkv", numbered(12))
    picks = pick_frames([tmp_path / "mon", tmp_path / "tue"], 4, tmp_path / "out")
    assert {pick.movie for pick in picks.frames} == {"mon_a", "tue_a"}
    assert len(list((tmp_path / "out" / "images").iterdir())) == 4
    assert unique_names([Path("/x/rec/images")]) == ["rec"]
    dotted = [tmp_path / "day.1", tmp_path / "day.2"]
    for folder in dotted:
        folder.mkdir()
    assert unique_names(dotted) == ["day.1", "day.2"]
    assert unique_names([Path("/x/a/b.avi"), Path("/y/a/b.avi")]) == ["x_a_b", "y_a_b"]


def test_shares_are_even_and_passed_on() -> None:
    assert share_out(10, [100, 100, 100]) == [4, 3, 3]
    assert share_out(10, [1, 100, 3]) == [1, 6, 3]
    assert share_out(10, [2, 3]) == [2, 3]


def test_painted_masks_are_never_touched(tmp_path: Path) -> None:
    path = write_beating(tmp_path / "a.mkv", resting_phases(60))
    out = tmp_path / "out"
    out.mkdir()  # an empty folder is fine
    pick_frames([path], 4, out)
    painted = out / "masks" / "a_000001.png"
    painted.write_bytes(b"hours of work")
    with pytest.raises(UserError, match=r"holds images, masks, meta\.json with 1 files in masks"):
        pick_frames([path], 4, out)
    assert painted.read_bytes() == b"hours of work"


def test_what_cannot_be_done_leaves_nothing_behind(tmp_path: Path) -> None:
    good = write_beating(tmp_path / "a.mkv", resting_phases(60))
    flat = write_video(tmp_path / "flat.mkv", [np.full((48, 64), 9, np.uint8)] * 5)
    (tmp_path / "file").write_text("x")
    before = sorted(tmp_path.iterdir())
    for videos, n, out, said in [
        ([good, flat], 1, "out", "at least one frame for each of 2 video(s)"),
        ([flat], 3, "out", "frames with something to see"),
        ([good], 3, "file", "a file"),
        ([good], 3, "file/out", "to be able to write"),
        ([tmp_path / "gone.avi"], 3, "out", "no such file"),
    ]:
        with pytest.raises(UserError, match="Expected") as refused:
            pick_frames(videos, n, tmp_path / out)
        assert said in str(refused.value)
        assert sorted(tmp_path.iterdir()) == before


def test_a_stop_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_beating(tmp_path / "a.mkv", resting_phases(60))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ehtseg.jobs.frames._write_meta", stop)
    with pytest.raises(KeyboardInterrupt):
        pick_frames([path], 4, tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == [path]


def test_constant_frames_are_never_picked_and_notes_are_handed_on(tmp_path: Path) -> None:
    frames = [*numbered(6), np.full((48, 64), 9, np.uint8)]
    picks = pick_frames([write_video(tmp_path / "a.mkv", frames)], 7, tmp_path / "out")
    assert 6 not in {pick.frame for pick in picks.frames}
    assert "a: 1 of 7 frames are of one value each." in picks.notes


def test_progress_runs_to_its_end(tmp_path: Path) -> None:
    path = write_beating(tmp_path / "a.mkv", resting_phases(60))
    ticks: list[tuple[int, int | None]] = []
    pick_frames([path], 4, tmp_path / "out", progress=lambda done, all_: ticks.append((done, all_)))
    ours = [done for done, total in ticks if total == 120]
    assert ours == sorted(ours)
    assert ticks[-1] == (120, 120)
