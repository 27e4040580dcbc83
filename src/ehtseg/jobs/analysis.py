"""What is written about one analysed recording.

the tables               see reporting/tables.py
trace.svg, trace.png    the trace with its beats
report.html             the page, complete in itself
beats_edit.csv          corrections by hand: kept, and applied at every run
record.json             source, masks, settings, versions, and what the page says
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ehtseg.jobs.conclude import conclude
from ehtseg.jobs.places import ANALYST, RECORD, describe_source
from ehtseg.jobs.recording import Facts, Recording, about, look_at
from ehtseg.jobs.sight import Seen, Sight
from ehtseg.jobs.watch import NOMINAL_FPS, Watched, watch
from ehtseg.measuring.edits import Edit, read_edits, start_file
from ehtseg.measuring.traces import Traces
from ehtseg.reading.joined import Joined
from ehtseg.reading.video import Progress, Video
from ehtseg.recipe import MeasureRecipe
from ehtseg.reporting.conclusions import can_conclude, cannot_conclude
from ehtseg.reporting.figures import write_figures
from ehtseg.reporting.page import write_page
from ehtseg.reporting.report import Clock, Report
from ehtseg.reporting.tables import summary_row, write_json, write_tables
from ehtseg.seeing import render
from ehtseg.seeing.machine import machine_facts
from ehtseg.seeing.outputs import folder_written_whole

EDITS = "beats_edit.csv"
FILES = (
    "frames.csv", "beats.csv", "kinetics.csv", "summary.csv", "qc.json",
    "windows.csv", "changes.csv", "effects.csv",
    "trace.svg", "trace.png", "report.html", EDITS, RECORD,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Analyst:
    """What all recordings of one call are analysed with."""

    sight: Sight
    recipe: MeasureRecipe

    def settings(self, facts: Facts) -> dict[str, Any]:
        """All that the results depend on, besides the recording, its masks and edited beats."""
        measure = self.recipe.model_dump(mode="json")
        return {**self.sight.settings, "measure": measure, **facts.settings}

    def paced(self, pacing_bpm: float | None) -> Analyst:
        """The same with the pacing of one recording, where that is known."""
        if pacing_bpm is None:
            return self
        return replace(self, recipe=self.recipe.model_copy(update={"pacing_bpm": pacing_bpm}))


def write_analysis(
    analyst: Analyst, recording: Recording, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Analyse one recording into `folder`, which appears when all of it is complete.

    Returns its record. Raises: UserError for a recording or masks that cannot be read, ...
    """
    video = recording.open()
    seen = look_at(analyst.sight, video)
    edits = read_edits(folder / EDITS)
    described = recording.describe()
    masks = [describe_source(path) for path in seen.paths]
    watched = watch(
        seen.pairs, analyst.sight.threshold, video.n_frames, analyst.recipe.flow, progress
    )
    report = make_report(analyst, recording.facts, folder.name, video, watched, seen, edits)
    with folder_written_whole(folder) as beside:
        write_tables(report, beside)
        write_figures(report, beside)
        write_page(report, beside / "report.html")
        _keep_edits(folder, beside)
        made_of = {"source": described, "masks": masks, "edits": edits_of(folder)}
        record = {"written_by": ANALYST, **made_of, **_record(report)}
        write_json(beside / RECORD, record)
    return record


def make_report(
    analyst: Analyst,
    facts: Facts,
    name: str,
    video: Video | Joined,
    watched: Watched,
    seen: Seen,
    edits: Sequence[Edit] = (),
) -> Report:
    """Everything that is told about one recording."""
    events = facts.events_in(video)
    clock = Clock(None not in watched.times_s, NOMINAL_FPS)
    traces = watched.traces(video.um_per_px)
    said = conclude(traces, clock, analyst.recipe, edits, events)
    return Report(
        name=name,
        recording={**about(video), **_length(traces, clock)},
        masks=seen.words,
        clock=clock,
        traces=traces,
        choice=said.choice,
        finding=said.finding,
        beats=said.beats,
        parameters=said.parameters,
        windows=said.course.windows,
        changes=said.course.changes,
        effects=said.course.effects,
        flags=said.flags,
        can=can_conclude(clock, said.choice, said.finding, video.um_per_px),
        cannot=cannot_conclude(traces, clock, said.finding, said.flags, events, seen.one_mask),
        events=events,
        notes=(*video.notes, *seen.notes()),
        picture=render.overlay(watched.image, watched.mask),
        shown=watched.shown,
        made_with={"settings": analyst.settings(facts), "versions": machine_facts()},
    )


def _length(traces: Traces, clock: Clock) -> dict[str, Any]:
    """Number of frames and the time of the last one, None where nobody knows the rate."""
    count = len(traces.time_s)
    return {"n_frames": count, "end_s": float(traces.time_s[-1]) if clock.is_known else None}


def _keep_edits(folder: Path, beside: Path) -> None:
    """The corrections by hand as they are, comments too; an empty file where there is none."""
    if (folder / EDITS).exists():
        shutil.copy2(folder / EDITS, beside / EDITS)
    start_file(beside / EDITS)


def edits_of(folder: Path) -> list[str]:
    """The corrections by hand, as a record holds them."""
    return [f"{edit.action} {edit.time_s:g}" for edit in read_edits(folder / EDITS)]


def _record(report: Report) -> dict[str, Any]:
    """The body of record.json."""
    return {
        **report.made_with,
        "recording": report.recording,
        "masks_from": report.masks,
        "summary": summary_row(report),
        "can_be_concluded": report.can,
        "cannot_be_concluded": report.cannot,
        "flags": [f"{flag.severity}: {flag.reason}" for flag in report.flags],
        "notes": report.notes,
    }
