"""Runs that another study has carried out already: same training, same data, same scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehtseg.records import UserError
from ehtseg.study.entries import Entry
from ehtseg.study.results import BASELINES, Row, Tables, read_facts, read_tables


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A study beside this one, at the same scale."""

    folder: Path
    data: Mapping[str, str]  # sha256 of its folders
    tables: Tables

    def has(self, entry: Entry, data: Mapping[str, str]) -> Tables | None:
        """The rows of a run at its places, if it was done here on the same data."""
        folders = {*entry.run.train, *(place.folder for place in entry.run.score)}
        done = [row for row in self.tables["runs.csv"] if row["key"] == entry.key]
        if entry.row == BASELINES or not done or done[0]["status"] != "done":
            return None
        if any(self.data.get(name) != data[name] for name in folders):
            return None
        label = done[0]["row"]  # a neighbour may have the run under several rows

        def wanted(row: Row) -> bool:
            here = row["key"] == entry.key and row["row"] == label
            return here and row.get("place", "") in {"", *entry.places}

        found = {name: list(filter(wanted, rows)) for name, rows in self.tables.items()}
        scored = {row["place"] for row in found["results.csv"]}
        return found if scored == entry.places else None


def neighbours(folder: Path, out: Path, facts: Mapping[str, Any]) -> list[Neighbour]:
    """The studies in a folder that may hold runs of the study with these facts, without `out`.

    One that cannot be read is left out: it is not the study that was asked for.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.resolve() == out.resolve() or not (path / "study.json").is_file():
            continue
        try:
            theirs, tables = read_facts(path), read_tables(path)
        except UserError:
            continue
        if theirs["scale"] == facts["scale"] and same_weights(theirs, facts):
            found.append(Neighbour(path, theirs["data"], tables))
    return found


def same_weights(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two studies start from the same files of ImageNet weights, as far as both say so.

    >>> same_weights({"weights": {"vgg16": "a"}}, {"weights": {"vgg16": "b"}}), same_weights({}, {})
    (False, True)
    """
    ours, theirs = first.get("weights", {}), second.get("weights", {})
    return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())
