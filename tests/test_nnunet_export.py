"""nnU-Net v2 as an outside opponent: what it reads, how it is called, how its answer is scored."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import write_labelled
from ehtseg.doors import cli
from ehtseg.jobs.nnunet import BIN, Settings, run_nnunet, score_nnunet
from ehtseg.jobs.nnunet_export import export_nnunet
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.splits import split_dataset
from ehtseg.recipe import DataRecipe
from ehtseg.records import UserError

BLOCKS = DataRecipe(split="blocks", guard_frames=0)

# a stand-in for nnU-Net: each program notes how it was called; predict answers with the raw image
STAND_IN = """#!{python}
import json, os, sys
from pathlib import Path
import numpy as np
from PIL import Image
name, words = Path(sys.argv[0]).name, sys.argv[1:]
folders = {{k: os.environ[k] for k in os.environ if k.startswith("nnUNet_")}}
with open({notes!r}, "a") as file:
    file.write(json.dumps([name, words, folders]) + "\\n")
if name == "nnUNetv2_train" and Path({fail!r}).exists():
    print("RuntimeError: no more memory")
    sys.exit(3)
if name == "nnUNetv2_predict":
    out = Path(words[words.index("-o") + 1])
    out.mkdir(parents=True, exist_ok=True)
    for path in Path(words[words.index("-i") + 1]).glob("*_0000.png"):
        dark = 1 - np.array(Image.open(path)) / 255.0
        both = np.stack([1 - dark, dark])[:, None]
        np.savez(out / f"{{path.name.removesuffix('_0000.png')}}.npz", probabilities=both)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "film"
    return open_dataset([write_labelled(folder, {"film one": 24}, size=40)])


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "other"
    return open_dataset([write_labelled(folder, {"film one": 3}, size=48)])


def leave_out(folder: Path, rows: int) -> Dataset:
    """The labelled folder with the first rows of each frame left out."""
    (folder / "ignore").mkdir()
    for path in (folder / "masks").iterdir():
        ignored = np.zeros(np.array(Image.open(path)).shape, np.uint8)
        ignored[:rows] = 255
        Image.fromarray(ignored).save(folder / "ignore" / path.name)
    return open_dataset([folder])


def answer(raw: Path, folder: Path) -> Path:
    """Predictions of tissue everywhere, of all that `raw` has in imagesTs."""
    folder.mkdir()
    for path in (raw / "imagesTs").iterdir():
        tissue = np.ones((1, *np.array(Image.open(path)).shape))
        case = path.name.removesuffix("_0000.png")
        np.savez(folder / f"{case}.npz", probabilities=np.stack([1 - tissue, tissue]))
    return folder


@pytest.fixture
def raw(dataset: Dataset, other: Dataset, tmp_path: Path) -> Path:
    split = split_dataset(dataset, BLOCKS, 0)
    return export_nnunet(
        dataset, split, tmp_path / "raw", others=[other], size=32, name="Dataset007_strip"
    )


def stems(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_raw_dataset_is_as_nnunet_reads_it(dataset: Dataset, raw: Path) -> None:
    """Names, labels, channels: the format's own description."""
    known = json.loads((raw / "dataset.json").read_text())
    split = split_dataset(dataset, BLOCKS, 0)
    n_trained = len(split.train) + len(split.validation)
    assert known == {
        "channel_names": {"0": "brightfield"},
        "labels": {"background": 0, "tissue": 1},
        "numTraining": n_trained,
        "file_ending": ".png",
    }
    images, labels = stems(raw / "imagesTr"), stems(raw / "labelsTr")
    assert len(images) == len(labels) == n_trained
    assert images == [name.replace(".png", "_0000.png") for name in labels]
    assert len(stems(raw / "imagesTs")) == len(split.test) + 3
    for name in labels[:3]:
        label = np.array(Image.open(raw / "labelsTr" / name))
        image = np.array(Image.open(raw / "imagesTr" / name.replace(".png", "_0000.png")))
        assert label.shape == image.shape == (32, 32)
        assert label.dtype == np.uint8
        assert set(np.unique(label)) == {0, 1}


def test_the_fold_is_our_split(dataset: Dataset, raw: Path) -> None:
    (fold,) = json.loads((raw / "splits_final.json").read_text())
    cases = json.loads((raw / "cases.json").read_text())["cases"]
    split = split_dataset(dataset, BLOCKS, 0)
    for name, indices in (("train", split.train), ("val", split.validation)):
        assert [cases[case]["key"] for case in fold[name]] == [
            dataset.frames[i].key for i in indices
        ]
    assert {f"{case}.png" for case in (*fold["train"], *fold["val"])} == set(
        stems(raw / "labelsTr")
    )


def test_one_frame_in_colour_makes_all_of_them_colour(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "film", {"film": 12}, size=32)
    first = folder / "images" / "film_0000.png"
    grey = np.array(Image.open(first))
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=2)).save(first)
    dataset = open_dataset([folder])
    raw = export_nnunet(dataset, split_dataset(dataset, BLOCKS, 0), tmp_path / "raw")
    assert json.loads((raw / "dataset.json").read_text())["channel_names"] == {
        "0": "R", "1": "G", "2": "B",
    }  # fmt: skip
    shapes = {np.array(Image.open(path)).shape for path in (raw / "imagesTr").iterdir()}
    assert shapes == {(32, 32, 3)}


def test_what_does_not_count_has_nnunets_own_label_and_no_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = leave_out(write_labelled(tmp_path / "film", {"film": 24}, size=40), rows=20)
    split = split_dataset(dataset, BLOCKS, 0)
    raw = export_nnunet(dataset, split, tmp_path / "raw")
    known = json.loads((raw / "dataset.json").read_text())
    assert known["labels"] == {"background": 0, "tissue": 1, "ignore": 2}
    for path in (raw / "labelsTr").iterdir():
        label = np.array(Image.open(path))
        assert set(np.unique(label[:20])) == {1, 2}, "tissue is never left out"
        assert set(np.unique(label[20:])) == {0, 1}
    everywhere = {"everywhere": lambda _: lambda image: np.ones(image.shape[:2], np.float32)}
    monkeypatch.setattr("ehtseg.jobs.nnunet.BASELINES", everywhere)
    scores = score_nnunet(raw, answer(raw, tmp_path / "answer"), dataset).tables
    background = [int((~dataset.read(i)[1][20:]).sum()) for i in split.test]
    assert [row["fp"] for row in scores["scores.csv"]] == background
    assert [row["fp"] for row in scores["baselines.csv"]] == background


@pytest.mark.parametrize("name", ["tissue", "Dataset7_tissue", "Dataset007_a b"])
def test_names_that_nnunet_does_not_find_are_refused(
    dataset: Dataset, tmp_path: Path, name: str
) -> None:
    with pytest.raises(UserError, match="Dataset501_tissue"):
        export_nnunet(dataset, split_dataset(dataset, BLOCKS, 0), tmp_path, name=name)


@pytest.mark.parametrize("size", [0, -5])
def test_a_size_below_one_pixel_is_refused(dataset: Dataset, tmp_path: Path, size: int) -> None:
    with pytest.raises(UserError, match="Correct --size"):
        export_nnunet(dataset, split_dataset(dataset, BLOCKS, 0), tmp_path, size=size)
    assert not list(tmp_path.iterdir())


def test_what_is_interrupted_leaves_nothing_and_can_be_done_again(
    dataset: Dataset, tmp_path: Path
) -> None:
    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    split = split_dataset(dataset, BLOCKS, 0)
    with pytest.raises(KeyboardInterrupt):
        export_nnunet(dataset, split, tmp_path, size=32, progress=stop)
    assert stems(tmp_path) == []
    assert (export_nnunet(dataset, split, tmp_path, size=32) / "dataset.json").is_file()


def test_a_folder_with_files_is_left_alone(dataset: Dataset, raw: Path) -> None:
    with pytest.raises(UserError, match="one that holds files"):
        export_nnunet(
            dataset, split_dataset(dataset, BLOCKS, 0), raw.parent, name="Dataset007_strip"
        )


# --- the runner -------------------------------------------------------------------------------


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A virtual environment whose nnU-Net is the stand-in."""
    folder = tmp_path / "venv"
    (folder / BIN).mkdir(parents=True)
    text = STAND_IN.format(
        python=sys.executable, notes=str(tmp_path / "notes"), fail=str(tmp_path / "fail")
    )
    for stage in ("plan_and_preprocess", "train", "predict"):
        program = folder / BIN / f"nnUNetv2_{stage}"
        program.write_text(text)
        program.chmod(0o755)
    return folder


def notes(folder: Path) -> list[list[object]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


needs_shebang = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with #!")


@needs_shebang
def test_nnunet_is_called_in_its_own_environment_and_scored(
    dataset: Dataset, other: Dataset, raw: Path, venv: Path, tmp_path: Path
) -> None:
    settings = Settings(venv, "nnUNetTrainer_1epoch", steps=3, device="cpu", mirror=False)
    predictions = run_nnunet(raw, tmp_path / "out", settings)
    called = notes(tmp_path)
    assert [name for name, *_ in called] == [
        "nnUNetv2_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict",
    ]  # fmt: skip
    assert called[1][1] == [
        *("7", "2d", "0", "-tr", "nnUNetTrainer_1epoch_3steps", "-device", "cpu")
    ]
    assert {"--disable_tta", "--save_probabilities"} <= set(called[2][1])
    folders = called[1][2]
    assert Path(folders["nnUNet_raw"]) == raw.parent
    fold = Path(folders["nnUNet_preprocessed"]) / raw.name / "splits_final.json"
    assert fold.read_bytes() == (raw / "splits_final.json").read_bytes()
    trainer = Path(folders["nnUNet_extTrainer"]) / "nnUNetTrainer_1epoch_3steps.py"
    compile(trainer.read_text(), trainer.name, "exec")
    assert "num_iterations_per_epoch = 3" in trainer.read_text()
    run_nnunet(raw, tmp_path / "out", settings)
    assert len(notes(tmp_path)) == 3, "what is done is not done again"

    own = score_nnunet(raw, predictions, dataset, tmp_path / "scores")
    assert own.summary["images"] == len(split_dataset(dataset, BLOCKS, 0).test)
    assert {row["set"] for row in own.tables["scores.csv"]} == {"test"}
    assert own.summary["models"]["net"]["per_image"]["dice"] > 0.8  # dark is tissue
    assert "mean_mask" in own.summary["models"]
    assert (tmp_path / "scores" / "scores.csv").exists()
    assert "Scores of nnU-Net" in (tmp_path / "scores" / "report.html").read_text()
    unseen = score_nnunet(raw, predictions, other)
    assert (unseen.split, unseen.summary["images"]) == ("all", 3)
    assert set(unseen.summary["models"]) == {"net"}, "its training frames are not here"


@needs_shebang
def test_a_stage_that_fails_says_its_last_word_and_is_tried_again(
    raw: Path, venv: Path, tmp_path: Path
) -> None:
    (tmp_path / "fail").touch()
    with pytest.raises(UserError, match="exit code 3, at last: RuntimeError: no more memory"):
        run_nnunet(raw, tmp_path / "out", Settings(venv, device="cpu"))
    (tmp_path / "fail").unlink()
    run_nnunet(raw, tmp_path / "out", Settings(venv, device="cpu"))
    called = [name for name, *_ in notes(tmp_path)]
    assert called.count("nnUNetv2_train") == 2
    assert called.count("nnUNetv2_plan_and_preprocess") == 1


@needs_shebang
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"trainer": "nnUNetTrainer_5epochs"}, "trainer nnUNetTrainer_1epoch, got trainer nnUNetT"),
        ({"steps": 4}, "steps 3, got steps 4"),
        ({"mirror": False}, "mirror True, got mirror False"),
    ],
)
def test_a_run_goes_on_with_what_it_was_begun_with_alone(
    raw: Path, venv: Path, tmp_path: Path, change: dict[str, object], said: str
) -> None:
    settings = Settings(venv, "nnUNetTrainer_1epoch", steps=3, device="cpu")
    run_nnunet(raw, tmp_path / "out", settings)
    with pytest.raises(UserError, match=f"begun with: {said}.*Choose another --out"):
        run_nnunet(raw, tmp_path / "out", replace(settings, **change))
    run_nnunet(raw, tmp_path / "out", replace(settings, device="cuda"))
    assert len(notes(tmp_path)) == 3


@needs_shebang
def test_a_run_does_not_go_on_with_another_dataset(
    dataset: Dataset, raw: Path, venv: Path, tmp_path: Path
) -> None:
    run_nnunet(raw, tmp_path / "out", Settings(venv))
    split = split_dataset(dataset, BLOCKS, 0)
    other = export_nnunet(dataset, split, tmp_path / "again", size=24, name=raw.name)
    with pytest.raises(UserError, match=f"dataset {raw.name} .*, got dataset {raw.name} "):
        run_nnunet(other, tmp_path / "out", Settings(venv))


def test_a_frame_that_trained_is_unseen_in_no_folder(dataset: Dataset, tmp_path: Path) -> None:
    shutil.copytree(dataset.folders[0], tmp_path / "same")
    same = open_dataset([tmp_path / "same"])
    split = split_dataset(dataset, BLOCKS, 0)
    raw = export_nnunet(dataset, split, tmp_path / "raw", others=[same])
    found = score_nnunet(raw, answer(raw, tmp_path / "answer"), same)
    assert found.summary["images"] == len(split.test)
    assert {row["set"] for row in found.tables["scores.csv"]} == {"test"}


def test_scores_need_predictions_of_these_frames(
    dataset: Dataset, raw: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="no such file"):
        score_nnunet(raw, tmp_path, dataset)
    foreign = open_dataset([write_labelled(tmp_path / "foreign", {"f": 5}, size=24)])
    with pytest.raises(UserError, match="name these folders with --test"):
        score_nnunet(raw, tmp_path, foreign)


def test_the_commands_and_the_install_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    film = write_labelled(tmp_path / "film", {"film": 12}, size=32)

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ehtseg", *map(str, words)])
        try:
            cli.main()
        except SystemExit as end:
            said = capsys.readouterr()
            return int(end.code or 0), said.out + said.err
        raise AssertionError("the command line always exits")

    options = ("--split", "blocks", "--guard-frames", "0", "--out", tmp_path / "raw")
    code, said = run("export-nnunet", film, *options)
    assert code == 0
    assert "Dataset501_ehtseg" in said
    raw = tmp_path / "raw" / "Dataset501_ehtseg"
    code, said = run("nnunet", raw, film, "--venv", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2
    assert "pip install nnunetv2" in said
    assert not (tmp_path / "out").exists()
    code, said = run("nnunet", film, film, "--venv", tmp_path / "none", "--out", tmp_path / "out")
    assert code == 2
    assert "export-nnunet" in said
