"""`ehtseg export-nnunet`: labelled frames as nnU-Net v2 reads them, with our split beside.

    RAW/Dataset501_NAME/
        dataset.json           channels, labels (2: what does not count), number of training cases
        imagesTr/ labelsTr/    training and validation frames: CASE_0000.png, CASE.png
        imagesTs/              test frames, and all frames of the folders named with --test
        splits_final.json      one fold; it goes into nnUNet_preprocessed/Dataset501_NAME/
        cases.json             which frame each case is, and in which set: for our scores

nnU-Net draws its own folds over single cases, which puts frames of one film on both sides; hence
splits_final.json. Source: the documentation of nnU-Net v2, "dataset format".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ehtseg.reading.dataset import Dataset
from ehtseg.reading.masks import IGNORED
from ehtseg.reading.splits import Split
from ehtseg.records import Array, UserError, written_whole
from ehtseg.seeing.outputs import folder_written_whole

CASES = "cases.json"
SPLITS = "splits_final.json"
NAME = r"Dataset\d{3}_\w+"  # by which nnU-Net finds it
SETS = ("train", "validation", "test", "unseen")
TRAINED = SETS[:2]
IGNORE_LABEL = 2  # nnU-Net wants the number after its classes
CHANNELS = {1: {"0": "brightfield"}, 3: {"0": "R", "1": "G", "2": "B"}}


@dataclass(frozen=True, slots=True)
class Case:
    """One frame as nnU-Net names it; `set` is one of `SETS`."""

    name: str
    key: str  # of the labelled frame
    set: str
    dataset: Dataset
    index: int


def export_nnunet(
    dataset: Dataset,
    split: Split,
    out: Path,
    *,
    others: Sequence[Dataset] = (),
    size: int | None = None,
    name: str = "Dataset501_ehtseg",
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write nnU-Net's raw dataset into `out`; the folder of the dataset.

    `others` are tested only. Frames are shrunk to about `size` x `size` pixels (None: as they
    are). Grey frames have one channel; where any frame is in colour, all are written in colour.

    Raises: UserError for a name that nnU-Net does not take, a size below one pixel, a folder that
    holds something, and a split without training or validation frames.
    """
    _check(split, name, size)
    folder = out / name
    if folder.exists() and any(folder.iterdir()):
        raise UserError(
            f"a new or empty folder at {folder}", "one that holds files", "Choose another --out."
        )
    cases = list(_cases(dataset, split, others))
    grey = all(each.dataset.read(each.index)[0].ndim == 2 for each in cases)
    fold = {"train": _names(cases, "train"), "val": _names(cases, "validation")}
    with folder_written_whole(folder) as beside:
        for done, case in enumerate(cases, 1):
            _write_case(beside, case, size, grey)
            progress(done, len(cases))
        _write_json(beside / SPLITS, [fold])
        _write_json(beside / "dataset.json", _dataset_json(cases, 1 if grey else 3))
        _write_json(beside / CASES, _cases_json(cases, dataset, split, size))
    return folder


def _check(split: Split, name: str, size: int | None) -> None:
    if not re.fullmatch(NAME, name):
        raise UserError(
            "a name such as Dataset501_tissue (Dataset, three digits, underscore, letters)",
            repr(name),
            "Correct --name.",
        )
    if size is not None and size < 1:
        raise UserError(
            "a size of one pixel or more",
            str(size),
            "Correct --size, or leave it out: the frames then stay as they are.",
        )
    if not (split.train and split.validation):
        raise UserError(
            "training and validation frames for nnU-Net's fold",
            f"{len(split.train)} and {len(split.validation)}",
            "Take another --split, or more frames.",
        )


def _cases(dataset: Dataset, split: Split, others: Sequence[Dataset]) -> Iterator[Case]:
    """Every frame that is written, its case named by its recording and place in the dataset."""
    sets = {i: s for s in SETS[:3] for i in getattr(split, s)}
    for number, each in enumerate((dataset, *others)):
        for i, frame in enumerate(each.frames):
            where = "unseen" if number else sets.get(i)
            if where:
                slug = re.sub(r"\W+", "-", frame.recording).strip("-") or "recording"
                yield Case(f"{number}-{i:05d}-{slug}", frame.key, where, each, i)


def _write_case(folder: Path, case: Case, size: int | None, grey: bool) -> None:
    image, label = case.dataset.read_small(case.index, size)
    if not grey and image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    trained = case.set in TRAINED
    _write_png(folder / ("imagesTr" if trained else "imagesTs") / f"{case.name}_0000.png", image)
    if trained:
        label[label == IGNORED] = IGNORE_LABEL
        _write_png(folder / "labelsTr" / f"{case.name}.png", label)


def _names(cases: Sequence[Case], which: str) -> list[str]:
    return [case.name for case in cases if case.set == which]


def _dataset_json(cases: Sequence[Case], n_channels: int) -> dict[str, Any]:
    trained = [case for case in cases if case.set in TRAINED]
    partly = any(case.dataset.frames[case.index].ignore for case in trained)
    return {
        "channel_names": CHANNELS[n_channels],
        "labels": {"background": 0, "tissue": 1, **({"ignore": IGNORE_LABEL} if partly else {})},
        "numTraining": len(trained),
        "file_ending": ".png",
    }


def _cases_json(
    cases: Sequence[Case], dataset: Dataset, split: Split, size: int | None
) -> dict[str, Any]:
    return {
        "size": size,
        "data_sha256": dataset.sha256,
        "split_sha256": split.sha256,
        "warnings": list(split.warnings),
        "cases": {case.name: {"key": case.key, "set": case.set} for case in cases},
    }


def _write_png(path: Path, image: Array) -> None:
    with written_whole(path) as beside:
        Image.fromarray(image).save(beside)


def _write_json(path: Path, content: Any) -> None:
    with written_whole(path) as beside:
        beside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
