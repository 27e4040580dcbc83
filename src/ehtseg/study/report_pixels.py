"""What the probabilities of a study mean: thresholds with their plateau, certainty, calibration."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehtseg.learning.calibration import Reliability, brier_split, risk
from ehtseg.records import Array
from ehtseg.reporting.document import Block, Line, Picture, Section, table
from ehtseg.reporting.study_figures import Curve, reliability_panels, threshold_panels
from ehtseg.study.found import Found
from ehtseg.study.plan import STAND_IN
from ehtseg.study.report_cells import NONE, mean_of, slug, values_of
from ehtseg.study.results import select

PLATEAU = 0.005  # Dice below the highest at which a threshold still belongs to the plateau
STEP = 0.01  # between thresholds
CERTAINTY = {
    "undecided": "undecided",
    "near outline": "undecided_near_outline",
    "ECE": "ece",
    "Brier": "brier",
    "NLL": "nll",
    "undecided, T": "undecided_calibrated",
    "near outline, T": "undecided_near_outline_calibrated",
    "ECE, T": "ece_calibrated",
    "NLL, T": "nll_calibrated",
}
SUREST = 0.8  # share of pixels; leaves out the bins (of 15) about 0.5
WARNING = (
    "A threshold or a share of undecided pixels means nothing across losses: focal loss pulls "
    "probabilities towards 0.5 even where a pixel is as good as certain. Compare rows of one loss."
)


@dataclass(frozen=True, slots=True)
class Plateau:
    """Where Dice is as good as its best: thresholds around it, without a gap."""

    best: float  # the highest Dice
    at: float  # its threshold
    low: float
    high: float

    @property
    def width(self) -> float:
        """How wide it is, in probability."""
        return self.high - self.low + STEP


def plateau(thresholds: Array, dice: Array) -> Plateau:
    """The thresholds around the best one at which Dice lies within 0.005 of it.

    >>> plateau(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.9, 0.8, 0.897, 0.9001]))
    Plateau(best=0.9001, at=0.4, low=0.3, high=0.4)
    """
    peak = int(dice.argmax())
    outside = np.flatnonzero(dice < dice[peak] - PLATEAU)
    first = max([int(i) for i in outside if i < peak], default=-1) + 1
    last = min([int(i) for i in outside if i > peak], default=len(dice)) - 1
    values = (dice[peak], thresholds[peak], thresholds[first], thresholds[last])
    return Plateau(*(float(each) for each in values))


def pixel_sections(found: Found) -> list[Section]:
    """Dice against threshold, certainty and calibration, place by place."""
    rows = [*found.rows, *found.stand_ins]
    sections = []
    for place in found.places:
        blocks = [*_threshold_blocks(found, rows, place), *_calibration_blocks(found, rows, place)]
        if blocks:
            sections.append(Section(f"Probabilities: {place}", (WARNING, *blocks)))
    return sections


def _threshold_blocks(found: Found, rows: Sequence[str], place: str) -> list[Block]:
    curves = {row: _threshold_curves(found, row, place) for row in rows}
    curves = {row: runs for row, runs in curves.items() if runs}
    if not curves:
        return []
    flats = {row: [plateau(run.x, run.y) for run in runs] for row, runs in curves.items()}
    chosen = {row: found.runs(row)["threshold"].tolist() for row in curves}
    spans = {row: [(flat.low, flat.high) for flat in each] for row, each in flats.items()}
    lines = [_threshold_line(found, row, place, flat, curves[row]) for row, flat in flats.items()]
    columns = (
        "row", "best Dice", "at", "plateau", "width", "area", "chosen", "Dice, chosen",
        "Dice at 0.4", "Dice at 0.5", "Dice at 0.9", "IoU at 0.4", "IoU at 0.5", "IoU at 0.9",
    )  # fmt: skip
    note = (
        f"Plateau: thresholds around the best one at which Dice lies within {PLATEAU} of it. Best "
        "Dice, width and area (mean Dice over thresholds from 0.01 to 0.99): training by training, "
        "then averaged; thresholds: lowest and highest of the trainings. Chosen: on the validation "
        "frames of each. The best threshold of a place is known only afterwards."
    )
    figure = threshold_panels(curves, spans, chosen)
    title = f"Dice against threshold, {place}"
    below = (
        "Shaded: the plateau of each training. Ticks at the bottom: thresholds chosen on "
        "validation frames."
    )
    return [
        Picture(f"thresholds_{slug(place)}", title, figure, below),
        *table(f"thresholds_{slug(place)}", f"Thresholds: {place}", columns, lines, note),
    ]


def _calibration_blocks(found: Found, rows: Sequence[str], place: str) -> list[Block]:
    curves = {row: _diagrams(found, row, place) for row in rows}
    curves = {row: runs for row, runs in curves.items() if runs}
    lines = [
        _certainty_line(found, row, place)
        for row in rows
        if found.table(row, place, "undecided") is not None
    ]
    note = (
        "Undecided: share of pixels with a probability between 0.1 and 0.9, of all and of those "
        "within 5 px of the true outline. ECE: 15 bins of equally many pixels, image by image. "
        "T: after temperature scaling, fitted on the validation frames of each training."
    )
    columns = ("row", *CERTAINTY, "T")
    blocks: list[Block] = []
    if curves:
        title = f"Reliability, {place}"
        below = (
            "Blue: the network as it is; vermilion, dashed: after temperature scaling; each dot "
            "one of up to 15 bins of equally many pixels, so that most lie near 0 and 1."
        )
        picture = Picture(f"reliability_{slug(place)}", title, reliability_panels(curves), below)
        blocks.append(picture)
    title = f"Certainty and calibration: {place}"
    certainty = table(f"certainty_{slug(place)}", title, columns, lines, note)
    return [*blocks, *certainty, *_parts_blocks(found, list(curves), place)]


def _parts_blocks(found: Found, rows: Sequence[str], place: str) -> list[Block]:
    columns = (
        "row", "reliability", "resolution", "uncertainty", "reliability, T", "wrong",
        "wrong, surest 80 %",
    )  # fmt: skip
    note = (
        "Of all pixels of the place, in 15 bins. Brier = reliability - resolution + uncertainty, "
        "but for what differs within a bin. Reliability, the squared gap of predicted and observed "
        "(less is better), is what a calibration can mend, and T does; resolution (more is better) "
        "is what the network tells of a pixel whatever its scale; uncertainty is of the frames. "
        "Wrong: share of pixels on the wrong side of 0.5, of all and of the 80 % farthest from it: "
        "what stays wrong once the others have been looked at by eye."
    )
    lines = [_parts_line(found, row, place) for row in rows]
    title = f"Parts of the Brier score: {place}"
    return [*table(f"brier_{slug(place)}", title, columns, lines, note)]


def _parts_line(found: Found, row: str, place: str) -> Line:
    images = found.images(row, place)
    wrong = images["fp"].sum() + images["fn"].sum()
    diagrams = _reliabilities(found, row, place)
    plain = [diagram for temperature, diagram in diagrams if temperature == 1]
    mended = [diagram for temperature, diagram in diagrams if temperature != 1]
    splits = [brier_split(diagram) for diagram in plain]
    means = {
        name: _mean([getattr(split, name) for split in splits])
        for name in ("reliability", "resolution", "uncertainty")
    }
    means["reliability_calibrated"] = _mean([brier_split(each).reliability for each in mended])
    means["wrong"] = float(wrong / (wrong + images["tp"].sum() + images["tn"].sum()))
    means["wrong_surest"] = _mean([risk(diagram, SUREST) for diagram in plain])
    shown = (row, *(_shown(each) for each in means.values()))
    return Line(shown, {"row": row, **means}, "apart" if row.endswith(STAND_IN) else "")


def _threshold_curves(found: Found, row: str, place: str) -> list[Curve]:
    of_row = select(found.results.thresholds, row=row, place=place)
    runs = [select(of_row, seed=seed) for seed in np.unique(found.runs(row)["seed"])]
    return [Curve(*_sorted(run["threshold"], run["dice"])) for run in runs if len(run["seed"])]


def _diagrams(found: Found, row: str, place: str) -> list[Curve]:
    return [
        Curve(*_sorted(each.predicted, each.observed), weak=temperature != 1)
        for temperature, each in _reliabilities(found, row, place)
    ]


def _reliabilities(found: Found, row: str, place: str) -> list[tuple[float, Reliability]]:
    bins = select(found.results.reliability, row=row, place=place)
    diagrams = []
    for seed in np.unique(found.runs(row)["seed"]):
        of_run = select(bins, seed=seed)
        for temperature in np.unique(of_run["temperature"]):
            one = select(of_run, temperature=temperature)
            diagram = Reliability(one["pixels"], one["predicted"], one["observed"])
            diagrams.append((float(temperature), diagram))
    return diagrams


def _threshold_line(
    found: Found, row: str, place: str, flats: Sequence[Plateau], curves: Sequence[Curve]
) -> Line:
    scores = {
        "Dice, chosen": "dice_at_chosen", "Dice at 0.4": "dice_at_0.4", "Dice at 0.5": "dice",
        "Dice at 0.9": "dice_at_0.9", "IoU at 0.4": "iou_at_0.4", "IoU at 0.5": "iou",
        "IoU at 0.9": "iou_at_0.9",
    }  # fmt: skip
    tables = {name: found.table(row, place, score) for name, score in scores.items()}
    chosen = found.runs(row)["threshold"]
    best, width = (float(np.mean([getattr(f, name) for f in flats])) for name in ("best", "width"))
    area = _mean([float(curve.y.mean()) for curve in curves])
    at, ends = np.array([f.at for f in flats]), np.array([(f.low, f.high) for f in flats])
    shown = (
        row, f"{best:.4f}", _span(at), _span(ends), f"{width:.2f}", f"{area:.4f}",
        _span(chosen),
        *(_shown(mean_of(each)) for each in tables.values()),
    )  # fmt: skip
    values = {"row": row, "best_dice": best, "plateau_width": width, "area": area}
    for name, where in (("best_threshold", at), ("plateau", ends)):
        values |= {f"{name}_lowest": float(where.min()), f"{name}_highest": float(where.max())}
    for name, each in tables.items():
        values |= values_of(each, name)
    return Line(shown, values, "apart" if row.endswith(STAND_IN) else "")


def _certainty_line(found: Found, row: str, place: str) -> Line:
    tables = {name: found.table(row, place, score) for name, score in CERTAINTY.items()}
    temperatures = found.runs(row)["temperature"]
    shown = (row, *(_shown(mean_of(each)) for each in tables.values()), _span(temperatures))
    values: dict[str, object] = {"row": row}
    for name, each in tables.items():
        values |= values_of(each, name)
    values["temperature"] = float(temperatures.mean())
    return Line(shown, values, "apart" if row.endswith(STAND_IN) else "")


def _sorted(x: Array, y: Array) -> tuple[Array, Array]:
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _span(values: Array) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return NONE
    low, high = (f"{bound:.2f}" for bound in (known.min(), known.max()))
    return low if low == high else f"{low} to {high}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _shown(x: float) -> str:
    return NONE if math.isnan(x) else f"{x:.4f}"
