"""The command export: files, parity, what the run folder remembers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import pytest

from conftest import write_labelled
from ehtseg.jobs import export as room
from ehtseg.jobs.export import export, frames_of
from ehtseg.learning.guard import Verdict
from ehtseg.reading.dataset import open_dataset
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder, open_run, sha256_of, write_facts
from ehtseg.seeing.ways import INT8, exported, start
from test_seeing import make_run

for package in ("openvino", "onnx", "onnxruntime", "nncf"):
    pytest.importorskip(package, reason="needs the extra `fast`", exc_type=ImportError)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder whose validation frames are frames 2 to 5 of a labelled folder."""
    folder = write_labelled(tmp_path / "data", {"a": 6}, size=40)
    keys = [frame.key for frame in open_dataset([folder]).frames]
    split = {"train": keys[:2], "validation": keys[2:], "test": [], "unused": []}
    return make_run(tmp_path / "run", data=[str(folder)], split=split)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A recording of 8 frames as a folder of images."""
    folder = tmp_path / "film"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        picture = cv2.GaussianBlur(rng.integers(0, 256, (40, 48), np.uint8), (0, 0), 3)
        cv2.imwrite(str(folder / f"{i:03d}.png"), picture)
    return folder


def facts_of(run: RunFolder) -> Any:
    return json.loads((run.path / "run.json").read_text())


def test_onnx_is_compared_on_validation_frames_and_remembered(run: RunFolder) -> None:
    result = export(run, "onnx")
    assert result.file == run.path / "exports" / "onnx" / "net.onnx"
    assert result.frames == "4 validation frames"
    (verdict,) = result.verdicts.values()
    assert verdict.holds
    assert verdict.probability_change < 1e-4
    told = facts_of(run)["exports"]["onnx"]
    assert told["parity"]["onnx fp32"]["frames"] == 4
    assert told["versions"]["onnx"] != "missing"
    assert exported(open_run(run.path), "onnx") == result.file
    assert "torch fp32" not in facts_of(run)["guard"]["ways"]


def test_an_export_that_was_changed_is_refused(run: RunFolder) -> None:
    file = export(run, "onnx").file
    assert file is not None
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(UserError, match="or another one"):
        exported(open_run(run.path), "onnx")


def test_an_export_of_other_weights_is_refused(run: RunFolder) -> None:
    export(run, "onnx")
    run.weights_file.write_bytes(run.weights_file.read_bytes()[:-4] + b"heart"[:4])
    with pytest.raises(UserError, match=r"another file as last\.safetensors"):
        exported(open_run(run.path), "onnx")
    facts = {**facts_of(run), "files": {"last.safetensors": sha256_of(run.weights_file)}}
    write_facts(run.path, facts)  # a run folder put together from two
    with pytest.raises(UserError, match="its exports were made from"):
        exported(open_run(run.path), "onnx")


@pytest.mark.parametrize("format", ["onnx", "openvino"])
def test_a_full_disk_is_one_paragraph_and_leaves_nothing(
    run: RunFolder, format: Literal["onnx", "openvino"]
) -> None:
    resource = pytest.importorskip("resource", reason="limits of this kind are POSIX's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"room for a graph.*TMPDIR"):
            export(run, format)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (run.path / "exports").exists()


@pytest.mark.slow
def test_eight_bits_are_kept_only_where_the_guard_holds(
    run: RunFolder, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = Verdict(4, 0.0, 0.0, 0.0, 0.1), Verdict(4, 0.1, 0.0, 0.0, 0.1)
    monkeypatch.setattr(room, "judge", lambda *_: {INT8: bad})
    assert export(run, "openvino", int8=True, videos=[film]).file is None
    assert not (run.path / "exports").exists()
    monkeypatch.setattr(room, "judge", lambda *_: {INT8: good})
    result = export(run, "openvino", int8=True, videos=[film])
    assert result.frames == "4 of 8 frames of film"
    again = open_run(run.path)
    assert start(INT8, again, "cpu")(np.zeros((1, 1, 33, 20), np.float32)).shape == (1, 33, 20)


def test_frames_are_spread_over_the_whole_recording(tmp_path: Path) -> None:
    film = tmp_path / "film"
    film.mkdir()
    for i in range(100):
        cv2.imwrite(str(film / f"{i:03d}.png"), np.full((8, 8), i, np.uint8))
    frames, words = frames_of([film])
    seen = [int(image[0, 0]) for image, _ in frames]
    assert words == "64 frames of film"
    assert (seen[0], seen[-1]) == (0, 99)
    assert max(np.diff(seen)) == 2


def test_eight_bits_need_a_frame_to_calibrate_and_another_to_judge(
    run: RunFolder, film: Path
) -> None:
    for file in sorted(film.iterdir())[1:]:
        file.unlink()
    with pytest.raises(UserError, match="two frames or more"):
        export(run, "openvino", int8=True, videos=[film])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "onnx", "int8": True, "videos": ["x"]}, "--format openvino"),
        ({"format": "openvino", "int8": True}, "0 recordings"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(
    run: RunFolder, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        export(run, **options)


def test_an_unfinished_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a finished training"):
        export(make_run(tmp_path / "r", status="training"), "onnx")


def test_without_validation_frames_a_recording_is_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", data=[str(tmp_path / "gone")])
    with pytest.raises(UserError, match="--frames VIDEO"):
        export(run, "onnx")
