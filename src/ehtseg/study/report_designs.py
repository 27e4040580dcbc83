"""What single designs are about: depth of transfer, number of labels, leakage of a split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from ehtseg.reporting.document import Block, Line, Picture, Section, table
from ehtseg.reporting.study_figures import Mark, lines
from ehtseg.study.found import OPPONENTS, Found
from ehtseg.study.intervals import Interval, interval
from ehtseg.study.levels import STAGES, Row, label
from ehtseg.study.report_cells import BRACKETS, NONE, mark_of, score_cell, slug
from ehtseg.study.statistics import Table
from ehtseg.study.verdicts import compared_over, unseen
from ehtseg.study.words import say_gap, say_interval

NO_STAGE = "no stage"
RANDOM, BLOCKS = "random frames", "time blocks"


def level_sections(found: Found) -> list[Section]:
    """The sections that a design asks for by its levels; none for the others."""
    return [*_depth(found), *_labels(found), *_leakage(found)]


def series_of(found: Found, place: str, levels: Sequence[str]) -> dict[str, list[Mark]]:
    """Dice over the levels of a factor, one series for each combination of the other levels."""
    series: dict[str, list[Mark]] = {}
    for row in found.study.rows:
        level = next((each for each in row if each in levels), None)
        scores = found.table(label(row), place)
        if level is not None and scores is not None:
            name = label(tuple(each for each in row if each != level))
            series.setdefault(name, []).append(mark_of(level, scores))
    for marks in series.values():
        marks.sort(key=lambda mark: levels.index(mark.label))
    return series


def _depth(found: Found) -> list[Section]:
    """Dice against the number of stages that are transferred, and of those also frozen."""
    if not any(NO_STAGE in row for row in found.study.rows):
        return []
    blocks: list[Block] = []
    levels = [str(k) for k in (0, *STAGES)]
    for place in found.places:
        series = {
            "transferred": _stages(found, place, ""),
            "transferred and frozen": _stages(found, place, ", frozen"),
        }
        series = {name: marks for name, marks in series.items() if marks}
        if series:
            blocks += _drawn(
                f"depth_{slug(place)}", f"Depth of transfer, {place}", levels, series,
                "encoder stages from ImageNet",
            )  # fmt: skip
    return [Section("Depth of transfer", tuple(blocks))] if blocks else []


def depth_in_short(found: Found) -> list[str]:
    """What each depth of transfer adds in recordings never trained on; none for other designs."""
    if not any(NO_STAGE in row for row in found.study.rows):
        return []
    gaps = []
    for k in STAGES:
        pair = label(("ResNet-50", f"stages to {k}")), label(("ResNet-50", NO_STAGE))
        compared = compared_over(found, pair, unseen(found), "dice")
        if compared is not None:
            gaps.append(f"{k}: {say_gap(compared)}")
    what = "Dice minus that of no stage over all recordings never trained on, by stages transferred"
    return [f"{what}: {'; '.join(gaps)}."] if gaps else []


def _stages(found: Found, place: str, suffix: str) -> list[Mark]:
    marks = []
    for k in (0, *STAGES):
        level = f"stages to {k}{suffix}" if k else NO_STAGE
        rows = [row for row in found.study.rows if level in row]
        scores = found.table(label(rows[0]), place) if rows else None
        if scores is not None:
            marks.append(mark_of(str(k), scores))
    return marks


def _labels(found: Found) -> list[Section]:
    """Dice against the number of labelled frames, opponents with the same frames beside it."""
    counts = [each for each in found.study.factors.get("labels", ()) if each.endswith("labels")]
    blocks: list[Block] = []
    for place in found.places if counts else ():
        series = series_of(found, place, counts)
        if series:
            series |= _opponents_over(found, place, counts)
            title = f"Dice against labelled frames, {place}"
            blocks += _drawn(f"labels_{slug(place)}", title, counts, series, "labelled frames")
    return [Section("Label efficiency", tuple(blocks))] if blocks else []


def _opponents_over(found: Found, place: str, levels: Sequence[str]) -> dict[str, list[Mark]]:
    """Opponents fitted on the frames of the first row that has each level."""
    series: dict[str, list[Mark]] = {}
    for model in ("mean_mask", "nearest_mask"):
        marks = []
        for level in levels:
            rows = [r for r in map(label, found.study.rows) if level in r.split(", ")]
            row = next((row for row in rows if row in found.rows), None)
            opponent = found.opponent(row, place, model) if row else None
            if opponent is not None:
                marks.append(mark_of(level, opponent, "opponent"))
        if marks:
            series[OPPONENTS[model]] = marks
    return series


def _drawn(
    name: str, title: str, levels: Sequence[str], series: dict[str, list[Mark]], x_label: str
) -> list[Block]:
    """The same numbers as lines and as a table."""
    rows = []
    for each, marks in series.items():
        known = {mark.label: mark for mark in marks}
        cells = [_cell(known[level]) if level in known else NONE for level in levels]
        values: dict[str, object] = {"series": each}
        for mark in marks:
            values |= {
                mark.label: mark.estimate, f"{mark.label}_low95": mark.low,
                f"{mark.label}_high95": mark.high,
            }  # fmt: skip
        rows.append(Line((each, *cells), values, marks[0].tone))
    note = "Line: 95 % interval over units; where there is one unit, short ticks: trainings."
    figure = lines(levels, series, (x_label, "Dice"))
    found = table(name, f"{title}: {x_label}", ("series", *levels), rows, BRACKETS)
    return [Picture(name, title, figure, note), *found]


def _cell(mark: Mark) -> str:
    """A mark as a cell of a table."""
    low, high, brackets = mark.low, mark.high, "()"
    if math.isnan(low):
        if not mark.singles:
            return f"{mark.estimate:z.4f}"
        low, high, brackets = min(mark.singles), max(mark.singles), "[]"
    return f"{mark.estimate:z.4f}\n{brackets[0]}{low:z.4f} to {high:z.4f}{brackets[1]}"


def leakage_in_short(found: Found) -> list[str]:
    """The leakage of each network in a sentence; none for designs that compare no splits."""
    said = []
    for network, rows in groupby(_leak_lines(found), key=lambda line: line.values["network"]):
        gaps = [f"that of {v['against']} {v['leakage']:+z.4f}" for v in (r.values for r in rows)]
        said.append(f"{network}: Dice on random frames of the film minus {', '.join(gaps)}.")
    return said


def _leakage(found: Found) -> list[Section]:
    """How much of a score is memory of the film: random frames minus what was never seen."""
    rows = _leak_lines(found)
    if not rows:
        return []
    note = (
        "Leakage: Dice on the test frames of the random split, minus Dice elsewhere by the same "
        "trainings (for the last block in time: by those of the split into blocks). Interval over "
        "recordings, or the range of trainings in square brackets, as in the tables of scores. "
        "Places follow different mask conventions, and none is averaged with another; what is lost "
        "there is therefore not memory alone. The last block in time has the masks of the film."
    )
    columns = ("network", "against", "Dice, random frames", "Dice there", "leakage")
    own = _own(found)
    levels = [f"{own}, {RANDOM}", f"{own}, {BLOCKS}", *unseen(found)]
    series = {label(_without(pair[0])): _steps(found, pair, own, levels) for pair in _splits(found)}
    series = {name: marks for name, marks in series.items() if marks}
    figure = lines(levels, series, ("where it was scored", "Dice"))
    blocks: list[Block] = [*table("leakage", "Leakage", columns, rows, note, ("against",))]
    blocks.append(Picture("leakage", "From the film's own frames to other recordings", figure))
    return [Section("Leakage", tuple(blocks))]


def _leak_lines(found: Found) -> list[Line]:
    own = _own(found)
    return [line for pair in _splits(found) for line in _leaks(found, pair, own)] if own else []


def _splits(found: Found) -> list[tuple[Row, Row]]:
    """Rows with random test frames, each with its twin of time blocks."""
    rows = [row for row in found.study.rows if RANDOM in row]
    return [(row, tuple(BLOCKS if each == RANDOM else each for each in row)) for row in rows]


def _own(found: Found) -> str:
    return next((place for place in found.places if found.is_own(place)), "")


def _leaks(found: Found, pair: tuple[Row, Row], own: str) -> list[Line]:
    """One line a place: what a network's score loses there."""
    at_home = found.table(label(pair[0]), own)
    if at_home is None:
        return []
    targets = [(f"{own}, {BLOCKS}", found.table(label(pair[1]), own))]
    targets += [(place, found.table(label(pair[0]), place)) for place in unseen(found)]
    return [
        _leak(label(_without(pair[0])), name, at_home, there)
        for name, there in targets
        if there is not None and set(there.seeds) & set(at_home.seeds)
    ]


def _leak(name: str, against: str, at_home: Table, there: Table) -> Line:
    seeds = [seed for seed in at_home.seeds if seed in there.seeds]
    chosen = [[each.seeds.index(seed) for seed in seeds] for each in (at_home, there)]
    gap_US = at_home.values.mean(axis=0)[chosen[0]] - there.values[:, chosen[1]]
    leak = Table(there.units, tuple(seeds), gap_US)
    known: Interval = interval(gap_US)
    shown = (name, against, score_cell(at_home), score_cell(there), score_cell(leak))
    values = {
        "network": name, "against": against, "dice_random_frames": float(at_home.values.mean()),
        "dice_there": float(there.values.mean()), "leakage": known.estimate, "low95": known.low,
        "high95": known.high, "units": known.units, "in words": say_interval(known),
    }  # fmt: skip
    return Line(shown, values)


def _steps(found: Found, pair: tuple[Row, Row], own: str, levels: Sequence[str]) -> list[Mark]:
    tables = [found.table(label(pair[0]), own), found.table(label(pair[1]), own)]
    tables += [found.table(label(pair[0]), place) for place in unseen(found)]
    both = zip(levels, tables, strict=True)
    return [mark_of(level, scores) for level, scores in both if scores is not None]


def _without(row: Row) -> Row:
    return tuple(level for level in row if level not in (RANDOM, BLOCKS))
