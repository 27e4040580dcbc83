"""How long a study will take: measured on a few steps of each kind of network, then added up."""

from __future__ import annotations

import heapq
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from ehtseg.learning.evaluate import look
from ehtseg.learning.train import train
from ehtseg.recipe import make_recipe
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.study.entries import Entry
from ehtseg.study.frames import frames_at, split_of, training_frames
from ehtseg.study.plan import Run
from ehtseg.study.results import BASELINES
from ehtseg.study.score import engines_of, score_net
from ehtseg.study.task import Task, prepare

STEPS = 6  # that are timed, after a first one
FRAMES = 2  # that are timed at each place
NOT_WORTH_IT = 10  # times as many steps as are timed: a study below that is just carried out


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of the parts of a run."""

    begin: float  # reading frames, building the network, the first step
    step: float
    epoch: float  # the look at validation and the writing at the end of each
    finish: float
    frame: Mapping[str, float]  # scoring one frame, by place

    def of(self, run: Run, frames: Mapping[str, int]) -> float:
        """Seconds of a whole run, scored on so many frames at each place."""
        scoring = sum(self.frame[place] * n for place, n in frames.items())
        return (
            self.begin
            + run.steps * self.step
            + run.recipe.epochs * self.epoch
            + self.finish
            + scoring
        )


def kind(run: Run) -> str:
    """What a run's seconds depend on: the network and its sizes, not loss or initial weights."""
    recipe = run.recipe.model_dump(mode="json")
    net = {k: v for k, v in recipe["net"].items() if k not in ("transfer", "control", "init")}
    data = {k: v for k, v in recipe["data"].items() if k in ("size", "augment")}
    fit = {k: recipe["fit"][k] for k in ("batch", "accumulate", "optimizer", "precision")}
    return json.dumps([net, data, fit, run.train], sort_keys=True)


def to_measure(entries: Sequence[Entry]) -> list[Entry]:
    """One entry of each kind; none where measuring would take a good part of the study's time."""
    runs = [entry for entry in entries if entry.row != BASELINES]
    kinds = {kind(entry.run): entry for entry in runs}
    steps = sum(entry.run.steps for entry in runs)
    return list(kinds.values()) if steps > NOT_WORTH_IT * STEPS * len(kinds) else []


def measure(task: Task) -> Cost:
    """Time a short training and the scoring of a few frames; nothing of it is kept."""
    prepare(task)
    run, ticks, ends = task.entry.run, [], []
    dataset = training_frames(run, task.data)
    once = run.recipe.fit.batch * run.recipe.fit.accumulate
    few = min(once, len(split_of(run, task.data).train))
    short = make_recipe(
        run.recipe.model_dump(),
        {"fit": {"epochs": 1, "images_per_epoch": (STEPS + 1) * once}},
        {"data": {"n_train": few}},  # so that a frozen encoder's features are kept, as in a run
    )
    with TemporaryDirectory() as folder:
        began = time.perf_counter()
        trained = train(
            dataset,
            short,
            Path(folder) / "run",
            judged=False,
            tick=lambda _done, _total: ticks.append(time.perf_counter()),
            tell=lambda _: ends.append(time.perf_counter()),  # last of all, the end of the epoch
        )
        finished = time.perf_counter()
        step = statistics.median(b - a for a, b in pairwise(ticks))
        return Cost(
            begin=ticks[0] - began - step,
            step=step,
            epoch=ends[-1] - ticks[-1],
            finish=finished - ends[-1],
            frame=_seconds_a_frame(task, trained),
        )


def frames_of(run: Run, data: Path) -> dict[str, int]:
    """How many frames are scored at each place."""
    split = split_of(run, data)
    return {place.label: len(frames_at(place, split, data)[1]) for place in run.score}


def makespan(seconds: Sequence[float], workers: int) -> float:
    """When the last task ends, if each goes in this order to the first free worker.

    >>> makespan([3.0, 1.0, 1.0, 1.0], 2)
    3.0
    """
    free = [0.0] * workers
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    return max(free)


def _seconds_a_frame(task: Task, trained: RunFolder) -> dict[str, float]:
    """Seconds of one frame by place: once seen and scored, once more seen by the best weights."""
    split, size = split_of(task.entry.run, task.data), trained.recipe.data.size
    engines, found = engines_of(trained), {}
    for place in task.entry.run.score:
        dataset, indices = frames_at(place, split, task.data)
        few = dataset, indices[:FRAMES]
        began = time.perf_counter()
        for _ in look(engines.last, *few, size):
            pass
        score_net(trained, engines, place, few)
        found[place.label] = (time.perf_counter() - began) / len(few[1])
    return found
