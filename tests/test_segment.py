"""Recordings to masks, end to end, with a network whose answer is known."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from conftest import shared
from ehtseg.jobs.places import absolute, output_folders
from ehtseg.jobs.results import COLUMNS, FILES
from ehtseg.jobs.segment import SegmentResult, segment
from ehtseg.recipe import make_recipe
from ehtseg.records import Array, UserError
from ehtseg.seeing.run_folder import RunFolder, sha256_of, write_tensors

HEIGHT, WIDTH = 40, 64


class Dark(torch.nn.Module):
    """Tissue is what is darker than half: a network whose answer is known."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return 40 * (0.5 - images_BCHW.mean(1, keepdim=True))


class DarkRun(RunFolder):
    """A run folder with that network."""

    def net(self) -> torch.nn.Module:
        return Dark()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return dark_run(tmp_path / "run")


def dark_run(path: Path, mark: float = 0.0) -> RunFolder:
    path.mkdir(exist_ok=True)
    write_tensors({"mark": torch.tensor(mark)}, {}, path / "last.safetensors")
    files = {"last.safetensors": sha256_of(path / "last.safetensors")}
    facts = {"status": "finished", "card": {}, "threshold": 0.5, "files": files}
    return DarkRun(path, make_recipe({"segment": {"precision": "fp32", "batch": 3}}), facts)


def beating(count: int, height: int = HEIGHT, width: int = WIDTH) -> list[Array]:
    """A dark strip on a light ground; it runs off the picture at the left and changes its width."""
    frames = []
    for n in range(count):
        frame = np.full((height, width), 200, np.uint8)
        frame[10 : 20 + n % 7, : width // 2] = 40
        frames.append(frame)
    return frames


def write_video(path: Path, frames: Sequence[Array], fps: int = 20) -> Path:
    """A lossless video of grey frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("ffv1", rate=fps)
        stream.height, stream.width = frames[0].shape
        stream.pix_fmt = "gray"
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="gray")))
        file.mux(stream.encode())
    return path


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "frames.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def statuses(results: Sequence[SegmentResult]) -> list[str]:
    return [result.status for result in results]


# --- what is written --------------------------------------------------------------------------


def test_a_video_becomes_masks_movies_figure_table_and_record(
    tmp_path: Path, run: RunFolder
) -> None:
    frames = beating(10)
    video = write_video(tmp_path / "tissue.mkv", frames)
    ticks: list[tuple[int, int | None]] = []
    (result,) = segment(
        [video], run, tmp_path / "out", um_per_px=2.0, progress=lambda d, n: ticks.append((d, n))
    )
    assert (result.status, result.n_frames) == ("done", 10)
    playback, unlimited = result.notes
    assert "20 fps, is that of the file's playback" in playback
    assert "no limit of doubt" in unlimited
    folder = tmp_path / "out" / "tissue"
    assert result.folder == folder
    assert {path.name for path in folder.iterdir()} == set(FILES)
    assert ticks[-10:] == [(n, 10) for n in range(1, 11)]

    truth = np.array(frames) < 128
    assert (tifffile.imread(folder / "masks.tif") == 255 * truth).all()
    for n, row in enumerate(rows(folder)):
        assert float(row["time_s"]) == pytest.approx(n / 20)
        assert int(row["mask_px"]) == truth[n].sum()
        assert float(row["area_px"]) == pytest.approx(truth[n].sum(), rel=1e-3)
        assert float(row["area_mm2"]) == pytest.approx(truth[n].sum() * 4e-6, rel=1e-3)
        assert (row["border"], row["parts"], row["certainty"]) == ("left", "1", "1.0")
    assert list(rows(folder)[0]) == list(COLUMNS)


def test_the_movies_show_outline_and_cut_out_at_the_true_times(
    tmp_path: Path, run: RunFolder
) -> None:
    video = write_video(tmp_path / "tissue.mkv", beating(4))
    segment([video], run, tmp_path / "out")
    shown = {}
    for name in ("overlay", "cutout"):
        with av.open(str(tmp_path / "out" / "tissue" / f"{name}.mp4")) as file:
            frames = list(file.decode(video=0))
            assert [float(f.time or 0) for f in frames] == pytest.approx([0, 0.05, 0.1, 0.15])
            shown[name] = frames[1].to_ndarray(format="rgb24").astype(int)
    assert np.abs(shown["cutout"][2:8, 40:60] - 255).max() < 8  # background
    assert np.abs(shown["cutout"][13:18, 4:28] - 40).max() < 12  # tissue
    assert np.abs(shown["overlay"][30:38, 40:60] - 200).max() < 8
    edge = shown["overlay"][9:11, 4:24].mean(axis=(0, 1))
    assert edge[0] > edge[2] + 60  # vermilion: red above blue


def test_the_record_says_what_made_the_files(tmp_path: Path, run: RunFolder) -> None:
    video = write_video(tmp_path / "tissue.mkv", beating(5))
    segment([video], run, tmp_path / "out")
    record = json.loads((tmp_path / "out" / "tissue" / "record.json").read_text())
    assert record["source"]["path"] == str(video)
    assert record["source"]["size_bytes"] == video.stat().st_size
    assert len(record["source"]["sha256"]) == len(record["settings"]["weights_sha256"]) == 64
    settings = {key: record["settings"][key] for key in ("engine", "precision", "threshold")}
    assert settings == {"engine": "torch", "precision": "fp32", "threshold": 0.5}
    assert record["computed_with"]["threads"] == torch.get_num_threads()
    assert record["computed_with"]["batch"] == 3
    assert record["recording"]["fps"] == 20
    assert record["recording"]["um_per_px"] is None
    assert "area_mm2" not in rows(tmp_path / "out" / "tissue")[0]
    with tifffile.TiffFile(tmp_path / "out" / "tissue" / "masks.tif") as file:
        assert "weights" in file.pages.first.software


def test_an_unknown_rate_is_said_and_no_time_is_made_up(tmp_path: Path, run: RunFolder) -> None:
    (tmp_path / "stills").mkdir()
    for n, frame in enumerate(beating(3, 41, 33)):
        Image.fromarray(frame).save(tmp_path / "stills" / f"{n}.png")
    (result,) = segment([tmp_path / "stills"], run, tmp_path / "out")
    assert [row["time_s"] for row in rows(tmp_path / "out" / "stills")] == ["", "", ""]
    said = " ".join(result.notes)
    assert "frame rate is unknown" in said
    assert "a pixel larger" in said


def test_frames_without_tissue_are_counted(tmp_path: Path, run: RunFolder) -> None:
    light = np.full((HEIGHT, WIDTH), 220, np.uint8)
    video = write_video(tmp_path / "a.mkv", [light, *beating(2), light])
    (result,) = segment([video], run, tmp_path / "out")
    assert "No tissue was found in 2 of 4 frames." in result.notes
    empty = rows(tmp_path / "out" / "a")[3]
    assert (empty["mask_px"], empty["area_px"], empty["parts"]) == ("0", "0.0", "0")


def test_the_threshold_is_the_runs_unless_it_is_given(tmp_path: Path, run: RunFolder) -> None:
    frame = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (HEIGHT, 1))
    video = write_video(tmp_path / "a.mkv", [frame])
    areas = {}
    for threshold in (None, 0.1, 0.9):
        choices = run.recipe.segment.model_copy(update={"threshold": threshold})
        segment([video], run, tmp_path / f"{threshold}", choices)
        areas[threshold] = int(rows(tmp_path / f"{threshold}" / "a")[0]["mask_px"])
    logit = {None: 0.0, 0.1: -2.197, 0.9: 2.197}  # tissue where 40 (0.5 - v / 255) >= logit
    for threshold, bound in logit.items():
        assert areas[threshold] == (frame <= 255 * (0.5 - bound / 40)).sum()


# --- several recordings, and again --------------------------------------------------------------


def test_a_file_that_fails_does_not_stop_the_others(tmp_path: Path, run: RunFolder) -> None:
    good = [write_video(tmp_path / f"{name}.mkv", beating(3)) for name in ("a", "c")]
    (tmp_path / "b.mkv").write_bytes(b"not a video")
    (tmp_path / "d.mkv").write_bytes(b"")
    given = [tmp_path / "missing.avi", str(tmp_path / "*.mkv"), good[0]]
    results = segment(given, run, tmp_path / "out")
    assert statuses(results) == ["done", "failed", "done", "failed", "failed"]
    assert [r.source.name for r in results] == ["a.mkv", "b.mkv", "c.mkv", "d.mkv", "missing.avi"]
    for failed, word in zip(
        [results[i] for i in (1, 3, 4)], ["b.mkv", "empty", "no such"], strict=True
    ):
        assert failed.reason.startswith("Expected ")
        assert word in failed.reason
        assert failed.folder is None
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "c"]


def test_where_there_is_nothing_to_see_nothing_is_written(tmp_path: Path, run: RunFolder) -> None:
    flat = [np.full((HEIGHT, WIDTH), value, np.uint8) for value in (7, 7, 9)]
    video = write_video(tmp_path / "flat.mkv", flat)
    (result,) = segment([video], run, tmp_path / "out")
    assert result.status == "failed"
    assert "3 frames of one value each" in result.reason
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    segment([video], run, tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_is_complete_and_unchanged_is_left_alone(tmp_path: Path, run: RunFolder) -> None:
    video = write_video(tmp_path / "a.mkv", beating(3))
    out = tmp_path / "out"

    def again(run: RunFolder = run, **given: Any) -> tuple[str, bool]:
        before = (out / "a" / "masks.tif").stat().st_mtime_ns
        (result,) = segment([video], run, out, **given)
        assert result.n_frames == len(rows(out / "a"))
        return result.status, before == (out / "a" / "masks.tif").stat().st_mtime_ns

    segment([video], run, out)
    assert again() == ("unchanged", True)
    os.utime(video)  # touched, but of the same content
    assert again() == ("unchanged", True)
    fewer = run.recipe.segment.model_copy(update={"batch": 1})
    assert again(choices=fewer) == ("unchanged", True)
    assert again(fps=10.0) == ("done", False)
    assert again() == ("done", False)
    assert again(dark_run(tmp_path / "run", mark=1.0)) == ("done", False)
    assert again(dark_run(tmp_path / "run", mark=1.0)) == ("unchanged", True)
    (out / "a" / "overlay.mp4").unlink()
    assert again(dark_run(tmp_path / "run", mark=1.0)) == ("done", False)
    write_video(video, beating(5))
    assert again(dark_run(tmp_path / "run", mark=1.0)) == ("done", False)
    assert len(rows(out / "a")) == 5


def test_results_beside_the_sources_are_neither_sources_nor_in_their_way(
    tmp_path: Path, run: RunFolder
) -> None:
    data = tmp_path / "data"
    video = write_video(data / "a.mkv", beating(3))
    (data / "b").mkdir()
    for n, frame in enumerate(beating(2)):
        Image.fromarray(frame).save(data / "b" / f"{n}.png")
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for status in ("done", "unchanged"):
        results = segment([str(data / "*")], run, data)
        assert statuses(results) == [status, status]
        assert {r.source.name for r in results} == {"a.mkv", "b"}
    assert all(path.read_bytes() == content for path, content in before.items())
    assert {path.name for path in (data / "b").iterdir()} == {"0.png", "1.png"}
    with pytest.raises(UserError, match="only results of an earlier"):
        segment([data / "a"], run, tmp_path / "other")
    assert video.exists()


def named(sources: list[Path], out: Path) -> list[str]:
    return [folder.name for folder in output_folders(sources, out)]


def test_recordings_of_one_name_get_names_that_tell_them_apart(tmp_path: Path) -> None:
    p = tmp_path
    assert named([p / "A1/x.avi", p / "A2/y.avi"], p / "o") == ["x", "y"]
    assert named([p / "A1/x.avi", p / "A2/x.avi"], p / "o") == ["A1_x", "A2_x"]
    assert named([p / "x.avi", p / "x.mp4"], p / "o") == ["x_avi", "x_mp4"]
    assert named([p / "m/A/x.avi", p / "n/A/x.avi"], p / "o") == ["m_A_x", "n_A_x"]
    assert len(set(named([p / "a_b/c.avi", p / "a/b_c.avi", p / "b/c.avi"], p / "o"))) == 3
    assert named([p / "X.avi", p / "a/x.avi"], p / "o")[1] == "a_x"  # one folder on a Mac
    (p / "o" / "z").mkdir(parents=True)
    assert named([p / "Z.avi"], p / "o") == ["Z_avi"]  # z is not ours


def test_a_recording_keeps_its_folder_when_another_of_its_name_comes(
    tmp_path: Path, run: RunFolder
) -> None:
    first = write_video(tmp_path / "A" / "x.mkv", beating(2))
    segment([first], run, tmp_path / "out")
    second = write_video(tmp_path / "B" / "x.mkv", beating(3))
    results = segment([first, second], run, tmp_path / "out")
    assert statuses(results) == ["unchanged", "done"]
    assert [r.folder.name for r in results if r.folder] == ["x", "B_x"]
    assert statuses(segment([second], run, tmp_path / "out")) == ["unchanged"]
    assert len(rows(tmp_path / "out" / "x")) == 2


@pytest.mark.parametrize("copied", ["x_backup", "Copy of x", ".x.part"])
def test_a_copy_of_results_is_not_taken_for_them(
    tmp_path: Path, run: RunFolder, copied: str
) -> None:
    video, out = write_video(tmp_path / "x.mkv", beating(2)), tmp_path / "out"
    segment([video], run, out)
    shutil.copytree(out / "x", out / copied)
    (result,) = segment([video], run, out)
    assert (result.status, result.folder) == ("unchanged", out / "x")
    if copied.startswith("."):
        shutil.rmtree(out / "x")
        assert named([video], out) == ["x"], "what a kill left is no result"


# --- interruptions and bad input ----------------------------------------------------------------


def test_an_interruption_leaves_nothing_half_written_and_a_rerun_goes_on(
    tmp_path: Path, run: RunFolder
) -> None:
    videos = [write_video(tmp_path / f"{name}.mkv", beating(9)) for name in "ab"]
    done: list[int] = []

    def stop(n: int, _total: int | None) -> None:
        done.append(n)
        if len(done) == 13:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        segment(videos, run, tmp_path / "out", progress=stop)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]
    assert statuses(segment(videos, run, tmp_path / "out")) == ["unchanged", "done"]


def test_an_out_that_cannot_be_a_folder_is_said_before_anything_is_done(
    tmp_path: Path, run: RunFolder
) -> None:
    video = write_video(tmp_path / "a.mkv", beating(2))
    for out in (video, video / "out"):
        with pytest.raises(UserError, match=r"the folder .*a\.mkv"):
            segment([video], run, out)


def test_no_recordings_and_no_run_are_said(tmp_path: Path, run: RunFolder) -> None:
    with pytest.raises(UserError, match="at least one recording"):
        segment([], run, tmp_path / "out")
    video = write_video(tmp_path / "a.mkv", beating(2))
    with pytest.raises(UserError, match="run folder"):
        segment([video], tmp_path / "missing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_out_of_memory_says_what_to_lower(
    tmp_path: Path, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Dark, "forward", lambda _self, _images: torch.empty(2**60))
    video = write_video(tmp_path / "a.mkv", beating(2))
    (result,) = segment([video], run, tmp_path / "out")
    assert result.status == "failed"
    assert "Choose a smaller --batch (it was 3)" in result.reason
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_one_paragraph_and_leaves_nothing(tmp_path: Path, run: RunFolder) -> None:
    """RLIMIT_FSIZE stands for the full disk: the kernel refuses to let a file grow."""
    resource = pytest.importorskip("resource", reason="limits of this kind are POSIX's")
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (128, 128), np.uint8) for _ in range(40)]
    video = write_video(tmp_path / "a.mkv", noise)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, before[1]))
    try:
        (result,) = segment([video], run, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.reason.startswith(f"Expected to be able to write {tmp_path / 'out' / 'a'}")
    assert "File too large" in result.reason
    assert not (tmp_path / "out").exists()


def started(script: str, *arguments: Path) -> subprocess.Popen[str]:
    """Another Python that has this file's names."""
    code = f"import sys; from test_segment import *; {script}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_kill_leaves_nothing_visible_and_a_rerun_clears_up(
    tmp_path: Path, run: RunFolder
) -> None:
    video = write_video(tmp_path / "a.mkv", beating(200))
    script = (
        "import time; a, r, o = map(Path, sys.argv[1:]);"
        "segment([a], dark_run(r), o, progress=lambda n, _: (print(n, flush=True), time.sleep(1)))"
    )
    with started(script, video, tmp_path / "run", tmp_path / "out") as process:
        assert process.stdout
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".a.part"]
    assert statuses(segment([video], run, tmp_path / "out")) == ["done"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a"]


# --- real recordings, and long ones -------------------------------------------------------------


def test_a_real_folder_with_known_rate_and_scale(tmp_path: Path, run: RunFolder) -> None:
    source = shared("data/demo_d1t3_256")
    (result,) = segment([source], run, tmp_path / "out", fps=30.0, um_per_px=8.0)
    assert result.n_frames == 50
    table = rows(tmp_path / "out" / "demo_d1t3_256")
    assert float(table[-1]["time_s"]) == pytest.approx(49 / 30, abs=1e-6)
    picture = np.asarray(Image.open(tmp_path / "out" / "demo_d1t3_256" / "figure.png"))
    assert picture.shape[1] == 2160


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    """5,000 frames of 512 x 512: resident memory within 100 MB of that on 100 frames."""
    script = (
        "import resource; a, r, o = map(Path, sys.argv[1:]); (x,) = segment([a], dark_run(r), o);"
        "print(x.n_frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peak_kb = {}
    for count in (100, 5000):
        video = write_video(tmp_path / f"{count}.mkv", beating(7, 512, 512) * (count // 7 + 1))
        said, _ = started(script, video, tmp_path / "run", tmp_path / "out").communicate()
        frames, peak_kb[count] = map(int, said.split())
        assert frames >= count
    scale = 1 if sys.platform == "linux" else 1024  # macOS counts bytes
    assert abs(peak_kb[5000] - peak_kb[100]) / scale < 100_000


def test_the_time_of_a_rerun_does_not_depend_on_the_recording(
    tmp_path: Path, run: RunFolder
) -> None:
    video = write_video(tmp_path / "a.mkv", beating(60))
    segment([video], run, tmp_path / "out")
    (result,) = segment([video], run, tmp_path / "out")
    assert result.status == "unchanged"
    assert result.seconds < 0.5
    assert absolute(result.source) == video
