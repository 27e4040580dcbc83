"""What each network of a study costs: weights, arithmetic, rates and memory, row by row.

prices.csv, one line a row of the study: network; weights that it starts from; parameters;
gmacs (thousand million multiply-adds of one frame at the working size, batch 1); images trained
and frames segmented a second; peak memory of the process after segmenting and after training
(on a GPU: of the GPU); working size in pixels, batch, threads, precision, device, machine. The
rates are of made-up frames on the machine at hand, one network after the other, each in a process
of its own.
"""

from __future__ import annotations

import csv
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ehtseg.learning.batches import canvas_of
from ehtseg.learning.losses import make_loss, sum_over_outputs
from ehtseg.learning.optimiser import make_optimiser
from ehtseg.learning.training import fabric
from ehtseg.nets.build import Net, build
from ehtseg.recipe import Recipe
from ehtseg.records import UserError, written_whole
from ehtseg.seeing.engines import TorchEngine, choose_device, flush_denormals
from ehtseg.seeing.machine import resolve
from ehtseg.seeing.predict import predict
from ehtseg.study.entries import startable
from ehtseg.study.plan import Study
from ehtseg.study.task import machine_here

PRICES = "prices.csv"
ROUNDS = 4  # that are timed, after a first one
FRAMES = 4  # segmented in one round


@dataclass(frozen=True, slots=True)
class Price:
    """One line of prices.csv."""

    row: str
    network: str
    weights: str  # "ImageNet" or "random"
    parameters: int
    gmacs: float
    train_images_per_s: float
    segment_frames_per_s: float
    peak_segment_mb: float
    peak_train_mb: float
    size_px: int
    batch: int
    threads: int
    precision: str
    device: str
    machine: str = ""  # older files do not name it


def measured_prices(study: Study, scale: str) -> Iterator[Price]:
    """The price of every row of a study, one after the other."""
    for run in study.plan(scale):
        if run.seed == 0:
            now, _ = startable(run)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                yield fresh.submit(price_of, now.row, now.recipe).result()


def price_of(row: str, recipe: Recipe) -> Price:
    """Build, segment and train a network for a moment; peaks are those of this whole process.

    Raises: UserError for a recipe without a working size, and as `build`.
    """
    size = recipe.data.size
    if size is None:
        raise UserError("a working size in data.size", "none", "Set data.size=256.")
    threads = recipe.fit.threads or torch.get_num_threads()
    torch.set_num_threads(threads)
    flush_denormals()
    net, device = build(recipe.net, recipe.fit.seed), choose_device().value
    precision = resolve(recipe.fit)["precision"]
    gmacs = gmacs_of(recipe, net, size)
    segmenting = _segment_rate(TorchEngine(net, precision, device), size)
    peak_segment_mb = _peak_mb(device)
    return Price(
        row=row,
        network=recipe.net.name,
        weights=start_of(net),
        parameters=sum(p.numel() for p in net.parameters()),
        gmacs=gmacs,
        segment_frames_per_s=segmenting,
        train_images_per_s=_train_rate(net, recipe, size, device),
        peak_segment_mb=peak_segment_mb,
        peak_train_mb=_peak_mb(device),
        size_px=size,
        batch=recipe.fit.batch,
        threads=threads,
        precision=precision,
        device=device,
        machine=machine_here(),
    )


def start_of(net: Net) -> str:
    """Where the weights of a network started: "ImageNet" or "random"."""
    return "ImageNet" if net.card["transferred"] else "random"


def gmacs_of(recipe: Recipe, net: Net, size: int) -> float:
    """Thousand million multiply-adds of one frame, counted without computing."""
    with torch.device("meta"):
        empty = build(recipe.net, card=net.card).to("meta").eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            empty(torch.empty(1, 1, size, size))
    return float(counter.get_total_flops()) / 2e9


def write_prices(prices: Sequence[Price], folder: Path) -> None:
    """Write prices.csv.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    names = [field.name for field in fields(Price)]
    with written_whole(folder / PRICES) as beside, open(beside, "w", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for price in prices:
            cells = asdict(price).items()
            writer.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in cells})


def read_prices(folder: Path) -> dict[str, Price]:
    """The prices by row; none where they were not measured."""
    path = folder / PRICES
    if not path.exists():
        return {}
    kinds = {"str": str, "int": int, "float": float}
    with open(path, newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    typed = [
        {f.name: kinds[str(f.type)](line[f.name]) for f in fields(Price) if f.name in line}
        for line in lines
    ]
    return {line["row"]: Price(**line) for line in typed}


def _segment_rate(engine: TorchEngine, size: int) -> float:
    frames = list(np.random.default_rng(0).integers(0, 256, (FRAMES, size, size), np.uint8))
    return FRAMES / _seconds(lambda: predict(engine, frames, size))


def _train_rate(net: Net, recipe: Recipe, size: int, device: str) -> float:
    fit, canvas = recipe.fit, canvas_of([(size, size)], recipe.data)
    runner, loss = fabric(device, resolve(fit)["precision"]), make_loss(fit)
    model, optimiser = runner.setup(net, make_optimiser(net, fit))
    images = torch.rand(fit.batch, 1, *canvas, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    masks: Tensor = (images > 0.5).float()
    model.train()

    def step() -> None:
        optimiser.zero_grad()
        runner.backward(sum_over_outputs(loss, model(images), net.output_weights, masks))
        optimiser.step()

    return fit.batch / _seconds(step)


def _seconds(action: Callable[[], object]) -> float:
    """Of one round: the shortest of some, so that other work on the machine counts least."""
    action()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _peak_mb(device: str) -> float:
    if device == "cuda":
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
