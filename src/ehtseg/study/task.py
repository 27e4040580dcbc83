"""What a worker process does: one training with its scores, or the baselines; a record is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from ehtseg.learning.train import train
from ehtseg.nets.weights import FOLDER
from ehtseg.records import UserError
from ehtseg.seeing.engines import choose_device, flush_denormals
from ehtseg.seeing.machine import machine_facts
from ehtseg.study.entries import Entry
from ehtseg.study.frames import frames_at, split_of, training_frames
from ehtseg.study.ledger import Record, lock_of, record_folder, run_folder, write_record
from ehtseg.study.results import BASELINES, as_text, machine_words
from ehtseg.study.score import (
    Pictures,
    engines_of,
    example_name,
    fit_baselines,
    joined,
    run_tables,
    score_baselines,
    score_net,
    shrunk,
)


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work: everything that has one key. It crosses to another process or machine."""

    entry: Entry
    data: Path  # the folder that holds the study's labelled folders
    out: Path  # the folder of the study
    weights: Path | None = None  # a folder of ImageNet weights


def carry_out(task: Task) -> None:
    """Do a task; its record is on disk when this returns.

    A training that was interrupted is continued. One thread, as the design says: sums of floats
    depend on their order.

    Raises: UserError for what makes a training fail.
    """
    prepare(task)
    record = _baselines(task) if task.entry.row == BASELINES else _training(task)
    for row in record.tables["timings.csv"]:
        row["machine"] = machine_here()
    write_record(record, record_folder(task.out, task.entry.key))


def once(job: Callable[[Task], None], task: Task) -> None:
    """Do a task unless its record is there already, and never in two processes at a time."""
    with FileLock(lock_of(task.out, task.entry.key)):
        if not record_folder(task.out, task.entry.key).is_dir():
            job(task)


def machine_here() -> str:
    """This machine in words: processor, instructions, and the GPU where one is used."""
    device, words = choose_device(), machine_words(machine_facts())
    return words if device.value == "cpu" else f"{words}, {device.why}"


def prepare(task: Task) -> None:
    """Make this process compute as the design says."""
    look_for_weights(task.weights)
    torch.set_num_threads(task.entry.run.recipe.fit.threads or 1)
    flush_denormals()


def look_for_weights(folder: Path | None) -> None:
    """Let this process look for ImageNet weights in a folder too, as if the user had set it.

    Raises: UserError where there is no such folder.
    """
    if folder is None:
        return
    if not folder.is_dir():
        raise UserError(
            f"a folder of ImageNet weights at {folder}",
            "no such folder",
            f"Correct --weights-folder, or leave it out and set {FOLDER}.",
        )
    os.environ[FOLDER] = str(folder)


def _training(task: Task) -> Record:
    run, key = task.entry.run, task.entry.key
    split = split_of(run, task.data)
    out = run_folder(task.out, key)
    trained = train(training_frames(run, task.data), run.recipe, out, judged=False)
    started = time.perf_counter()
    engines = engines_of(trained)
    parts, pictures = [], {}
    for place in run.score:
        frames = frames_at(place, split, task.data)
        tables, probability = score_net(trained, engines, place, frames)
        parts.append(tables)
        if run.seed == 0:
            name = example_name(place, frames, key)
            pictures[name] = shrunk(probability)
    parts.append(run_tables(trained, engines.last.net, time.perf_counter() - started))
    return Record(joined(parts), pictures)


def _baselines(task: Task) -> Record:
    run, started = task.entry.run, time.perf_counter()
    split = split_of(run, task.data)
    predictors = fit_baselines(training_frames(run, task.data), split)
    parts, pictures = [], Pictures()
    for place in run.score:
        tables, shown = score_baselines(predictors, place, frames_at(place, split, task.data))
        parts.append(tables)
        pictures |= shown
    timing = {"seconds_training": 0.0, "seconds_scoring": round(time.perf_counter() - started, 1)}
    facts = as_text({"runs.csv": [{"status": "done"}], "timings.csv": [timing]})
    return Record(joined([*parts, facts]), pictures)
