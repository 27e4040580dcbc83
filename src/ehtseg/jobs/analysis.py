"""What is written about one analysed recording.

the tables               see reporting/tables.py
trace.svg, trace.png    the trace with its beats
course.svg, course.png  rate, amplitude and durations over a long recording
overlay.mp4             every frame, its mask, the trace below (measure.movie); gaps cut short
report.html             the page, complete in itself but for the movie
beats_edit.csv          corrections by hand: kept, and applied at every run
record.json             source, masks, settings, versions, and what the page says
traces.npz, masks.tif   with made_of.json and masks_again.json: what the next run need not see again
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs import again
from ehtseg.jobs.conclude import Conclusion, conclude, with_doubt
from ehtseg.jobs.film import write_film
from ehtseg.jobs.kept import MADE_OF, NOMINAL_FPS
from ehtseg.jobs.material import MASKS, TRACES, Material, gather
from ehtseg.jobs.places import ANALYST, RECORD, describe_source
from ehtseg.jobs.posts import marked_posts, posts_place, with_force
from ehtseg.jobs.recording import Facts, Recording, about, look_at
from ehtseg.jobs.sight import Sight
from ehtseg.measuring.edits import read_edits, start_file
from ehtseg.measuring.traces import Traces
from ehtseg.reading.joined import Joined
from ehtseg.reading.video import Progress
from ehtseg.recipe import MeasureRecipe
from ehtseg.reporting.conclusions import can_conclude, cannot_conclude
from ehtseg.reporting.course import write_course
from ehtseg.reporting.figures import write_figures
from ehtseg.reporting.page import write_page
from ehtseg.reporting.report import Clock, Report
from ehtseg.reporting.tables import summary_row, write_json, write_tables
from ehtseg.seeing import render
from ehtseg.seeing.machine import machine_facts
from ehtseg.seeing.outputs import folder_written_whole, longest_step_s

EDITS = "beats_edit.csv"
MOVIE = "overlay.mp4"
FILES = (
    "frames.csv", "beats.csv", "kinetics.csv", "summary.csv", "qc.json",
    "windows.csv", "changes.csv", "effects.csv",
    "trace.svg", "trace.png", "report.html", EDITS, RECORD, TRACES, MADE_OF,
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

    @property
    def files(self) -> tuple[str, ...]:
        """What results hold always; others come where there is something to say."""
        movie = (MOVIE,) if self.recipe.movie else ()
        return (*FILES, *movie, *((MASKS,) if self.sight.draws else ()))

    def paced(self, pacing_bpm: float | None) -> Analyst:
        """The same with the pacing of one recording, where that is known."""
        if pacing_bpm is None:
            return self
        return replace(self, recipe=self.recipe.model_copy(update={"pacing_bpm": pacing_bpm}))


def write_analysis(
    analyst: Analyst, recording: Recording, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Analyse one recording into `folder`, which appears when all of it is complete.

    Frames are watched only where no earlier run has left what there is to see.
    Returns its record. Raises: UserError for a recording or masks that cannot be read, ...
    """
    video = recording.open()
    edited = edits_of(folder)
    paths = look_at(analyst.sight, video).paths
    told = recording.facts.posts
    marked = posts_place(told, video.path) if told else None
    files: dict[str, Any] = {"source": recording.describe()}
    files["masks"] = [describe_source(path) for path in paths]
    files["posts"] = describe_source(marked) if marked else None
    seen_with = {"seen_with": analyst.sight.settings, "fps": recording.facts.fps}
    made_of = {**_hashes(files), **seen_with, "flow": analyst.recipe.flow}
    made_of |= {"starts_s": list(video.starts_s)} if isinstance(video, Joined) else {}
    made_of["posts"] = told and [told, files["posts"] and files["posts"]["sha256"]]
    posts = marked_posts(told, video) if told else None
    material = gather(analyst.sight, video, folder, made_of, progress, posts)
    said = conclude_from(material, analyst, recording.facts, folder)
    doubt = again.uncertainty(material, said, analyst.recipe, folder, progress)
    report = make_report(analyst, recording.facts, folder.name, material, said, doubt)
    report = with_force(report, recording.facts.post)
    with folder_written_whole(folder) as beside:
        write_tables(report, beside)
        write_figures(report, beside)
        write_page(report, beside / "report.html", write_course(report, beside))
        material.keep(beside)
        if doubt:
            again.keep(doubt, beside)
        if analyst.recipe.movie:
            write_film(report, material.pairs(beside), beside / MOVIE, progress)
        _keep_edits(folder, beside)
        record = {"written_by": ANALYST, **files, "edits": edited, **_record(report)}
        write_json(beside / RECORD, record)
    material.forget()
    return record


def conclude_from(material: Material, analyst: Analyst, facts: Facts, folder: Path) -> Conclusion:
    """What follows from what was seen, with the corrections by hand in `folder`."""
    watched, video = material.watched, material.video
    traces, edits = watched.traces(video.um_per_px), read_edits(folder / EDITS)
    clock = Clock(watched.is_timed, NOMINAL_FPS)
    return conclude(traces, clock, analyst.recipe, edits, facts.events_in(video))


def make_report(
    analyst: Analyst,
    facts: Facts,
    name: str,
    material: Material,
    said: Conclusion,
    doubt: again.Doubt | None = None,
) -> Report:
    """Everything that is told about one recording."""
    video, watched, seen = material.video, material.watched, material.seen
    events = facts.events_in(video)
    clock, traces = said.clock, said.traces
    gaps = _gaps_in_movie(traces, video.fps) if analyst.recipe.movie and clock.is_known else ()
    return Report(
        name=name,
        recording={**about(video), **_length(traces, clock)},
        masks=seen.words,
        clock=clock,
        traces=traces,
        choice=said.choice,
        finding=said.finding,
        beats=said.beats,
        parameters=with_doubt(said.parameters, doubt.found.sd if doubt else {}, clock),
        windows=said.course.windows,
        changes=said.course.changes,
        effects=said.course.effects,
        flags=said.flags,
        can=can_conclude(clock, said.choice, said.finding, video.um_per_px),
        cannot=cannot_conclude(
            traces, clock, said.finding, said.flags, events, seen.one_mask, said.course.effects
        ),
        events=events,
        notes=(*watched.notes, *((doubt.words,) if doubt else ()), *gaps),
        picture=render.overlay(watched.image, watched.mask),
        shown=watched.shown,
        made_with={"settings": analyst.settings(facts), "versions": machine_facts()},
        movie=MOVIE if analyst.recipe.movie else "",
    )


def _gaps_in_movie(traces: Traces, fps: float | None) -> tuple[str, ...]:
    longest_s = longest_step_s(fps)
    count = int(np.sum(np.diff(traces.time_s) > longest_s))
    what = f"{count} gaps" if count > 1 else "the gap"
    return (f"{MOVIE} shows {what} between frames as {longest_s:g} s.",) if count else ()


def _length(traces: Traces, clock: Clock) -> dict[str, Any]:
    """Number of frames and the time of the last one, None where nobody knows the rate."""
    count = len(traces.time_s)
    return {"n_frames": count, "end_s": float(traces.time_s[-1]) if clock.is_known else None}


def _hashes(files: dict[str, Any]) -> dict[str, Any]:
    """What is in a recording's files and its masks', wherever they are."""
    recorded = files["source"].get("files", [files["source"]])
    named = {"source": recorded, "masks": files["masks"]}
    return {name: [one["sha256"] for one in some] for name, some in named.items()}


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
