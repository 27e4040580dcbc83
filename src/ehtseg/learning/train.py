"""Labelled frames to a trained network in a run folder: one loop, resumable to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.learning.calibration import fit_temperature, is_one_class, no_pixels, tally
from ehtseg.learning.checkpoint import RESUME, Memory, drop_state, load_state, save_state
from ehtseg.learning.feature_cache import features_kept
from ehtseg.learning.guard import guard, shown, spread
from ehtseg.learning.history import draw_history
from ehtseg.learning.scores import Pair, best_threshold, score_images
from ehtseg.learning.seen import SEEN, image_key, seen_before, seen_by, start_warnings
from ehtseg.learning.training import Tick, Training
from ehtseg.nets.build import Net, build
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.masks import read_mask
from ehtseg.reading.splits import Split, split_dataset
from ehtseg.recipe import FROM_SCRATCH, FitRecipe, NetRecipe, Recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import choose_device, memory_watched
from ehtseg.seeing.machine import machine_facts, resolve
from ehtseg.seeing.run_folder import RunFolder, read_facts, read_tensors, sha256_of, write_facts
from ehtseg.seeing.shipped import chosen_run

Tell = Callable[[str], None]  # one sentence for the user
ONE_SIDED = (
    "The validation frames show no tissue, or nothing else: no threshold and no temperature can be "
    "chosen on them."
)
ORIGINS = ("transfer", "control", "weights", "init")  # of net: which weights there are at first
NO_EARLY_STOP = "Without validation frames nothing stops early: all epochs are trained."


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    split: Split | None = None,
    judged: bool = True,
    tell: Tell = lambda _: None,
    tick: Tick = lambda _done, _total: None,
) -> RunFolder:
    """Train the recipe's network on a dataset into the run folder `out`.

    The frames are divided as the recipe says, or as in `split`. Without validation frames the
    last epoch counts as the best. Without such that show both tissue and background, the threshold
    is that of the starting run, or 0.5, and there is no temperature.

    Without `judged` no faster engine is judged at the end, so that torch alone will be taken: for
    networks that are scored and thrown away.

    The same call continues a training that was interrupted, and returns one that has finished.
    The weights files after a resume equal those of an uninterrupted training to the bit, on the
    same machine, package versions, thread count and instruction set.

    Raises: UserError for a dataset that cannot be split, weights that are not found, an `out`
    that holds another training, a loss that is no longer finite, or too little memory.
    """
    split = split or split_dataset(dataset, recipe.data, recipe.fit.seed)
    told = [*split.report, *split.warnings, *_one_sided(dataset, split), *_from_random(recipe)]
    told += [NO_EARLY_STOP] * bool(recipe.fit.early_stop_epochs and not split.validation)
    for line in told:
        tell(line)
    run = _begin(dataset, recipe, split, out, tell)
    if run.finished:
        tell(f"{out} has finished already; nothing to do.")
        return run
    with memory_watched("a smaller fit.batch (--batch) or data.size (--size)"):
        training = _prepare(dataset, split, run)
        for line in _seen_by_the_start(run, dataset, split):
            tell(line)
        memory = load_state(out, training.net, training.optimiser) or Memory()
        if memory.epochs_done:
            tell(f"Continuing after epoch {memory.epochs_done} of {recipe.epochs}.")
        last = min(recipe.fit.stop_epoch or recipe.epochs, recipe.epochs)
        precision = run.facts["resolved"]["precision"]
        with features_kept(training.net, recipe, precision):
            while memory.epochs_done < last and not _stops_early(memory, recipe.fit):
                row = training.epoch(memory.epochs_done, tick)
                _remember(memory, row)
                save_state(out, training.net, training.optimiser, memory)
                tell(
                    f"epoch {memory.epochs_done}/{last}  loss {row['loss']:.4f}  "
                    f"validation Dice {row['val_dice']:.4f}  IoU {row['val_iou']:.4f}"
                )
        return _finish(training, run, memory, judged)


def started(recipe: Recipe) -> tuple[Net, dict[str, Any]]:
    """The network of a recipe that starts from a run, which weights these were, what they know.

    Raises: UserError where the run cannot be used or has another network, or where the recipe asks
    for other weights at the same time.
    """
    start = chosen_run(recipe.fit.start)
    _check_origins(recipe.net, start)
    ours, theirs = recipe.net.name, start.recipe.net.name
    try:
        net = start.net(recipe.net)
    except UserError as error:
        if ours == theirs:
            raise
        raise UserError(
            f"--net {theirs}, the network of fit.start ({start.name})",
            f"--net {ours}",
            f"Give --net {theirs}, or leave fit.start out.",
        ) from error
    weights = start.weights_file
    return net, {
        "run": start.name,
        "weights": weights.name,
        "weights_sha256": sha256_of(weights),
        "seen": seen_by(start),
    }


def threshold_source(run: RunFolder) -> str:
    """Where a finished training has its threshold from, in words."""
    if run.facts["temperature"] is not None:  # which was fitted on the same frames
        return "chosen on validation"
    if run.recipe.fit.start is not None:
        return f"that of {run.facts['start']['run']}, where the training started"
    return "the usual one, for want of validation frames to choose it on"


def _check_origins(net: NetRecipe, start: RunFolder) -> None:
    """Refuse weights that those of the start would replace.

    Raises: UserError for what is neither the usual nor as in the recipe of the start.
    """
    for name in ORIGINS:
        ours, theirs = getattr(net, name), getattr(start.recipe.net, name)
        if ours not in (theirs, getattr(NetRecipe(), name)):
            raise UserError(
                f"all weights from fit.start ({start.name}), made with net.{name} {theirs}",
                f"net.{name} {ours} too",
                f"Leave net.{name} out, or leave fit.start out.",
            )


def _seen_by_the_start(run: RunFolder, dataset: Dataset, split: Split) -> list[str]:
    """What the sets that judge this training owe to where it started."""
    own, told = {dataset.frames[i].recording for i in split.train}, []
    for name, indices, sets in (
        ("validation", split.validation, ("train",)),
        ("test", split.test, SEEN),
    ):
        frames = [dataset.frames[i] for i in indices]
        count = sum(seen_before(run.facts, frames, sets))
        films = {frame.recording for frame in frames} - own
        told += start_warnings(run.facts, count, films, f"the {len(frames)} {name} frames")
    return told


def _one_sided(dataset: Dataset, split: Split) -> list[str]:
    """What the validation frames cannot tell, known before any work."""
    tissue, background = False, False
    for i in split.validation:
        mask, ignored = read_mask(dataset.frames[i].mask), dataset.ignored(i)
        beside = ~mask if ignored is None else ~mask & ~ignored
        tissue, background = tissue or bool(mask.any()), background or bool(beside.any())
        if tissue and background:
            return []
    return [ONE_SIDED] if split.validation else []


def _from_random(recipe: Recipe) -> list[str]:
    """That an encoder starts from random weights although nobody asked for them."""
    net = recipe.net
    expected = net.name in FROM_SCRATCH or net.transfer in (0, ()) or recipe.fit.start is not None
    if expected or not net.from_scratch:
        return []
    return [f"{net.name} starts from random weights: no ImageNet weights of its encoder are known."]


def _prepare(dataset: Dataset, split: Split, run: RunFolder) -> Training:
    """The training of a run folder; the folder's first files are written when all is well."""
    recipe, facts = run.recipe, run.facts
    if (run.path / RESUME).exists():  # then no other weights are needed
        net = build(recipe.net, seed=recipe.fit.seed, card=facts["card"])
    elif recipe.fit.start is not None:
        net, facts["start"] = started(recipe)
    else:
        net = build(recipe.net, seed=recipe.fit.seed)
    training = Training(dataset, split, recipe, facts["resolved"], net)
    facts["card"] = net.card
    write_facts(run.path, facts)
    write_recipe(recipe, run.path / "recipe.yaml")
    return training


def _begin(dataset: Dataset, recipe: Recipe, split: Split, out: Path, tell: Tell) -> RunFolder:
    """Open the run folder of this very training, or think of it: nothing is written yet."""
    if (out / "run.json").exists():
        return _reopen(dataset, recipe, split, out, tell)
    begun = ".run.json.part.json"  # all that a kill in the first moment leaves
    if out.exists() and (not out.is_dir() or {p.name for p in out.iterdir()} - {begun}):
        raise UserError(
            f"a new or empty folder for the training at {out}",
            "one that holds other things" if out.is_dir() else "a file",
            "Choose another --out.",
        )
    facts = {
        "status": "training",
        "card": {},
        "recipe_sha256": recipe.sha256,
        "data_sha256": dataset.sha256,
        "data": [str(folder) for folder in dataset.folders],
        "split": split.to_json(),
        "split_sha256": split.sha256,
        "images": {
            name: [image_key(dataset.frames[i]) for i in getattr(split, name)] for name in SEEN
        },
        "resolved": resolve(recipe.fit),
        "machine": machine_facts(),
        "notes": list(dataset.notes),
        "threshold": 0.5 if recipe.fit.start is None else chosen_run(recipe.fit.start).threshold,
        "temperature": None,
    }
    return RunFolder(out, recipe, facts)


def _reopen(dataset: Dataset, recipe: Recipe, split: Split, out: Path, tell: Tell) -> RunFolder:
    run = RunFolder(out, recipe, read_facts(out))
    for what, now in (("recipe", recipe), ("data", dataset), ("split", split)):
        if run.facts[f"{what}_sha256"] != now.sha256:
            renamed = ", with the former names of the image files" if what == "split" else ""
            raise UserError(
                f"the {what} with which {out} was begun",
                f"another {what}",
                "Choose another --out for a new training, or give the same command as before"
                f"{renamed}.",
            )
    here = machine_facts()
    changed = [key for key, value in run.facts["machine"].items() if here.get(key) != value]
    resolved, device = run.facts["resolved"], choose_device().value
    if not run.finished and resolved["device"] not in ("cpu", device):  # no such GPU here
        changed.append("device")
        run.facts["resolved"] = {**resolved, "device": device}
    if changed and not run.finished:
        note = f"Resumed where {', '.join(changed)} changed: equality to the bit is not promised."
        tell(note)
        run.facts["notes"].append(note)
        run.facts["machine"] = here
    return run


def _remember(memory: Memory, row: dict[str, float]) -> None:
    memory.epochs_done += 1
    memory.history.append(row)
    if not row["val_dice"] <= memory.best_dice:  # NaN, where there is no validation, is better
        memory.best_dice, memory.best_epoch = row["val_dice"], memory.epochs_done


def _stops_early(memory: Memory, fit: FitRecipe) -> bool:
    patience = fit.early_stop_epochs
    return patience is not None and memory.epochs_done - memory.best_epoch >= patience


def _finish(training: Training, run: RunFolder, memory: Memory, judged: bool) -> RunFolder:
    """Choose threshold and temperature on the validation frames; close the run folder."""
    tensors, _ = read_tensors(run.weights_file)
    training.net.load_state_dict(tensors)
    pixels = no_pixels()

    def counted() -> Iterator[Pair]:
        nonlocal pixels
        frames = training.split.validation
        for i, pair in zip(frames, training.seen(frames), strict=True):
            ignored = training.dataset.ignored(i)
            kept = np.ones_like(pair[1]) if ignored is None else ~ignored
            pixels += tally(pair[0][kept], pair[1][kept])
            yield pair

    scored = score_images(counted())
    can_choose = not is_one_class(pixels)
    threshold = best_threshold(scored) if can_choose else run.threshold
    frames = shown(training.dataset, spread(training.split.validation)) if judged else []
    size = run.recipe.data.size
    row = memory.history[memory.best_epoch - 1 if run.recipe.fit.checkpoint == "best" else -1]
    facts = {
        **run.facts,
        "status": "finished",
        "epochs_done": memory.epochs_done,
        "best_epoch": memory.best_epoch,
        "threshold": threshold,
        "guard": guard(training.net, frames, size, threshold) if judged else {},
        "temperature": fit_temperature(pixels) if can_choose else None,
        "notes": run.facts["notes"] + [ONE_SIDED] * bool(scored.images and not can_choose),
        "validation": {k: row[k] if scored.images else None for k in ("val_dice", "val_iou")},
        "files": {
            f"{name}.safetensors": sha256_of(run.path / f"{name}.safetensors")
            for name in ("last", "best")
        },
    }
    draw_history(run.path, memory.history)
    write_facts(run.path, facts)
    drop_state(run.path)
    return RunFolder(run.path, run.recipe, facts)
