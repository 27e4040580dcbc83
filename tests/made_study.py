"""Tidy results made by hand, as a runner would write them: what is asked for is true of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ehtseg.study.plan import Run, Study, from_random
from ehtseg.study.results import BASELINES, NET, Tables, as_text, write_facts, write_tables

AREA, PIXELS = 1000, 4000  # of the true mask, of the image
EPOCHS, STEPS = 10, 18  # of a training, and steps of an epoch
KEY = "b" * 16
THRESHOLDS = (0.1, 0.3, 0.5, 0.7, 0.9)
MODELS = ("mean_mask", "nearest_mask", "threshold")


def half(*_: Any) -> float:
    return 0.5


@dataclass
class Story:
    """What is to be true of a study: Dice of each image, epochs to 0.9, what failed."""

    study: Study
    dice: Callable[[str, int, str, int], float]  # row, seed, place, number of the image
    opponent: Callable[[str, str], float] = half  # model, place
    epochs_to_good: Callable[[str, int], int] = lambda row, seed: 3  # beyond EPOCHS: never
    undecided: Callable[[str, int], float] = lambda row, image: 0.1  # and calibration error
    near_outline: Callable[[str, int], float] | None = None  # as undecided, unless given
    ece: Callable[[str, int], float] = lambda row, image: 0.02
    best: Callable[[str, int], float] = lambda row, seed: 0.95  # Dice at the best threshold
    peak: Callable[[int], float] = half  # the best threshold, by seed
    baselines: str = KEY  # the run of opponents; "" for none
    lost: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)  # status, reason
    without_weights: str = "\n"  # rows of a network that has to start from random weights
    machine: Callable[[int], str] = lambda seed: "a machine"  # by seed
    images: int = 6  # a place
    recordings: dict[str, int] = field(default_factory=dict)  # of a place; 1 where none is named
    scale: str = "cpu"

    def write(self, folder: Path) -> Path:
        """Write all tables into a folder."""
        parts = [self.opponents(), *(self.run(run) for run in self.runs())]
        tables: Tables = {}
        for part in parts:
            for name, rows in as_text(part).items():
                tables.setdefault(name, []).extend(rows)
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(folder, tables)
        own = {"design": self.study.design} if self.study.design else {}
        write_facts(folder, own | {
            "study": self.study.name, "scale": self.scale, "data": {"film": "0" * 64},
            "command": self.study.command, "made_with": {"torch": "2"},
        })  # fmt: skip
        return folder

    def runs(self) -> Iterator[Run]:
        for run in self.study.plan(self.scale):
            yield from_random(run) if run.row.startswith(self.without_weights) else run

    def run(self, run: Run) -> dict[str, list[dict[str, Any]]]:
        known = {"study": self.study.name, "row": run.row, "key": run.key[:16], "seed": run.seed}
        status, reason = self.lost.get((run.row, run.seed), ("done", ""))
        row = {
            **known, "status": status, "reason": reason, "epochs": EPOCHS, "steps": EPOCHS * STEPS,
            "parameters": 20_000_000, "trainable": 10_000_000, "weights": "imagenet",
            "threshold": 0.5, "temperature": 1.5, "best_epoch": EPOCHS, "baselines": self.baselines,
        }  # fmt: skip
        if status != "done":
            return {"runs.csv": [row]}
        places = [place.label for place in run.score]
        return {
            "runs.csv": [row],
            "results.csv": [known | each for place in places for each in self.scores(run, place)],
            "curves.csv": [known | each for each in self.curve(run)],
            "thresholds.csv": [
                {**known, "place": place, "threshold": t, "dice": dice, "iou": dice / (2 - dice),
                 "dice_pooled": dice, "iou_pooled": dice / (2 - dice)}
                for place in places
                for t in THRESHOLDS
                for dice in [self.best(run.row, run.seed) - abs(t - self.peak(run.seed))]
            ],
            "reliability.csv": [
                {**known, "place": place, "temperature": temperature, "pixels": 100,
                 "predicted": p, "observed": p**temperature}
                for place in places
                for temperature in (1.0, 1.5)
                for p in (0.01, 0.3, 0.99)
            ],
            "timings.csv": [
                {**known, "seconds_training": 1.0, "seconds_scoring": 1.0,
                 "machine": self.machine(run.seed)}
            ],
        }  # fmt: skip

    def scores(self, run: Run, place: str) -> Iterator[dict[str, Any]]:
        for number, where in enumerate(self.where(place)):
            counted = scored(self.dice(run.row, run.seed, place, number))
            certain = {
                "ece": self.ece(run.row, number), "brier": 0.02, "nll": 0.1,
                "undecided": self.undecided(run.row, number),
                "undecided_near_outline": (self.near_outline or self.undecided)(run.row, number),
            }  # fmt: skip
            mended = {f"{name}_calibrated": value / 2 for name, value in certain.items()}
            same = {
                f"{score}{at}": counted[score]
                for score in ("dice", "iou")
                for at in ("_at_chosen", "_at_0.4", "_at_0.9", "_best")
            }
            yield {**where, "model": NET, **counted, **certain, **mended, **same}

    def opponents(self) -> dict[str, list[dict[str, Any]]]:
        known = {"study": self.study.name, "row": BASELINES, "key": KEY, "seed": 0}
        rows = [
            {**known, **where, "model": model, **scored(self.opponent(model, place.label))}
            for place in self.study.data.score
            for where in self.where(place.label)
            for model in MODELS
        ]
        return {"runs.csv": [{**known, "status": "done"}], "results.csv": rows}

    def where(self, place: str) -> list[dict[str, str]]:
        count = self.recordings.get(place, 1)
        name = place.split()[0]
        return [
            {"place": place, "recording": f"{name}_{k % count}", "image": f"{name}_{k:04d}.png"}
            for k in range(self.images)
        ]

    def curve(self, run: Run) -> Iterator[dict[str, Any]]:
        for epoch in range(1, EPOCHS + 1):
            there = epoch >= self.epochs_to_good(run.row, run.seed)
            dice = 0.92 if there else 0.85 * epoch / (epoch + 2)
            yield {
                "epoch": epoch, "steps": epoch * STEPS, "loss": 1 / epoch, "val_dice": dice,
                "val_iou": dice / (2 - dice),
            }  # fmt: skip


def scored(dice: float) -> dict[str, float]:
    """Counts and overlap of an image whose prediction is as large as its mask."""
    tp = round(dice * AREA)
    wrong = AREA - tp
    exact = tp / AREA
    return {
        "tp": tp, "fp": wrong, "fn": wrong, "tn": PIXELS - AREA - wrong, "dice": exact,
        "iou": exact / (2 - exact), "hd95_px": 3.0, "assd_px": 1.0, "nsd_2px": 0.9,
        "boundary_iou": 0.8,
    }  # fmt: skip


def write_examples(folder: Path, place: str, keys: list[str]) -> None:
    """Small example pictures of one frame: image, mask, and what runs see."""
    (folder / "examples").mkdir()
    y, x = np.mgrid[0:32, 0:48]
    mask = np.uint8(255 * (abs(y - 16) < 8))
    for what in ("image", "truth", *keys):
        pixels = np.uint8(100 + x) if what == "image" else mask
        Image.fromarray(pixels).save(folder / "examples" / f"{place}__f_0001__{what}.png")
