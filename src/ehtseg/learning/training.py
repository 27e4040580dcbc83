"""Network, optimiser, frames and loss of one training: steps, epochs and looks, nothing on disk."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning_fabric import Fabric

from ehtseg.learning.batches import Batch, TrainingFrames, epoch_batches, images_per_epoch
from ehtseg.learning.evaluate import look
from ehtseg.learning.gradients import with_fast_gradients
from ehtseg.learning.losses import Loss, make_loss, sum_over_outputs
from ehtseg.learning.optimiser import learning_rate, make_optimiser
from ehtseg.learning.scores import Pair, dice, iou, mean_at, score_images
from ehtseg.nets.build import Net
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.splits import Split
from ehtseg.recipe import Recipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import Engine, TorchEngine, choose_memory_format, flush_denormals

PRECISIONS: dict[str, Any] = {"fp32": "32-true", "bf16": "bf16-mixed"}  # in Fabric's words
Tick = Callable[[int, int], None]  # steps done, steps in all


def fabric(device: str, precision: str) -> Fabric:
    """What runs a training at a device and a precision ("fp32", "bf16")."""
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it greets on every start
    return Fabric(accelerator=device, devices=1, precision=PRECISIONS[precision])


class Training:
    """One training, ready to run an epoch; `resolved` holds the choices of `machine.resolve`."""

    def __init__(
        self, dataset: Dataset, split: Split, recipe: Recipe, resolved: dict[str, Any], net: Net
    ) -> None:
        self.dataset, self.split, self.recipe, self.resolved = dataset, split, recipe, resolved
        flush_denormals()
        torch.set_num_threads(resolved["threads"])
        self.frames = TrainingFrames(dataset, split.train, recipe)
        fit, device = recipe.fit, resolved["device"]
        self.loss: Loss = make_loss(fit)
        last = choose_memory_format(device).value == "channels_last"
        self.net = net.to(memory_format=torch.channels_last) if last else net
        with_fast_gradients(self.net)
        self.fabric = fabric(device, resolved["precision"])
        self.model, self.optimiser = self.fabric.setup(self.net, make_optimiser(self.net, fit))
        draws = images_per_epoch(fit, len(self.frames))
        self.steps_per_epoch = math.ceil(math.ceil(draws / fit.batch) / fit.accumulate)

    def epoch(self, epoch: int, tick: Tick) -> dict[str, float]:
        """One epoch of steps and one look at the validation frames: a row of the history."""
        fit, started, losses = self.recipe.fit, time.perf_counter(), []
        total = self.recipe.epochs * self.steps_per_epoch
        step = epoch * self.steps_per_epoch
        self.net.train()
        waiting: list[Batch] = []
        batches = epoch_batches(self.frames, epoch, self.resolved["workers"])
        last = math.ceil(images_per_epoch(fit, len(self.frames)) / fit.batch) - 1
        for index, batch in enumerate(batches):
            waiting.append(batch)
            if len(waiting) < fit.accumulate and index < last:
                continue
            losses.append(self._step(waiting, step, learning_rate(fit, step, total)))
            waiting, step = [], step + 1
            tick(step, total)
        with _norms_watched():
            scores = self.validate()
        return {
            "epoch": epoch + 1,
            "steps": step,
            "lr": learning_rate(fit, step - 1, total),
            "loss": sum(losses) / len(losses),
            **scores,
            "seconds": round(time.perf_counter() - started, 1),
        }

    def _step(self, batches: Sequence[Batch], step: int, lr: float) -> float:
        fit = self.recipe.fit
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        torch.manual_seed((fit.seed << 32) + step)  # dropout: a pure function of seed and step
        self.optimiser.zero_grad()
        whole = 0.0
        for images, masks, ignored in batches:
            images = images.to(self.fabric.device, memory_format=torch.channels_last)
            with _norms_watched():
                outputs = self.model(images)
            loss = sum_over_outputs(
                self.loss,
                outputs,
                getattr(self.net, "output_weights", (1.0,)),
                masks.to(self.fabric.device),
                ignored.to(self.fabric.device),
            )
            self.fabric.backward(loss / len(batches))
            whole += float(loss.detach()) / len(batches)
        _check_finite("loss", whole, step)
        if fit.clip_value is not None:
            self.fabric.clip_gradients(self.model, self.optimiser, clip_val=fit.clip_value)
        if fit.clip_norm is not None:
            norm = self.fabric.clip_gradients(
                self.model, self.optimiser, max_norm=fit.clip_norm, error_if_nonfinite=False
            )
            _check_finite("gradient", float(norm or 0), step)
        self.optimiser.step()
        return whole

    def validate(self) -> dict[str, float]:
        """Mean Dice and IoU over whole validation frames, at threshold 0.5; NaN without any."""
        if not self.split.validation:
            return {"val_dice": math.nan, "val_iou": math.nan}
        scored = score_images(self.seen(self.split.validation), [0.5])
        return {"val_dice": mean_at(scored, 0.5, dice), "val_iou": mean_at(scored, 0.5, iou)}

    def seen(self, indices: Sequence[int]) -> Iterator[Pair]:
        """Probability and mask of frames, through the function that segments videos."""
        return pairs(self.engine(), self.dataset, indices, self.recipe.data.size)

    def engine(self) -> Engine:
        """The network as it is now, ready to be run."""
        return TorchEngine(self.net, self.resolved["precision"], self.resolved["device"])


ONE_VALUE = {  # of torch's words where a norm has nothing to learn from: what was expected and got
    "more than 1 value per channel": (
        "more than one value a channel in every batch, for batch norm to learn from",
        "a batch of one frame that is 1 x 1 px at the bottom of the network",
        "Choose a larger data.size (--size), or a fit.batch (--batch) that leaves no single "
        "frame over at the end of an epoch.",
    ),
    "more than 1 spatial element": (
        "more than one pixel of every frame at the bottom of the network, for instance norm to "
        "learn from",
        "frames that are 1 x 1 px there",
        "Choose a larger data.size (--size) where the frames themselves are larger, a smaller "
        "net.depth, or another net.norm.",
    ),
}


@contextmanager
def _norms_watched() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        told = next((told for words, told in ONE_VALUE.items() if words in str(error)), None)
        if told is None:
            raise
        raise UserError(*told) from error


def _check_finite(what: str, value: float, step: int) -> None:
    if not math.isfinite(value):
        raise UserError(
            f"a finite {what}",
            f"{value} at step {step + 1}",
            "Lower the learning rate (such as --set fit.lr=0.0001), or set a lower fit.clip_norm. "
            "The last whole epoch is kept.",
        )


def pairs(
    engine: Engine, dataset: Dataset, indices: Sequence[int], size: int | None
) -> Iterator[Pair]:
    """What the scores take: probability, mask, image name and recording of frames."""
    for i, _, mask, probability_HW in look(engine, dataset, indices, size):
        frame = dataset.frames[i]
        yield probability_HW, mask, frame.image.name, frame.recording
