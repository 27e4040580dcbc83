"""`ehtseg nnunet`: the real nnU-Net v2 on an exported dataset, scored with our scores.

nnU-Net runs in a virtual environment of its own, because its pin of timm excludes ours. Each
stage (preprocess, train, predict) writes a log, and is skipped where it has come to its end; an
interrupted training continues.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs.evaluate import Extremes, write_page
from ehtseg.jobs.kept import read_json, write_json
from ehtseg.jobs.nnunet_export import CASES, SETS, SPLITS
from ehtseg.learning.baselines import BASELINES
from ehtseg.learning.evaluate import counted
from ehtseg.learning.score_sheets import (
    PRIMARY,
    Evaluation,
    Sheet,
    net_sheet,
    summarise,
    write_files,
)
from ehtseg.learning.scores import THRESHOLDS
from ehtseg.learning.seen import content
from ehtseg.reading.dataset import Dataset
from ehtseg.records import Array, UserError, written_whole
from ehtseg.seeing.predict import enlarge, probability
from ehtseg.seeing.run_folder import sha256_of

BEGUN = "begun.json"  # in the folder of a run: what its stages were begun with
BIN = "Scripts" if os.name == "nt" else "bin"
SURE = 1e-6  # nearest to 0 or 1 that a probability counts, so that its logit is finite
NO_CHOICE = "nnU-Net chooses no threshold on validation frames: 0.5 stands in its place."
FEWER_STEPS = '''\
"""Written by ehtseg: {base} with {steps} steps an epoch."""

import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name


class {name}(recursive_find_trainer_class_by_name("{base}")):
    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch = {steps}
        self.num_val_iterations_per_epoch = max(1, {steps} // 5)
'''


@dataclass(frozen=True, slots=True)
class Settings:
    """How nnU-Net is run; the defaults are its own.

    `steps` is the number of steps an epoch; `mirror` averages over mirrored frames.
    """

    venv: Path
    trainer: str = "nnUNetTrainer"
    steps: int | None = None
    device: str = "cuda"
    mirror: bool = True

    @property
    def trainer_class(self) -> str:
        """The trainer that is run: the named one, or ours with fewer steps."""
        return self.trainer if self.steps is None else f"{self.trainer}_{self.steps}steps"


def run_nnunet(
    raw: Path, out: Path, settings: Settings, tell: Callable[[str], None] = lambda _: None
) -> Path:
    """Preprocess, train fold 0 and predict imagesTs; the folder of predictions.

    `raw` is the folder that `ehtseg export-nnunet` made.

    Raises: UserError where nnU-Net is not installed, `raw` is no such folder, `out` was begun with
    other settings or another dataset, or a stage fails.
    """
    _check(raw, settings)
    out = out.resolve()
    _hold_to(out, raw, settings)
    if settings.steps is not None:
        _write_trainer(out / "trainers" / f"{settings.trainer_class}.py", settings)
    predictions = out / "predictions"
    number, trainer = str(int(raw.resolve().name[7:10])), settings.trainer_class
    common = ("-tr", trainer, "-device", settings.device)
    begun = any((out / "results").rglob("fold_0/checkpoint_latest.pth"))
    stages = {
        "plan_and_preprocess": ("-d", number, "-c", "2d", "--verify_dataset_integrity"),
        "train": (number, "2d", "0", *common, *(("--c",) if begun else ())),
        "predict": (
            *("-d", number, "-c", "2d", "-f", "0", "-i", str(raw.resolve() / "imagesTs")),
            *("-o", str(predictions), "--save_probabilities", *common),
            *(() if settings.mirror else ("--disable_tta",)),
        ),
    }
    for stage, words in stages.items():
        _run(stage, words, raw, out, settings, tell)
    return predictions


def score_nnunet(
    raw: Path, predictions: Path, dataset: Dataset, out: Path | None = None
) -> Evaluation:
    """Score nnU-Net's predictions of frames that it was not trained on, with the baselines beside.

    Which frame a case is, is told by its content. With `out`, the files of score_sheets.py and the
    page are written there.

    Raises: UserError where no frame of the dataset was predicted, or a prediction is missing.
    """
    known = _read_cases(raw)
    case_of = _cases_by_content(known)
    names = [case_of.get(content(frame.key)) for frame in dataset.frames]
    sets = [known["cases"][name]["set"] if name else None for name in names]
    wanted = [i for i, which in enumerate(sets) if which in ("test", "unseen")]
    if not wanted:
        raise UserError(
            f"frames that {raw} has in imagesTs",
            f"none of them in {', '.join(map(str, dataset.folders))}",
            "Export again, and name these folders with --test.",
        )
    sheet, opponents = net_sheet(PRIMARY, THRESHOLDS), _opponents(known, dataset, sets)
    sheets, seen = [sheet, *map(Sheet, opponents)], Extremes()
    for i in wanted:
        image, truth = dataset.read(i)
        frame = dataset.frames[i]
        place = {"image": frame.image.name, "recording": frame.recording, "set": sets[i]}
        ignored = dataset.ignored(i)
        found = _probability(predictions / f"{names[i]}.npz", truth.shape)
        found = counted(dataset, i, found)
        sheet.note(place, found, truth, ignored)
        seen.note(sheet.rows[-1], image, truth, found)
        for other in sheets[1:]:
            guess = counted(dataset, i, opponents[other.model](image))
            other.note(place, guess, truth, ignored)
    split = "test" if all(sets[i] == "test" for i in wanted) else "all"
    evaluation = summarise(sheets, split, _facts(known, dataset, split))
    if out is not None:
        write_files(evaluation, out)
        write_page(evaluation, "nnU-Net", seen, out)
    return evaluation


def _check(raw: Path, settings: Settings) -> None:
    _read_cases(raw)
    if not _program("train", settings).is_file():
        venv = settings.venv
        raise UserError(
            f"nnU-Net v2 in a virtual environment of its own at {venv}",
            f"no {_program('train', settings).name} in {venv / BIN}",
            f"Run: python3 -m venv {venv} && {venv / BIN}/pip install nnunetv2   (it cannot stand "
            "beside ehtseg: it needs an older timm).",
        )


def _hold_to(out: Path, raw: Path, settings: Settings) -> None:
    """Note what a run is begun with, and let it go on with nothing else.

    Raises: UserError where it was begun with something else.
    """
    now = {
        "dataset": f"{raw.resolve().name} {sha256_of(raw / CASES)[:16]}",
        "trainer": settings.trainer,
        "steps": settings.steps,
        "mirror": settings.mirror,
    }
    before = read_json(out / BEGUN)
    if before is None:
        write_json(now, out / BEGUN)
        return
    changed = [name for name in now if before.get(name) != now[name]]
    if changed:
        raise UserError(
            f"what {out} was begun with: {', '.join(f'{n} {before.get(n)}' for n in changed)}",
            ", ".join(f"{name} {now[name]}" for name in changed),
            "Choose another --out, or give the same command as before.",
        )


def _program(stage: str, settings: Settings) -> Path:
    return settings.venv / BIN / f"nnUNetv2_{stage}{'.exe' if os.name == 'nt' else ''}"


def _run(
    stage: str,
    words: Sequence[str],
    raw: Path,
    out: Path,
    settings: Settings,
    tell: Callable[[str], None],
) -> None:
    """One of nnU-Net's programs, unless it has come to its end already."""
    done, log = out / f"{stage}.done", out / f"{stage}.log"
    if done.exists():
        tell(f"nnU-Net {stage}: done already.")
        return
    folders = {name: out / name.removeprefix("nnUNet_") for name in _FOLDERS}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        **{name: str(folder) for name, folder in folders.items()},
        "nnUNet_raw": str(raw.resolve().parent),
        "nnUNet_extTrainer": str(out / "trainers"),
    }
    if stage == "train":
        _bring_split(raw, folders["nnUNet_preprocessed"] / raw.resolve().name / SPLITS)
    tell(f"nnU-Net {stage}: its words go to {log}.")
    with open(log, "ab") as file:
        ended = subprocess.run(
            [_program(stage, settings), *words], env=environment, stdout=file, stderr=file
        )
    if ended.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
        raise UserError(
            f"nnU-Net's {stage} to end well",
            f"exit code {ended.returncode}, at last: {said[-1].strip()}",
            f"Read {log}; after mending, the same command continues.",
        )
    done.touch()


_FOLDERS = ("nnUNet_preprocessed", "nnUNet_results")


def _bring_split(raw: Path, target: Path) -> None:
    """Our fold where nnU-Net looks for it, before it draws its own."""
    with written_whole(target) as beside:
        beside.write_bytes((raw / SPLITS).read_bytes())


def _write_trainer(path: Path, settings: Settings) -> None:
    text = FEWER_STEPS.format(
        base=settings.trainer, name=settings.trainer_class, steps=settings.steps
    )
    with written_whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _read_cases(raw: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = json.loads((raw / CASES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"a folder that `ehtseg export-nnunet` made at {raw}",
            f"none with a readable {CASES}",
            "Give its DatasetNNN_NAME folder.",
        ) from error
    return known


def _cases_by_content(known: dict[str, Any]) -> dict[str, str]:
    """The case of each frame, by its content; of several the one nearest to the training."""
    cases = known["cases"]
    near_last = sorted(cases, key=lambda name: SETS.index(cases[name]["set"]), reverse=True)
    return {content(cases[name]["key"]): name for name in near_last}


def _opponents(known: dict[str, Any], dataset: Dataset, sets: Sequence[Any]) -> dict[str, Any]:
    """The baselines, fitted on the training frames; none where the dataset lacks some of them."""
    wanted = sum(case["set"] == "train" for case in known["cases"].values())
    indices = [i for i, which in enumerate(sets) if which == "train"]
    if len(indices) < wanted:
        return {}

    def frames() -> Iterator[tuple[Array, Array]]:
        return (dataset.read_small(i, None) for i in indices)

    return {name: fit(frames()) for name, fit in BASELINES.items()}


def _probability(path: Path, shape: tuple[int, ...]) -> Array:
    """The probability of tissue (H, W) at the frame's own size, as `predict` would bring it."""
    if not path.is_file():
        raise UserError(
            f"the prediction {path}",
            "no such file",
            "Run the same command without its .done files.",
        )
    with np.load(path) as file:
        tissue = file["probabilities"][1].astype(np.float32)  # classes, then (1, h, w)
    small = tissue.reshape(tissue.shape[-2:]).clip(SURE, 1 - SURE)
    return probability(enlarge(np.log(small / (1 - small)), (shape[0], shape[1])))


def _facts(known: dict[str, Any], dataset: Dataset, split: str) -> dict[str, Any]:
    warnings = [NO_CHOICE, *(known["warnings"] if split == "test" else [])]
    return {
        "data_sha256": dataset.sha256,
        "run": {
            "recipe_sha256": None,
            "data_sha256": known["data_sha256"],
            "split_sha256": known["split_sha256"],
            "weights": "nnU-Net v2",
            "weights_sha256": None,
            "precision": None,
        },
        "temperature": None,
        "warnings": warnings,
    }
