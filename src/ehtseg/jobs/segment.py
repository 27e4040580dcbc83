"""Recordings to masks: the whole story of `ehtseg segment`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ehtseg.jobs.places import (
    WRITER,
    absolute,
    gone_if_empty,
    is_result,
    is_same,
    output_folders,
    read_record,
)
from ehtseg.jobs.results import FILES, Means, write_results
from ehtseg.reading.finding import each_once, find_videos
from ehtseg.reading.video import Progress
from ehtseg.recipe import SegmentRecipe
from ehtseg.records import UserError
from ehtseg.seeing.engines import choose_batch, choose_device, memory_watched
from ehtseg.seeing.machine import machine_facts
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import chosen_run
from ehtseg.seeing.ways import choose_way, start


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """What became of one recording."""

    source: Path
    status: Literal["done", "unchanged", "failed"]
    folder: Path | None = None
    n_frames: int = 0
    seconds: float = 0.0
    reason: str = ""  # why it failed
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Unread:
    """What was given and is no recording, and why not."""

    source: Path
    error: UserError


def segment(
    videos: Sequence[Path | str],
    run: RunFolder | Path | str | None,
    out: Path | str,
    choices: SegmentRecipe | None = None,
    *,
    fps: float | None = None,
    um_per_px: float | None = None,
    progress: Progress = lambda _done, _total: None,
) -> list[SegmentResult]:
    """Segment recordings (files, folders, globs) into one folder each, below `out`.

    Without a `run` the shipped model is used. `choices` are those of the run's recipe unless
    given. A recording that fails does not stop the others; one whose results are there already,
    made from the same file with the same network and settings, is left as it is. Memory does not
    grow with the length of a recording.

    Raises: UserError for a run folder that cannot be used, an `out` that cannot be a folder, and
    where there is no recording at all.
    """
    sources, unread = find_sources(videos)
    failed = [SegmentResult(one.source, "failed", reason=str(one.error)) for one in unread]
    opened = chosen_run(run)
    means = decide_means(opened, choices or opened.recipe.segment, fps, um_per_px)
    with gone_if_empty(Path(out)):
        folders = output_folders(sources, Path(out))
        results = [
            _segment_one(means, source, folder, progress)
            for source, folder in zip(sources, folders, strict=True)
        ]
    return results + failed


def find_sources(videos: Sequence[Path | str]) -> tuple[list[Path], list[Unread]]:
    """Every recording once, without earlier results of ours; and what was no recording."""
    found: dict[Path, Path] = {}
    unread = []
    for video in videos:
        try:
            meant = [Path(video)] if is_result(Path(video)) else find_videos([video])
            found.update({absolute(path): path for path in meant})
        except UserError as error:
            unread.append(Unread(Path(video), error))
    sources = each_once(path for path in found.values() if not is_result(path))
    if not sources and not unread:
        got = f"only results of an earlier {WRITER}" if found else "none"
        raise UserError("at least one recording", got, "Name a video, TIFF stack or folder.")
    return sources, unread


def decide_means(
    run: RunFolder, choices: SegmentRecipe, fps: float | None, um_per_px: float | None
) -> Means:
    """Load the network and make every automatic choice, once for all recordings."""
    device = choose_device().value
    way, _ = choose_way(run.facts, choices, device)
    engine = start(way, run, device)
    settings = {
        "ehtseg": machine_facts()["ehtseg"],
        "weights_sha256": run.weights_sha256,
        "engine": engine.name,
        "precision": engine.precision,
        "size_px": run.recipe.data.size,
        "threshold": run.threshold if choices.threshold is None else choices.threshold,
        "clean": choices.clean,
        "steady": choices.steady,
        "fps_given": fps,
        "um_per_px_given": um_per_px,
    }
    return Means(run, engine, choices.batch or int(choose_batch(device).value), settings)


def _segment_one(means: Means, source: Path, folder: Path, progress: Progress) -> SegmentResult:
    started = time.perf_counter()
    try:
        record, status = _still_true(means, source, folder), "unchanged"
        if record is None:
            with memory_watched(f"a smaller --batch (it was {means.batch})"):
                record, status = write_results(means, source, folder, progress), "done"
    except UserError as error:
        return SegmentResult(source, "failed", reason=str(error))
    return SegmentResult(
        source,
        "done" if status == "done" else "unchanged",
        folder,
        record["recording"]["n_frames"],
        time.perf_counter() - started,
        notes=tuple(record["notes"]),
    )


def _still_true(means: Means, source: Path, folder: Path) -> dict[str, Any] | None:
    """The record of results that a new run would only repeat."""
    record = read_record(folder)
    if record is None or record["settings"] != means.settings:
        return None
    complete = all((folder / name).is_file() for name in FILES)
    return record if complete and is_same(record, source) else None
