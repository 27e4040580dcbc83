"""Labelled frames to a trained network in a run folder: one loop, resumable to the bit."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ehtseg.learning.batches import TrainingFrames, epoch_batches, images_per_epoch
from ehtseg.learning.calibration import fit_temperature, no_pixels, tally
from ehtseg.learning.checkpoint import RESUME, Memory, drop_state, load_state, save_state
from ehtseg.learning.evaluate import look
from ehtseg.learning.history import draw_history
from ehtseg.learning.losses import Loss, make_loss, sum_over_outputs
from ehtseg.learning.optimiser import learning_rate, make_optimiser
from ehtseg.learning.scores import Pair, best_threshold, dice, iou, mean_at, score_images
from ehtseg.nets.build import build
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.splits import Split, split_dataset
from ehtseg.recipe import FitRecipe, Recipe, write_recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import TorchEngine, flush_denormals, memory_watched
from ehtseg.seeing.machine import machine_facts, resolve
from ehtseg.seeing.run_folder import RunFolder, read_facts, read_tensors, sha256_of, write_facts

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}  # in Fabric's words
Tell = Callable[[str], None]  # one sentence for the user
Tick = Callable[[int, int], None]  # steps done, steps in all


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    *,
    tell: Tell = lambda _: None,
    tick: Tick = lambda _done, _total: None,
) -> RunFolder:
    """Train the recipe's network on a dataset into the run folder `out`.

    The same call continues a training that was interrupted, and returns one that has finished.
    The weights files after a resume equal those of an uninterrupted training to the bit, on the
    same machine, package versions, thread count and instruction set.

    Raises: UserError for a dataset that cannot be split, weights that are not found, an `out`
    that holds another training, a loss that is no longer finite, or too little memory.
    """
    split = split_dataset(dataset, recipe.data, recipe.fit.seed)
    for line in (*split.report, *split.warnings):
        tell(line)
    run = _begin(dataset, recipe, split, out, tell)
    if run.finished:
        tell(f"{out} has finished already; nothing to do.")
        return run
    with memory_watched("a smaller fit.batch (--batch) or data.size (--size)"):
        training = _Training(dataset, split, run)
        memory = load_state(out, training.net, training.optimiser) or Memory()
        if memory.epochs_done:
            tell(f"Continuing after epoch {memory.epochs_done} of {recipe.epochs}.")
        while memory.epochs_done < recipe.epochs and not _stops_early(memory, recipe.fit):
            row = training.epoch(memory.epochs_done, tick)
            _remember(memory, row)
            save_state(out, training.net, training.optimiser, memory)
            tell(
                f"epoch {memory.epochs_done}/{recipe.epochs}  loss {row['loss']:.4f}  "
                f"validation Dice {row['val_dice']:.4f}  IoU {row['val_iou']:.4f}"
            )
        return _finish(training, run, memory)


class _Training:
    """Network, optimiser, frames and loss of one training, ready to run an epoch."""

    def __init__(self, dataset: Dataset, split: Split, run: RunFolder) -> None:
        self.dataset, self.split, self.recipe = dataset, split, run.recipe
        self.resolved: dict[str, Any] = run.facts["resolved"]
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on every start
        flush_denormals()
        torch.set_num_threads(self.resolved["threads"])
        self.frames = TrainingFrames(dataset, split.train, run.recipe)
        fit = run.recipe.fit
        resumed = (run.path / RESUME).exists()  # then the ImageNet weights are no longer needed
        self.net = build(run.recipe.net, seed=fit.seed, card=run.facts["card"] if resumed else None)
        self.loss: Loss = make_loss(fit)
        device = self.resolved["device"]
        if device != "mps":
            self.net = self.net.to(memory_format=torch.channels_last)
        precision = PRECISIONS[self.resolved["precision"]]
        self.fabric = Fabric(accelerator=device, devices=1, precision=precision)
        self.model, self.optimiser = self.fabric.setup(self.net, make_optimiser(self.net, fit))
        draws = images_per_epoch(fit, len(self.frames))
        self.steps_per_epoch = math.ceil(math.ceil(draws / fit.batch) / fit.accumulate)
        run.facts["card"] = self.net.card
        write_facts(run.path, run.facts)  # nothing is on disk before all is well
        write_recipe(run.recipe, run.path / "recipe.yaml")

    def epoch(self, epoch: int, tick: Tick) -> dict[str, float]:
        """One epoch of steps and one look at the validation frames: a row of the history."""
        fit, started, losses = self.recipe.fit, time.perf_counter(), []
        total = self.recipe.epochs * self.steps_per_epoch
        step = epoch * self.steps_per_epoch
        self.net.train()
        waiting: list[tuple[torch.Tensor, torch.Tensor]] = []
        batches = epoch_batches(self.frames, epoch, self.resolved["workers"])
        last = math.ceil(images_per_epoch(fit, len(self.frames)) / fit.batch) - 1
        for index, batch in enumerate(batches):
            waiting.append(batch)
            if len(waiting) < fit.accumulate and index < last:
                continue
            losses.append(self._step(waiting, step, learning_rate(fit, step, total)))
            waiting, step = [], step + 1
            tick(step, total)
        scores = self.validate()
        return {
            "epoch": epoch + 1,
            "steps": step,
            "lr": learning_rate(fit, step - 1, total),
            "loss": sum(losses) / len(losses),
            **scores,
            "seconds": round(time.perf_counter() - started, 1),
        }

    def _step(
        self, batches: Sequence[tuple[torch.Tensor, torch.Tensor]], step: int, lr: float
    ) -> float:
        fit = self.recipe.fit
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        torch.manual_seed((fit.seed << 32) + step)  # dropout: a pure function of seed and step
        self.optimiser.zero_grad()
        whole = 0.0
        for images, masks in batches:
            images = images.to(self.fabric.device, memory_format=torch.channels_last)
            outputs = self.model(images)
            loss = sum_over_outputs(
                self.loss,
                outputs,
                getattr(self.net, "output_weights", (1.0,)),
                masks.to(self.fabric.device),
            )
            self.fabric.backward(loss / len(batches))
            whole += float(loss.detach()) / len(batches)
        if not math.isfinite(whole):
            raise UserError(
                "a finite loss",
                f"{whole} at step {step + 1}",
                "Lower fit.lr (--lr), or set fit.clip_norm. The last whole epoch is kept.",
            )
        if fit.clip_norm is not None:
            self.fabric.clip_gradients(self.model, self.optimiser, max_norm=fit.clip_norm)
        self.optimiser.step()
        return whole

    def validate(self) -> dict[str, float]:
        """Mean Dice and IoU over whole validation frames, at threshold 0.5."""
        scored = score_images(self.seen(self.split.validation), [0.5])
        return {"val_dice": mean_at(scored, 0.5, dice), "val_iou": mean_at(scored, 0.5, iou)}

    def seen(self, indices: Sequence[int]) -> Iterator[Pair]:
        """Probability and mask of frames, through the function that segments videos."""
        resolved, size = self.resolved, self.recipe.data.size
        engine = TorchEngine(self.net, resolved["precision"], resolved["device"])
        for i, _, mask, probability_HW in look(engine, self.dataset, indices, size):
            frame = self.dataset.frames[i]
            yield probability_HW, mask, frame.image.name, frame.recording


def _begin(dataset: Dataset, recipe: Recipe, split: Split, out: Path, tell: Tell) -> RunFolder:
    """Open the run folder of this very training, or think of it: nothing is written yet."""
    if (out / "run.json").exists():
        return _reopen(dataset, recipe, out, tell)
    begun = ".run.json.part.json"  # all that a kill in the first moment leaves
    if out.exists() and (not out.is_dir() or {p.name for p in out.iterdir()} - {begun}):
        raise UserError(
            f"a new or empty folder for the training at {out}",
            "one that holds other things",
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
        "resolved": resolve(recipe.fit),
        "machine": machine_facts(),
        "notes": list(dataset.notes),
        "threshold": 0.5,
    }
    return RunFolder(out, recipe, facts)


def _reopen(dataset: Dataset, recipe: Recipe, out: Path, tell: Tell) -> RunFolder:
    run = RunFolder(out, recipe, read_facts(out))
    for what, now in (("recipe", recipe.sha256), ("data", dataset.sha256)):
        if run.facts[f"{what}_sha256"] != now:
            raise UserError(
                f"the {what} with which {out} was begun",
                f"another {what}",
                "Choose another --out for a new training, or give the same command as before.",
            )
    here = machine_facts()
    changed = [key for key, value in run.facts["machine"].items() if here.get(key) != value]
    if changed and not run.finished:
        note = f"Resumed where {', '.join(changed)} changed: equality to the bit is not promised."
        tell(note)
        run.facts["notes"].append(note)
        run.facts["machine"] = here
    return run


def _remember(memory: Memory, row: dict[str, float]) -> None:
    memory.epochs_done += 1
    memory.history.append(row)
    if row["val_dice"] > memory.best_dice:
        memory.best_dice, memory.best_epoch = row["val_dice"], memory.epochs_done


def _stops_early(memory: Memory, fit: FitRecipe) -> bool:
    patience = fit.early_stop_epochs
    return patience is not None and memory.epochs_done - memory.best_epoch >= patience


def _finish(training: _Training, run: RunFolder, memory: Memory) -> RunFolder:
    """Choose threshold and temperature on the validation frames; close the run folder."""
    tensors, _ = read_tensors(run.weights_file)
    training.net.load_state_dict(tensors)
    pixels = no_pixels()

    def counted() -> Iterator[Pair]:
        nonlocal pixels
        for pair in training.seen(training.split.validation):
            pixels += tally(pair[0], pair[1])
            yield pair

    scored = score_images(counted())
    facts = {
        **run.facts,
        "status": "finished",
        "epochs_done": memory.epochs_done,
        "best_epoch": memory.best_epoch,
        "threshold": best_threshold(scored),
        "temperature": fit_temperature(pixels),
        "validation": {k: memory.history[-1][k] for k in ("val_dice", "val_iou")},
        "files": {
            f"{name}.safetensors": sha256_of(run.path / f"{name}.safetensors")
            for name in ("last", "best")
        },
    }
    draw_history(run.path, memory.history)
    write_facts(run.path, facts)
    drop_state(run.path)
    return RunFolder(run.path, run.recipe, facts)
