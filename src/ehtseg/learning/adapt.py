"""A trained network adapted to one film by a few labelled frames of it.

How long to train is decided on frames left out: the labelled frames are divided into `FOLDS`, each
fold is left out once, and as many epochs as did best on what was left out are then trained on all
frames, or none where the first network was better. With one frame nothing can be left out: all of
`EPOCHS` are trained. The decoder learns and the encoder stays as it is, which halves the time; why
this recipe: docs/log.md.

An adapted network is for this film. How much it doubts the frames left out tells what is usual
there, and above `doubt_limit` a recording is called unfamiliar (seeing/familiar.py).
"""

from __future__ import annotations

import math
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ehtseg.learning.scores import (
    THRESHOLDS,
    ImageCounts,
    Scored,
    best_threshold,
    dice,
    mean_at,
    score_images,
)
from ehtseg.learning.train import started, train
from ehtseg.learning.training import Tick, Training, pairs
from ehtseg.nets.smp_net import SMP
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.splits import all_train
from ehtseg.recipe import FROM_SCRATCH, MOST_TO_ADAPT, Recipe, make_recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import TorchEngine, flush_denormals, memory_watched
from ehtseg.seeing.familiar import signs_of
from ehtseg.seeing.machine import resolve
from ehtseg.seeing.run_folder import RunFolder, read_facts, sha256_of, write_facts
from ehtseg.seeing.shipped import FOLDER, SHIPPED
from ehtseg.seeing.variants import of_one_network

FOLDS = 3
EPOCHS, STEPS = 4, 10  # epochs, after each of which frames left out are scored; steps of each
BATCH = 4
LR = 1e-3
LEAST_GAIN = 0.0005  # Dice by which an adapted network has to be better than the first one
GOOD = 0.9  # Dice from which a mask counts as right
LOOKED_AT = 2  # frames of each fold whose doubt is measured: each costs five runs of the network
LEAST_DOUBT = 0.02  # no film is doubted less, whatever a few frames say


@dataclass(frozen=True, slots=True)
class Adapted:
    """What an adaptation gave: its run folder, and Dice on labelled frames that were left out."""

    run: RunFolder
    frames: int
    folds: int  # 0: nothing could be left out
    epochs: int  # that were trained; 0: the first network was better and is kept
    dice_before: float  # of the first network, at its own threshold
    dice_after: float  # of the adapted one, at the chosen threshold; of one frame, on itself
    dice_by_epoch: tuple[float, ...]  # at 0.5; empty where nothing could be left out
    doubts: tuple[float, ...] = ()  # about frames that were left out and found rightly


@dataclass(frozen=True, slots=True)
class Judged:
    """All frames, each seen while it was left out, after as many epochs as one another."""

    scored: Scored
    doubts: tuple[float, ...] = ()  # about some of those that were found rightly


def adapt_recipe(start: RunFolder) -> Recipe:
    """The recipe of an adaptation: the network of `start`, its decoder trained for a short time.

    A network without an encoder of ours to freeze is trained whole.
    """
    name = start.recipe.net.name
    whole = name in FROM_SCRATCH or name.startswith(SMP)
    return make_recipe(
        start.recipe.model_dump(),
        {
            "data": {"augment": "weak", "n_train": None, "counts": None, "balance": "frames"},
            "net": {"freeze": 0 if whole else "all", "freeze_mode": "inference"},
            "fit": {
                "start": _place(start),
                "loss": "bce+dice",
                "optimizer": "adamw",
                "lr": LR,
                "schedule": "one_cycle",
                "epochs": EPOCHS,
                "batch": BATCH,
                "accumulate": 1,
                "images_per_epoch": BATCH * STEPS,
                "stop_epoch": None,
                "early_stop_epochs": None,
                "checkpoint": "last",
                "threads": None,
                "workers": None,
            },
        },
    )


def adapt(
    dataset: Dataset,
    start: RunFolder,
    out: Path,
    tick: Tick = lambda _done, _total: None,
) -> Adapted:
    """Adapt a trained network to the film of a few labelled frames, into the run folder `out`.

    Where no adapted network is better on frames left out, `out` holds the first one.

    Raises: UserError for more than `MOST_TO_ADAPT`, an `out` that holds anything but an adaptation
    that was interrupted, and whatever `train` raises.
    """
    _check(dataset, start, out)
    recipe, folds = adapt_recipe(start), min(len(dataset), FOLDS) if len(dataset) > 1 else 0
    each = EPOCHS * STEPS
    with memory_watched("fewer frames, or a smaller data.size"):
        before = mean_at(_scored(dataset, start, [start.threshold]), start.threshold)
        judged = judge(dataset, recipe, folds, tick)
    curve = [mean_at(one.scored, 0.5) for one in judged]
    epochs = 1 + curve.index(max(curve)) if curve else EPOCHS
    threshold = best_threshold(judged[epochs - 1].scored) if judged else start.threshold
    after = mean_at(judged[epochs - 1].scored, threshold) if judged else 0.0
    doubts = judged[epochs - 1].doubts if judged else ()
    if judged and after < before + LEAST_GAIN:
        epochs, threshold, after, doubts = 0, start.threshold, before, ()
        run = _keep(start, recipe, out)
    else:
        fit = recipe.fit.model_copy(update={"stop_epoch": epochs})
        run = train(
            dataset,
            recipe.model_copy(update={"fit": fit}),
            out,
            split=all_train(dataset),
            tick=_later(tick, folds * each, (folds + 1) * each),
        )
    if not judged:
        after = mean_at(_scored(dataset, run, [threshold]), threshold)
    adapted = Adapted(run, len(dataset), folds, epochs, before, after, tuple(curve), doubts)
    return replace(adapted, run=_record(adapted, start, threshold))


def judge(dataset: Dataset, recipe: Recipe, folds: int, tick: Tick) -> list[Judged]:
    """All frames of a dataset, each scored and doubted while it is left out, after every epoch."""
    split, resolved = all_train(dataset), resolve(recipe.fit)
    count = recipe.epochs if folds else 0
    images: list[list[ImageCounts]] = [[] for _ in range(count)]
    doubts: list[list[float]] = [[] for _ in range(count)]
    each = recipe.epochs * STEPS
    for fold in range(folds):
        left_out = split.train[fold::folds]
        others = tuple(i for i in split.train if i not in left_out)
        net, _ = started(recipe)
        training = Training(dataset, replace(split, train=others), recipe, resolved, net)
        for epoch in range(count):
            training.epoch(epoch, _later(tick, fold * each, (folds + 1) * each))
            seen = score_images(training.seen(left_out)).images
            images[epoch] += seen
            doubts[epoch] += _doubts(training, left_out, seen)
    return [
        Judged(Scored(THRESHOLDS, tuple(some)), tuple(doubt))
        for some, doubt in zip(images, doubts, strict=True)
    ]


def doubt_limit(first: float | None, doubts: Sequence[float]) -> float | None:
    """The doubt above which a recording is unlike the film of an adaptation.

    Halfway, as factors go, between the highest doubt about frames of this film that were left out
    and found rightly, and the limit of the first network, which divides its good masks from its
    bad ones; the latter alone where no such frame is known. None where the first one has no limit.
    Never below that highest doubt, so that an adapted network does not warn of its own film: at 1
    it warns of nothing.

    >>> round(doubt_limit(0.26, [0.04, 0.05]), 3), doubt_limit(0.26, []), doubt_limit(None, [0.1])
    (0.114, 0.26, None)
    >>> doubt_limit(0.26, [0.3, 0.1])
    0.3
    """
    if first is None or not doubts:
        return first
    usual = max(*doubts, LEAST_DOUBT)
    return max(usual, math.sqrt(first * usual))


def _doubts(
    training: Training, left_out: Sequence[int], seen: Sequence[ImageCounts]
) -> list[float]:
    """How much a network doubts a few frames that it has found rightly."""
    half = THRESHOLDS.index(0.5)
    right = [i for i, one in zip(left_out, seen, strict=True) if dice(one.counts[half]) >= GOOD]
    variants = of_one_network(training.engine(), training.recipe.data.size, 0.5)
    looked_at = (training.dataset.read(i)[0] for i in right[:LOOKED_AT])
    return [signs_of(variants, image).doubt for image in looked_at]


def _place(run: RunFolder) -> str:
    """A run as `fit.start` names it."""
    return SHIPPED if run.path == FOLDER else str(run.path.resolve())


def _later(tick: Tick, before: int, whole: int) -> Tick:
    """A part of the steps as steps of the whole."""
    return lambda done, _: tick(before + done, whole)


def _scored(dataset: Dataset, run: RunFolder, thresholds: list[float]) -> Scored:
    """A network scored on all frames."""
    flush_denormals()
    resolved = resolve(run.recipe.fit)
    engine = TorchEngine(run.net(), resolved["precision"], resolved["device"])
    return score_images(
        pairs(engine, dataset, range(len(dataset)), run.recipe.data.size), thresholds
    )


def _keep(start: RunFolder, recipe: Recipe, out: Path) -> RunFolder:
    """The first network under a new name."""
    out.mkdir(parents=True, exist_ok=True)
    weights = start.weights_file
    shutil.copyfile(weights, out / weights.name)
    kept = start.recipe.model_copy(
        update={"fit": start.recipe.fit.model_copy(update={"start": recipe.fit.start})}
    )
    write_recipe(kept, out / "recipe.yaml")
    facts = {**start.facts, "files": {weights.name: sha256_of(out / weights.name)}}
    exports = facts.pop("exports", {})  # files that stay where they are, and what was said of them
    judged = {way for told in exports.values() for way in told["parity"]}
    if judged:
        ways = {way: said for way, said in facts["guard"]["ways"].items() if way not in judged}
        facts["guard"] = {**facts["guard"], "ways": ways}
    return RunFolder(out, kept, facts)


def _record(adapted: Adapted, start: RunFolder, threshold: float) -> RunFolder:
    """The run folder, with what it was adapted from and what that gave in its run.json."""
    run = adapted.run
    facts = {key: value for key, value in run.facts.items() if key != "name"}
    facts["threshold"] = threshold
    first = start.facts.get("adapted", {}).get("from_doubt_limit", start.facts.get("doubt_limit"))
    limit = doubt_limit(first, adapted.doubts)
    if limit is not None:
        facts["doubt_limit"] = limit
    facts["adapted"] = {
        "from": start.name,
        "from_doubt_limit": first,
        "from_weights_sha256": start.weights_sha256,
        "frames": adapted.frames,
        "folds": adapted.folds,
        "steps": adapted.epochs * STEPS,
        "dice_before": adapted.dice_before,
        "dice_after": adapted.dice_after,
        "dice_by_epoch": list(adapted.dice_by_epoch),
        "doubts": list(adapted.doubts),
    }
    write_facts(run.path, facts)
    return RunFolder(run.path, run.recipe, facts)


def _check(dataset: Dataset, start: RunFolder, out: Path) -> None:
    if len(dataset) > MOST_TO_ADAPT:
        folders = shlex.join(map(str, dataset.folders))
        start_from = shlex.quote(f"fit.start={_place(start)}")
        decided = f"--split blocks --net {start.recipe.net.name} --set {start_from}"
        raise UserError(
            f"1 to {MOST_TO_ADAPT} labelled frames to adapt to one film",
            str(len(dataset)),
            f"With so many, train:  ehtseg train {folders} --out {shlex.quote(str(out))} {decided}",
        )
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "run.json").is_file() or read_facts(out)["status"] == "finished":
        raise UserError(
            f"a new or empty folder for the adapted network at {out}",
            "one that holds other things",
            "Choose another --out.",
        )
