"""The tidy results of a study: CSV tables in one folder, the only thing that a report reads.

Every table but runs.csv has one row for each of what it names; `row` is the row of the study in
words, `key` the start of the hash of what was trained and on what, `place` the folder and the
frames that were scored ("eht_d1t3 test", "eht_mbpt all"). No table but timings.csv holds times;
none holds paths.

study.json       name, scale, command, seeds, versions and machine, sha256 of each data folder; the
                 design of a study that its user wrote in a file
runs.csv         one row a run: status (done, failed, skipped) with the reason; epochs and steps;
                 parameters and trainable ones; weights that the encoder started from; threshold
                 and temperature chosen on validation; best_epoch; baselines (the key of the run
                 "baselines" that was fitted on the same frames)
results.csv      one row a run, place, image and model ("net" or a baseline): pixel counts and
                 scores as score_sheets.py defines them, at 0.5 where no threshold is named, of the
                 last epoch; dice_best and iou_best are those of the best epoch on validation;
                 *_calibrated are after temperature scaling
curves.csv       one row an epoch: steps so far, loss, val_dice, val_iou
thresholds.csv   Dice and IoU at each threshold: means over the images of a place, and pooled
reliability.csv  bins of equally many pixels of a place, by probability; temperature 1 is the
                 network as it is
timings.csv      seconds of each run: training (without reading), scoring; the machine that made it
examples/        small pictures of one frame a place: its image, its true mask, and what each run of
                 the first seed sees there (probability, 0 to 255)
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.learning.score_sheets import CERTAINTY, COUNTS, OVERLAP
from ehtseg.records import Array, UserError, written_whole

Row = dict[str, str]  # a line of a table, as it stands in the file
Tables = dict[str, list[Row]]  # by file name
Columns = dict[str, Array]  # a table as arrays of equal length, by column

NET = "net"  # the model of the rows of a network
BASELINES = "baselines"  # the `row` of the run that fits and scores the trivial opponents
EXAMPLES = "examples"
AFTERWARDS = ("later", "later_when")  # what may be added to a design when there are results
KEY_CHARACTERS = 16  # of the hash that is a key
BOTH = ("dice", "iou")
AT = ("0.4", "0.9")  # thresholds reported beside 0.5 and the chosen one
CALIBRATED = tuple(f"{name}_calibrated" for name in CERTAINTY)

_RUN = ("study", "row", "key", "seed")
COLUMNS: dict[str, tuple[str, ...]] = {
    "results.csv": (
        *_RUN, "place", "recording", "image", "model", *COUNTS, *OVERLAP,
        "dice_at_chosen", "iou_at_chosen", *(f"{name}_at_{t}" for t in AT for name in BOTH),
        *CERTAINTY, *CALIBRATED, "dice_best", "iou_best",
    ),
    "curves.csv": (*_RUN, "epoch", "steps", "loss", "val_dice", "val_iou"),
    "thresholds.csv": (*_RUN, "place", "threshold", "dice", "iou", "dice_pooled", "iou_pooled"),
    "reliability.csv": (*_RUN, "place", "temperature", "pixels", "predicted", "observed"),
    "timings.csv": (*_RUN, "seconds_training", "seconds_scoring", "machine"),
    "runs.csv": (  # the last one: what it does not call done does not count
        *_RUN, "status", "reason", "epochs", "steps", "parameters", "trainable", "weights",
        "threshold", "temperature", "best_epoch", "baselines",
    ),
}  # fmt: skip
ADDED = {"timings.csv": {"machine"}}  # columns that older tables lack
TEXT = {
    "study", "row", "key", "place", "recording", "image", "model",
    "status", "reason", "weights", "baselines", "machine",
}  # fmt: skip
_ORDER = (  # of the rows of every table, as far as it has these columns
    "key", "seed", "row", "place", "model", "recording", "image", "epoch", "temperature",
    "threshold", "predicted",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Results:
    """All that a study found. Text columns are str, all others float64 with NaN for nothing."""

    facts: dict[str, Any]  # study.json
    images: Columns  # results.csv
    runs: Columns
    curves: Columns
    thresholds: Columns
    reliability: Columns
    timings: Columns


def read_results(folder: Path) -> Results:
    """Read the tidy results of a study, finished or not.

    Raises: UserError for a folder without them, or with tables of other columns.
    """
    facts, tables = read_facts(folder), read_tables(folder)
    names = ("results", "runs", "curves", "thresholds", "reliability", "timings")
    return Results(facts, *(columns(f"{name}.csv", tables[f"{name}.csv"]) for name in names))


def select(table: Columns, **wanted: str | float) -> Columns:
    """The rows of a table in which each named column has this value.

    >>> table = {"model": np.array(["net", "mean_mask"]), "dice": np.array([0.9, 0.8])}
    >>> select(table, model="net")["dice"].tolist()
    [0.9]
    """
    chosen = np.ones(len(next(iter(table.values()))), bool)
    for name, value in wanted.items():
        chosen &= table[name] == value
    return {name: values[chosen] for name, values in table.items()}


def read_examples(folder: Path) -> dict[tuple[str, str], dict[str, Path]]:
    """The example pictures of a study, by place and image: "image", "truth", and runs by key."""
    found: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted((folder / EXAMPLES).glob("*__*__*.png")):
        place, _, rest = path.stem.partition("__")
        image, _, what = rest.rpartition("__")
        found.setdefault((place, image), {})[what] = path
    return found


def read_facts(folder: Path) -> dict[str, Any]:
    """What study.json says.

    Raises: UserError for a folder that is missing, foreign or damaged.
    """
    path = folder / "study.json"
    cure = "Give the folder that `ehtseg study --out` made."
    if not path.is_file():
        got = "no such folder" if not folder.exists() else "a folder without study.json"
        raise UserError(f"the results of a study in {folder}", got, cure)
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not {"study", "scale", "data"} <= set(facts):
            raise ValueError("no study, scale and data in it")
    except (ValueError, TypeError) as error:
        raise UserError(f"the facts of a study in {path}", f"“{error}”", cure) from error
    return dict(facts)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write study.json (sorted keys; within a design their order means something)."""
    text = json.dumps({name: facts[name] for name in sorted(facts)}, indent=1)
    with written_whole(folder / "study.json") as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def check_design(folder: Path, design: Mapping[str, Any] | None) -> None:
    """See that a folder of results was begun with this design; nothing is written.

    Raises: UserError that names what is another one, but for what may be added afterwards.
    """
    before, now = read_facts(folder).get("design") or {}, design or {}
    changed = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
    if changed - set(AFTERWARDS):
        raise UserError(
            f"the design with which {folder} was begun",
            f"another one: {', '.join(sorted(changed - set(AFTERWARDS)))} changed",
            "A study says beforehand what it asks. What was thought of when there were results "
            "stands under later; for another study give another --out: what it has in common "
            "with this one is not trained again.",
        )


def enter_design(folder: Path, design: Mapping[str, Any] | None) -> None:
    """Enter what was added to a design afterwards into study.json.

    Raises: UserError where something else has changed.
    """
    check_design(folder, design)
    facts = read_facts(folder)
    if design and facts.get("design") != design:
        write_facts(folder, {**facts, "design": design})


def read_tables(folder: Path) -> Tables:
    """Every table of a folder as text; one that is not there is empty.

    Raises: UserError for a table of other columns.
    """
    tables = {name: _read(folder / name, wanted) for name, wanted in COLUMNS.items()}
    _name_machines(folder, tables["timings.csv"])
    return tables


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table, sorted, each file whole; runs.csv, which says what counts, at last.

    Raises: UserError where the folder cannot be made or the disk is full.
    """
    for name, wanted in COLUMNS.items():
        rows = sorted(tables.get(name, []), key=_place_in_order)
        with (
            written_whole(folder / name) as beside,
            open(beside, "w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, wanted, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def columns(name: str, rows: Iterable[Row]) -> Columns:
    """The rows of the table `name` as arrays."""
    rows = list(rows)
    return {
        column: np.array([row[column] for row in rows], str)
        if column in TEXT
        else np.array([_number(row[column]) for row in rows], np.float64)
        for column in COLUMNS[name]
    }


def as_text(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Tables:
    """Rows of any values as they stand in the tables; a column that a row lacks is empty."""
    return {
        name: [{column: cell(row.get(column)) for column in COLUMNS[name]} for row in rows]
        for name, rows in tables.items()
    }


def machine_words(facts: Mapping[str, str]) -> str:
    """A machine in words, from what study.json keeps of it.

    >>> machine_words({"processor": "AMD EPYC", "instructions": "AVX512", "onednn_isa_limit": ""})
    'AMD EPYC, AVX512'
    """
    named = [facts.get(name, "") for name in ("processor", "instructions")]
    limit = facts.get("onednn_isa_limit", "")
    return ", ".join([*filter(None, named), *([f"limited to {limit}"] if limit else [])])


def cell(value: Any) -> str:
    """A value as it stands in a table: six significant digits, NaN and None as nothing.

    >>> cell(0.12345678), cell(math.nan), cell(7), cell("net")
    ('0.123457', '', '7', 'net')
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _read(path: Path, wanted: tuple[str, ...]) -> list[Row]:
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    added = ADDED.get(path.name, set())
    known = [tuple(name for name in wanted if name not in without) for without in (set(), added)]
    if tuple(reader.fieldnames or ()) not in known or any(None in row.values() for row in rows):
        raise UserError(
            f"a table of the columns {', '.join(wanted)} in {path}",
            "another table, or one of another version",
            "Choose another --out, or restore the file.",
        )
    return [{name: row.get(name, "") for name in wanted} for row in rows]


def _name_machines(folder: Path, timings: list[Row]) -> None:
    """Name the machine of older runs, where their study has known one machine only."""
    unnamed = [row for row in timings if not row["machine"]]
    if unnamed and (folder / "study.json").is_file():
        facts = read_facts(folder)
        if "made_with" in facts and "continued_with" not in facts:
            for row in unnamed:
                row["machine"] = machine_words(facts["made_with"])


def _number(text: str) -> float:
    return float(text) if text else math.nan


def _place_in_order(row: Row) -> tuple[tuple[float, str], ...]:
    """A sort key that puts numbers in numeric order and text in that of its code points."""
    return tuple(
        (0.0, row[name]) if name in TEXT else (_number(row[name]), "")
        for name in _ORDER
        if name in row
    )
