"""The table of the rivals: what a network finds at each place, beside what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ehtseg.records import Array
from ehtseg.study.prices import Price
from ehtseg.study.results import NET, Columns, Results, select


@dataclass(frozen=True, slots=True)
class RivalRow:
    """A row of the study at one place: means over seeds, then over recordings, then over frames.

    `weights` is what the network started from: rows of different starts must not be ranked
    together. `jitter` is `area_jitter`; NaN where no recording has two frames. `training_s` is
    the mean of its trainings, each beside whatever else the machine did.
    """

    row: str
    weights: str
    place: str
    seeds: int
    dice: float
    iou: float
    hd95_px: float
    jitter: float
    training_s: float
    price: Price | None


def rival_table(results: Results, prices: Mapping[str, Price]) -> list[RivalRow]:
    """Every finished row at every place, best Dice first within one place and one start."""
    runs = select(results.runs, status="done")
    scored = select(results.images, model=NET)
    counts = np.isin(scored["key"], runs["key"])  # an interruption may leave rows of other runs
    images = {name: values[counts] for name, values in scored.items()}
    starts = dict(zip(runs["row"], runs["weights"], strict=True))
    rows = []
    for name, place in sorted({*zip(images["row"], images["place"], strict=True)}):
        here = select(images, row=name, place=place)
        start = "random" if "random" in f"{starts.get(name, '')} {name}" else "ImageNet"
        rows.append(
            RivalRow(
                row=str(name),
                weights=start,
                place=str(place),
                seeds=len(set(here["seed"])),
                dice=_mean(here, "dice"),
                iou=_mean(here, "iou"),
                hd95_px=_mean(here, "hd95_px"),
                jitter=_jitter(here),
                training_s=_known_mean(select(results.timings, row=name)["seconds_training"]),
                price=prices.get(str(name)),
            )
        )
    return sorted(rows, key=lambda row: (row.place, row.weights, -row.dice))


def area_jitter(predicted_px_T: Array, true_px_T: Array) -> float:
    """Root mean square of the change of (predicted area / true area) from a frame to the next.

    0 for masks that are too large or too small by a constant share, and for the true beating;
    NaN below two frames, or where a true area is 0.

    >>> round(area_jitter(np.array([11.0, 9.0, 11.0]), np.array([10.0, 10.0, 10.0])), 3)
    0.2
    """
    if len(true_px_T) < 2 or not true_px_T.all():
        return math.nan
    return float(np.sqrt(np.mean(np.diff(predicted_px_T / true_px_T) ** 2)))


def _mean(images: Columns, score: str) -> float:
    """The mean over recordings of the means over their frames and seeds."""
    names = sorted(set(images["recording"]))
    return _known_mean([_known_mean(select(images, recording=n)[score]) for n in names])


def _jitter(images: Columns) -> float:
    """The mean over seeds and recordings; frames follow each other in the order of their names."""
    found = []
    for seed, name in sorted({*zip(images["seed"], images["recording"], strict=True)}):
        film = select(images, seed=seed, recording=name)
        order = np.argsort(film["image"])
        tp, fp, fn = (film[count][order] for count in ("tp", "fp", "fn"))
        found.append(area_jitter(tp + fp, tp + fn))
    return _known_mean(found)


def _known_mean(values: Array | list[float]) -> float:
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else math.nan
