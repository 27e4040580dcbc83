"""A run at its places to rows of the tidy results; the baselines likewise."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from ehtseg.learning.baselines import BASELINES, Predictor
from ehtseg.learning.calibration import at_temperature, reliability, scaled, tally
from ehtseg.learning.evaluate import counted, look
from ehtseg.learning.score_sheets import PRIMARY, Sheet, certainty, net_sheet, summarise
from ehtseg.learning.scores import THRESHOLDS, counts_of, dice, iou
from ehtseg.nets.build import trainable_parameters
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.geometry import to_working_size
from ehtseg.reading.splits import Split
from ehtseg.recipe import make_recipe
from ehtseg.records import Array
from ehtseg.seeing.engines import TorchEngine, choose_device
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.study.plan import Place
from ehtseg.study.results import AT, COLUMNS, Tables, as_text

Frames = tuple[Dataset, list[int]]  # a dataset, and which of its frames
Pictures = dict[str, Array]  # small examples by file name, uint8 (h, w) or (h, w, 3)
EXAMPLE_SIZE = 256  # pixels along a side of an example


@dataclass(frozen=True, slots=True)
class Engines:
    """The networks of a finished run, built once for all places."""

    last: TorchEngine
    best: TorchEngine | None  # of the best epoch on validation; None where it is the last one


def engines_of(run: RunFolder) -> Engines:
    """A run's networks, at the precision of its training."""
    files = run.facts["files"]
    if files["best.safetensors"] == files["last.safetensors"]:
        return Engines(engine_of(run), None)
    recipe = make_recipe(run.recipe.model_dump(), {"fit": {"checkpoint": "best"}})
    return Engines(engine_of(run), engine_of(replace(run, recipe=recipe)))


def score_net(
    run: RunFolder, engines: Engines, place: Place, frames: Frames
) -> tuple[Tables, Array]:
    """The rows of a finished run at one place, and its probabilities of the middle frame."""
    dataset, indices = frames
    sheet = net_sheet(run.threshold, THRESHOLDS)
    temperature = run.facts["temperature"]  # None where validation had pixels of one class only
    example = np.empty(0)
    for i, _, truth, probability in look(engines.last, dataset, indices, run.recipe.data.size):
        ignored = dataset.ignored(i)
        sheet.note(named(dataset, i, place), probability, truth, ignored)
        kept = np.ones_like(truth) if ignored is None else ~ignored
        sheet.rows[-1] |= _at_thresholds(sheet) | _calibrated(probability, truth, kept, temperature)
        example = probability if i == middle(indices) else example
    for row, scores in zip(sheet.rows, _best(run, engines, sheet.rows, frames), strict=True):
        row |= scores
    found = summarise([sheet], place.frames, {"warnings": [], "temperature": temperature})
    diagrams = {1.0: sheet.pixels}
    if temperature is not None:
        diagrams[temperature] = scaled(sheet.pixels, temperature)
    bins = [
        {"temperature": t, "pixels": n, "predicted": p, "observed": o}
        for t, pixels in diagrams.items()
        for n, p, o in _bins(reliability(pixels))
    ]
    tables = {
        "results.csv": sheet.rows,
        "thresholds.csv": found.tables["curve.csv"],
        "reliability.csv": bins,
    }
    return _at_place(tables, place), example


def score_baselines(
    predictors: Mapping[str, Predictor], place: Place, frames: Frames
) -> tuple[Tables, Pictures]:
    """The rows of the baselines at one place; image and mask of the middle frame."""
    dataset, indices = frames
    sheets = [Sheet(name) for name in predictors]
    pictures: Pictures = {}
    for i in indices:
        image, truth = dataset.read(i)
        for sheet in sheets:
            found = counted(dataset, i, predictors[sheet.model](image))
            sheet.note(named(dataset, i, place), found, truth, dataset.ignored(i))
        if i == middle(indices):
            pictures = {
                example_name(place, frames, "image"): to_working_size(image, EXAMPLE_SIZE),
                example_name(place, frames, "truth"): shrunk(truth.astype(np.float32)),
            }
    return _at_place(
        {"results.csv": [row for each in sheets for row in each.rows]}, place
    ), pictures


def fit_baselines(dataset: Dataset, split: Split) -> dict[str, Predictor]:
    """The trivial opponents, fitted on the training frames."""
    return {
        name: fit(dataset.read_small(i, None) for i in split.train)
        for name, fit in BASELINES.items()
    }


def run_tables(run: RunFolder, net: nn.Module, seconds_scoring: float) -> Tables:
    """What a finished run folder says of itself: rows of runs.csv, curves.csv and timings.csv."""
    with open(run.path / "history.csv", newline="", encoding="utf-8") as file:
        history = [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)]
    facts = run.facts
    row = {
        "status": "done",
        "epochs": facts["epochs_done"],
        "steps": int(history[-1]["steps"]),
        "parameters": sum(p.numel() for p in net.parameters()),
        "trainable": sum(p.numel() for p in trainable_parameters(net)),
        "weights": facts["card"]["source"],
        "threshold": run.threshold,
        "temperature": facts["temperature"],
        "best_epoch": facts["best_epoch"],
    }
    training = round(sum(epoch["seconds"] for epoch in history), 1)
    timing = {"seconds_training": training, "seconds_scoring": round(seconds_scoring, 1)}
    return as_text({"runs.csv": [row], "curves.csv": history, "timings.csv": [timing]})


def joined(parts: Iterable[Tables]) -> Tables:
    """The rows of several tables one after the other."""
    whole: Tables = {name: [] for name in COLUMNS}
    for tables in parts:
        for name, rows in tables.items():
            whole[name] += rows
    return whole


def engine_of(run: RunFolder) -> TorchEngine:
    """The run's network, at the precision of its training."""
    return TorchEngine(run.net(), run.facts["resolved"]["precision"], choose_device().value)


def middle(indices: Sequence[int]) -> int:
    """The frame that is shown as an example."""
    return indices[len(indices) // 2]


def example_name(place: Place, frames: Frames, what: str) -> str:
    """File name of an example: place, image, and what it shows (image, truth or a run's key)."""
    dataset, indices = frames
    return f"{place.label}__{dataset.frames[middle(indices)].image.stem}__{what}.png"


def shrunk(probability: Array) -> Array:
    """A probability (H, W) as a small grey picture, 0 to 255."""
    small = to_working_size(probability, EXAMPLE_SIZE)
    return np.asarray(np.rint(255 * small.clip(0, 1)), np.uint8)


def named(dataset: Dataset, i: int, place: Place) -> dict[str, str]:
    """How a frame is called in the tables."""
    frame = dataset.frames[i]
    return {"image": frame.image.name, "recording": frame.recording, "set": place.frames}


def _at_thresholds(sheet: Sheet) -> dict[str, float]:
    """Overlap of the image noted last, at the thresholds reported beside 0.5."""
    counts = {t: sheet.images[-1].counts[sheet.thresholds.index(float(t))] for t in AT}
    return {f"dice_at_{t}": dice(found) for t, found in counts.items()} | {
        f"iou_at_{t}": iou(found) for t, found in counts.items()
    }


def _calibrated(
    probability: Array, truth: Array, kept: Array, temperature: float | None
) -> dict[str, float]:
    if temperature is None:
        return {}
    mended = at_temperature(probability, temperature)
    found = certainty(mended, truth, tally(mended[kept], truth[kept]), kept)
    return {f"{name}_calibrated": value for name, value in found.items()}


def _best(
    run: RunFolder, engines: Engines, rows: Sequence[Mapping[str, Any]], frames: Frames
) -> Iterator[dict[str, float]]:
    """Dice and IoU of each frame by the weights of the best epoch on validation."""
    if engines.best is None:
        yield from ({"dice_best": row["dice"], "iou_best": row["iou"]} for row in rows)
        return
    for _, _, truth, probability in look(engines.best, *frames, run.recipe.data.size):
        counts = counts_of(probability >= PRIMARY, truth)
        yield {"dice_best": dice(counts), "iou_best": iou(counts)}


def _bins(diagram: Any) -> Iterator[tuple[int, float, float]]:
    columns = (diagram.pixels, diagram.predicted, diagram.observed)
    return zip(*(column.tolist() for column in columns), strict=True)


def _at_place(tables: Mapping[str, Sequence[Mapping[str, Any]]], place: Place) -> Tables:
    return as_text(
        {name: [{**row, "place": place.label} for row in rows] for name, rows in tables.items()}
    )
