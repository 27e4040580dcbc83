"""The command line: from labelled frames to masks, and bad input answered in one paragraph."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import ehtseg as ehtseg_package
from conftest import Cli, tissue_frame, write_labelled
from ehtseg.doors import cli

TINY = ("--net", "unet", "--split", "blocks", "--size", "48", "--epochs", "2")
SMALL = ("net.width=4", "net.depth=2", "fit.images_per_epoch=16", "fit.lr=0.005", "fit.threads=1")
SET = tuple(word for text in SMALL for word in ("--set", text))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("labelled") / "film", {"film": 24}, size=64)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "beating.avi"
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as movie:
        stream = movie.add_stream("mjpeg", rate=20)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for index in range(12):
            grey, _ = tissue_frame(64, 0.5 + 0.5 * np.sin(index), rng)
            movie.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="gray")))
        movie.mux(stream.encode())
    return path


def test_the_story_from_labelled_frames_to_masks(
    ehtseg: Cli, data: Path, video: Path, tmp_path: Path
) -> None:
    code, out, _ = ehtseg("check", data)
    assert code == 0
    assert "24" in out
    assert "`ehtseg train` needs --split blocks" in out
    run = tmp_path / "my run"
    code, out, _ = ehtseg("train", data, *TINY, *SET, "--out", run)
    assert code == 0
    assert "epoch 2/2" in out
    next_one = f"ehtseg evaluate '{run}' {data}   or   ehtseg segment VIDEO -m '{run}' -o OUT"
    assert f"Next: {next_one}\n" in out
    assert ", chosen on validation." in out
    code, out, _ = ehtseg("train", data, *TINY, *SET, "--out", run)
    assert "finished already" in out
    code, out, _ = ehtseg("evaluate", run, data, "--out", tmp_path / "scores")
    assert code == 0
    assert "mean_mask" in out
    assert "Empty masks" in out
    assert f"The page is {tmp_path / 'scores' / 'report.html'}" in out
    with open(tmp_path / "scores" / "scores.csv", newline="") as file:
        assert {row["recording"] for row in csv.DictReader(file)} == {"film"}
    code, out, _ = ehtseg("segment", video, "--model", run, "--out", tmp_path / "out")
    assert code == 0
    assert "12 frames" in out
    record = json.loads((tmp_path / "out" / "beating" / "record.json").read_text())
    assert record["settings"]["precision"]
    code, out, _ = ehtseg("segment", video, "--model", run, "--out", tmp_path / "out")
    assert "skipped" in out
    picked = tmp_path / "to paint"
    code, out, _ = ehtseg("frames", video, "--n", "4", "--out", picked)
    assert code == 0
    assert f"ehtseg check '{picked}'" in out
    assert len(list((picked / "images").iterdir())) <= 4


def test_a_training_on_several_folders_names_them_all_and_what_it_could_not_choose(
    ehtseg: Cli, tmp_path: Path
) -> None:
    folders = [write_labelled(tmp_path / f"day {name}", {name: 2}) for name in ("a", "b")]
    shares = ("--set", "data.shares=[1,0,1]")
    run = tmp_path / "run"
    code, out, _ = ehtseg("train", *folders, *TINY[:2], *TINY[4:], *SET, *shares, "--out", run)
    assert code == 0
    assert "threshold 0.50, the usual one, for want of validation frames" in out
    assert f"Next: ehtseg evaluate {run} '{folders[0]}' '{folders[1]}'   or   " in out


def test_describe_says_what_is_transferred_and_what_is_fixed(ehtseg: Cli) -> None:
    code, out, _ = ehtseg(
        "describe", "--net", "efficientnet_lite0", "--transfer", "3", "--freeze", "2"
    )
    assert code == 0
    assert "fixed" in out
    assert "ImageNet" in out
    assert "random" in out


def test_the_doctor_finds_torch_and_the_bundled_weights(ehtseg: Cli) -> None:
    code, out, _ = ehtseg("doctor")
    assert code == 0
    assert "belong together" in out
    assert "efficientnet_lite0" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "nowhere", "--out", "x"), "nowhere"),
        (("train", "DATA", "--out", "x"), "--split blocks"),  # one recording, split by recording
        (("train", "DATA", "--out", "x", "--set", "fit.epoch=3"), "fit.epochs"),
        (("train", "DATA", "--out", "x", "--set", "fit.lr=fast"), "fit.lr"),
        (("train", "DATA", "--out", "x", "--set", "data.size=-5"), "data.size"),
        (("train", "DATA", "--out", "x", "--set", "lr"), "section.key=value"),
        (("train", "DATA", "--out", "x", "--set", "fit.lr=[1"), "fit.lr="),
        (("train", "DATA", *TINY, "--out", "FILE"), "a file"),
        (("train", "DATA", "--out", "x", "--profile", "papr"), "modern, paper"),
        (("train", "DATA", "--out", "x", "--recipe", "absent.yaml"), "absent.yaml"),
        (("train", "DATA", *TINY, "--out", "FILE/run"), "FILE"),
        (("train", "DATA", *TINY[2:], "--net", "resnet5", "--out", "x"), "resnet50"),
        (("train", "DATA", *TINY[2:], "--net", "resnet50", "--out", "x"), "EHTSEG_WEIGHTS"),
        (("train", "DATA", *TINY[2:], "--weights", "FILE", "--out", "x"), "FILE"),
        (("train", "DATA", *TINY, "--loss", "dise", "--out", "x"), "dice"),
        (("evaluate", "nowhere", "DATA"), "nowhere"),
        (("evaluate", "DATA", "DATA"), "run.json"),
        (("segment", "absent.mp4", "--model", "nowhere", "--out", "x"), "nowhere"),
        (("segment", "absent.mp4", "--out", "x"), "absent.mp4"),
        (("frames", "absent.mp4", "--out", "x"), "absent.mp4"),
        (("frames", "EMPTY.mp4", "--out", "x"), "EMPTY.mp4"),
        (("check", "nowhere"), "nowhere"),
        (("describe", "--net", "vgg61"), "vgg16"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else value,
)
def test_bad_input_is_one_paragraph_and_exit_code_2(
    ehtseg: Cli,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EHTSEG_WEIGHTS", raising=False)
    (tmp_path / "FILE").write_text("not what you think")
    (tmp_path / "EMPTY.mp4").touch()
    code, out, err = ehtseg(*(str(data) if word == "DATA" else word for word in words))
    assert code == 2
    assert said in err + out
    paragraph = err.strip()
    assert "Traceback" not in paragraph
    assert paragraph.count("\n") <= 1
    left = {p.name for p in tmp_path.iterdir()} - {"FILE", "EMPTY.mp4"}
    assert not left, f"half-written: {left}"


def test_a_mask_that_is_not_one_is_a_problem_with_its_cure(ehtseg: Cli, tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "bad", {"film": 3}, size=32)
    grey = np.full((32, 32), 128, np.uint8)
    grey[:10], grey[20:] = 0, 255
    Image.fromarray(grey).save(folder / "masks" / "film_0001.png")
    (folder / "masks" / "film_0002.png").unlink()
    code, out, _ = ehtseg("check", folder)
    assert code == 2
    assert "Problem 1" in out
    assert "film_0001.png" in out
    assert "film_0002" in out


@pytest.mark.parametrize(("number", "left"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_work_in_order_and_says_what_becomes_of_it(
    ehtseg: Cli, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, left: int
) -> None:
    cleared = []

    def interrupted(_weights: Path | None) -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleared.append(number)

    monkeypatch.setattr("ehtseg.jobs.doctor.doctor", interrupted)
    usual = {signal.SIGINT: signal.default_int_handler}.get(number, signal.SIG_DFL)
    before = signal.signal(number, usual)  # a test that runs in the background may ignore Ctrl-C
    try:
        code, _, err = ehtseg("doctor")
        assert signal.getsignal(number) == usual
    finally:
        signal.signal(number, before)
    assert (code, cleared) == (left, [number])
    assert err.strip() == "Interrupted. What is complete is kept; the same command continues."


def test_the_verbs_are_there_from_python() -> None:
    others = {"frames", "study", "prices", "export_nnunet", "nnunet"}  # the first is pick_frames
    verbs = {verb.__name__ for verb in cli.VERBS} - others
    assert verbs <= set(dir(ehtseg_package))
    for name in dir(ehtseg_package):
        assert callable(getattr(ehtseg_package, name)), name
    with pytest.raises(AttributeError, match=r"ehtseg has no 'segmant'.*segment"):
        _ = ehtseg_package.segmant


def test_help_does_not_import_torch() -> None:
    code = "import sys; sys.argv = ['ehtseg', '--help']; from ehtseg.doors.cli import app\n"
    code += "try: app()\nexcept SystemExit: pass\n"
    code += "print('HEAVY', sorted({'torch', 'cv2', 'numpy.ma', 'timm'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "HEAVY []" in said.stdout
    assert "segment" in said.stdout
