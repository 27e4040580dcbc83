"""Training: what is learnt, what a kill costs (nothing), what is refused."""

from __future__ import annotations

import csv
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

import ehtseg.learning.training as training_room
from conftest import write_labelled
from ehtseg.learning.batches import (
    TrainingFrames,
    balanced_order,
    canvas_of,
    epoch_batches,
    epoch_order,
    images_per_epoch,
)
from ehtseg.learning.evaluate import counted
from ehtseg.learning.history import draw_history
from ehtseg.learning.optimiser import learning_rate, make_optimiser
from ehtseg.learning.seen import start_warnings
from ehtseg.learning.train import (
    NO_EARLY_STOP,
    ONE_SIDED,
    started,
    threshold_source,
    train,
)
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.geometry import working_shape
from ehtseg.reading.splits import Split, all_train, split_dataset
from ehtseg.recipe import DataRecipe, FitRecipe, Recipe, make_recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder, open_run, read_facts, sha256_of, write_facts

TINY = make_recipe(
    {
        "data": {
            "split": "blocks",
            "guard_frames": 0,
            "size": 48,
            "augment": "strong",
            "window": 1.0,
        },
        "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch", "dropout": 0.1},
        "fit": {"epochs": 3, "images_per_epoch": 24, "lr": 5e-3, "precision": "fp32", "threads": 1},
    }
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "film"
    return open_dataset([write_labelled(folder, {"film": 24}, size=64)])


@pytest.fixture(scope="module")
def finished(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return train(dataset, TINY, tmp_path_factory.mktemp("runs") / "a")


def history_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def with_fit(**changes: object) -> Recipe:
    return TINY.model_copy(update={"fit": TINY.fit.model_copy(update=changes)})


class KilledError(Exception):
    """Stands for the moment at which the power fails."""


def test_a_tiny_network_learns_the_strip(finished: RunFolder) -> None:
    longer = finished.facts["validation"]["val_dice"]
    assert longer > 0.5
    rows = history_of(finished.path)
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_run_folder_answers_which_code_data_and_decisions(finished: RunFolder) -> None:
    files = {p.name for p in finished.path.iterdir()}
    assert files == {
        "recipe.yaml", "run.json", "last.safetensors", "best.safetensors",
        "history.csv", "history.png",
    }  # fmt: skip
    facts = json.loads((finished.path / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["machine"]["torch"] == torch.__version__.split("+")[0]
    assert facts["resolved"]["precision"] == "fp32"
    assert facts["files"]["last.safetensors"] == sha256_of(finished.path / "last.safetensors")
    assert len(facts["data_sha256"]) == len(facts["split_sha256"]) == 64
    assert 0 < facts["threshold"] < 1
    assert open_run(finished.path).recipe == TINY


def test_a_finished_training_is_left_alone(dataset: Dataset, finished: RunFolder) -> None:
    before = (finished.path / "run.json").stat().st_mtime_ns
    said: list[str] = []
    train(dataset, TINY, finished.path, tell=said.append)
    assert (finished.path / "run.json").stat().st_mtime_ns == before
    assert "finished already" in said[-1]


def test_a_resume_on_other_sets_is_refused(tmp_path: Path) -> None:
    """Names draw the sets: the same files, renamed, would train on what run.json calls test."""
    folder = write_labelled(tmp_path / "film", {"film": 12}, size=64)
    recipe = make_recipe(TINY.model_dump(), {"data": {"split": "random"}, "fit": {"epochs": 2}})

    def tick(done: int, _total: int) -> None:
        if done > 4:
            raise KilledError

    before = open_dataset([folder])
    with pytest.raises(KilledError):
        train(before, recipe, tmp_path / "b", tick=tick)
    for path in [*(folder / "images").iterdir(), *(folder / "masks").iterdir()]:
        path.rename(path.with_name(f"new_{path.name}"))
    (folder / "meta.json").write_text(
        (folder / "meta.json").read_text().replace("film_", "new_film_")
    )
    after = open_dataset([folder])
    assert after.sha256 == before.sha256
    with pytest.raises(UserError, match=r"the split with which .*former names"):
        train(after, recipe, tmp_path / "b")


@pytest.mark.parametrize("kill_after", [0, 2, 4, 7])
def test_a_resumed_training_equals_an_uninterrupted_one(
    dataset: Dataset, finished: RunFolder, tmp_path: Path, kill_after: int
) -> None:
    def tick(done: int, _total: int) -> None:
        if done > kill_after:
            raise KilledError

    with pytest.raises(KilledError):
        train(dataset, TINY, tmp_path / "b", tick=tick)
    run = train(dataset, TINY, tmp_path / "b")
    assert run.facts["files"] == finished.facts["files"]
    assert run.facts["threshold"] == finished.facts["threshold"]


def test_a_resume_where_something_changed_says_that_equality_is_not_promised(
    dataset: Dataset, tmp_path: Path
) -> None:
    def tick(done: int, _total: int) -> None:
        if done > 4:
            raise KilledError

    with pytest.raises(KilledError):
        train(dataset, TINY, tmp_path / "b", tick=tick)
    facts = read_facts(tmp_path / "b")
    facts["machine"] |= {"torch": "2.11.0", "instructions": "NONE"}
    write_facts(tmp_path / "b", facts)
    said: list[str] = []
    run = train(dataset, TINY, tmp_path / "b", tell=said.append)
    note = "Resumed where instructions, torch changed: equality to the bit is not promised."
    assert note in said
    assert note in open_run(run.path).facts["notes"]


def test_a_training_that_began_on_a_gpu_goes_on_without_one(
    dataset: Dataset, tmp_path: Path
) -> None:
    def tick(done: int, _total: int) -> None:
        if done > 4:
            raise KilledError

    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    with pytest.raises(KilledError):
        train(dataset, TINY, tmp_path / "b", tick=tick)
    facts = read_facts(tmp_path / "b")
    facts["resolved"]["device"] = "cuda"
    write_facts(tmp_path / "b", facts)
    said: list[str] = []
    run = train(dataset, TINY, tmp_path / "b", tell=said.append, judged=False)
    assert "Resumed where device changed: equality to the bit is not promised." in said
    assert run.facts["resolved"]["device"] != "cuda"


def test_a_resume_takes_the_threads_of_the_beginning(dataset: Dataset, tmp_path: Path) -> None:
    def tick(_done: int, _total: int) -> None:
        raise KilledError

    recipe, before = with_fit(threads=None, epochs=1), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(KilledError):
            train(dataset, recipe, tmp_path / "b", tick=tick)
        torch.set_num_threads(1)
        run = train(dataset, recipe, tmp_path / "b")
        assert torch.get_num_threads() == run.facts["resolved"]["threads"] == 2
    finally:
        torch.set_num_threads(before)


def test_denormals_are_flushed_before_the_first_step(dataset: Dataset, tmp_path: Path) -> None:
    tiny: list[float] = []

    def tick(_done: int, _total: int) -> None:
        tiny.append(float(torch.tensor(1e-39) * 0.5))

    train(dataset, with_fit(epochs=1), tmp_path / "b", tick=tick)
    assert set(tiny) == {0.0}


def test_the_number_of_workers_changes_nothing(
    dataset: Dataset, finished: RunFolder, tmp_path: Path
) -> None:
    recipe = with_fit(workers=3)
    run = train(dataset, recipe, tmp_path / "c")
    assert run.facts["files"] == finished.facts["files"]


def test_another_seed_is_another_network(
    dataset: Dataset, finished: RunFolder, tmp_path: Path
) -> None:
    run = train(dataset, with_fit(seed=1, epochs=1), tmp_path / "d")
    assert run.facts["files"] != finished.facts["files"]


def test_accumulating_two_half_batches_is_one_batch(dataset: Dataset, tmp_path: Path) -> None:
    net = {"net": {"name": "unet", "width": 4, "depth": 2}}
    plain = make_recipe(TINY.model_dump(), net, {"net": {"norm": "none", "dropout": 0}})
    whole = plain.model_copy(update={"fit": plain.fit.model_copy(update={"epochs": 1})})
    halves = plain.model_copy(
        update={"fit": plain.fit.model_copy(update={"epochs": 1, "batch": 4, "accumulate": 2})}
    )
    losses = []
    for name, recipe in (("whole", whole), ("halves", halves)):
        train(dataset, recipe, tmp_path / name)
        rows = history_of(tmp_path / name)
        losses.append((int(rows[0]["steps"]), float(rows[0]["loss"])))
    assert losses[0][0] == losses[1][0] == 3
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-4)


def test_early_stopping_waits_and_then_stops(dataset: Dataset, tmp_path: Path) -> None:
    run = train(dataset, with_fit(lr=1e-12, epochs=9, early_stop_epochs=2), tmp_path / "e")
    assert run.facts["epochs_done"] < 9
    assert run.facts["epochs_done"] - run.facts["best_epoch"] == 2


def test_the_validation_scores_of_a_run_are_those_of_its_weights(
    dataset: Dataset, tmp_path: Path
) -> None:
    recipe = with_fit(lr=1e-12, epochs=9, early_stop_epochs=2, checkpoint="best")
    run = train(dataset, recipe, tmp_path / "e", judged=False)
    rows = history_of(run.path)
    best, last = rows[run.facts["best_epoch"] - 1], rows[-1]
    assert float(best["val_dice"]) > float(last["val_dice"])
    assert run.facts["validation"]["val_dice"] == float(best["val_dice"])


def test_another_recipe_or_other_data_in_the_same_folder_is_refused(
    dataset: Dataset, finished: RunFolder
) -> None:
    with pytest.raises(UserError, match="another recipe"):
        train(dataset, with_fit(lr=1.0), finished.path)
    with pytest.raises(UserError, match="another data"):
        train(replace(dataset, sha256="0" * 64), TINY, finished.path)


def test_a_folder_that_holds_other_things_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="holds other things"):
        train(dataset, TINY, tmp_path)
    with pytest.raises(UserError):
        train(dataset, TINY, tmp_path / "thesis.txt" / "runs")
    with pytest.raises(UserError, match="got a file"):
        train(dataset, TINY, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_picture_of_the_history_has_whole_epochs_and_plain_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Figure] = []
    save = Figure.savefig

    def saved(figure: Figure, *where: object, **how: object) -> None:
        figures.append(figure)
        save(figure, *where, **how)

    monkeypatch.setattr(Figure, "savefig", saved)
    rows = [
        {"epoch": epoch, "loss": loss, "val_dice": 0.5, "val_iou": 0.4}
        for epoch, loss in ((1, 1.59), (2, 1.41))
    ]
    draw_history(tmp_path, rows)
    (figure,) = figures
    for axes in figure.axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
    labels = {text.get_text() for text in figure.axes[0].get_yticklabels(which="both")}
    assert not any("10^" in label for label in labels)


def test_a_loss_that_is_not_finite_names_the_cure(dataset: Dataset, tmp_path: Path) -> None:
    recipe = with_fit(lr=1e30, schedule="constant", clip_norm=None, optimizer="sgd")
    with pytest.raises(UserError, match=r"--set fit\.lr="):
        train(dataset, recipe, tmp_path / "f")


def test_a_gradient_that_is_not_finite_names_the_cure(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = training_room.sum_over_outputs
    monkeypatch.setattr(  # 0, with a gradient of infinity x 0
        training_room, "sum_over_outputs", lambda *given: (usual(*given) * 0).sqrt()
    )
    with pytest.raises(UserError, match=r"a finite gradient.*got nan.*--set fit\.lr="):
        train(dataset, TINY, tmp_path / "f")


def test_batch_norm_of_one_value_names_the_cure(dataset: Dataset, tmp_path: Path) -> None:
    """32 px, halved five times, is one pixel; the ninth frame is a batch by itself."""
    recipe = make_recipe(
        {
            "data": {"split": "blocks", "guard_frames": 0, "size": 32},
            "net": {"name": "unet", "width": 2, "depth": 5, "norm": "batch"},
            "fit": {"epochs": 1, "images_per_epoch": 9, "batch": 8, "precision": "fp32"},
        }
    )
    with pytest.raises(UserError, match=r"more than one value a channel.*1 x 1 px.*--batch"):
        train(dataset, recipe, tmp_path / "run")


@pytest.mark.parametrize(("size", "depth"), [(32, 5), (16, 4)])  # in training; in validation
def test_instance_norm_of_one_pixel_names_the_cure(
    dataset: Dataset, tmp_path: Path, size: int, depth: int
) -> None:
    recipe = make_recipe(
        {
            "data": {"split": "blocks", "guard_frames": 0, "size": size, "augment": "none"},
            "net": {"name": "unet", "width": 2, "depth": depth, "norm": "instance"},
            "fit": {"epochs": 1, "images_per_epoch": 8, "precision": "fp32"},
        }
    )
    with pytest.raises(UserError, match=r"more than one pixel.*instance norm.*net\.depth"):
        train(dataset, recipe, tmp_path / "run")


@pytest.mark.parametrize("value", [0, 255])
def test_validation_frames_of_one_kind_end_a_training_without_a_temperature(
    value: int, tmp_path: Path
) -> None:
    folder = write_labelled(tmp_path / "film", {"film": 24}, size=64)
    before = open_dataset([folder])
    for i in split_dataset(before, TINY.data, 0).validation:
        Image.fromarray(np.full((64, 64), value, np.uint8)).save(before.frames[i].mask)
    said: list[str] = []
    run = train(open_dataset([folder]), with_fit(epochs=1), tmp_path / "run", tell=said.append)
    assert run.finished
    assert (run.threshold, run.facts["temperature"]) == (0.5, None)
    (number,) = (n for n, line in enumerate(said) if line == ONE_SIDED)
    assert number < next(n for n, line in enumerate(said) if line.startswith("epoch 1"))
    assert ONE_SIDED in open_run(run.path).facts["notes"]
    assert "want of validation frames" in threshold_source(run)


def test_what_is_ignored_chooses_no_temperature(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "film", {"film": 24}, size=64)
    (folder / "ignore").mkdir()
    before = open_dataset([folder])
    edge = np.zeros((64, 64), np.uint8)
    edge[:20] = 255
    for i in split_dataset(before, TINY.data, 0).validation:
        frame = before.frames[i]
        Image.fromarray(255 - edge).save(frame.mask)  # all that counts is tissue
        Image.fromarray(edge).save(folder / "ignore" / frame.image.name)
    said: list[str] = []
    run = train(
        open_dataset([folder]), with_fit(epochs=1), tmp_path / "r", tell=said.append, judged=False
    )
    assert ONE_SIDED in said
    assert run.facts["temperature"] is None


def test_without_validation_the_threshold_is_that_of_the_start(
    dataset: Dataset, finished: RunFolder, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    shutil.copytree(finished.path, first)
    write_facts(first, {**finished.facts, "threshold": 0.37})
    run = train(
        dataset, with_fit(start=str(first), epochs=1), tmp_path / "b", split=all_train(dataset)
    )
    assert (run.threshold, run.facts["temperature"]) == (0.37, None)
    assert threshold_source(run) == "that of first, where the training started"
    assert threshold_source(finished) == "chosen on validation"
    said: list[str] = []
    recipe = with_fit(epochs=2, early_stop_epochs=1)
    alone = train(dataset, recipe, tmp_path / "c", split=all_train(dataset), tell=said.append)
    assert alone.facts["epochs_done"] == 2
    assert NO_EARLY_STOP in said
    assert "NaN" not in (alone.path / "run.json").read_text()
    assert alone.threshold == 0.5
    assert ONE_SIDED not in alone.facts["notes"]


def test_a_start_of_another_network_is_told_as_such(
    dataset: Dataset, finished: RunFolder, tmp_path: Path
) -> None:
    for start, net in ((str(finished.path), "unext_s"), ("shipped", "unet")):
        changes = {"net": {"name": net, "dropout": 0}, "fit": {"start": start}}
        recipe = make_recipe(TINY.model_dump(), changes)
        with pytest.raises(UserError, match=f"the network of fit.start .*got --net {net}"):
            train(dataset, recipe, tmp_path / "f")
    start = str(finished.path)
    wider = make_recipe(TINY.model_dump(), {"net": {"width": 6}, "fit": {"start": start}})
    with pytest.raises(UserError, match="another architecture"):
        train(dataset, wider, tmp_path / "f")


def test_what_a_recipe_may_say_can_be_trained(dataset: Dataset, tmp_path: Path) -> None:
    odd = {"optimizer": "sgd", "momentum": 0, "schedule": "poly", "stop_epoch": 9, "epochs": 2}
    run = train(dataset, with_fit(**odd, seed=2**32 - 1), tmp_path / "run")
    assert run.finished
    assert run.facts["epochs_done"] == 2


def test_other_weights_than_those_of_the_start_are_refused(
    dataset: Dataset, finished: RunFolder, tmp_path: Path
) -> None:
    start = {"start": str(finished.path)}
    for name, value in {"transfer": 0, "control": "permuted", "weights": "x", "init": "he"}.items():
        recipe = make_recipe(TINY.model_dump(), {"net": {name: value}, "fit": start})
        with pytest.raises(UserError, match=rf"from fit\.start .*got net\.{name} {value} too"):
            train(dataset, recipe, tmp_path / "other")
        assert not (tmp_path / "other").exists()
    he = tmp_path / "he"
    shutil.copytree(finished.path, he)
    write_recipe(make_recipe(TINY.model_dump(), {"net": {"init": "he"}}), he / "recipe.yaml")
    for init in ("he", "xavier"):  # as the start, and the usual
        changes = {"net": {"init": init}, "fit": {"start": str(he)}}
        assert started(make_recipe(TINY.model_dump(), changes))[1]["run"] == "he"


def test_frames_that_the_start_was_trained_on_are_told(tmp_path: Path) -> None:
    dataset = open_dataset([write_labelled(tmp_path / "films", dict.fromkeys("abcd", 6))])
    found = dataset.recordings

    def sets(train: str, validation: str, test: str) -> Split:
        parts = [[i for name in part for i in found[name]] for part in (train, validation, test)]
        each = dict(zip(("train", "validation", "test"), map(tuple, parts), strict=True))
        return replace(all_train(dataset), **each)

    said: list[str] = []

    def trained(name: str, split: Split, start: RunFolder | None = None) -> RunFolder:
        said.clear()
        recipe = with_fit(epochs=1, images_per_epoch=8, start=start and str(start.path))
        return train(dataset, recipe, tmp_path / name, split=split, judged=False, tell=said.append)

    first = trained("first", sets("a", "b", "cd"))
    again = trained("again", sets("a", "b", "cd"), first)
    assert not [line for line in said if "started from" in line], "the same sets: nothing leaks"
    third = trained("third", sets("c", "d", "ab"), again)
    (told,) = (line for line in said if "started from" in line)
    assert "from again, which had 12 of the 12 test frames in its own training or val" in told
    trained("last", sets("d", "a", "b"), third)  # which knows a and b from the first
    known = [line.partition(" in its own")[0] for line in said if "started from" in line]
    start = "The training started from third, which had 6 of the 6"
    assert known == [f"{start} validation frames", f"{start} test frames"]
    (told,) = start_warnings(again.facts, 0, {"a", "d"}, "these 6 frames")
    assert "trained on other frames of a. Frames of one film" in told
    assert start_warnings(again.facts, 0, {"d"}, "these 6 frames") == []
    assert start_warnings(first.facts, 0, {"a"}, "these 6 frames") == []


def test_an_epoch_shows_every_frame_equally_often() -> None:
    order = epoch_order(10, 25, seed=3, epoch=2)
    counts = np.bincount(order, minlength=10)
    assert len(order) == 25
    assert set(counts) == {2, 3}
    assert not np.array_equal(order, epoch_order(10, 25, seed=3, epoch=3))
    assert images_per_epoch(FitRecipe(), 20) == 160
    assert images_per_epoch(FitRecipe(), 1240) == 1240
    assert images_per_epoch(FitRecipe(images_per_epoch=5), 1240) == 5


def test_balance_shows_every_recording_equally_often() -> None:
    recordings = ["long"] * 90 + ["short"] * 3 + ["still"]
    order = balanced_order(recordings, 30, seed=3, epoch=2)
    shown = [recordings[i] for i in order]
    assert [shown.count(name) for name in ("long", "short", "still")] == [10, 10, 10]
    assert len({i for i in order if recordings[i] == "long"}) == 10
    assert np.array_equal(order, balanced_order(recordings, 30, seed=3, epoch=2))
    assert not np.array_equal(order, balanced_order(recordings, 30, seed=4, epoch=2))


def test_what_is_ignored_neither_trains_nor_counts(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "d", {"film": 4}, size=64)
    plain = open_dataset([folder])
    (folder / "ignore").mkdir()
    ignored = np.zeros(plain.read(0)[1].shape, np.uint8)
    ignored[:6] = 255
    Image.fromarray(ignored).save(folder / "ignore" / plain.frames[0].image.name)
    dataset = open_dataset([folder])
    assert dataset.sha256 != plain.sha256
    assert dataset.ignored(1) is None
    found = dataset.ignored(0)
    assert found is not None
    assert found[:6].any()
    assert not found[6:].any()
    assert not counted(dataset, 0, np.ones(found.shape))[found].any()
    recipe = Recipe(data=DataRecipe(size=None, augment="none"))
    _, _, ignore = TrainingFrames(dataset, range(4), recipe).picture(0, 0, 0)
    assert ignore[0, :6].any()
    Image.fromarray(ignored).save(folder / "ignore" / "stray.png")
    with pytest.raises(UserError, match=r"stray\.png"):
        open_dataset([folder])


def test_grey_that_is_stored_as_colours_gets_scenes_and_no_tint(tmp_path: Path) -> None:
    folders = [write_labelled(tmp_path / name / "film", {"film": 4}) for name in ("grey", "rgb")]
    for path in (folders[1] / "images").iterdir():
        with Image.open(path) as picture:
            colours = picture.convert("RGB")
        colours.save(path)
    recipe = Recipe(data=DataRecipe(size=48))
    assert recipe.data.augment == "scenes"
    grey, rgb = (TrainingFrames(open_dataset([each]), range(4), recipe) for each in folders)
    for position in range(8):
        pictures = [frames.picture(0, position, position % 4) for frames in (grey, rgb)]
        assert all(torch.equal(a, b) for a, b in zip(*pictures, strict=True))


def test_batches_do_not_depend_on_who_computes_them(dataset: Dataset) -> None:
    frames = TrainingFrames(dataset, range(10), TINY)
    alone = list(epoch_batches(frames, epoch=1, workers=0))
    together = list(epoch_batches(frames, epoch=1, workers=3))
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_canvas_holds_the_frames() -> None:
    strong, plain = DataRecipe(size=100), DataRecipe(size=100, augment="none")
    assert canvas_of([(500, 1000)], strong) == (96, 96)
    assert canvas_of([(500, 1000)], DataRecipe(size=100, window=1.0)) == (128, 128)
    assert canvas_of([(500, 1000), (40, 40)], plain) == (96, 160)
    assert canvas_of([(500, 300)], DataRecipe(size=None, augment="none")) == (512, 320)
    assert canvas_of([(64, 64), (60, 50)], DataRecipe(size=256, window=1.0)) == (64, 64)
    assert canvas_of([(128, 128)], DataRecipe(size=256)) == (96, 96), "of what there is"


@pytest.mark.parametrize("size", [48, 100, 256, 300, 512])
@pytest.mark.parametrize("window", [0.5, 0.75, 1.0])
def test_frames_that_are_shrunk_have_one_canvas_whatever_their_shape(
    size: int, window: float
) -> None:
    edge = -(-round(window * size) // 32) * 32
    for shape in ((512, 512), (1080, 1920), (512, 1024), (2160, 3840), (600, 4000), (1500, 200)):
        for seen in (shape, working_shape(*shape, size)):
            assert canvas_of([(40, 40), seen], DataRecipe(size=size, window=window)) == (edge, edge)


def test_schedules_pass_through_their_published_points() -> None:
    one = FitRecipe(lr=1.0)
    assert learning_rate(one, 0, 100) == pytest.approx(1 / 25)
    assert learning_rate(one, 25, 100) == pytest.approx(1)
    assert learning_rate(one, 100, 100) == pytest.approx(1e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = cosine(optimiser, 20)
    for step in range(20):
        ours = learning_rate(FitRecipe(lr=1.0, schedule="cosine"), step, 20)
        assert ours == pytest.approx(optimiser.param_groups[0]["lr"], abs=1e-9)
        optimiser.step()
        scheduler.step()
    poly = learning_rate(FitRecipe(lr=1e-2, schedule="poly"), 500, 1000)
    assert poly == pytest.approx(1e-2 * 0.5**0.9)
    assert learning_rate(FitRecipe(lr=3.0, schedule="constant"), 7, 9) == 3.0


def test_no_weight_decay_on_biases_and_norms() -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    groups = make_optimiser(net, FitRecipe(weight_decay=0.1)).param_groups
    assert [(g["weight_decay"], len(g["params"])) for g in groups] == [(0.1, 1), (0.0, 3)]
    assert math.isclose(groups[0]["lr"], 5e-4)
