"""The labelled frames that the runs of a study are trained and scored on."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ehtseg.learning.seen import content
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.splits import Split, split_dataset
from ehtseg.records import UserError
from ehtseg.study.plan import Place, Run


def check_folders(names: Iterable[str], data: Path) -> None:
    """See that every folder of a study is there.

    Raises: UserError that names those that are not.
    """
    missing = [name for name in names if not (data / name).is_dir()]
    if not missing:
        return
    there = sorted(path.name for path in data.iterdir() if path.is_dir()) if data.is_dir() else []
    got = f"a folder with {', '.join(there) or 'no folder'}" if data.is_dir() else "no such folder"
    raise UserError(
        f"labelled folders {', '.join(missing)} in {data}",
        got,
        "Correct --data: it is the folder that holds these folders, each with images/ and masks/.",
    )


@lru_cache(maxsize=16)
def opened(folders: tuple[Path, ...]) -> Dataset:
    """The labelled frames of some folders, looked at once a process."""
    return open_dataset(folders)


def training_frames(run: Run, data: Path) -> Dataset:
    """The frames that a run is trained on, all its sets together."""
    return opened(tuple(data / name for name in run.train))


def split_of(run: Run, data: Path) -> Split:
    """The sets of a run.

    Raises: UserError where its frames cannot be divided so.
    """
    return split_dataset(training_frames(run, data), run.recipe.data, run.seed)


def frames_at(place: Place, split: Split, data: Path) -> tuple[Dataset, list[int]]:
    """The dataset of a place and the indices of the frames that are scored there.

    Test frames are known by their content.

    Raises: UserError where there is none.
    """
    dataset = opened((data / place.folder,))
    tested = {content(split.keys[i]) for i in split.test}
    found = [
        i
        for i, frame in enumerate(dataset.frames)
        if place.frames == "all" or content(frame.key) in tested
    ]
    if not found:
        raise UserError(
            f"{place.frames} frames in {data / place.folder}", "none", "Complete the folder."
        )
    return dataset, spread(found, place.most)


def spread(indices: list[int], most: int | None) -> list[int]:
    """At most so many of the indices, the first and the last among them.

    >>> spread([0, 1, 2, 3, 4, 5, 6], 3)
    [0, 3, 6]
    """
    if most is None or len(indices) <= most:
        return indices
    return [indices[i] for i in np.linspace(0, len(indices) - 1, most).round().astype(int)]
