"""From analysed recordings and their manifest to wells, doses and the curves through them."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs.joining import Lines
from ehtseg.jobs.kept import times_seen
from ehtseg.jobs.material import TRACES
from ehtseg.jobs.places import absolute
from ehtseg.measuring.doses import PairedChange, dose_means, fit_hill, paired_changes
from ehtseg.measuring.manifest import Treatment
from ehtseg.measuring.plate import plate_table, similarity
from ehtseg.measuring.rhythm import filmed_until_s
from ehtseg.measuring.stretches import (
    MEASURES,
    NO_RATIO,
    OF_ONE_TRACE,
    measures_of,
    stretch_s,
    why_unread,
)
from ehtseg.measuring.traces import stem
from ehtseg.reporting.plate import Curve, Plate

Record = dict[str, Any]
Changes = Mapping[str, Sequence[PairedChange]]  # of each measure


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One line of the manifest, and what its recording shows while it holds."""

    line: Treatment
    recording: str = ""  # the name of its folder
    span_s: tuple[float, float] = (math.nan, math.nan)
    verdict: str = ""
    trace: str = ""
    values: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""  # why there is no value


def plate_of(lines: Lines, analysed: Sequence[tuple[Path, Record]], strangers: int = 0) -> Plate:
    """Everything that is told about the wells.

    `analysed` are the folders of recordings and their record.json; `strangers` is the number of
    recordings that no line of the manifest names.
    """
    read = [_read(line, file, lines, analysed) for line, file in lines]
    names = [name for name in MEASURES if any(_known(one, name) for one in read)]
    changes = {name: _changes(read, name) for name in names if name not in NO_RATIO}
    conditions, columns = _profile(read, names, changes)
    table = plate_table(list(conditions), columns)
    curves = tuple(curve for name, found in changes.items() for curve in _curves(name, found))
    return Plate(
        rows=tuple(_row(one, names, changes) for one in read),
        table=table,
        conditions=conditions,
        alike=similarity(table.values),
        curves=curves,
        can=tuple(_can(table.wells, curves)),
        cannot=tuple(dict.fromkeys(_cannot(read, changes, strangers))),
    )


def _read(
    line: Treatment, file: Path, lines: Lines, analysed: Sequence[tuple[Path, Record]]
) -> Read:
    path = str(absolute(file))
    for folder, record in analysed:
        about = record["recording"]
        files = about.get("files", [record["source"]["path"]])
        if path in files:
            said = record["summary"]
            read = Read(line, folder.name, verdict=said["verdict"], trace=said["trace"])
            if about["end_s"] is None:
                return replace(read, reason="its frame rate is unknown: give --fps")
            starts_s = dict(zip(files, about.get("starts_s", [0.0]), strict=True))
            return _in_recording(read, folder, _holds_s(line, path, lines, starts_s))
    return Read(line, reason="its recording could not be analysed")


def _holds_s(
    line: Treatment, path: str, lines: Lines, starts_s: Mapping[str, float]
) -> tuple[float, float]:
    """From when a line holds in its recording, and until when: the next line, for ever, or at once
    where its file (`path`) was over before.
    """
    begin_s = line.time_s + starts_s[path]
    if any(starts_s[path] < start_s <= begin_s for start_s in starts_s.values()):
        return begin_s, begin_s
    own = [(one.time_s, starts_s.get(str(absolute(file)))) for one, file in lines]
    begins_s = [time_s + start_s for time_s, start_s in own if start_s is not None]
    return begin_s, min([at for at in begins_s if at > begin_s], default=math.inf)


def _in_recording(read: Read, folder: Path, holds_s: tuple[float, float]) -> Read:
    if read.verdict == "cannot tell":
        return replace(read, reason="whether it beats cannot be told; see its page")
    frames_s = times_seen(folder / TRACES, f"{stem(read.trace)}_px")
    begin_s, stop_s = holds_s[0], filmed_until_s(frames_s, min(holds_s[1], float(frames_s.max())))
    read = replace(read, span_s=stretch_s(begin_s, stop_s, read.line.time_s > 0))
    beats = accepted_beats(folder / "beats.csv")
    if reason := why_unread(beats, read.span_s, frames_s):
        return replace(read, reason=reason)
    return replace(read, values=measures_of(beats, read.span_s))


def accepted_beats(path: Path) -> list[dict[str, float]]:
    """The numbers of the accepted rows of a beats.csv; cells that hold none are left out."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["accepted"] == "yes"]
    words = ("accepted", "reason")
    return [{k: float(v) for k, v in row.items() if v and k not in words} for row in rows]


def _changes(read: Sequence[Read], name: str) -> tuple[PairedChange, ...]:
    values = [one.values.get(name, math.nan) for one in read]
    kinds = [one.trace for one in read] if name.startswith(OF_ONE_TRACE) else ()
    return paired_changes([one.line for one in read], values, kinds)


def _profile(
    read: Sequence[Read], names: Sequence[str], changes: Changes
) -> tuple[dict[str, tuple[str, str]], dict[str, list[float]]]:
    """Of each well its first condition and its highest dose; measures at both, the second as %."""
    wells: dict[str, list[Read]] = {}
    for one in read:
        wells.setdefault(one.line.well, []).append(one)
    conditions: dict[str, tuple[str, str]] = {}
    columns: dict[str, list[float]] = {name: [] for name in (*names, *map(_changed, changes))}
    for well, own in wells.items():
        top = _top([one.line for one in own if one.line.drug])
        conditions[well] = (own[0].line.label, top.label if top else "")
        for name in names:
            columns[name].append(own[0].values.get(name, math.nan))
        for name, found in changes.items():
            columns[_changed(name)].append(_change_at(found, top))
    return conditions, columns


def _curves(name: str, changes: Sequence[PairedChange]) -> Iterator[Curve]:
    groups: dict[tuple[str, float | None], list[PairedChange]] = {}
    for change in changes:
        if math.isfinite(change.change_pct):
            line = change.treatment
            groups.setdefault((line.drug, line.pacing_bpm), []).append(change)
    for (drug, pacing_bpm), group in groups.items():
        dosed = [change for change in group if change.treatment.dose > 0]
        points = tuple((c.treatment.well, c.treatment.dose, c.change_pct) for c in dosed)
        fit = fit_hill(
            np.array([dose for _, dose, _ in points]),
            np.array([change for _, _, change in points]),
            [well for well, _, _ in points],
        )
        yield Curve(name, drug, pacing_bpm, dose_means(group), points, fit)


def _row(one: Read, names: Sequence[str], changes: Changes) -> dict[str, Any]:
    """One row of treatments.csv."""
    line = one.line
    known = {name: _change_at(found, line) for name, found in changes.items()}
    return {
        **{name: getattr(line, name) for name in ("line", "file", "well", "drug", "dose", "unit")},
        "pacing_bpm": line.pacing_bpm,
        "recording": one.recording,
        "from_s": one.span_s[0],
        "to_s": one.span_s[1],
        "verdict": one.verdict,
        "trace": one.trace,
        **{name: one.values.get(name, math.nan) for name in names},
        **{_changed(name): value for name, value in known.items()},
        "reason": one.reason,
    }


def _can(wells: Sequence[str], curves: Sequence[Curve]) -> Iterator[str]:
    yield f"{len(wells)} well{'s' * (len(wells) != 1)} beside each other, each as one number."
    for curve in curves:
        if curve.fit.accepted:
            yield curve.words


def _cannot(read: Sequence[Read], changes: Changes, strangers: int) -> Iterator[str]:
    """What is missing, each sentence once; a change that has no value says why."""
    for one in read:
        if one.reason:
            yield f"{_place(one.line)}: {one.reason}."
    yield from _unpaired(changes, {one.line.line for one in read if one.reason})
    if strangers:
        yield f"{strangers} recordings stand in no line of the manifest: they belong to no well."


def _unpaired(changes: Changes, refused: Collection[int]) -> Iterator[str]:
    """Why changes are missing: one sentence for all measures and lines of one reason."""
    lines: dict[tuple[str, str], list[int]] = {}
    for name, found in changes.items():
        for change in found:
            if change.reason and change.treatment.line not in refused:
                lines.setdefault((name, change.reason), []).append(change.treatment.line)
    names: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (name, reason), of_reason in lines.items():
        names.setdefault((reason, tuple(of_reason)), []).append(name)
    for (reason, numbers), measures in names.items():
        where = f"line{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"
        yield f"Change in {', '.join(measures)} ({where}): {reason}."


def _place(line: Treatment) -> str:
    return f"line {line.line} ({line.well}, {line.label})"


def _known(one: Read, name: str) -> bool:
    return math.isfinite(one.values.get(name, math.nan))


def _changed(name: str) -> str:
    return f"{name}_change_pct"


def _change_at(changes: Sequence[PairedChange], line: Treatment | None) -> float:
    found = (c.change_pct for c in changes if line is not None and c.treatment is line)
    return next(found, math.nan)


def _top(lines: Sequence[Treatment]) -> Treatment | None:
    """The line of the highest dose; of several drugs, which compare with nothing, the last."""
    lines = [line for line in lines if line.dose > 0] or lines
    if len({line.drug for line in lines}) > 1:
        return lines[-1]
    return max(lines, key=lambda line: line.dose, default=None)  # a vehicle alone has dose 0
