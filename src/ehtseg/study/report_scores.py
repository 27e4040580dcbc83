"""The scores of a study, place by place, beside those of opponents that have never seen a network.

Masks of different places follow different conventions, so that no two places are ever averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ehtseg.learning.scores import Counts, Score, dice, iou
from ehtseg.records import Array
from ehtseg.reporting.document import Block, Line, Picture, Section, Tone, table
from ehtseg.reporting.study_figures import distributions, forest
from ehtseg.study.found import OPPONENTS, Found
from ehtseg.study.opponents import Standing, opponent_of, standing
from ehtseg.study.report_cells import (
    BRACKETS,
    NONE,
    epoch_words,
    held_cell,
    mark_of,
    mean_of,
    score_cell,
    short_cell,
    slug,
    values_of,
)
from ehtseg.study.results import Columns, select
from ehtseg.study.statistics import (
    Averages,
    Table,
    averages,
    effective_count,
    lag_one,
)

MANY_FRAMES = 10  # of one recording, from which their correlation can be told
SHOWN = (
    "Threshold 0.5 unless another is named; images of a recording are averaged first, trainings "
    f"are repeats. {BRACKETS} Grey: opponents that have never seen a network. A row that "
    "does not beat a copied training mask has shown nothing; one that does not beat the threshold, "
    "no more than a line of code."
)


def shown_note(found: Found) -> str:
    """What the scores of a table are, and what a row has shown by them."""
    return f"The {epoch_words(found)}. {SHOWN}"


AVERAGED = (
    "The same scores averaged in three ways: over images, over recordings (their images first; the "
    "way of every other table), and of all pixels together, where large tissues count more. Means "
    "over trainings."
)


def place_sections(found: Found) -> list[Section]:
    """One section a place: scores, intervals, opponents, single images."""
    return [
        Section(f"Scores: {place}", tuple(_place_blocks(found, place))) for place in found.places
    ]


def _place_blocks(found: Found, place: str) -> list[Block]:
    rows, name = found.rows, slug(place)
    images = found.images(rows[0], place) if rows else found.images("", place)
    units = len(set(images[found.unit]))
    plural = "" if units == 1 else "s"
    about = f"{len(set(images['image']))} images, {units} independent {found.unit}{plural}. "
    about += (
        "Test frames of the folder that was trained on."
        if found.is_own(place)
        else "Never trained on."
    )
    blocks: list[Block] = [about, *_score_table(found, rows, place, f"scores_{name}")]
    blocks += _average_table(found, rows, place)
    marks = [mark_of(row, scores) for row in rows if (scores := found.table(row, place))]
    mean = math.nan
    for model, words in OPPONENTS.items():
        opponent = opponent_of(found, rows, place, model)
        if opponent is not None:
            marks.append(mark_of(words, opponent, "opponent"))
            mean = mean_of(opponent) if model == "mean_mask" else mean
    if marks:
        at = None if math.isnan(mean) else mean
        title = f"Dice with its interval, {place}"
        note = (
            "Line: 95 % interval over units; thin, where there is one unit: lowest to highest "
            "training. Ticks: trainings. Dashed: mean mask."
        )
        blocks.append(Picture(f"dice_{name}", title, forest(marks, "Dice", at), note))
        blocks.append(_distribution(found, place))
    apart = _score_table(found, found.stand_ins, place, f"scores_{name}_random_weights", apart=True)
    return [*blocks, *apart]


def _score_table(
    found: Found, rows: Sequence[str], place: str, name: str, apart: bool = False
) -> tuple[Block, ...]:
    scores = {
        "Dice": "dice", "IoU": "iou", "at chosen threshold": "dice_at_chosen",
        "best epoch": "dice_best", "HD95 (px)": "hd95_px", "ASSD (px)": "assd_px",
        "NSD at 2 px": "nsd_2px", "boundary IoU": "boundary_iou",
    }  # fmt: skip
    lines = []
    for row in rows:
        tables = {column: found.table(row, place, score) for column, score in scores.items()}
        lines.append(
            _score_line(row, tables, standing(found, row, place), "apart" if apart else "")
        )
    for model, opponent in () if apart else tuple(OPPONENTS.items()):
        tables = {
            column: opponent_of(found, rows, place, model, score)
            for column, score in scores.items()
        }
        if tables["Dice"] is not None:
            lines.append(_score_line(opponent, tables, None, "opponent"))
    columns = (
        "row", "trainings", *scores, "minus mean mask", "minus nearest mask", "minus threshold",
        "shown",
    )  # fmt: skip
    what = "Rows run from random weights, for want of ImageNet weights" if apart else "Scores"
    words = (columns[-1],)
    note = "" if apart else shown_note(found)
    return table(name, f"{what}: {place}", columns, lines, note, words)


def _score_line(
    name: str, tables: dict[str, Table | None], held: Standing | None, tone: Tone
) -> Line:
    dice_US = tables["Dice"].values if tables["Dice"] else np.empty((0, 0))
    cells = [NONE if tone == "opponent" else str(dice_US.shape[1])]
    cells += [
        score_cell(scores) if column in ("Dice", "IoU") else short_cell(scores, column)
        for column, scores in tables.items()
    ]
    values: dict[str, object] = {"row": name, "trainings": dice_US.shape[1]}
    for column, scores in tables.items():
        values |= values_of(scores, column)
    if held is None:
        return Line((name, *cells, *[NONE] * (len(OPPONENTS) + 1)), values, tone)
    gaps = {model: held.gaps.get(model) for model in OPPONENTS}
    values |= {f"minus_{model}": gap for model, gap in gaps.items()} | {"shown": held.shown}
    return Line((name, *cells, *map(held_cell, gaps.values()), held.words), values, tone)


def _average_table(found: Found, rows: Sequence[str], place: str) -> tuple[Block, ...]:
    """Dice and IoU per image, per recording and pooled, of rows and opponents."""
    groups = {row: found.images(row, place) for row in rows}
    groups |= {
        words: found.opponent_images(rows, place, model) for model, words in OPPONENTS.items()
    }
    lines = []
    for name, images in groups.items():
        if len(images["dice"]):
            tone: Tone = "opponent" if name in OPPONENTS.values() else ""
            lines.append(_average_line(name, images, tone))
    kinds = ("per image", "per recording", "pooled")
    columns = ("row", "images", "recordings", *(f"{s} {k}" for s in ("Dice", "IoU") for k in kinds))
    title = f"Averages: {place}"
    return table(f"averages_{slug(place)}", title, columns, lines, AVERAGED)


def _average_line(name: str, images: Columns, tone: Tone) -> Line:
    values: dict[str, object] = {"row": name}
    for word, score in (("dice", dice), ("iou", iou)):
        found = [_averages(select(images, key=key), score) for key in np.unique(images["key"])]
        values |= {"images": found[0].images, "recordings": found[0].recordings}
        for kind in ("per_image", "per_recording", "pooled"):
            values[f"{word}_{kind}"] = float(np.mean([getattr(each, kind) for each in found]))
    shown = (f"{x:.4f}" if isinstance(x, float) else str(x) for x in values.values())
    return Line(tuple(shown), values, tone)


def _averages(images: Columns, score: Score) -> Averages:
    counted = zip(*(images[name].tolist() for name in ("tp", "fp", "fn", "tn")), strict=True)
    counts = [Counts(*map(int, each)) for each in counted]
    return averages(counts, images["recording"].tolist(), score)


def _distribution(found: Found, place: str) -> Picture:
    groups: dict[str, Array] = {}
    tones: dict[str, Tone] = {}
    for row in found.rows:
        groups[row] = _by_image(found.images(row, place)["dice"], found.images(row, place)["image"])
    for model, words in OPPONENTS.items():
        scored = found.opponent_images(found.rows, place, model)
        if len(scored["dice"]):
            groups[words] = _by_image(scored["dice"], scored["image"])
            tones[words] = "opponent"
    groups = {name: values for name, values in groups.items() if len(values)}
    note = "A dot is an image, its Dice averaged over trainings; box: quartiles and median."
    title = f"Dice image by image, {place}"
    worth = _worth(found, place)
    figure = distributions(groups, tones, "Dice of single images")
    return Picture(f"images_{slug(place)}", title, figure, f"{note} {worth}".strip())


def _by_image(scores: Array, image: Array) -> Array:
    """The mean score of each image, by name, which in a film is the order in time."""
    return np.array([scores[image == name].mean() for name in np.unique(image)])


def _worth(found: Found, place: str) -> str:
    """What the frames of a film are worth, over the rows."""
    if found.unit != "recording":
        return ""
    worths, frames = [], 0
    for row in found.rows:
        images = found.images(row, place)
        for name in np.unique(images["recording"]):
            one = images["recording"] == name
            series = _by_image(images["dice"][one], images["image"][one])
            if len(series) >= MANY_FRAMES:
                frames = len(series)
                worths.append(effective_count(frames, lag_one(series.tolist())))
    if not worths:
        return ""
    return (
        f"By the correlation of neighbouring frames, the {frames} frames of a recording are "
        f"worth {min(worths):.0f} to {max(worths):.0f} independent ones, row by row."
    )
