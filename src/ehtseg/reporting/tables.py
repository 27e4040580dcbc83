"""Tables of one recording and of a batch, and the machine-readable account of their quality.

frames.csv     one row a frame: every trace, with its unit in the name of the column
beats.csv      one row a candidate, accepted or not with the reason
kinetics.csv   one row a parameter: n, median, sd, 95 % interval, resolution limit
windows.csv    one row a sliding window: rate, amplitude, durations, irregularity
changes.csv    one row a lasting change of a quantity
effects.csv    one row an event and quantity: change against the tissue's own baseline
qc.json        verdict, flags, what can and what cannot be concluded
summary.csv    one row a recording
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from ehtseg.reporting.report import Report

DIGITS = 7  # significant ones; more than any measurement here carries ...
LATE, LATEST = 1e4, 1e9  # ... but a moment: from so many s on three decimals, which is 1 ms


def write_tables(report: Report, folder: Path) -> None:
    """All tables of one recording."""
    write_frames(report, folder / "frames.csv")
    write_rows(folder / "beats.csv", report.beats, ("beat", "accepted", "reason"))
    write_rows(folder / "kinetics.csv", report.parameters, ("parameter", "n", "median"))
    write_rows(folder / "windows.csv", report.windows, ("start_s", "end_s"))
    write_rows(folder / "changes.csv", report.changes, ("name", "time_s"))
    write_rows(folder / "effects.csv", report.effects, ("event_s", "event", "quantity"))
    write_rows(folder / "summary.csv", [summary_row(report)])
    write_json(folder / "qc.json", quality(report))


def write_frames(report: Report, path: Path) -> None:
    """frames.csv, row by row: an hour of frames as a list of rows would take 300 MB."""
    rows = iter(frame_rows(report))
    first = next(rows, {})
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(first)
        table.writerows(map(cell, row.values()) for row in chain([first] if first else [], rows))


def frame_rows(report: Report) -> Iterable[dict[str, Any]]:
    """The rows of frames.csv; without a frame rate there is no column time_s."""
    traces = report.traces
    for index, time_s in enumerate(traces.time_s):
        row: dict[str, Any] = {"frame": index}
        if report.clock.is_known:
            row["time_s"] = float(time_s)
        row |= {name: float(values[index]) for name, values in traces.columns.items()}
        row |= {name: words[index] for name, words in traces.texts.items()}
        yield row


def summary_row(report: Report) -> dict[str, Any]:
    """The row of a recording in summary.csv.

    A parameter has seven columns: its median under its own name, then _n, _sd, _low95, _high95,
    _sd_masks and _resolution.
    """
    known = ("n_frames", "fps", "um_per_px")
    accepted = sum(bool(beat["accepted"]) for beat in report.beats)
    row: dict[str, Any] = {
        "recording": report.name,
        "verdict": report.verdict,
        "beats": accepted,
        "rejected": len(report.beats) - accepted,
        "trace": report.choice.name if report.choice else "",
        **{name: report.recording[name] for name in known},
        **{f"{level}s": _count(report, level) for level in ("error", "warning", "note")},
    }
    for parameter in report.parameters:
        name = parameter["parameter"]
        row[name] = parameter["median"]
        others = ("n", "sd", "low95", "high95", "sd_masks", "resolution")
        row |= {f"{name}_{what}": parameter[what] for what in others}
    return row


def quality(report: Report) -> dict[str, Any]:
    """What qc.json holds."""
    choice, finding, tell = report.choice, report.finding, report.clock.tell
    rivals = [asdict(one) for one in choice.agreement] if choice else []
    return {
        "recording": report.name,
        "verdict": report.verdict,
        "reasons": list(report.reasons),
        "can_be_concluded": list(report.can),
        "cannot_be_concluded": list(report.cannot),
        "flags": [asdict(flag) for flag in report.flags],
        "trace": choice.name if choice else None,
        "trace_reason": choice.reason if choice else None,
        "traces": [dict(tell(name, value) for name, value in one.items()) for one in rivals],
        "noise": finding.noise if finding else None,
        "jitter": report.traces.jitter,
        "notes": list(report.notes),
    }


def write_rows(path: Path, rows: Iterable[dict[str, Any]], columns: Sequence[str] = ()) -> None:
    """A table as CSV: the columns in the order in which rows bring them.

    `columns` stand there even without a row. NaN and None become empty cells, floats have
    `DIGITS` significant digits (`cell`).
    """
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row)) or list(columns)
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, names, lineterminator="\n")
        table.writeheader()
        for row in rows:
            table.writerow({name: cell(value) for name, value in row.items()})


def cell(value: Any) -> Any:
    """A value as it stands in a table.

    >>> cell(0.1 + 0.2), cell(float("nan")), cell(True), cell(1200.0), cell(262800.05)
    ('0.3', '', 'yes', '1200', '262800.05')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and LATE <= abs(value) < LATEST:
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, float):
        return f"{value:.{DIGITS}g}" if math.isfinite(value) else ""
    return "" if value is None else value


def write_json(path: Path, content: dict[str, Any]) -> None:
    """JSON that every reader takes: what is no number becomes null."""
    text = json.dumps(_without_nan(content), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _without_nan(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _count(report: Report, severity: str) -> int:
    return sum(flag.severity == severity for flag in report.flags)
