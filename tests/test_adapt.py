"""Adapting to one film: what is gained, what is kept, whose labels are refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Cli, shared, tissue_frame, write_labelled
from ehtseg.jobs.adapt import adapt as adapt_to
from ehtseg.jobs.adapt import told
from ehtseg.learning import adapt as module
from ehtseg.learning.adapt import (
    EPOCHS,
    FOLDS,
    GOOD,
    Judged,
    adapt,
    adapt_recipe,
    doubt_limit,
)
from ehtseg.learning.evaluate import evaluate
from ehtseg.learning.scores import THRESHOLDS, Counts, ImageCounts, Scored
from ehtseg.learning.train import train
from ehtseg.learning.training import Training
from ehtseg.reading.belonging import SAME_FILM, best_agreement, texture
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.video import open_video
from ehtseg.recipe import MOST_TO_ADAPT, make_recipe
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder, open_run, read_tensors, sha256_of, write_facts

TINY = make_recipe(
    {
        "data": {"split": "blocks", "guard_frames": 0, "size": 48, "augment": "flips"},
        "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch"},
        "fit": {"epochs": 4, "images_per_epoch": 40, "lr": 5e-3, "precision": "fp32"},
    }
)


def write_dim(folder: Path, frames: range) -> Path:
    """Frames of a film that is half as light as the first network ever saw one."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for index in frames:
        image, mask = tissue_frame(64, 0.5 + 0.5 * np.sin(index), np.random.default_rng(index))
        Image.fromarray((image * 0.45).astype(np.uint8)).save(
            folder / "images" / f"{index:04d}.png"
        )
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / "masks" / f"{index:04d}.png")
    entries = [{"file": f"{i:04d}.png", "movie": "dim", "frame": i} for i in frames]
    (folder / "meta.json").write_text(json.dumps({"fps": 20, "frames": entries}))
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("data") / "dark"
    dataset = open_dataset([write_labelled(folder, {"dark": 24}, size=64)])
    return train(dataset, TINY, tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dim(tmp_path_factory.mktemp("films") / "dim", range(40))


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dim(tmp_path_factory.mktemp("labels") / "five", range(2, 40, 8))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny network learns faster than a real one has to, and needs more steps to be steady."""
    monkeypatch.setattr(module, "LR", 1e-2)
    monkeypatch.setattr(module, "STEPS", 25)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """One step an epoch, for tests of what happens around the training."""
    monkeypatch.setattr(module, "STEPS", 1)


# --- what is gained ---------------------------------------------------------------------------


@pytest.mark.slow
def test_five_frames_of_a_strange_film_are_enough(
    start: RunFolder, film: Path, labels: Path, tmp_path: Path, quick: None
) -> None:
    ticks: list[tuple[int, int]] = []
    out = tmp_path / "mine"
    adapted = adapt_to(film, [labels], out, start, lambda done, total: ticks.append((done, total)))
    steps = adapted.run.facts["adapted"]["steps"]
    assert (adapted.frames, adapted.folds) == (5, FOLDS)
    assert adapted.dice_before < 0.6
    assert adapted.dice_after > 0.9
    whole = (FOLDS + 1) * EPOCHS * module.STEPS
    assert [done for done, _ in ticks] == list(range(1, FOLDS * EPOCHS * module.STEPS + steps + 1))
    assert {total for _, total in ticks} == {whole}

    # what was said on frames left out holds on the rest of the film
    others = open_dataset([write_dim(tmp_path / "others", range(4, 40, 8))])
    found = evaluate(open_run(out), others, "all").summary["models"]["net"]["per_image"]
    assert found["dice_at_chosen"] == pytest.approx(adapted.dice_after, abs=0.1)
    said = " ".join(told(adapted))
    assert f"{adapted.dice_before:.4f}" in said
    assert f"{adapted.dice_after:.4f}" in said
    assert "nothing about other films" in said


def test_the_run_folder_says_what_it_was_adapted_from(
    start: RunFolder, labels: Path, tmp_path: Path, short: None
) -> None:
    adapt(open_dataset([labels]), start, tmp_path / "mine")
    run = open_run(tmp_path / "mine")
    first = sha256_of(start.weights_file)
    assert run.facts["adapted"]["from_weights_sha256"] == first
    assert run.recipe.fit.start == str(start.path)
    assert run.finished
    assert run.net() is not None, "its weights have the hash that run.json names"
    if run.facts["adapted"]["steps"]:
        assert run.facts["start"]["weights_sha256"] == first
        assert sha256_of(run.weights_file) != first


def test_a_frame_is_judged_only_by_networks_that_never_saw_it(
    start: RunFolder, labels: Path, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    trained: list[tuple[int, ...]] = []
    judged: list[tuple[int, ...]] = []

    class Spy(Training):
        def epoch(self, *given: object) -> dict[str, float]:
            trained.append(self.frames.indices)
            return super().epoch(*given)  # type: ignore[arg-type]

        def seen(self, indices):  # type: ignore[no-untyped-def]
            judged.append(tuple(indices))
            return super().seen(indices)

    monkeypatch.setattr(module, "Training", Spy)
    dataset = open_dataset([labels])
    found = module.judge(dataset, adapt_recipe(start), FOLDS, lambda *_: None)
    assert len(trained) == len(judged) == FOLDS * EPOCHS
    for seen, left_out in zip(trained, judged, strict=True):
        assert sorted([*seen, *left_out]) == list(range(5))
    assert [len(one.scored.images) for one in found] == [5] * EPOCHS


@pytest.mark.slow
def test_the_decoder_learns_and_the_encoder_stays(labels: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        TINY.model_dump(),
        {"net": {"name": "efficientnet_lite0", "transfer": 0, "freeze": 0}},
        {"fit": {"epochs": 1, "images_per_epoch": 8}},
    )
    one = write_dim(tmp_path / "one", range(3, 4))
    first = train(open_dataset([labels]), recipe, tmp_path / "first")
    run = adapt(open_dataset([one]), first, tmp_path / "mine").run
    before, after = (read_tensors(r.weights_file)[0] for r in (first, run))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not {name for name in changed if ".encoder." in name or name.startswith("encoder.")}
    assert changed


# --- when nothing is gained, or nothing can be known -------------------------------------------


@pytest.fixture
def worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """No adapted network finds anything."""
    none = ImageCounts("x", "dim", (Counts(0, 1, 1, 9),) * len(THRESHOLDS))
    judged = [Judged(Scored(THRESHOLDS, (none,) * 5), (0.9,))] * EPOCHS
    monkeypatch.setattr(module, "judge", lambda *_: judged)


def test_a_network_that_is_better_already_is_kept_and_this_is_said(
    start: RunFolder, labels: Path, tmp_path: Path, worse: None
) -> None:
    adapted = adapt(open_dataset([labels]), start, tmp_path / "mine")
    run = open_run(tmp_path / "mine")
    assert adapted.epochs == 0
    assert adapted.dice_after == adapted.dice_before
    assert sha256_of(run.weights_file) == sha256_of(start.weights_file)
    assert run.threshold == start.threshold
    assert run.net() is not None
    assert "no adapted network was better" in " ".join(told(adapted))


def test_a_network_that_is_kept_leaves_its_exports_where_they_are(
    start: RunFolder, film: Path, labels: Path, tmp_path: Path, worse: None, ehtseg: Cli
) -> None:
    exported, good = tmp_path / "exported", {"holds": True}
    shutil.copytree(start.path, exported)
    told = {"weights_sha256": start.weights_sha256, "files": {"net.xml": "0"}}
    exports = {"openvino_int8": {**told, "parity": {"openvino int8": good}}}
    ways = {"openvino int8": good, "torch bf16": good}
    guarded = {**start.facts["guard"], "ways": ways}
    write_facts(exported, {**start.facts, "exports": exports, "guard": guarded})
    adapt(open_dataset([labels]), open_run(exported), tmp_path / "mine")
    facts = open_run(tmp_path / "mine").facts
    assert "exports" not in facts
    assert facts["guard"]["ways"] == {"torch bf16": good}
    code, _, errors = ehtseg("segment", film, "-m", tmp_path / "mine", "-o", tmp_path / "masks")
    assert (code, errors) == (0, "")


def test_one_frame_is_trained_for_a_fixed_time_and_the_gain_is_unknown(
    start: RunFolder, film: Path, tmp_path: Path, quick: None
) -> None:
    one = write_dim(tmp_path / "one", range(7, 8))
    adapted = adapt_to(film, [one], tmp_path / "mine", start)
    assert (adapted.folds, adapted.dice_by_epoch) == (0, ())
    assert adapted.run.facts["adapted"]["steps"] == EPOCHS * module.STEPS
    assert adapted.dice_after > adapted.dice_before
    assert re.search("gain on other frames is unknown", " ".join(told(adapted)))


@pytest.mark.parametrize("count", [2, 3])
def test_two_and_three_frames_are_left_out_one_by_one(
    start: RunFolder, tmp_path: Path, count: int, short: None
) -> None:
    dataset = open_dataset([write_dim(tmp_path / "few", range(count))])
    assert adapt(dataset, start, tmp_path / "mine").folds == count


# --- pictures of another kind ----------------------------------------------------------------


def limited(start: RunFolder) -> RunFolder:
    """The first network with the limit that a model has when it ships."""
    return RunFolder(start.path, start.recipe, {**start.facts, "doubt_limit": 0.26})


def test_the_limit_lies_between_what_is_usual_and_what_is_bad() -> None:
    assert doubt_limit(0.26, (0.05, 0.02)) == pytest.approx((0.26 * 0.05) ** 0.5)
    assert doubt_limit(0.26, (0.0,)) > 0.05, "a few frames cannot rule out every doubt"
    assert doubt_limit(0.26, ()) == 0.26
    assert doubt_limit(None, (0.05,)) is None


@pytest.mark.parametrize("usual", [0.3, 0.9, 1.0])
def test_an_adapted_network_never_warns_of_its_own_film(usual: float) -> None:
    assert doubt_limit(0.26, (0.05, usual)) == usual


@pytest.mark.parametrize(("doubt", "means"), [(0.3, "above 0.30"), (1.0, "means nothing")])
def test_doubts_above_the_first_limit_are_told(
    start: RunFolder,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    short: None,
    doubt: float,
    means: str,
) -> None:
    monkeypatch.setattr(module, "_doubts", lambda *_: [doubt])
    monkeypatch.setattr(module, "LEAST_GAIN", -1.0)
    adapted = adapt(open_dataset([labels]), limited(start), tmp_path / "mine")
    assert means in told(adapted)[-1]
    assert adapted.run.facts["doubt_limit"] == doubt


def test_only_frames_that_were_found_rightly_tell_what_is_usual(
    start: RunFolder, labels: Path, monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    dataset, recipe = open_dataset([labels]), adapt_recipe(start)
    for least, count in ((0.0, 5), (1.1, 0)):
        monkeypatch.setattr(module, "GOOD", least)
        for judged in module.judge(dataset, recipe, FOLDS, lambda *_: None):
            assert len(judged.doubts) == count
            assert all(0 <= doubt <= 1 for doubt in judged.doubts)
    assert GOOD == 0.9


@pytest.mark.slow
def test_an_adapted_network_calls_other_pictures_unfamiliar_and_its_film_not(
    film: Path, labels: Path, tmp_path: Path, ehtseg: Cli
) -> None:
    # with this seed the tiny network becomes as sure as real ones are: film 0.05, noise 0.9
    sure = make_recipe(TINY.model_dump(), {"fit": {"seed": 2, "epochs": 12}})
    dark = open_dataset([write_labelled(tmp_path / "dark", {"dark": 24}, size=64)])
    run = train(dark, sure, tmp_path / "first")
    first = run.path
    write_facts(first, {**run.facts, "doubt_limit": 0.26})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LR", 1e-2)
        patch.setattr(module, "STEPS", 40)
        code, said, _ = ehtseg(
            "adapt", film, "--labels", labels, "-m", first, "-o", tmp_path / "mine"
        )
    assert code == 0
    assert "will be called unfamiliar" in said
    facts = open_run(tmp_path / "mine").facts
    assert facts["adapted"]["from_doubt_limit"] == 0.26
    assert facts["adapted"]["doubts"], said
    assert max(facts["adapted"]["doubts"]) < facts["doubt_limit"] < 0.26
    noise = tmp_path / "noise"
    noise.mkdir()
    for k in range(3):
        seen = np.random.default_rng(k).integers(0, 255, (64, 64)).astype(np.uint8)
        Image.fromarray(seen).save(noise / f"{k}.png")
    for video, strange in ((film, False), (noise, True)):
        out = tmp_path / f"masks-{video.name}"
        code, said, _ = ehtseg("segment", video, "-m", tmp_path / "mine", "-o", out)
        assert code == 0
        assert ("Unfamiliar picture" in said) == strange, said


@pytest.mark.parametrize(("known", "words"), [(True, "above 0.26"), (False, "has no limit")])
def test_one_frame_leaves_the_first_limit(
    start: RunFolder, tmp_path: Path, known: bool, words: str, short: None
) -> None:
    first = limited(start) if known else start
    adapted = adapt(open_dataset([write_dim(tmp_path / "one", range(1))]), first, tmp_path / "mine")
    assert words in told(adapted)[-1]
    assert open_run(tmp_path / "mine").facts.get("doubt_limit") == (0.26 if known else None)


# --- whose labels -----------------------------------------------------------------------------


def test_frames_of_the_film_belong_to_it_also_after_compression(film: Path) -> None:
    video = open_video(film)
    image = np.array(Image.open(film / "images" / "0011.png"))
    noisy = np.clip(image * 0.8 + np.random.default_rng(0).normal(20, 4, image.shape), 0, 255)
    found = best_agreement(video, np.stack([texture(image), texture(noisy.astype(np.uint8))]))
    assert found[0] == pytest.approx(1, abs=1e-5)
    assert SAME_FILM < found[1] < 1


def test_labels_of_another_film_are_refused(start: RunFolder, film: Path, tmp_path: Path) -> None:
    other = write_labelled(tmp_path / "other", {"dark": 3}, size=64)
    for path in other.glob("*/*.png"):  # a tissue that stands upright is another one
        Image.fromarray(np.rot90(np.array(Image.open(path)))).save(path)
    with pytest.raises(UserError, match=r"3 of 3 that agree with none of them .*dark_0000\.png"):
        adapt_to(film, [other], tmp_path / "mine", start)
    larger = write_labelled(tmp_path / "larger", {"dark": 2}, size=80)
    with pytest.raises(UserError, match=r"64 x 64 px, got 2 of 2 of another size"):
        adapt_to(film, [larger], tmp_path / "mine", start)
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_real_films_are_told_apart_and_know_their_own() -> None:
    films = [shared(f"data/{name}") for name in ("eht_d1t3", "eht_mbpt")]
    last = [sorted((film / "images").iterdir())[-1] for film in films]
    textures = np.stack([texture(np.array(Image.open(file))) for file in last])
    found = np.array([best_agreement(open_video(film), textures) for film in films])
    assert (np.diag(found) > 0.998).all()
    assert (found[~np.eye(2, dtype=bool)] < 0.6).all()


def test_the_command_refuses_them_in_one_paragraph(
    start: RunFolder, film: Path, tmp_path: Path, ehtseg: Cli
) -> None:
    other = write_labelled(tmp_path / "other", {"dark": 2}, size=64)
    for path in other.glob("*/*.png"):
        Image.fromarray(np.rot90(np.array(Image.open(path)))).save(path)
    out = tmp_path / "mine"
    code, _, errors = ehtseg("adapt", film, "--labels", other, "-m", start.path, "-o", out)
    assert code == 2
    assert "agree with none of them" in errors
    assert "ehtseg frames" in errors
    assert len(errors.strip().splitlines()) == 1
    assert not out.exists()


def test_the_command_says_how_the_labels_were_read(
    start: RunFolder, film: Path, labels: Path, tmp_path: Path, ehtseg: Cli, short: None
) -> None:
    out = tmp_path / "mine"
    code, said, _ = ehtseg("adapt", film, "--labels", labels, "-m", start.path, "-o", out)
    assert code == 0
    assert said.startswith("5 masks read as: 0 = background, 255 = tissue.")


# --- bad input --------------------------------------------------------------------------------


def test_too_many_frames_and_taken_folders_are_refused(
    start: RunFolder, film: Path, labels: Path, tmp_path: Path
) -> None:
    many = open_dataset([film])
    assert len(many) > MOST_TO_ADAPT
    with pytest.raises(UserError, match=r"1 to 20 .*--split blocks --net unet --set fit\.start=/"):
        adapt(many, start, tmp_path / "mine")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").touch()
    for out in (tmp_path / "taken", start.path):
        with pytest.raises(UserError, match="Choose another --out"):
            adapt(open_dataset([labels]), start, out)


def test_a_start_that_is_gone_is_named(
    start: RunFolder, labels: Path, tmp_path: Path, short: None
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(start.path, moved)
    recipe = adapt_recipe(open_run(moved))
    shutil.rmtree(moved)
    with pytest.raises(UserError, match="moved"):
        module.judge(open_dataset([labels]), recipe, 2, lambda *_: None)


# --- a training that starts from a run, and one that ends early --------------------------------


def test_a_training_starts_from_the_weights_of_a_run(
    start: RunFolder, labels: Path, tmp_path: Path
) -> None:
    still = {"start": str(start.path), "lr": 1e-12, "weight_decay": 0.0, "epochs": 1}
    recipe = make_recipe(TINY.model_dump(), {"fit": still})
    run = train(open_dataset([labels]), recipe, tmp_path / "next")
    before, after = (read_tensors(r.weights_file)[0] for r in (start, run))
    learnt = [name for name in before if name.endswith("weight")]
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in learnt)
    seen = run.facts["start"].pop("seen")
    assert seen["train"] == sorted(start.facts["split"]["train"])
    assert run.facts["start"] == {
        "run": start.name,
        "weights": "last.safetensors",
        "weights_sha256": sha256_of(start.weights_file),
    }


def test_a_start_of_another_network_is_refused(
    start: RunFolder, labels: Path, tmp_path: Path
) -> None:
    wider = make_recipe(TINY.model_dump(), {"net": {"width": 6}, "fit": {"start": str(start.path)}})
    with pytest.raises(UserError, match="another architecture"):
        train(open_dataset([labels]), wider, tmp_path / "next")


def test_a_training_that_stops_early_is_the_beginning_of_a_longer_one(
    labels: Path, tmp_path: Path
) -> None:
    dataset: Dataset = open_dataset([labels])
    for name, stop in (("whole", None), ("cut", 2)):
        fit = {"stop_epoch": stop, "epochs": 3, "images_per_epoch": 8}
        train(dataset, make_recipe(TINY.model_dump(), {"fit": fit}), tmp_path / name)
    histories = [(tmp_path / name / "history.csv").read_text() for name in ("whole", "cut")]
    without_time = [
        [line.rpartition(",")[0] for line in history.splitlines()] for history in histories
    ]
    assert without_time[1] == without_time[0][:3]
    assert open_run(tmp_path / "cut").finished
