"""The tables of a study while it is carried out, and the records that wait to be entered.

A worker leaves a record, a small folder of tables and pictures that appears whole, beside the run
folder. Only the ledger writes the study's tables, and runs.csv last of all: whatever moment a kill
falls on, a run is in runs.csv, or has a record, or is continued from its run folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from PIL import Image

from ehtseg.records import Array, UserError
from ehtseg.seeing.outputs import folder_written_whole
from ehtseg.study.entries import Entry
from ehtseg.study.results import (
    EXAMPLES,
    Tables,
    as_text,
    read_tables,
    write_tables,
)

RUNS = "runs"  # run folders and records, below OUT; not for a repository
PATIENCE_S = 5.0  # the workers of a killed command need a moment to notice


@dataclass(frozen=True, slots=True)
class Record:
    """What one task found: rows without study, row, key and seed, and small pictures by name."""

    tables: Tables
    pictures: Mapping[str, Array] = field(default_factory=dict)  # uint8 (h, w) or (h, w, 3)


def write_record(record: Record, folder: Path) -> None:
    """Write a record; the folder appears when it is whole.

    Raises: UserError where it cannot be made or the disk is full.
    """
    with folder_written_whole(folder) as beside:
        write_tables(beside, record.tables)
        for name, picture in record.pictures.items():
            Image.fromarray(picture).save(beside / name)


def run_folder(out: Path, key: str) -> Path:
    """Where the run folder of a key stands until its record is entered."""
    return out / RUNS / key


def record_folder(out: Path, key: str) -> Path:
    """Where the record of a key waits to be entered."""
    return out / RUNS / f"{key}.record"


def lock_of(out: Path, key: str) -> Path:
    """What keeps two workers from the same key: one that was cut off may still be dying."""
    return out / RUNS / f"{key}.lock"


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second command away from `out`; a kill opens the lock.

    Raises: UserError where another command holds it.
    """
    runs = out / RUNS
    runs.mkdir(parents=True, exist_ok=True)
    (runs / ".gitignore").write_text("*\n")
    try:
        with FileLock(runs / ".lock", timeout=PATIENCE_S):
            yield
    except Timeout as error:
        raise UserError(
            f"{out} for this command alone",
            "another one that is at work there",
            "Wait until it has ended.",
        ) from error


class Ledger:
    """The tables of one study in its folder `out`."""

    def __init__(self, out: Path, entries: Sequence[Entry]) -> None:
        self.out, self.entries = out, entries
        self.tables = read_tables(out)
        self._keep({entry.key for entry in entries} & set(self.status))
        self.forget("skipped")
        for entry in entries:
            if entry.skipped:
                self._settle(entry, {"status": "skipped", "reason": entry.skipped})

    @property
    def status(self) -> dict[str, str]:
        """done, failed or skipped, of each key that is settled."""
        return {row["key"]: row["status"] for row in self.tables["runs.csv"]}

    def left(self) -> list[Entry]:
        """The entries that are not settled, one a key."""
        settled = self.status
        first: dict[str, Entry] = {}
        for entry in self.entries:
            if entry.key not in settled:
                first.setdefault(entry.key, entry)
        return list(first.values())

    def forget(self, status: str) -> None:
        """Drop every entry of this status, so that it is tried again."""
        self._keep({key for key, now in self.status.items() if now != status})

    def enter(self, key: str, tables: Tables) -> None:
        """Enter what was found for a key, under each row of the study that has it."""
        for entry in (entry for entry in self.entries if entry.key == key):
            own = self._named(entry)
            for name in self.tables:
                self.tables[name] += [{**row, **own} for row in tables[name]]
            self.tables["runs.csv"][-1]["baselines"] = entry.baselines

    def fail(self, key: str, reason: str) -> None:
        """Enter that a key could not be carried out, and why."""
        for entry in (entry for entry in self.entries if entry.key == key):
            self._settle(entry, {"status": "failed", "reason": reason})

    def collect(self) -> None:
        """Enter the records that wait, among them those that an interrupted command left."""
        for entry in self.left():
            record = record_folder(self.out, entry.key)
            if record.is_dir():
                self.enter(entry.key, read_tables(record))
                self.take_pictures(record, "*")

    def save(self) -> None:
        """Write the tables."""
        write_tables(self.out, self.tables)

    def clear(self, key: str, keep: bool) -> None:
        """Remove the record of a key, which is entered, and unless `keep` its run folder."""
        shutil.rmtree(record_folder(self.out, key), ignore_errors=True)
        lock_of(self.out, key).unlink(missing_ok=True)
        if not keep:
            shutil.rmtree(run_folder(self.out, key), ignore_errors=True)

    def take_pictures(self, folder: Path, names: str) -> None:
        """Copy example pictures whose names match a pattern."""
        for picture in folder.glob(f"{names}.png"):
            (self.out / EXAMPLES).mkdir(exist_ok=True)
            shutil.copyfile(picture, self.out / EXAMPLES / picture.name)

    def _keep(self, keys: set[str]) -> None:
        for name, rows in self.tables.items():
            self.tables[name] = [row for row in rows if row["key"] in keys]

    def _settle(self, entry: Entry, facts: Mapping[str, Any]) -> None:
        row = {**facts, **self._named(entry), "baselines": entry.baselines}
        self.tables["runs.csv"] += as_text({"runs.csv": [row]})["runs.csv"]

    @staticmethod
    def _named(entry: Entry) -> dict[str, str]:
        seed = str(entry.seed)
        return {"study": entry.run.study, "row": entry.row, "key": entry.key, "seed": seed}
