"""How the beating went over a recording: sliding windows, lasting changes, effects of events."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.changes import find_changes
from ehtseg.measuring.events import Effect, Event, effects
from ehtseg.measuring.rhythm import intervals_s
from ehtseg.measuring.windows import sliding_windows
from ehtseg.records import Array

FOLLOWED = ("amplitude_", "fs_pct", "fac_pct", "ttp10_ms", "cd50_ms", "cd90_ms", "rt50_ms")

Rows = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Course:
    """The rows of windows.csv, changes.csv and effects.csv."""

    windows: Rows = ()
    changes: Rows = ()
    effects: Rows = ()


def course_of(
    finding: BeatFinding, rows: Sequence[dict[str, float]], events: Sequence[Event]
) -> Course:
    """The course of a recording that beats, from its accepted beats and their kinetics.

    `rows` are those of all candidates (table_of_beats). Nothing for a recording that does not
    surely beat. Times are in s: without a frame rate there is no course.
    """
    if finding.verdict != "beating":
        return Course()
    pairs = zip(finding.beats, rows, strict=True)
    known = [(beat.t50_s, row) for beat, row in pairs if beat.accepted]
    t50_s = np.array([at for at, _ in known])
    names = [name for name in known[0][1] if name.startswith(FOLLOWED)]
    columns = {name: np.array([row.get(name, math.nan) for _, row in known]) for name in names}
    frames_s = finding.time_s
    rr_s = np.append(math.nan, intervals_s(t50_s, frames_s))
    span_s = float(finding.time_s[0]), float(finding.time_s[-1])
    return Course(
        tuple(_transposed(sliding_windows(t50_s, columns, span_s, frames_s=frames_s))),
        tuple(
            {**_row(change), "change_pct": change.change_pct}
            for change in find_changes(t50_s, {"rr_s": rr_s, **columns})
        ),
        tuple(_effect_row(e) for e in effects(t50_s, columns, events, span_s, frames_s)),
    )


def _transposed(columns: dict[str, Array]) -> Iterable[dict[str, float]]:
    count = len(next(iter(columns.values())))
    return ({name: float(values[k]) for name, values in columns.items()} for k in range(count))


def _effect_row(effect: Effect) -> dict[str, Any]:
    """One row of effects.csv: the event's own columns first, sentences last."""
    row = _row(effect)
    event, notes = row.pop("event"), row.pop("notes")
    reason = row.pop("reason")
    said = " ".join(filter(None, (reason, *notes)))
    of_event = {"event_s": event.time_s, "event": event.label, "dose": event.dose}
    return {**of_event, "unit": event.unit, "quantity": row.pop("name"), **row, "reason": said}


def _row(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
