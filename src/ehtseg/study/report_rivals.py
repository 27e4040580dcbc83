"""The rivals in the report: who is ahead at each place, and what each network costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ehtseg.reporting.document import Block, Line, Points, Section, table
from ehtseg.study.found import Found
from ehtseg.study.prices import read_prices
from ehtseg.study.published import NOT_FOLLOWED
from ehtseg.study.report_cells import NONE, slug
from ehtseg.study.rival_table import RivalRow, rival_table

STARTS = {"ImageNet": "ImageNet weights", "random": "random weights"}
COLUMNS = (
    "row", "starts from", "seeds", "Dice", "IoU", "HD95 px", "jitter %", "parameters", "GMAC",
    "trained images/s", "segmented frames/s", "peak MB, segmenting", "peak MB, training",
)  # fmt: skip
NOTE = (
    "Means over seeds and recordings, threshold 0.5. Jitter: root mean square of the change of "
    "predicted over true area from a frame to the next. GMAC: thousand million multiply-adds of "
    "one frame at the working size. Rates and memory are those of prices.csv: one process a row, "
    "on the machine that measured them. Rows that start from ImageNet weights and rows that start "
    "from random ones are not compared with each other."
)


def rival_sections(found: Found, folder: Path) -> list[Section]:
    """One table a place; none for other studies. Costs are read from prices.csv in `folder`."""
    if not is_of_rivals(found):
        return []
    rows = rival_table(found.results, read_prices(folder))
    blocks: list[Block] = []
    for place in found.places:
        lines = [_line(row) for row in rows if row.place == place]
        blocks += table(f"rivals_{slug(place)}", f"The rivals, {place}", COLUMNS, lines, NOTE)
    blocks.append(
        Points(tuple(f"Not as published, {n}: {said}" for n, said in NOT_FOLLOWED.items()))
    )
    return [Section("What each network finds, and what it costs", tuple(blocks))] if rows else []


def rivals_in_short(found: Found) -> tuple[str, ...]:
    """The sentences of `winners`, other recordings first; none for other studies."""
    if not is_of_rivals(found):
        return ()
    rows = rival_table(found.results, {})
    order = sorted(found.places, key=found.is_own)
    return winners([row for place in order for row in rows if row.place == place])


def is_of_rivals(found: Found) -> bool:
    """Whether a study compares the rivals."""
    return found.study.name.startswith("rivals")


def winners(rows: Sequence[RivalRow]) -> tuple[str, ...]:
    """Who has the highest mean Dice at each place, apart for each start, in sentences.

    `rows` are in the order of `rival_table`, place by place.
    """
    said = []
    for (place, start), group in groupby(rows, key=lambda row: (row.place, row.weights)):
        first, *others = group
        beside = f", before {others[0].row} ({others[0].dice:.4f})" if others else ""
        said.append(
            f"{place}, from {STARTS[start]}: highest mean Dice {first.dice:.4f} by "
            f"{first.row}{beside}."
        )
    return tuple(said)


def _line(row: RivalRow) -> Line:
    price = row.price
    costs: tuple[float | int | None, ...] = (None,) * 6
    if price is not None:
        costs = (
            price.parameters, price.gmacs, price.train_images_per_s, price.segment_frames_per_s,
            price.peak_segment_mb, price.peak_train_mb,
        )  # fmt: skip
    jitter = 100 * row.jitter
    shown = (
        row.row, row.weights, str(row.seeds), f"{row.dice:.4f}", f"{row.iou:.4f}",
        _number(row.hd95_px), _number(jitter), *map(_number, costs),
    )  # fmt: skip
    names = ("row", "weights", "seeds", "dice", "iou", "hd95_px", "jitter_percent", "parameters",
             "gmacs", "train_images_per_s", "segment_frames_per_s", "peak_segment_mb",
             "peak_train_mb")  # fmt: skip
    exact = (row.row, row.weights, row.seeds, row.dice, row.iou, row.hd95_px, jitter, *costs)
    return Line(shown, {k: "" if v is None else v for k, v in zip(names, exact, strict=True)})


def _number(value: float | int | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
