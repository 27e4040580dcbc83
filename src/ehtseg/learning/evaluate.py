"""A trained network and labelled frames to scores, with the trivial baselines beside it.

Which set a frame belongs to, and what the network knows of it: seen.py. What is scored and
written: score_sheets.py.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from ehtseg.learning.baselines import BASELINES, Predictor
from ehtseg.learning.beside import guesses
from ehtseg.learning.score_sheets import Evaluation, Row, Sheet, net_sheet, summarise
from ehtseg.learning.scores import THRESHOLDS
from ehtseg.learning.seen import (
    START,
    content,
    name_warnings,
    seen_before,
    sets_by_key,
    sets_of,
    start_warnings,
)
from ehtseg.reading.dataset import Dataset, survey
from ehtseg.records import Array, UserError
from ehtseg.seeing.clean import clean
from ehtseg.seeing.engines import (
    Engine,
    TorchEngine,
    choose_device,
    flush_denormals,
    memory_watched,
)
from ehtseg.seeing.predict import predict
from ehtseg.seeing.run_folder import RunFolder, open_run

SPLITS = ("test", "validation", "train", "all")
BATCH = 4  # frames in memory at a time
NOBODY: Mapping[str, Path] = MappingProxyType({})


@memory_watched("smaller frames, or a network trained at a smaller data.size (--size)")
def evaluate(
    run: RunFolder | Path,
    dataset: Dataset,
    split: str = "test",
    *,
    cleaned: bool = False,
    beside: Mapping[str, Path] = NOBODY,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    watch: Callable[[Row, Array, Array, Array], None] | None = None,
) -> Evaluation:
    """Score a trained network on one set of its split, or on all frames of a dataset.

    The function that segments videos predicts, by the torch engine at the precision of the
    training; frames are read and scored a few at a time. Scored is what the network gives: with
    `cleaned`, its masks are cleaned before (at the run's threshold) as `segment` does. `beside`
    names others that are scored on the same frames: run folders, "shipped", folders of masks.
    `watch` is shown each frame as it is scored: its row of scores.csv, image, true mask,
    probability.

    Raises: UserError for a set that the dataset does not hold, whatever makes a run folder
    unusable, masks that are missing, and too little memory.
    """
    run = open_run(run) if isinstance(run, Path) else run
    sets = sets_of(run, dataset)
    indices = _indices(run, dataset, sets, split)
    flush_denormals()
    engine = TorchEngine(run.net(), run.facts["resolved"]["precision"], choose_device().value)
    opponents = fitted_baselines(run, dataset)
    others, notes = guesses(beside, dataset, indices)
    sheets = [net_sheet(run.threshold, THRESHOLDS), *map(Sheet, (*opponents, *others))]
    mend = (lambda found: clean(found, run.threshold).probability) if cleaned else None
    seen = look(engine, dataset, indices, run.recipe.data.size, mend)
    for done, (i, image, truth, probability) in enumerate(seen, 1):
        frame = dataset.frames[i]
        place = {"image": frame.image.name, "recording": frame.recording, "set": sets[i]}
        ignored = dataset.ignored(i)
        sheets[0].note(place, probability, truth, ignored)
        for sheet in sheets[1:]:
            name = sheet.model
            found = opponents[name](image) if name in opponents else others[name](i, image)
            sheet.note(place, counted(dataset, i, found), truth, ignored)
        if watch is not None:
            watch(sheets[0].rows[-1], image, truth, probability)
        progress(done, len(indices))
    warnings = _warnings(run, [sets[i] for i in indices], split, opponents)
    warnings += name_warnings(
        run, [dataset.frames[i] for i in indices], [sets[i] for i in indices], "The network"
    )
    warnings += _of_the_start(run, dataset, indices, sets, split)
    warnings += [f"The masks were cleaned at {run.threshold:g}, as segment does."] * cleaned
    return summarise(sheets, split, _facts(run, dataset, [*warnings, *notes]))


def look(
    engine: Engine,
    dataset: Dataset,
    indices: Sequence[int],
    size: int | None,
    mend: Callable[[Array], Array] | None = None,
) -> Iterator[tuple[int, Array, Array, Array]]:
    """Index, image, true mask and predicted probability of frames, few at a time in memory.

    `mend` is done to the whole probability (H, W), before pixels that do not count become 0.
    """
    for start in range(0, len(indices), BATCH):
        chunk = indices[start : start + BATCH]
        images, masks = zip(*map(dataset.read, chunk), strict=True)
        whole = predict(engine, images, size)
        found = map(partial(counted, dataset), chunk, map(mend, whole) if mend else whole)
        yield from zip(chunk, images, masks, found, strict=True)


def counted(dataset: Dataset, i: int, found: Array) -> Array:
    """Probabilities or a mask (H, W) of frame i, 0 where the frame's pixels do not count."""
    ignored = dataset.ignored(i)
    return found if ignored is None else np.where(ignored, np.zeros_like(found), found)


def fitted_baselines(run: RunFolder, dataset: Dataset) -> dict[str, Predictor]:
    """The baselines, fitted on the run's training frames; none where these are no longer there.

    The frames are those of the dataset, or else of the folders that the run was trained on.
    """
    wanted, sets = len(run.facts["split"]["train"]), sets_by_key(run, dataset)
    if sets.count("train") < wanted:
        folders = [Path(folder) for folder in run.facts["data"]]
        if not all(folder.is_dir() for folder in folders):
            return {}
        dataset = survey(folders).dataset
        sets = sets_by_key(run, dataset)
    indices = [i for i, name in enumerate(sets) if name == "train"]
    if len(indices) < wanted:
        return {}
    read = partial(dataset.read_small, size=None)
    return {name: fit(map(read, indices)) for name, fit in BASELINES.items()}


def _indices(run: RunFolder, dataset: Dataset, sets: Sequence[str], split: str) -> list[int]:
    """The frames to score.

    Raises: UserError for an unknown set, an empty one, or one that the dataset does not hold.
    """
    if split not in SPLITS:
        raise UserError(f"--split {', '.join(SPLITS)}", repr(split), "Choose one of these.")
    if split == "all":
        return list(range(len(dataset)))
    wanted = {content(key) for key in run.facts["split"][split]}
    found = [i for i, frame in enumerate(dataset.frames) if content(frame.key) in wanted]
    path, where = shlex.quote(str(run.path)), shlex.join(map(str, dataset.folders))
    if not wanted:
        raise UserError(
            f"a {split} set in the run {run.path}",
            "none: its split left no frames for it",
            f"Score all frames of other data:  ehtseg evaluate {path} FOLDER --split all",
        )
    missing = len(wanted - {content(dataset.frames[i].key) for i in found})
    if missing:
        raise UserError(
            f"the {len(wanted)} {split} frames of the run {run.path} in {where}",
            f"{missing} of them missing or changed",
            f"Give the folders of the training ({', '.join(run.facts['data'])}); or score every "
            f"frame of a folder that it was never trained on:  "
            f"ehtseg evaluate {path} {where} --split all",
        )
    return found


def _warnings(
    run: RunFolder, sets: Sequence[str], split: str, opponents: dict[str, Predictor]
) -> list[str]:
    """What has to be known beside the numbers, in sentences."""
    n, counts = len(sets), Counter(sets)
    warnings = []
    if counts["train"]:
        warnings.append(
            f"The network was trained on {counts['train']} of these {n} frames: "
            "their scores show memory, not skill."
        )
    if counts["validation"]:
        warnings.append(
            f"The threshold was chosen on {counts['validation']} of these {n} frames: "
            "their scores are a little too good."
        )
    if split == "test":
        warnings += run.facts["split"]["warnings"]
    if not run.finished:
        warnings.append("The training has not finished: no threshold was chosen yet.")
    if not opponents:
        folders = ", ".join(run.facts["data"])
        warnings.append(
            f"No baselines: the training frames are not in {folders} as they were at the training."
        )
    return warnings


def _of_the_start(
    run: RunFolder, dataset: Dataset, indices: Sequence[int], sets: Sequence[str], split: str
) -> list[str]:
    """What the scores owe to where the training started."""
    frames = dataset.frames
    trained = seen_before(run.facts, frames, ("train",))
    known = sum(sets[i] == START or (sets[i] != "train" and trained[i]) for i in indices)
    own = {frame.recording for frame, name in zip(frames, sets, strict=True) if name == "train"}
    films = {frames[i].recording for i in indices if split == "test"} - own
    return start_warnings(run.facts, known, films, f"these {len(indices)} frames")


def _facts(run: RunFolder, dataset: Dataset, warnings: list[str]) -> dict[str, Any]:
    """What summary.json says of run and data."""
    return {
        "data_sha256": dataset.sha256,
        "run": {
            "recipe_sha256": run.recipe.sha256,
            "data_sha256": run.facts["data_sha256"],
            "split_sha256": run.facts["split_sha256"],
            "weights": run.weights_file.name,
            "weights_sha256": run.weights_sha256,
            "precision": run.facts["resolved"]["precision"],
        },
        "temperature": run.facts.get("temperature"),
        "warnings": warnings,
    }
