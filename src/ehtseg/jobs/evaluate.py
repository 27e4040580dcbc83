"""A trained network scored on labelled frames, and the page of it.

report.html beside the tables of learning/score_sheets.py: the network beside its opponents, the
frames that it segments worst with both outlines, Dice against threshold, reliability. It needs no
other file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.learning import evaluate as scoring
from ehtseg.learning.baselines import BASELINES
from ehtseg.learning.score_sheets import NET, PRIMARY, Evaluation, write_files
from ehtseg.reading.dataset import Dataset
from ehtseg.records import Array, UserError, written_whole
from ehtseg.reporting.document import Block, Document, Line, Picture, Points, Section, Table, table
from ehtseg.reporting.outlines import Outlined, outlined, outlines
from ehtseg.reporting.study_figures import (
    Curve,
    distributions,
    in_style,
    reliability_panels,
    threshold_panels,
)
from ehtseg.reporting.study_page import figures_of, html
from ehtseg.seeing.run_folder import RunFolder, open_run
from ehtseg.study.found import OPPONENTS
from ehtseg.study.intervals import Interval, interval
from ehtseg.study.report_pixels import plateau

WORST = 7  # frames that are shown, beside the best one
MOST_GROUPS = 12  # recordings that are drawn apart
NETWORK = "the network"
COLUMNS = {
    "Dice": "dice", "IoU": "iou", "HD95 (px)": "hd95_px", "ASSD (px)": "assd_px",
    "NSD at 2 px": "nsd_2px", "boundary IoU": "boundary_iou",
}  # fmt: skip


def evaluate(
    run: RunFolder | Path,
    dataset: Dataset,
    split: str = "test",
    out: Path | None = None,
    *,
    cleaned: bool = False,
    beside: Mapping[str, Path] = scoring.NOBODY,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Evaluation:
    """`learning.evaluate`; with `out` also the files of score_sheets.py and report.html there.

    Raises: UserError as `learning.evaluate`, and for an `out` that cannot be a folder.
    """
    run = open_run(run) if isinstance(run, Path) else run
    _check_out(out)
    seen = Extremes()
    watch = seen.note if out is not None else None
    found = scoring.evaluate(
        run, dataset, split, cleaned=cleaned, beside=beside, progress=progress, watch=watch
    )
    if out is not None:
        write_files(found, out)
        write_page(found, f"{run.recipe.net.name} ({run.path.name})", seen, out)
    return found


def write_page(found: Evaluation, name: str, seen: Extremes, out: Path) -> None:
    """report.html in a folder.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    with in_style():
        document = document_of(found, name, seen)
    page = html(document, figures_of(document))
    with written_whole(out / "report.html") as beside:
        beside.write_text(page, encoding="utf-8")


Kept = tuple[float, int, Outlined]  # Dice, which frame it was, and how it looks


@dataclass
class Extremes:
    """The frames that a network segments worst, and the best one, small enough to be kept.

    Frames of one film are near copies: of several recordings the worst one of each comes first.
    """

    worst: dict[str, list[Kept]] = field(default_factory=dict)  # by recording
    best: Kept | None = None
    count: int = 0

    def note(self, row: dict[str, Any], image: Array, truth: Array, probability: Array) -> None:
        """Keep a scored frame if it is one of them; `row` is its line of scores.csv."""
        self.count += 1
        of_film = self.worst.setdefault(row["recording"], [])
        is_worst = len(of_film) < WORST or row["dice"] < of_film[-1][0]
        is_best = self.best is None or row["dice"] > self.best[0]
        if is_worst or is_best:
            kept = row["dice"], self.count, _outlined(row, image, truth, probability)
            self.best = kept if is_best else self.best
            if is_worst:
                self.worst[row["recording"]] = sorted([*of_film, kept], key=_place)[:WORST]
                films = sorted(self.worst, key=lambda name: _place(self.worst[name][0]))
                self.worst = {name: self.worst[name] for name in films[:WORST]}

    def pictures(self) -> list[Outlined]:
        """By rising Dice; the best frame last."""
        turns = zip_longest(*self.worst.values())
        chosen = [kept for turn in turns for kept in turn if kept][:WORST]
        chosen.sort(key=_place)
        known = {number for _, number, _ in chosen}
        spare = [self.best] if self.best and self.best[1] not in known else []
        return [shown for *_, shown in (*chosen, *spare)]


def document_of(found: Evaluation, name: str, seen: Extremes) -> Document:
    """What the page of an evaluation says."""
    frames, recordings = (found.summary[key] for key in ("images", "recordings"))
    note = (
        "Vermilion: the outline as labelled; blue: as found, at the threshold 0.5. By rising Dice, "
        "of several recordings each once before one comes again; last the frame with the highest."
    )
    pictures = outlines(seen.pictures())
    worst = Picture("worst", "Outlines, as labelled and as found", pictures, note)
    sections = (
        Section("In short", (Points(tuple(_in_short(found))),)),
        Section("Scores", (*_scores(found), *_spread(found))),
        Section("The frames with the lowest Dice", (worst,)),
        Section("Thresholds and probabilities", tuple(_probabilities(found))),
    )
    of = f"{frames} frames of {recordings} recording{'s' * (recordings != 1)}"
    return Document(f"Scores of {name}", f"The set “{found.split}”: {of}.", sections)


def _in_short(found: Evaluation) -> list[str]:
    models, chosen = found.summary["models"], found.summary["threshold_chosen"]
    net, recordings = models[NET], found.summary["recordings"]
    own = _of_recordings(found, NET)
    said = [
        f"Dice {net['per_image']['dice']:.4f} and IoU {net['per_image']['iou']:.4f} in the mean of "
        f"all frames, {own.estimate:.4f}{_range(own)} in the mean of the recordings; with the "
        f"threshold of the run, {chosen:g}, Dice {net['per_image']['dice_at_chosen']:.4f}."
    ]
    if recordings == 1:
        said.append("One recording: nothing is told of others.")
    without = [name for name in models if name in BASELINES]
    if without:
        best = max(without, key=lambda name: models[name]["per_image"]["dice"])
        gap = _of_recordings(found, NET, best)
        said.append(
            f"Without a network best: the {OPPONENTS.get(best, best)}, Dice "
            f"{models[best]['per_image']['dice']:.4f}. The network minus it, in the mean of the "
            f"recordings: {gap.estimate:+z.4f}{_range(gap)}."
        )
    beside = [_beside(found, name) for name in models if name not in (NET, *BASELINES)]
    said += beside
    if len(beside) > 1 and recordings > 1:
        said.append("These intervals are not corrected for how many they are.")
    worst = net["worst"]
    said.append(f"The lowest Dice is {worst['dice']:.4f}, of {worst['image']}.")
    return [*said, *found.warnings, found.summary["empty_rule"]]


def _beside(found: Evaluation, name: str) -> str:
    """What another one reached on the same frames, and how far the network is from it."""
    gap = _of_recordings(found, NET, name)
    return (
        f"Beside it {name}: Dice {found.summary['models'][name]['per_image']['dice']:.4f} in the "
        f"mean of all frames. The network minus it, in the mean of the recordings: "
        f"{gap.estimate:+z.4f}{_range(gap)}."
    )


def _of_recordings(found: Evaluation, model: str, minus: str = "") -> Interval:
    """Mean Dice over recordings, or that of its difference from another model."""
    rows = found.tables["recordings.csv"]
    values = {
        name: np.array([row["dice"] for row in rows if row["model"] == name])
        for name in (model, minus)
    }
    return interval((values[model] - (values[minus] if minus else 0))[:, None])


def _range(known: Interval) -> str:
    if np.isnan(known.low):
        return ""
    return f" (95 % interval {known.low:z.4f} to {known.high:z.4f})"


def _scores(found: Evaluation) -> tuple[Table, ...]:
    models = found.summary["models"]
    lines = []
    for name, model in models.items():
        known = _of_recordings(found, name)
        scores = [model["per_image"].get(column, np.nan) for column in COLUMNS.values()]
        digits = [2 if "px)" in column else 4 for column in COLUMNS]
        shown = (f"{score:.{n}f}" for score, n in zip(scores, digits, strict=True))
        of_recordings = f"{known.estimate:.4f}{_range(known)}"
        row = (_named(name), *shown, of_recordings, f"{model['pooled']['dice']:.4f}")
        lines.append(Line(row, {"model": name}, "" if name == NET else "opponent"))
    columns = ("", *COLUMNS, "Dice, mean of recordings", "Dice, all pixels together")
    note = (
        f"Means over the frames, at the threshold {PRIMARY:g}, but for the last two columns. "
        "HD95, ASSD and NSD are distances of outlines. Intervals of 95 % speak of other recordings "
        "like these. scores.csv and baselines.csv have every frame, recordings.csv every recording."
    )
    return table("scores", "The network, and what it is compared with", columns, lines, note)


def _spread(found: Evaluation) -> list[Block]:
    """Dice of every frame, recording by recording where these are few."""
    rows = [{**row, "model": NET} for row in found.tables["scores.csv"]]
    apart = found.summary["recordings"] <= MOST_GROUPS
    groups: dict[str, list[float]] = {}
    tones = {}
    for row in [*rows, *found.tables["baselines.csv"]]:
        words = f"{_named(row['model'])}{', ' + row['recording'] if apart else ''}"
        groups.setdefault(words, []).append(row["dice"])
        tones[words] = "" if row["model"] == NET else "opponent"
    values = {words: np.array(dice) for words, dice in groups.items()}
    figure = distributions(values, tones, "Dice")  # type: ignore[arg-type]
    note = "Each dot is one frame; boxes hold the middle half, with the median."
    return [Picture("frames", "Dice of every frame", figure, note)]


def _probabilities(found: Evaluation) -> list[Block]:
    curve, bins = (_columns(found.tables[name]) for name in ("curve.csv", "reliability.csv"))
    flat = plateau(curve["threshold"], curve["dice"])
    chosen = found.summary["threshold_chosen"]
    dice = {NETWORK: [Curve(curve["threshold"], curve["dice"])]}
    shown = threshold_panels(dice, {NETWORK: [(flat.low, flat.high)]}, {NETWORK: [chosen]})
    observed = {NETWORK: [Curve(bins["predicted"], bins["observed"])]}
    return [
        Picture(
            "thresholds", "Mean Dice against threshold", shown,
            "Shaded: thresholds at which Dice lies within 0.005 of its best; tick: the run's own.",
        ),
        Picture(
            "reliability", "Share of tissue against predicted probability",
            reliability_panels(observed),
            "Up to 15 bins of equally many pixels; on the line probabilities mean what they say.",
        ),
    ]  # fmt: skip


def _columns(rows: list[dict[str, Any]]) -> dict[str, Array]:
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}


def _named(model: str) -> str:
    return NETWORK if model == NET else OPPONENTS.get(model, model)


def _place(kept: Kept) -> tuple[float, int]:
    return kept[:2]


def _outlined(row: dict[str, Any], image: Array, truth: Array, probability: Array) -> Outlined:
    scores = f"Dice {row['dice']:.3f}, HD95 {row['hd95_px']:.1f} px"
    title = f"{row['image']} of {row['recording']}\n{scores}"
    return outlined(title, image, truth, probability >= PRIMARY)


def _check_out(out: Path | None) -> None:
    """Refuse an output folder that cannot be made, before any work.

    Raises: UserError where `out` or a folder above it is a file.
    """
    for path in (out, *out.parents) if out else ():
        if path.exists() and not path.is_dir():
            raise UserError(f"a folder at {out}", f"the file {path}", "Choose another --out.")
