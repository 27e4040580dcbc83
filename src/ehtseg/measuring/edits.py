"""The beats file: what a person corrected by hand, by time, so that it survives a rerun.

    action,time_s
    add,12.48
    remove,31.02

A time names the beat whose peak is nearest; the analysis itself never writes over this file.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ehtseg.measuring.beats import CUT_START, MAX_BPM, NO_RISE, BeatFinding, measured
from ehtseg.measuring.quality import Flag
from ehtseg.measuring.sheet import Row, number, sheet_of
from ehtseg.records import UserError, written_whole

REACH_S = 0.3  # a time names a beat that is at most so far away
SAME_S = 60 / MAX_BPM  # two peaks that are nearer are one beat
NEEDED = ("action", "time_s")

Action = Literal["add", "remove"]
Tell = Callable[[str, float], tuple[str, float]]  # name and value in s, as beats.csv tells them


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of the beats file."""

    action: Action
    time_s: float


def read_edits(path: Path) -> tuple[Edit, ...]:
    """The edits of a beats file; none where there is no file yet, or nothing in it.

    A CSV table with comma, semicolon or tab; lines that begin with # are left out, and those
    without a value.

    Raises: UserError for other columns, and one that names the line for other actions and times.
    """
    if not path.exists():
        return ()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
        sheet = sheet_of("".join(line for line in lines if not line.lstrip(' "').startswith("#")))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"a readable table of edits at {path}", f"“{error}”", "Correct or delete the file."
        ) from error
    if sheet.names and any(sheet.names.count(name) != 1 for name in NEEDED):
        got = f"the columns {', '.join(sheet.names)}"
        cure = "Begin the table with the line:  action,time_s"
        raise UserError(f"the columns action and time_s, each once, in {path}", got, cure)
    marks = sheet.decimal_marks(NEEDED)
    return tuple(_edit(path, count, row, marks) for count, row in enumerate(sheet.rows, 1))


def start_file(path: Path) -> None:
    """Write an empty beats file with its header and a word of explanation; keep an existing one."""
    if path.exists():
        return
    with written_whole(path) as beside:
        beside.write_text(
            "# Corrections by hand: add or remove the beat whose peak is nearest to time_s.\n"
            "action,time_s\n",
            encoding="utf-8",
        )


def in_seconds(name: str, value: float) -> tuple[str, float]:
    """How times are told where the frame rate is known: as they are."""
    return name, value


def apply_edits(
    finding: BeatFinding, edits: Sequence[Edit], tell: Tell = in_seconds
) -> BeatFinding:
    """The finding with beats added and removed by hand; every beat is measured again.

    A removed beat keeps its row, rejected with the reason. An added one is the rejected candidate
    near the time or, where there is none, the highest frame near it; where a beat is there already,
    nothing is done (`needless`). `tell` gives times their name and unit in messages.

    Raises: UserError for a `remove` with no beat near, and for times outside the trace.
    """
    by_hand, _ = _decided(finding, edits, tell)
    if not by_hand:
        return finding
    cut = [beat for beat in finding.beats if beat.reason in (CUT_START, NO_RISE)]
    apart = [beat for beat in finding.beats if beat.clipped == "" or beat.accepted]
    peaks = {beat.peak_s for beat in apart if beat.accepted or np.isfinite(beat.likeness)}
    peaks |= {beat.peak_s for beat in cut if np.isfinite(beat.before_s)}  # they end other beats
    aside = {beat.peak_s: beat.reason for beat in apart if beat.peak_s not in peaks}
    peaks |= by_hand.keys()
    rejected = [(at, reason) for at, reason in aside.items() if at not in by_hand]
    return measured(finding.time_s, finding.x, np.array(sorted(peaks)), rejected, by_hand)


def needless(finding: BeatFinding, edits: Sequence[Edit]) -> Flag | None:
    """A note on the lines of the beats file that add to `finding` a beat which is there already."""
    _, idle = _decided(finding, edits)
    if not idle:
        return None
    lines = f"line{'s' * (len(idle) > 1)} {', '.join(str(number + 1) for number in idle)}"
    reason = f"The beats file adds in {lines} of its table what is a beat already: nothing is done."
    return Flag("needless_edits", "note", reason)


def _decided(
    finding: BeatFinding, edits: Sequence[Edit], tell: Tell = in_seconds
) -> tuple[dict[float, bool], tuple[int, ...]]:
    """Peaks that a person accepts or rejects, and the numbers of edits that change nothing."""
    by_hand: dict[float, bool] = {}
    idle = []
    known = [beat.peak_s for beat in finding.accepted]
    for k, edit in enumerate(edits):
        if edit.action == "remove":
            by_hand[_nearest([*known, *by_hand], edit, tell)] = False
            continue
        there = [at for at in {*known, *by_hand} if by_hand.get(at, True)]
        peak_s = _peak_near(finding, there, edit, tell)
        if min((abs(at - peak_s) for at in there), default=np.inf) < SAME_S:
            idle.append(k)
        else:
            by_hand[peak_s] = True
    return by_hand, tuple(idle)


def _edit(path: Path, count: int, row: Row, marks: Collection[str]) -> Edit:
    action, time = (row.cells.get(name, "") for name in NEEDED)
    got = f"action “{action}”, time_s “{time}” in line {count} of the table"
    if row.surplus:
        halves = time.isdecimal() and row.surplus.isdecimal()
        cure = f"Write {time}.{row.surplus} with a point." if halves else "Leave out the rest."
        expected = f"two cells in each line of {path}, or as many as there are names of columns"
        raise UserError(expected, f"{got}, and “{row.surplus}” behind them", cure)
    try:
        time_s = number(time, "time_s", marks)
    except ValueError as error:
        time_s, got = float("nan"), f"{got}: {error}"
    if action == "add" and np.isfinite(time_s):
        return Edit("add", time_s)
    if action == "remove" and np.isfinite(time_s):
        return Edit("remove", time_s)
    raise UserError(
        f"“add” or “remove” and a time, as beats.csv has it, in each line of {path}",
        got,
        "Write for example:  remove,31.02",
    )


def _nearest(peaks_s: Sequence[float], edit: Edit, tell: Tell) -> float:
    found = min(peaks_s, key=lambda peak_s: abs(peak_s - edit.time_s), default=float("inf"))
    if abs(found - edit.time_s) > REACH_S:
        raise UserError(
            f"a beat within {_told(REACH_S, tell)} of {_told(edit.time_s, tell)} to {edit.action}",
            f"the nearest one at {_told(found, tell)}",
            f"Take the time from the column {tell('peak_s', 0.0)[0]} of beats.csv.",
        )
    return found


def _told(time_s: float, tell: Tell) -> str:
    """A time with the unit of beats.csv: 31.02 s, or 93 frames."""
    name, value = tell("peak_s", time_s)
    return f"{round(value, 2):.10g} {name.removeprefix('peak_')}"


def _peak_near(finding: BeatFinding, there: Sequence[float], edit: Edit, tell: Tell) -> float:
    """The peak that an `add` means: a candidate, a beat that is `there`, or the highest frame."""
    others = [b.peak_s for b in finding.beats if b.clipped == "" and b.peak_s not in there]
    near = [peak_s for peak_s in others if abs(peak_s - edit.time_s) <= REACH_S]
    near += [peak_s for peak_s in there if abs(peak_s - edit.time_s) < SAME_S]
    if near:
        return _nearest(near, edit, tell)
    inside = np.abs(finding.time_s - edit.time_s) <= REACH_S / 2
    if not np.any(inside):
        first, last = (_told(float(finding.time_s[k]), tell) for k in (0, -1))
        raise UserError(
            f"times between {first} and {last}",
            f"a beat to add at {_told(edit.time_s, tell)}",
            "Correct the time in the beats file.",
        )
    return float(finding.time_s[inside][np.argmax(finding.x[inside])])
