"""Of the report: how often trainings collapse, and what a failed run looks like."""

from __future__ import annotations

import math

from ehtseg.records import Array
from ehtseg.reporting.document import Block, Line, Picture, Section, Tone, table
from ehtseg.reporting.study_figures import Mark, forest
from ehtseg.study.designs import PRINTED
from ehtseg.study.found import Found
from ehtseg.study.levels import label
from ehtseg.study.plan import STAND_IN
from ehtseg.study.report_cells import NONE
from ehtseg.study.statistics import implied_sd
from ehtseg.study.verdicts import COLLAPSED, best_dice, collapse_rate

FAILED = PRINTED["U-Net", "BCE"]  # the row of 0.30


def collapse_section(found: Found) -> list[Section]:
    """Collapse rate of every row, and what collapsed runs look like."""
    rates = [(row, collapse_rate(found, [row])) for row in (*found.rows, *found.stand_ins)]
    known = [(row, rate) for row, rate in rates if rate is not None]
    if not known:
        return []
    lines, marks = [], []
    for row, rate in known:
        low, high = min(best_dice(found, row).values()), max(best_dice(found, row).values())
        count = round(rate.estimate * rate.units)
        interval = f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"
        dice = f"{low:.3f}" if rate.units == 1 else f"{low:.3f} to {high:.3f}"
        shown = (row, f"{count} of {rate.units}", interval, dice)
        values = {"row": row, "collapsed": count, "runs": rate.units, "low95": rate.low}
        values |= {"high95": rate.high, "lowest_dice": low, "highest_dice": high}
        lines.append(Line(shown, values, "apart" if row.endswith(STAND_IN) else ""))
        marks.append(Mark(row, 100 * rate.estimate, 100 * rate.low, 100 * rate.high))
    note = (
        f"A run has collapsed where its Dice stays below {COLLAPSED} at every threshold, on the "
        "test frames of the folder of its training. Interval after Wilson."
    )
    columns = ("row", "collapsed", "95 % interval", "Dice at best threshold, runs")
    blocks: list[Block] = [*table("collapse", "Collapsed runs", columns, lines, note)]
    if any(rate.estimate > 0 for _, rate in known):
        title = "Share of collapsed runs, with Wilson's interval"
        blocks.append(Picture("collapse", title, forest(marks, "collapsed runs (%)")))
    return [Section("Collapse", (*blocks, *_by_level(found), *_failures(found)))]


def _by_level(found: Found) -> tuple[Block, ...]:
    """Collapse rates of each level over all rows that have it, where rows are a full cross."""
    if len(found.rows) != math.prod(map(len, found.study.factors.values())):
        return ()
    lines = []
    for factor, levels in found.study.factors.items():
        for level in levels:
            rows = [label(row) for row in found.study.rows if level in row]
            rate = collapse_rate(found, rows)
            if rate is not None:
                count, span = round(rate.estimate * rate.units), f"{100 * rate.low:.0f}"
                shown = (level, f"{count} of {rate.units}", f"{span} to {100 * rate.high:.0f} %")
                values = {"factor": factor, "level": level, "collapsed": count}
                values |= {"runs": rate.units, "low95": rate.low, "high95": rate.high}
                lines.append(Line(shown, values))
    columns = ("level", "collapsed", "95 % interval")
    return table("collapse_by_level", "Collapsed runs by level", columns, lines)


def _failures(found: Found) -> tuple[Block, ...]:
    """What collapsed runs print, and what failures do that are made from the true masks alone.

    Source of the ways to fail: docs/protocol.md, 1.
    """
    own = next((place for place in found.places if found.is_own(place)), "")
    rows = (*found.rows, *found.stand_ins)
    lines = []
    for row in rows:
        images = found.images(row, own)
        for seed, dice in best_dice(found, row).items():
            if dice < COLLAPSED:
                one = {name: images[name][images["seed"] == seed] for name in images}
                lines.append(_line(f"{row}, seed {seed}", _signature(one)))
    asked = any(row[0] == "U-Net" and "BCE" in row for row in found.study.rows)
    masks = found.images(rows[0], own) if rows and asked else {}
    if len(masks.get("tp", ())):
        made = _on_purpose(_shares(masks))
        lines += [_line(name, each, "opponent") for name, each in made.items()]
        lines.append(_line("the paper's row", (*FAILED, math.nan, math.nan), "apart"))
    columns = ("what", "Dice", "IoU", "IoU above D/(2-D)", "predicted tissue", "true tissue")
    note = (
        "At threshold 0.5, means over images; grey: what a failure of that kind gives on the true "
        "masks of this place. If everything was called tissue in the paper's row, its tissue "
        f"covers {100 * FAILED[1]:.0f} % of a frame, and its Dice differs between frames by an SD "
        f"of {implied_sd(*FAILED):.2f}; frames of one film cover nearly the same share, so that "
        "here the gap stays near 0."
    )
    return table("failures", "What failed runs look like", columns, lines, note)


Signature = tuple[float, float, float, float]  # Dice, IoU, share predicted, share true


def _signature(images: dict[str, Array]) -> Signature:
    pixels = sum(float(images[name].sum()) for name in ("tp", "fp", "fn", "tn"))
    predicted = float(images["tp"].sum() + images["fp"].sum()) / pixels
    true = float(images["tp"].sum() + images["fn"].sum()) / pixels
    return float(images["dice"].mean()), float(images["iou"].mean()), predicted, true


def _shares(images: dict[str, Array]) -> Array:
    """The share of tissue in the true mask of each image (N,)."""
    tissue = images["tp"] + images["fn"]
    shares: Array = tissue / (tissue + images["fp"] + images["tn"])
    return shares


def _on_purpose(share_N: Array) -> dict[str, Signature]:
    """Failures that need no network: what they print on masks that cover such shares.

    >>> import numpy as np
    >>> found = _on_purpose(np.array([0.2, 0.2]))["everything is tissue"]
    >>> [round(x, 3) for x in found]
    [0.333, 0.2, 1.0, 0.2]
    """
    p, true = share_N, float(share_N.mean())
    rate = true  # the same probability everywhere, scored without a threshold
    return {
        "everything is tissue": (float((2 * p / (1 + p)).mean()), true, 1.0, true),
        "nothing is tissue": (0.0, 0.0, 0.0, true),
        "its share everywhere, soft Dice": (
            float((2 * rate * p / (rate + p)).mean()),
            float((rate * p / (rate + p - rate * p)).mean()),
            rate,
            true,
        ),
        "right, but masks of 0 and 255 scored as numbers": (2 * 255 / 256, 255.0, true, true),
    }


def _line(name: str, found: Signature, tone: Tone = "") -> Line:
    dice, iou, predicted, true = found
    gap = iou - dice / (2 - dice)
    shares = (f"{100 * x:.0f} %" if math.isfinite(x) else NONE for x in (predicted, true))
    shown = (name, f"{dice:.4f}", f"{iou:.4f}", f"{gap:+z.4f}", *shares)
    values = {"what": name, "dice": dice, "iou": iou, "gap": gap}
    values |= {"share_predicted": predicted, "share_true": true}
    return Line(shown, values, tone)
