"""Evaluation: the right frames, the right numbers, the baselines beside them, and what is said."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.metrics import DiceMetric
from PIL import Image

from conftest import write_labelled
from ehtseg.jobs.evaluate import evaluate
from ehtseg.learning.baselines import BASELINES
from ehtseg.learning.evaluate import BATCH, fitted_baselines, look
from ehtseg.learning.score_sheets import COLUMNS, net_sheet
from ehtseg.learning.scores import EMPTY_RULE, THRESHOLDS
from ehtseg.learning.seen import sets_of
from ehtseg.learning.train import train
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.masks import IGNORED
from ehtseg.recipe import make_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import Precision, TorchEngine, choose_device
from ehtseg.seeing.predict import predict
from ehtseg.seeing.run_folder import RunFolder

TINY = make_recipe(
    {
        "data": {"split": "recording", "size": 48, "augment": "none"},
        "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch"},
        "fit": {"epochs": 4, "images_per_epoch": 24, "lr": 5e-3, "precision": "fp32"},
    }
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data") / "films"
    return write_labelled(place, {"a": 5, "b": 6, "c": 7, "d": 6}, size=64)


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(open_dataset([folder]), TINY, tmp_path_factory.mktemp("runs") / "a")


@dataclass(frozen=True)
class Answering(RunFolder):
    """A run whose network answers `gain` for dark pixels and -gain for bright ones."""

    gain: float = 20.0

    def net(self) -> torch.nn.Module:
        return DarkIsTissue(self.gain).eval()


class DarkIsTissue(torch.nn.Module):
    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return torch.where(images_BCHW[:, :1] < 0.5, self.gain, -self.gain)


def answering(run: RunFolder, gain: float = 20.0, **facts: Any) -> Answering:
    whole = run.recipe.model_copy(
        update={"data": run.recipe.data.model_copy(update={"size": None})}
    )
    return Answering(run.path, whole, {**run.facts, **facts}, gain)


def read_csv(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_files_hold_one_row_an_image_and_recording_and_the_documented_columns(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    dataset = open_dataset([folder])
    n_test = len(run.facts["split"]["test"])
    evaluate(run, dataset, "test", tmp_path / "scores")
    names = {path.name for path in (tmp_path / "scores").iterdir()}
    assert names == {*COLUMNS, "summary.json", "report.html"}
    for name, columns in COLUMNS.items():
        assert tuple(read_csv(tmp_path / "scores" / name)[0]) == columns
    rows = read_csv(tmp_path / "scores" / "scores.csv")
    assert len(rows) == n_test
    assert {row["set"] for row in rows} == {"test"}
    for row in rows:
        d, tp = float(row["dice"]), int(row["tp"])
        assert float(row["iou"]) == pytest.approx(d / (2 - d), abs=2e-6)
        assert d == pytest.approx(2 * tp / (2 * tp + int(row["fp"]) + int(row["fn"])), abs=1e-6)
    baselines = read_csv(tmp_path / "scores" / "baselines.csv")
    assert len(baselines) == 3 * n_test
    recordings = read_csv(tmp_path / "scores" / "recordings.csv")
    assert [row["model"] for row in recordings] == ["net", "threshold", "mean_mask", "nearest_mask"]
    curve = [float(row["threshold"]) for row in read_csv(tmp_path / "scores" / "curve.csv")]
    assert curve == sorted({*THRESHOLDS, run.threshold})


def test_summary_has_the_documented_keys(run: RunFolder, folder: Path, tmp_path: Path) -> None:
    evaluate(run, open_dataset([folder]), "test", tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert set(summary) == {
        "split", "images", "recordings", "threshold_chosen", "empty_rule", "data_sha256", "run",
        "warnings", "models",
    }  # fmt: skip
    assert summary["empty_rule"] == EMPTY_RULE
    assert summary["threshold_chosen"] == run.threshold
    assert set(summary["run"]) == {
        "recipe_sha256", "data_sha256", "split_sha256", "weights", "weights_sha256", "precision",
    }  # fmt: skip
    assert set(summary["models"]) == {"net", "threshold", "mean_mask", "nearest_mask"}
    calibrated = summary["models"]["net"].pop("calibrated")
    assert set(calibrated) == {"temperature", "ece", "nll"}
    for model in summary["models"].values():
        assert set(model) == {"per_image", "per_recording", "pooled", "worst"}
    assert "hd95_px" in summary["models"]["mean_mask"]["per_recording"]
    assert set(summary["models"]["net"]["pooled"]) == {
        "dice", "iou", "dice_at_chosen", "iou_at_chosen", "ece",
    }  # fmt: skip


def test_scores_are_those_of_the_function_that_segments(run: RunFolder, folder: Path) -> None:
    dataset = open_dataset([folder])
    found = evaluate(run, dataset, "all")
    metric = DiceMetric()
    images, masks = zip(*map(dataset.read, range(len(dataset))), strict=True)
    probabilities = predict(TorchEngine(run.net(), "fp32"), images, 48)
    truth = torch.from_numpy(np.stack(masks))[:, None]
    for threshold, column in ((0.5, "dice"), (run.threshold, "dice_at_chosen")):
        metric.reset()
        metric(torch.from_numpy(np.stack(probabilities) >= np.float32(threshold))[:, None], truth)
        ours = found.summary["models"]["net"]["per_image"][column]
        assert ours == pytest.approx(float(metric.aggregate()), abs=1e-6)


def test_scores_are_torchs_whatever_engine_has_passed_the_guard(
    run: RunFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[tuple[str, ...]] = []

    class Noted(TorchEngine):
        def __init__(self, net: torch.nn.Module, precision: Precision, device: str = "cpu") -> None:
            taken.append((precision, device))
            super().__init__(net, precision, device)

    monkeypatch.setattr("ehtseg.learning.evaluate.TorchEngine", Noted)
    holds = {"holds": True}
    faster = {"openvino bf16": holds, "openvino fp32": holds, "openvino int8": holds}
    quick = replace(run, facts={**run.facts, "guard": {"ways": faster}})
    found = evaluate(quick, open_dataset([folder]), "test")
    assert taken == [("fp32", choose_device().value)]
    assert found.summary == evaluate(run, open_dataset([folder]), "test").summary


def test_a_network_that_is_right_has_perfect_scores(run: RunFolder, folder: Path) -> None:
    found = evaluate(answering(run), open_dataset([folder]), "test").summary["models"]["net"]
    best = found["per_image"]
    assert best["dice"] == best["iou"] == best["nsd_2px"] == best["boundary_iou"] == 1.0
    assert best["hd95_px"] == best["assd_px"] == best["undecided"] == 0.0
    assert best["nll"] == pytest.approx(0, abs=1e-6)
    assert found["pooled"]["dice"] == 1.0


def test_a_network_that_finds_nothing_is_told_to_have_shown_nothing(
    run: RunFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = evaluate(answering(run, -20.0), open_dataset([folder]), "test")
    assert found.summary["models"]["net"]["per_image"]["dice"] == 0.0
    assert any("does not beat the baseline" in warning for warning in found.warnings)
    for perfect in ("threshold", "nearest_mask"):  # on these made-up frames, as the network is
        monkeypatch.delitem(BASELINES, perfect)
    good = evaluate(answering(run), open_dataset([folder]), "test")
    assert not any("does not beat" in warning for warning in good.warnings)


def test_baselines_know_the_training_frames_only(run: RunFolder, folder: Path) -> None:
    dataset = open_dataset([folder])
    trained = {dataset.frames[i].key: i for i in range(len(dataset))}
    masks = [dataset.read(trained[key])[1] for key in run.facts["split"]["train"]]
    mean = np.mean(masks, axis=0) >= 0.5
    row = next(
        row
        for row in evaluate(run, dataset, "test").tables["baselines.csv"]
        if row["model"] == "mean_mask"
    )
    index = next(i for i, f in enumerate(dataset.frames) if f.image.name == row["image"])
    truth = dataset.read(index)[1]
    assert row["tp"] == np.count_nonzero(mean & truth)
    assert row["fp"] == np.count_nonzero(mean & ~truth)


def test_other_data_is_unseen_and_has_the_baselines_of_the_training(
    run: RunFolder, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_labelled(other, {"new": 3}, size=80)
    with pytest.raises(UserError, match="--split all"):
        evaluate(run, open_dataset([other]), "test")
    found = evaluate(run, open_dataset([other]), "all")
    assert {row["set"] for row in found.tables["scores.csv"]} == {"unseen"}
    assert len(found.tables["baselines.csv"]) == 9
    assert not any("trained on" in warning for warning in found.warnings)


def test_without_the_training_frames_there_are_no_baselines_and_that_is_said(
    run: RunFolder, tmp_path: Path
) -> None:
    gone = replace(run, facts={**run.facts, "data": [str(tmp_path / "gone")]})
    other = open_dataset([write_labelled(tmp_path / "other", {"new": 3}, size=80)])
    found = evaluate(gone, other, "all", tmp_path / "out")
    assert read_csv(tmp_path / "out" / "baselines.csv") == []
    assert any(warning.startswith("No baselines") for warning in found.warnings)


def test_training_frames_are_recognised_under_another_name(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "images", tmp_path / "copy" / "images")
    shutil.copytree(folder / "masks", tmp_path / "copy" / "masks")
    copied = open_dataset([tmp_path / "copy"], recording="mine")
    found = evaluate(run, copied, "all")
    n_train = len(run.facts["split"]["train"])
    assert f"trained on {n_train} of these 24 frames: their scores show memory" in found.warnings[0]
    sets = [row["set"] for row in found.tables["scores.csv"]]
    assert sets.count("train") == n_train
    assert sets.count("test") == len(run.facts["split"]["test"])
    by_name = evaluate(run, copied, "test").summary["models"]["net"]
    assert by_name == evaluate(run, open_dataset([folder]), "test").summary["models"]["net"]


def test_frames_stay_seen_when_their_masks_are_written_anew(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    for path in (tmp_path / "copy" / "masks").iterdir():
        Image.fromarray(np.array(Image.open(path)) // 255).save(path)  # the same, as 0 and 1
    again = open_dataset([tmp_path / "copy"])
    n_train, n_validation = (len(run.facts["split"][name]) for name in ("train", "validation"))
    sets = sets_of(run, again)
    assert (sets.count("train"), sets.count("validation")) == (n_train, n_validation)
    found = evaluate(run, again, "all")
    assert f"trained on {n_train} of these 24 frames: their scores show memory" in found.warnings[0]
    old = replace(run, facts={k: v for k, v in run.facts.items() if k != "images"})
    assert set(sets_of(old, again)) == {"unseen"}
    assert sets_of(old, open_dataset([folder])) == sets_of(run, open_dataset([folder]))
    with pytest.raises(UserError, match="missing or changed"):
        evaluate(run, again, "test")


def test_frames_that_only_the_start_has_seen_are_memory_too(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    other = open_dataset([write_labelled(tmp_path / "other", {"e": 5}, size=56)])
    fit = {"start": str(run.path), "epochs": 1, "images_per_epoch": 8}
    recipe = make_recipe(TINY.model_dump(), {"data": {"split": "random"}, "fit": fit})
    later = train(other, recipe, tmp_path / "later", judged=False)
    found = evaluate(later, open_dataset([folder]), "all")
    n_known = len(run.facts["split"]["train"]) + len(run.facts["split"]["validation"])
    sets = [row["set"] for row in found.tables["scores.csv"]]
    assert (sets.count("start"), sets.count("unseen")) == (n_known, 24 - n_known)
    told = f"started from {run.path.name}, which had {n_known} of these 24 frames in its own"
    assert told in found.warnings[0]
    quiet = evaluate(later, other, "all")
    assert not any("started from" in warning for warning in quiet.warnings)


def test_baselines_are_fitted_on_what_counts(
    run: RunFolder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, labels = open_dataset([folder]), list[Any]()

    def fit(frames: Any) -> Any:
        labels.extend(label for _, label in frames)
        return lambda image: np.zeros(image.shape[:2], np.float32)

    half = np.indices((64, 64))[0] < 20
    monkeypatch.setattr(Dataset, "ignored", lambda self, i: half & ~self.read(i)[1])
    monkeypatch.setitem(BASELINES, "threshold", fit)
    fitted_baselines(run, dataset)
    assert len(labels) == len(run.facts["split"]["train"])
    assert all((label[:10] == IGNORED).all() and not (label[20:] > 1).any() for label in labels)


def test_a_set_that_is_not_there_is_refused(run: RunFolder, folder: Path) -> None:
    dataset = open_dataset([folder])
    with pytest.raises(UserError, match="test, validation, train, all, got 'tets'"):
        evaluate(run, dataset, "tets")
    none = replace(run, facts={**run.facts, "split": {**run.facts["split"], "test": []}})
    with pytest.raises(UserError, match="none: its split left no frames"):
        evaluate(none, dataset, "test")


def test_too_little_memory_says_what_to_lower(
    run: RunFolder, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes")

    monkeypatch.setattr("ehtseg.learning.evaluate.predict", full)
    with pytest.raises(UserError, match=r"enough memory.*data\.size"):
        evaluate(run, open_dataset([folder]), "test", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_output_below_a_file_is_refused_before_any_work(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    called: list[int] = []
    with pytest.raises(UserError, match="Choose another --out"):
        evaluate(
            run,
            open_dataset([folder]),
            "test",
            tmp_path / "file" / "scores",
            progress=lambda done, _: called.append(done),
        )
    assert not called
    assert (tmp_path / "file").read_text() == "mine"


def test_empty_masks_are_counted_by_the_rule_and_nan_is_written_as_nothing(
    run: RunFolder, tmp_path: Path
) -> None:
    folder = write_labelled(tmp_path / "some_empty", {"e": 3}, size=64)
    size = (64, 64)
    Image.new("L", size, 255).save(folder / "images" / "e_0000.png")  # nothing there, none found
    Image.new("L", size, 0).save(folder / "masks" / "e_0000.png")
    Image.new("L", size, 0).save(folder / "masks" / "e_0001.png")  # false positives
    evaluate(answering(run), open_dataset([folder]), "all", tmp_path / "out")
    first, second, third = read_csv(tmp_path / "out" / "scores.csv")
    assert (first["dice"], first["hd95_px"], first["nsd_2px"]) == ("1", "0", "1")
    assert second["dice"] == second["nsd_2px"] == second["boundary_iou"] == "0"
    assert float(second["hd95_px"]) == pytest.approx(math.hypot(64, 64), rel=1e-5)
    assert first["undecided_near_outline"] == second["undecided_near_outline"] == ""
    assert third["undecided_near_outline"] == "0"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["models"]["net"]["per_image"]["dice"] == pytest.approx(2 / 3)


def test_ignored_pixels_neither_flatter_nor_blame() -> None:
    """Every score of a frame whose lower part is ignored is that of the upper part alone."""
    source, shape = np.random.default_rng(0), (40, 24)
    truth = np.zeros(shape, bool)
    truth[4:14, 4:20] = True
    probability = np.where(truth, 0.7, 0.3) + 0.1 * source.uniform(-1, 1, shape)
    ignored = np.zeros(shape, bool)
    ignored[20:] = True
    whole, upper = net_sheet(0.4, (0.4,)), net_sheet(0.4, (0.4,))
    place = {"image": "a", "recording": "r", "set": "test"}
    whole.note(place, np.where(ignored, 0, probability), truth, ignored)
    upper.note(place, probability[:20], truth[:20])
    assert whole.rows == upper.rows
    assert upper.rows[0]["undecided"] == 1
    assert np.array_equal(whole.pixels.pixels, upper.pixels.pixels)
    nothing = net_sheet(0.5, ())
    nothing.note(place, np.zeros(shape), np.zeros(shape, bool), np.ones(shape, bool))
    assert nothing.rows[0]["dice"] == 1
    assert all(math.isnan(nothing.rows[0][name]) for name in ("ece", "brier", "nll", "undecided"))


def test_a_tissue_behind_what_is_ignored_is_cleaned_as_one(run: RunFolder, tmp_path: Path) -> None:
    """segment cleans the whole mask: a bar that does not count parts nothing there."""
    folder = write_labelled(tmp_path / "barred", {"x": 1}, size=64)
    (folder / "ignore").mkdir()
    tissue, bar = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    tissue[20:44, 4:60], bar[:, 46:53] = True, True
    for place, picture in (("images", ~tissue), ("masks", tissue & ~bar), ("ignore", bar)):
        Image.fromarray(picture.astype(np.uint8) * 255).save(folder / place / "x_0000.png")
    for cleaned in (False, True):
        found = evaluate(answering(run), open_dataset([folder]), "all", cleaned=cleaned)
        assert found.summary["models"]["net"]["per_image"]["dice"] == 1


def test_temperature_of_the_run_is_applied(run: RunFolder, folder: Path) -> None:
    dataset = open_dataset([folder])
    timid = evaluate(answering(run, 1.0, temperature=0.1), dataset, "test").summary
    net = timid["models"]["net"]
    assert net["pooled"]["ece"] == pytest.approx(1 / (1 + math.e), abs=1e-3)
    assert net["calibrated"]["temperature"] == 0.1
    assert net["calibrated"]["ece"] == pytest.approx(1 / (1 + math.exp(10)), abs=1e-4)
    assert net["calibrated"]["nll"] == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3)


def test_frames_stream(run: RunFolder, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = open_dataset([folder])
    read: list[int] = []
    original = Dataset.read

    def counting(self: Dataset, i: int) -> Any:
        read.append(i)
        return original(self, i)

    monkeypatch.setattr(Dataset, "read", counting)
    seen: Iterator[Any] = look(TorchEngine(run.net(), "fp32"), dataset, range(24), 48)
    for taken, (index, *_) in enumerate(seen, 1):
        assert index == taken - 1
        assert len(read) <= taken + BATCH - 1


def test_the_same_evaluation_gives_the_same_bytes(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    for name in "ab":
        evaluate(run.path, open_dataset([folder]), "test", tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_progress_reaches_the_end(run: RunFolder, folder: Path) -> None:
    said: list[tuple[int, int]] = []
    evaluate(run, open_dataset([folder]), "all", progress=lambda *at: said.append(at))
    assert said == [(done, 24) for done in range(1, 25)]


# --- others beside the network


def masks_in(place: Path, dataset: Dataset, ending: str = "", value: int = 255) -> Path:
    """Copies of the labels as another program writes masks."""
    place.mkdir(parents=True)
    for i, frame in enumerate(dataset.frames):
        mask = dataset.read(i)[1].astype(np.uint16) * value
        Image.fromarray(mask).save(place / f"{frame.image.stem}{ending}.png")
    return place


@pytest.mark.parametrize("ending", ["", "_cp_masks"])
def test_masks_made_elsewhere_are_scored_on_the_same_frames(
    ending: str, run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    dataset = open_dataset([folder])
    place = masks_in(tmp_path / "cp", dataset, ending, value=3)
    found = evaluate(run, dataset, "test", tmp_path / "out", beside={"cellpose": place})
    plain = evaluate(run, dataset, "test")
    models = found.summary["models"]
    assert models["cellpose"]["per_image"]["dice"] == 1
    assert models["cellpose"]["per_image"]["hd95_px"] == 0
    assert {name: models[name] for name in plain.summary["models"]} == plain.summary["models"]
    assert found.warnings == plain.warnings, "it is no baseline that the network has to beat"
    rows = [
        row for row in read_csv(tmp_path / "out" / "baselines.csv") if row["model"] == "cellpose"
    ]
    assert [row["image"] for row in rows] == [row["image"] for row in found.tables["scores.csv"]]
    gap = models["net"]["per_recording"]["dice"] - 1
    two = {"cellpose": place, "again": place}
    evaluate(run, dataset, "all", tmp_path / "two", beside=two)
    of_two = (tmp_path / "two" / "report.html").read_text(encoding="utf-8")
    assert "not corrected for how many they are" in of_two
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"in the mean of the recordings: {gap:+.4f}" in page


def test_probabilities_are_cut_where_the_network_is(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    dataset = open_dataset([folder])
    (tmp_path / "soft").mkdir()
    for i, frame in enumerate(dataset.frames):
        soft = np.where(dataset.read(i)[1], 0.6, 0.4).astype(np.float32)
        tifffile.imwrite(tmp_path / "soft" / f"{frame.image.stem}.tif", soft)
    found = evaluate(run, dataset, "test", beside={"soft": tmp_path / "soft"})
    assert found.summary["models"]["soft"]["per_image"]["dice"] == 1


def test_another_network_gets_the_scores_of_its_own_evaluation_and_is_told_what_it_knows(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    dataset = open_dataset([folder])
    narrow = make_recipe(TINY.model_dump(), {"net": {"width": 2}})
    other = train(dataset, narrow, tmp_path / "b")
    found = evaluate(run, dataset, "all", beside={"b": other.path})
    alone = evaluate(other, dataset, "all").summary["models"]["net"]["per_image"]
    beside = found.summary["models"]["b"]["per_image"]
    assert beside == pytest.approx({name: alone[name] for name in beside}, abs=1e-12)
    sets = sets_of(other, dataset)
    known = sum(of in ("train", "validation") for of in sets)
    said = [warning for warning in found.warnings if warning.startswith("b has had")]
    assert said == [
        f"b has had {known} of these {len(dataset)} frames in its own training or validation: its "
        "scores show memory, not skill."
    ]


def test_of_several_folders_each_has_masks_of_its_own(run: RunFolder, tmp_path: Path) -> None:
    folders = [write_labelled(tmp_path / name, {name: 3}, size=64) for name in ("x", "y")]
    masks_in(tmp_path / "cp" / "x", open_dataset(folders[:1]))
    masks_in(tmp_path / "cp" / "y" / "masks", open_dataset(folders[1:]))
    both = open_dataset(folders)
    found = evaluate(run, both, "all", beside={"cp": tmp_path / "cp"}).summary["models"]["cp"]
    assert found["per_image"]["dice"] == 1
    shutil.rmtree(tmp_path / "cp" / "y")
    with pytest.raises(UserError, match=r"masks of .*y in .*cp, got no images there"):
        evaluate(run, both, "all", beside={"cp": tmp_path / "cp"})


def test_what_cannot_stand_beside_is_refused(run: RunFolder, folder: Path, tmp_path: Path) -> None:
    dataset = open_dataset([folder])
    place = masks_in(tmp_path / "cp", dataset, "_m")
    with pytest.raises(UserError, match="a name other than net, mean_mask"):
        evaluate(run, dataset, "all", beside={"threshold": place})
    with pytest.raises(UserError, match="no such folder"):
        evaluate(run, dataset, "all", beside={"cp": tmp_path / "nowhere"})
    frame = dataset.frames[3]
    (place / f"{frame.image.stem}_m.png").unlink()
    with pytest.raises(UserError, match=f"got none for {frame.image.name}. Give"):
        evaluate(run, dataset, "all", beside={"cp": place})
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(place / f"{frame.image.stem}_m.png")
    with pytest.raises(UserError, match="a mask of 64 x 64 px"):
        evaluate(run, dataset, "all", beside={"cp": place})


def test_frames_of_a_film_of_the_same_name_are_told(
    run: RunFolder, folder: Path, tmp_path: Path
) -> None:
    trained = {key.split()[0] for key in run.facts["split"]["train"]}
    again = write_labelled(tmp_path / "again", dict.fromkeys(sorted(trained)[:1], 3), size=96)
    said = evaluate(run, open_dataset([again]), "all").warnings
    assert any(f"a recording that is called {min(trained)}" in warning for warning in said)
    other = write_labelled(tmp_path / "other", {"never": 3}, size=96)
    said = evaluate(run, open_dataset([other]), "all").warnings
    assert not any("that is called" in warning for warning in said)
