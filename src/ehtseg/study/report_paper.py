"""The paper's printed table beside ours, and whether its order comes out again."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ehtseg.reporting.document import Line, Section, table
from ehtseg.study.designs import PRINTED
from ehtseg.study.found import OPPONENTS, Found
from ehtseg.study.levels import Row, label
from ehtseg.study.opponents import opponent_of, standing
from ehtseg.study.plan import STAND_IN
from ehtseg.study.report_cells import (
    NONE,
    held_cell,
    mean_of,
    score_cell,
    short_cell,
    values_of,
)
from ehtseg.study.report_scores import shown_note
from ehtseg.study.statistics import implied_sd

FEW = 4  # rows below which their order says nothing


def paper_in_short(found: Found) -> list[str]:
    """Whether the printed order comes out again, place by place; nothing for other designs."""
    rows = [row for row in found.study.rows if row in PRINTED and label(row) in found.rows]
    if len(rows) < FEW:
        return []
    printed = [PRINTED[row][0] for row in rows]
    lowest = min(rows, key=lambda row: PRINTED[row][0])
    told, orders = [], []
    for place in found.places:
        scores = [mean_of(found.table(label(row), place)) for row in rows]
        told.append(f"{scores[rows.index(lowest)]:.4f} ({place})")
        if np.ptp(scores) > 0:
            order = stats.spearmanr(printed, scores).statistic
            orders.append(f"{order:+.2f} ({place})")
    return [
        f"The paper's lowest row{_of_those_run(lowest)}, {label(lowest)}, Dice {min(printed):.4f}, "
        f"has here {', '.join(told)}. Rank correlation of our Dice with the printed one over the "
        f"{len(rows)} rows that were run: {', '.join(orders) or NONE}; 1 is the paper's order. "
        "It describes these trainings and decides nothing."
    ]


def _of_those_run(lowest: Row) -> str:
    is_lowest = PRINTED[lowest] == min(PRINTED.values())
    return "" if is_lowest else " of those that were run"


def paper_section(found: Found) -> list[Section]:
    """The paper's printed table beside ours; nothing where a design has none of its rows."""
    printed = [label(row) for row in found.study.rows if row in PRINTED]
    if not printed or not found.places:
        return []
    notes = (
        "The paper prints one number a row, of 100 test frames, without seeds or intervals, and "
        "does not say whether these frames come from films that it trained on. Its images are not "
        "public: its absolute values can be neither confirmed nor refuted here; how its rows "
        "differ from each other can be looked at again.",
        "SD of Dice: what the printed pair of Dice and IoU gives away about the spread between "
        "images, if both are means over images (IoU is a convex function of Dice).",
    )
    own = found.places[0]
    columns = (
        "row", "Dice, paper", "IoU, paper", "SD of Dice, paper", f"Dice, {own}", f"IoU, {own}",
        *(f"Dice, {place}" for place in found.places[1:]), f"minus mean mask, {own}",
    )  # fmt: skip
    lines = [_line(found, row) for row in printed]
    lines += opponent_lines(found, _run(found, printed), width=4)
    stand_ins = [
        _without_paper(_line(found, row + STAND_IN))
        for row in printed
        if row + STAND_IN in found.stand_ins
    ]
    apart = table(
        "paper_random_weights",
        "Rows run from random weights, because the ImageNet weights could not be had",
        (columns[0], *columns[4:]),
        stand_ins,
        "They stand in for no printed row and take part in no comparison with ImageNet weights.",
    )
    main = table("paper", "The paper's table, and ours", columns, lines, shown_note(found))
    return [Section("The paper's table beside ours", (*notes, *main, *apart))]


def _without_paper(line: Line) -> Line:
    """A line less what the paper prints, which is of another start."""
    values = {name: x for name, x in line.values.items() if not name.endswith("_paper")}
    return Line((line.shown[0], *line.shown[4:]), values)


def opponent_lines(found: Found, rows: Sequence[str], width: int) -> list[Line]:
    """Opponents of these rows at every place, after `width` columns that they have no part in."""
    lines = []
    for model, name in OPPONENTS.items():
        tables = [opponent_of(found, rows, place, model) for place in found.places]
        iou_here = opponent_of(found, rows, found.places[0], model, "iou")
        if any(each is not None for each in tables):
            first, *others = [score_cell(each) for each in tables]
            values = {f"dice, {p}": mean_of(t) for p, t in zip(found.places, tables, strict=True)}
            shown = (name, *[NONE] * (width - 1), first, short_cell(iou_here, "IoU"), *others, NONE)
            lines.append(Line(shown, {"row": name, **values}, "opponent"))
    return lines


def _run(found: Found, rows: Sequence[str]) -> list[str]:
    return [row for row in rows if row in found.rows]


def _line(found: Found, row: str) -> Line:
    own = found.places[0]
    printed = PRINTED[tuple(row.removesuffix(STAND_IN).split(", "))]
    tables = [found.table(row, place) for place in found.places]
    held = standing(found, row, own)
    missing = "random\nweights, below" if row + STAND_IN in found.stand_ins else "not run"
    told = held_cell(held.gaps.get("mean_mask"), held.shown) if tables[0] is not None else missing
    first, *others = [score_cell(each) for each in tables]
    iou_here = found.table(row, own, "iou")
    values = {"row": row, "dice_paper": printed[0], "iou_paper": printed[1]}
    values |= {"sd_paper": implied_sd(*printed)}
    values |= values_of(iou_here, f"iou, {own}")
    for place, each in zip(found.places, tables, strict=True):
        values |= values_of(each, f"dice, {place}")
    paper = (row, *(f"{score:.4f}" for score in printed), f"{implied_sd(*printed):.3f}")
    ours = (first, short_cell(iou_here, "IoU"), *others)
    return Line((*paper, *ours, told), {**values, "shown": told})
