"""Recordings to beats, numbers and pages: the whole story of `ehtseg analyse`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ehtseg.jobs.analysis import Analyst, edits_of, write_analysis
from ehtseg.jobs.joining import Lines, lines_of, recordings_of
from ehtseg.jobs.places import (
    ANALYST,
    absolute,
    gone_if_empty,
    is_same,
    output_folders,
    read_record,
    results_in,
)
from ehtseg.jobs.plate import plate_of
from ehtseg.jobs.posts import posts_place
from ehtseg.jobs.recording import Facts, Recording
from ehtseg.jobs.segment import Unread, decide_means, find_sources
from ehtseg.jobs.sight import Sight, by_masks, by_network
from ehtseg.reading.video import Progress
from ehtseg.recipe import MeasureRecipe, Recipe
from ehtseg.records import UserError
from ehtseg.reporting.batch import write_batch
from ehtseg.reporting.plate import Plate
from ehtseg.seeing.engines import memory_watched
from ehtseg.seeing.machine import machine_facts
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import chosen_run

COMPARED = "contraction"  # the trace of recordings in a manifest, unless measure.trace says another


@dataclass(frozen=True, slots=True, eq=False)
class AnalyseResult:
    """What became of one recording."""

    source: Path
    status: Literal["done", "unchanged", "failed"]
    folder: Path | None = None
    seconds: float = 0.0
    reason: str = ""  # why it failed
    record: dict[str, Any] | None = None  # what record.json holds


def analyse(
    videos: Sequence[Path | str],
    out: Path | str,
    *,
    run: RunFolder | Path | str | None = None,
    masks: Path | str | None = None,
    recipe: Recipe | None = None,
    facts: Facts | None = None,
    progress: Progress = lambda _done, _total: None,
) -> list[AnalyseResult]:
    """Analyse recordings (files, folders, globs) into one folder each, below `out`.

    Masks come from a trained network (`run`, else the shipped model) or are given (`masks`: see
    `masks_of`). A recording that fails does not stop the others; one whose results are there
    already, made from the same files with the same settings, is left as it is. summary.csv and
    index.html tell of all recordings in `out`; with a manifest (`facts`) also of its wells.

    Raises: UserError for a run folder that cannot be used, an `out` that cannot be a folder, a
    manifest with lines that mean nothing, and where there is no recording at all.
    """
    sources, unread = find_sources(videos)
    failed = [AnalyseResult(one.source, "failed", reason=str(one.error)) for one in unread]
    sight = _sight(run, masks, recipe, sources)
    told = facts or Facts()
    lines = _lines(told, sources, unread, Path(out))
    analyst = Analyst(sight, _measure((recipe or Recipe()).measure, bool(lines)))
    recordings = recordings_of(sources, told, lines)
    with gone_if_empty(Path(out)):
        folders = output_folders([one.place for one in recordings], Path(out), ANALYST)
        results = [
            _analyse_one(analyst.paced(one.pacing_bpm), one, folder, progress)
            for one, folder in zip(recordings, folders, strict=True)
        ]
        plate = _plate(lines, recordings, results) if lines else None
        records = _records(Path(out))
        if records or plate:
            write_batch(records, Path(out), plate)
    earlier = {record["source"]["path"]: Path(out) / name for name, record in records}
    return [_beside_earlier(one, earlier) for one in results + failed]


def _beside_earlier(one: AnalyseResult, earlier: Mapping[str, Path]) -> AnalyseResult:
    """A failure says where results of an earlier run still stand: folders by source."""
    own = earlier.get(str(absolute(one.source)))
    if one.status != "failed" or own is None:
        return one
    told = f"What stands in {own} and in summary.csv for it is of an earlier run."
    return replace(one, reason=f"{one.reason} {told}")


def _lines(told: Facts, sources: Sequence[Path], unread: Sequence[Unread], out: Path) -> Lines:
    """What the manifest says of each recording; a missing part goes before what follows from it.

    Raises: UserError of what could not be read, where files are joined or lines mean none.
    """
    if told.join and unread:
        raise unread[0].error
    if not told.manifest:
        return ()
    try:
        return lines_of(told.manifest, sources, out)
    except UserError as error:
        raise (unread[0].error if unread else error) from error


def _measure(recipe: MeasureRecipe, compared: bool) -> MeasureRecipe:
    """How to measure; recordings that are compared are read from one trace, else sizes differ."""
    if recipe.trace or not (compared and recipe.flow):
        return recipe
    return recipe.model_copy(update={"trace": COMPARED})


def _plate(
    lines: Lines, recordings: Sequence[Recording], results: Sequence[AnalyseResult]
) -> Plate:
    named = {file for _, file in lines}
    strangers = sum(not named.intersection(one.files) for one in recordings)
    done = [(one.folder, one.record) for one in results if one.folder and one.record]
    return plate_of(lines, done, strangers)


def _sight(
    run: RunFolder | Path | str | None,
    masks: Path | str | None,
    recipe: Recipe | None,
    sources: Sequence[Path],
) -> Sight:
    if masks is not None:
        if run is not None:
            raise UserError(
                "either a trained network or masks",
                "both",
                "Give --model with a run folder, or --masks with a TIFF stack or a folder.",
            )
        chosen = recipe.segment.threshold if recipe else None
        threshold = 0.5 if chosen is None else chosen
        settings = {"ehtseg": machine_facts()["ehtseg"], "threshold": threshold}
        return by_masks(Path(masks), settings, sources, threshold)
    opened = chosen_run(run)
    choices = (recipe or opened.recipe).segment
    return by_network(decide_means(opened, choices, None, None))


def _analyse_one(
    analyst: Analyst, recording: Recording, folder: Path, progress: Progress
) -> AnalyseResult:
    started = time.perf_counter()
    status: Literal["done", "unchanged"] = "unchanged"
    try:
        record = _still_true(analyst, recording, folder)
        if record is None:
            with memory_watched("fewer frames at a time: --set segment.batch=1"):
                record, status = write_analysis(analyst, recording, folder, progress), "done"
    except UserError as error:
        return AnalyseResult(recording.place, "failed", reason=str(error))
    seconds = time.perf_counter() - started
    return AnalyseResult(recording.place, status, folder, seconds, record=record)


def _still_true(analyst: Analyst, recording: Recording, folder: Path) -> dict[str, Any] | None:
    """The record of results that a new run would only repeat."""
    record = read_record(folder, ANALYST)
    if record is None or record["settings"] != analyst.settings(recording.facts):
        return None
    if edits_of(folder) != record["edits"]:
        return None
    masks = [path for file in recording.files if (path := analyst.sight.masks_of(file))]
    described = record["masks"]
    if len(described) != len(masks):
        return None
    if not all(is_same({"source": a}, b) for a, b in zip(described, masks, strict=True)):
        return None
    if not all((folder / name).is_file() for name in analyst.files):
        return None
    if not recording.is_described(record["source"]):
        return None
    return record if _has_these_posts(recording, record) else None


def _has_these_posts(recording: Recording, record: dict[str, Any]) -> bool:
    """Whether the posts are marked as they were; the same words may mean another file by now."""
    told, described = recording.facts.posts, record.get("posts")
    first = record["recording"].get("files", [record["source"]["path"]])[0]
    marked = posts_place(told, Path(first)) if told else None
    if marked is None or described is None:
        return marked is None and described is None
    return is_same({"source": described}, marked)


def _records(out: Path) -> list[tuple[str, dict[str, Any]]]:
    """The records of all recordings that were analysed into `out`, by folder name.

    Of a folder and its copies the one counts that has the name it was written under.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for folder, record in results_in(out, ANALYST):
        source, name = record["source"]["path"], folder.name
        if source not in found or name == record["summary"]["recording"]:
            found[source] = name, record
    return sorted(found.values(), key=lambda one: one[0])
