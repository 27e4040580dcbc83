"""Score sheets: one row an image and model, their means, and the files of an evaluation.

The threshold is 0.5 where none is named; "chosen" is that of the run folder.

scores.csv       one row an image: image, recording, set (train, validation, test, unused, "start":
                 seen by a network that the training started from, or "unseen" by the run), tp, fp,
                 fn, tn, dice, iou, hd95_px, assd_px, nsd_2px, boundary_iou, dice_at_chosen,
                 iou_at_chosen, ece, brier, nll, undecided (share of pixels with 0.1 < p < 0.9),
                 undecided_near_outline (the same within 5 px of the true outline; empty where there
                 is none)
baselines.csv    model (a baseline, or what was scored beside the network), then the columns of
                 scores.csv up to boundary_iou
recordings.csv   model ("net" or one of these), recording, images, then means over the images
curve.csv        threshold, dice and iou (means over images), dice_pooled, iou_pooled
reliability.csv  pixels, predicted, observed: bins of equally many pixels, by probability
summary.json     split, images, recordings, threshold_chosen, empty_rule, data_sha256 and run
                 (recipe_sha256, data_sha256, split_sha256, weights, weights_sha256, precision),
                 warnings (sentences), and for each of models ("net" and these):
                 per_image (means over images), per_recording (means of the recordings' means),
                 pooled (scores of all pixels together), worst (image, dice); "net" also has
                 pooled.ece and, where the run has a temperature, calibrated (temperature, ece, nll)
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.learning.baselines import BASELINES
from ehtseg.learning.calibration import (
    Tally,
    brier,
    ece,
    nll,
    nll_of,
    no_pixels,
    reliability,
    scaled,
    tally,
    undecided,
)
from ehtseg.learning.scores import (
    EMPTY_RULE,
    Counts,
    ImageCounts,
    Scored,
    check_pair,
    counts_at,
    dice,
    iou,
    per_image,
    pooled,
)
from ehtseg.learning.surfaces import (
    assd_px,
    boundary_iou,
    hd95_px,
    near_outline,
    nsd,
    outline_distances,
)
from ehtseg.records import Array, written_whole

Row = dict[str, Any]

PRIMARY = 0.5  # the threshold of every score that names no other
NET = "net"
PLACE = ("image", "recording", "set")
COUNTS = ("tp", "fp", "fn", "tn")
OVERLAP = ("dice", "iou", "hd95_px", "assd_px", "nsd_2px", "boundary_iou")
CERTAINTY = ("ece", "brier", "nll", "undecided", "undecided_near_outline")
SCORES = (*OVERLAP, "dice_at_chosen", "iou_at_chosen", *CERTAINTY)
COLUMNS = {
    "scores.csv": (*PLACE, *COUNTS, *SCORES),
    "baselines.csv": ("model", *PLACE, *COUNTS, *OVERLAP),
    "recordings.csv": ("model", "recording", "images", *SCORES),
    "curve.csv": ("threshold", "dice", "iou", "dice_pooled", "iou_pooled"),
    "reliability.csv": ("pixels", "predicted", "observed"),
}


@dataclass
class Sheet:
    """What is noted of one model, image by image; `chosen` is None for a baseline."""

    model: str
    chosen: float | None = None
    thresholds: tuple[float, ...] = (PRIMARY,)
    rows: list[Row] = field(default_factory=list)
    images: list[ImageCounts] = field(default_factory=list)
    pixels: Tally = field(default_factory=no_pixels)

    def note(
        self, place: Row, probability: Array, truth: Array, ignored: Array | None = None
    ) -> None:
        """Score one image, without the pixels that are `ignored`, where neither may be tissue.

        Raises: UserError for a prediction or a mask that `check_pair` refuses.
        """
        checked = check_pair(probability, truth, place["image"])
        kept = np.ones_like(truth) if ignored is None else ~ignored
        counts = counts_at(checked[kept], truth[kept], self.thresholds)
        self.images.append(ImageCounts(place["image"], place["recording"], counts))
        primary = counts[self.thresholds.index(PRIMARY)]
        row = {"model": self.model, **place, **overlap(primary, checked >= PRIMARY, truth)}
        if self.chosen is not None:
            chosen = counts[self.thresholds.index(self.chosen)]
            pixels = tally(checked[kept], truth[kept])
            row |= {"dice_at_chosen": dice(chosen), "iou_at_chosen": iou(chosen)}
            row |= certainty(checked, truth, pixels, kept)
            self.pixels += pixels
        self.rows.append(row)

    @property
    def scored(self) -> Scored:
        """The counts at every threshold."""
        return Scored(self.thresholds, tuple(self.images))


@dataclass(frozen=True)
class Evaluation:
    """Everything that an evaluation found; the doors print it, `write_files` writes it."""

    split: str
    summary: dict[str, Any]  # summary.json
    tables: dict[str, list[Row]]  # the rows of each CSV file, by its name

    @property
    def warnings(self) -> list[str]:
        """Sentences that belong beside the numbers."""
        return list(self.summary["warnings"])


def net_sheet(chosen: float, thresholds: Sequence[float]) -> Sheet:
    """An empty sheet for the network, counted at the thresholds, at 0.5 and at the chosen one."""
    return Sheet(NET, chosen, tuple(sorted({*thresholds, PRIMARY, chosen})))


def overlap(counts: Counts, prediction: Array, truth: Array) -> Row:
    """Counts, overlap and distances of one mask."""
    distances = outline_distances(prediction, truth)
    return {
        **asdict(counts),
        "dice": dice(counts),
        "iou": iou(counts),
        "hd95_px": hd95_px(distances),
        "assd_px": assd_px(distances),
        "nsd_2px": nsd(distances, 2.0),
        "boundary_iou": boundary_iou(prediction, truth),
    }


def certainty(probability: Array, truth: Array, pixels: Tally, kept: Array) -> Row:
    """Calibration and undecided pixels of one image; `pixels` is the tally of those `kept`."""
    p, t = probability[kept], truth[kept]
    if not p.size:
        return dict.fromkeys(CERTAINTY, math.nan)
    return {
        "ece": ece(pixels),
        "brier": brier(p, t),
        "nll": nll(p, t),
        "undecided": undecided(p),
        "undecided_near_outline": undecided(probability, near_outline(truth) & kept),
    }


def summarise(sheets: Sequence[Sheet], split: str, facts: Mapping[str, Any]) -> Evaluation:
    """The evaluation that the sheets amount to, the network's sheet first.

    `facts` are the keys of summary.json that are known before any image is seen, `warnings` and
    `temperature` (or None) among them.
    """
    net, *baselines = sheets
    recordings = {sheet.model: _recordings(sheet) for sheet in sheets}
    models = {sheet.model: _model(sheet, recordings[sheet.model]) for sheet in sheets}
    models[NET]["pooled"]["ece"] = ece(net.pixels)
    known = dict(facts)
    temperature = known.pop("temperature")
    if temperature is not None:
        mended = scaled(net.pixels, temperature)
        models[NET]["calibrated"] = {
            "temperature": temperature, "ece": ece(mended), "nll": nll_of(mended)
        }  # fmt: skip
    summary = {
        "split": split,
        "images": len(net.rows),
        "recordings": len(recordings[NET]),
        "threshold_chosen": net.chosen,
        "empty_rule": EMPTY_RULE,
        **known,
        "warnings": [*known["warnings"], *_shown_nothing(models)],
        "models": models,
    }
    tables = {
        "scores.csv": net.rows,
        "baselines.csv": [row for sheet in baselines for row in sheet.rows],
        "recordings.csv": [row for rows in recordings.values() for row in rows],
        "curve.csv": _curve(net.scored),
        "reliability.csv": _diagram(net.pixels),
    }
    return Evaluation(split, summary, tables)


def write_files(evaluation: Evaluation, out: Path) -> None:
    """Write the tables and summary.json into a folder, each file whole.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    for name, rows in evaluation.tables.items():
        with written_whole(out / name) as beside, open(beside, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS[name], extrasaction="ignore")
            writer.writeheader()
            writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    with written_whole(out / "summary.json") as beside:
        text = json.dumps(_plain(evaluation.summary), indent=1, allow_nan=False)
        beside.write_text(text + "\n", encoding="utf-8")


def means(rows: Sequence[Row]) -> Row:
    """The mean of every score over rows; NaN values do not count, and none gives NaN.

    >>> means([{"dice": 0.5, "ece": math.nan}, {"dice": 1.0, "ece": 0.1}])
    {'dice': 0.75, 'ece': 0.1}
    """
    found = {}
    for name in (name for name in SCORES if rows and name in rows[0]):
        values = [row[name] for row in rows if not math.isnan(row[name])]
        found[name] = math.fsum(values) / len(values) if values else math.nan
    return found


def _recordings(sheet: Sheet) -> list[Row]:
    names = dict.fromkeys(row["recording"] for row in sheet.rows)
    groups = {name: [row for row in sheet.rows if row["recording"] == name] for name in names}
    return [
        {"model": sheet.model, "recording": name, "images": len(rows), **means(rows)}
        for name, rows in groups.items()
    ]


def _model(sheet: Sheet, recordings: Sequence[Row]) -> Row:
    together: Row = {}
    for suffix, threshold in (("", PRIMARY), ("_at_chosen", sheet.chosen)):
        if threshold is not None:
            at = sheet.thresholds.index(threshold)
            together[f"dice{suffix}"] = float(pooled(sheet.scored, dice)[at])
            together[f"iou{suffix}"] = float(pooled(sheet.scored, iou)[at])
    worst = min(sheet.rows, key=lambda row: row["dice"])
    return {
        "per_image": means(sheet.rows),
        "per_recording": means(recordings),
        "pooled": together,
        "worst": {"image": worst["image"], "dice": worst["dice"]},
    }


def _shown_nothing(models: Mapping[str, Row]) -> list[str]:
    """A sentence where a baseline is as good as the network."""
    reached = {name: model["per_image"]["dice"] for name, model in models.items()}
    best = max(
        (name for name in reached if name in BASELINES), key=reached.__getitem__, default=NET
    )
    if best == NET or reached[NET] > reached[best]:
        return []
    return [
        f"The network (mean Dice {reached[NET]:.4f}) does not beat the baseline {best} "
        f"({reached[best]:.4f}): on these frames it has shown nothing."
    ]


def _curve(scored: Scored) -> list[Row]:
    columns = (
        scored.thresholds,
        per_image(scored, dice).mean(0).tolist(),
        per_image(scored, iou).mean(0).tolist(),
        pooled(scored, dice).tolist(),
        pooled(scored, iou).tolist(),
    )
    return [dict(zip(COLUMNS["curve.csv"], row, strict=True)) for row in zip(*columns, strict=True)]


def _diagram(pixels: Tally) -> list[Row]:
    diagram = reliability(pixels)
    columns = diagram.pixels.tolist(), diagram.predicted.tolist(), diagram.observed.tolist()
    names = COLUMNS["reliability.csv"]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _cell(value: Any) -> Any:
    """A value as it stands in a CSV file: six significant digits, NaN as nothing."""
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _plain(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value
