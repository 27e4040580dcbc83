"""Which labelled frames train, which choose (validation), and which test.

Frames of one film are near copies of each other, so the default keeps whole recordings together.
Draws depend on the seed and on the names of recordings and frames alone: the same names give the
same sets for all time, in whatever order the folders are given.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ehtseg.reading.blocks import Sets, Shares, counts_by_share, cut_in_time
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.leakage import crossing, distance_line, warnings_of
from ehtseg.reading.pairs import some
from ehtseg.recipe import MOST_TO_ADAPT, DataRecipe
from ehtseg.records import UserError

MEMBERS = ("train", "validation", "test", "unused")
TITLES = {
    "recording": "Split by whole recordings",
    "blocks": "Split by blocks in time",
    "random": "Split by single frames at random",
    "all": "No split, every frame is tested",
    "none": "No split, every frame trains",
}
DRAWS = 20  # of recordings, until training has half of its share of the frames


@dataclass(frozen=True, slots=True)
class Split:
    """Sets of indices into a dataset, ascending, and what is to be known of them."""

    how: str  # a key of TITLES
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]
    unused: tuple[int, ...]
    report: tuple[str, ...]  # counts, recordings, smallest distance in time
    warnings: tuple[str, ...]
    sha256: str  # of the names and contents of the frames in each set
    keys: tuple[str, ...]  # names and content of every frame of the dataset
    folders: tuple[str, ...]  # names of the dataset's folders

    def to_json(self) -> dict[str, Any]:
        """Plain values that outlast the order and the place of the folders."""
        return {
            "how": self.how,
            "sha256": self.sha256,
            "folders": list(self.folders),
            "report": list(self.report),
            "warnings": list(self.warnings),
            **{name: [self.keys[i] for i in getattr(self, name)] for name in MEMBERS},
        }


def split_dataset(dataset: Dataset, data: DataRecipe, seed: int) -> Split:
    """Divide a dataset as `data.split`, `shares`, `counts` and `guard_frames` say.

    Raises: UserError where the dataset cannot be divided so, with what can be done instead.
    """
    if data.counts and data.split != "random":
        raise UserError(
            "exact counts with a random split",
            f"counts {data.counts} with the split “{data.split}”",
            "Take --split random, or leave the counts out: shares divide recordings and blocks.",
        )
    if not (data.counts or data.shares)[0]:
        raise UserError(
            "frames for training",
            f"none by counts {data.counts} and shares {data.shares}",
            "Raise the first of the three.",
        )
    methods = {"recording": _by_recording, "blocks": _by_blocks, "random": _at_random}
    sets, remarks = methods[data.split](
        dataset, data, seed if data.split_seed is None else data.split_seed
    )
    if data.n_train is not None:
        sets = _thinned(dataset, sets, data.n_train, seed)
        remarks = [*remarks, f"{data.n_train} of the training frames were drawn with seed {seed}."]
    return _described(dataset, data.split, sets, remarks)


def _thinned(dataset: Dataset, sets: Sets, n_train: int, seed: int) -> Sets:
    """The sets with `n_train` training frames; a smaller number draws some of a larger one's.

    Raises: UserError where there are not so many.
    """
    there = list(sets.train)
    if n_train > len(there):
        raise UserError(
            f"at most {len(there)} in data.n_train, the training frames of this split",
            str(n_train),
            "Give a smaller number, or leave it out.",
        )
    drawn = _drawn([dataset.frames[i].name for i in there], f"{seed} train")[:n_train]
    return sets._replace(train=[there[i] for i in sorted(drawn)])


def whole(dataset: Dataset) -> Split:
    """Every frame as test: for data that a network was never trained on (`--split all`)."""
    return _described(dataset, "all", Sets([], [], list(range(len(dataset)))), [])


def all_train(dataset: Dataset) -> Split:
    """Every frame as training: for a network that was judged by folds before."""
    return _described(dataset, "none", Sets(list(range(len(dataset))), [], []), [])


def split_from_json(stored: Mapping[str, Any], dataset: Dataset) -> Split:
    """The same sets again, in a dataset opened later.

    Raises: UserError where frames are missing, new or changed, or where the stored sets were.
    """
    keys = tuple(frame.key for frame in dataset.frames)
    wanted, present = Counter(key for name in MEMBERS for key in stored[name]), Counter(keys)
    lost, others = wanted - present, present - wanted
    if lost or others:
        raise UserError(
            f"the {wanted.total()} labelled frames of the stored split "
            f"(folders {some(stored['folders'])})",
            f"{_counted(lost)} missing or changed and {_counted(others)} new or changed",
            "Give the folders of the training, unchanged; for other data take --split all.",
        )
    places: dict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        places[key].append(i)
    found = [tuple(sorted(places[key].pop(0) for key in stored[name])) for name in MEMBERS]
    if _sha256(keys, found[:3]) != stored["sha256"]:
        raise UserError(
            f"the sets with the SHA-256 {stored['sha256']}",
            "sets that were edited since",
            "Take the run folder as the training wrote it.",
        )
    train, validation, test, unused = found
    return Split(
        stored["how"],
        train,
        validation,
        test,
        unused,
        report=tuple(stored["report"]),
        warnings=tuple(stored["warnings"]),
        sha256=stored["sha256"],
        keys=keys,
        folders=tuple(stored["folders"]),
    )


def _by_recording(dataset: Dataset, data: DataRecipe, seed: int) -> tuple[Sets, list[str]]:
    groups = dataset.recordings
    if len(groups) < sum(share > 0 for share in data.shares):
        return _too_few_recordings(dataset, data)
    n_train, n_validation, _ = counts_by_share(len(groups), data.shares)
    enough = data.shares[0] / sum(data.shares) * len(dataset) / 2
    drawn = _drawn_recordings(groups, n_train, enough, seed)
    edges = (0, n_train, n_train + n_validation, len(drawn))
    parts = [drawn[a:b] for a, b in pairwise(edges)]
    sets = Sets(*([i for name in part for i in groups[name]] for part in parts))
    frames = [[dataset.frames[i] for i in part] for part in sets]
    crossed = crossing(frames[0] + frames[1], frames[2]) + crossing(frames[0], frames[1])
    assert not crossed, f"recordings in several sets: {crossed}"
    return sets, [f"Drawn with seed {seed}."]


def _drawn_recordings(
    groups: Mapping[str, Sequence[int]], n_train: int, enough: float, seed: int
) -> list[str]:
    """The recordings in a drawn order, the first `n_train` of them with enough frames.

    Where no draw gives enough, because recordings are that unequal, the one with the most.
    """
    names = list(groups)
    draws = [[names[i] for i in _drawn(names, f"{seed} {n}")] for n in range(DRAWS)]
    frames = [sum(len(groups[name]) for name in draw[:n_train]) for draw in draws]
    good = (draw for draw, count in zip(draws, frames, strict=True) if count >= enough)
    return next(good, draws[frames.index(max(frames))])


def _too_few_recordings(dataset: Dataset, data: DataRecipe) -> tuple[Sets, list[str]]:
    """Two recordings for three sets: the longer one trains and validates, the other one tests."""
    groups = dataset.recordings
    if len(groups) == 1:
        can_be_cut = len(dataset) >= sum(share > 0 for share in data.shares)
        blocks = "; or divide this one in time with --split blocks" if can_be_cut else ""
        raise UserError(
            "two or more recordings to divide by recording",
            f"one, “{next(iter(groups))}” ({len(dataset)} frames)",
            f"Add another recording{blocks}{_or_adapt(dataset)}.",
        )
    longer, other = sorted(groups, key=lambda name: (-len(groups[name]), name))
    shares = (data.shares[0], data.shares[1], 0.0)
    cut, remarks = _cut(dataset, groups[longer], shares, data.guard_frames)
    remark = (
        f"With two recordings none is left for validation: {longer} trains, its last block "
        f"validates, and {other} tests. From three recordings on each set has its own."
    )
    return Sets(cut.train, cut.validation, list(groups[other])), [remark, *remarks]


def _by_blocks(dataset: Dataset, data: DataRecipe, _: int) -> tuple[Sets, list[str]]:
    groups = dataset.recordings
    wanted = sum(share > 0 for share in data.shares)
    short = {name for name, indices in groups.items() if len(indices) < wanted}
    if len(short) == len(groups):
        other = "" if len(groups) == 1 else "; or take --split recording"
        raise UserError(
            f"a recording of at least {wanted} labelled frames to divide into blocks",
            f"{len(dataset)} frames of {len(groups)} recordings",
            f"Label more frames of a recording{other}{_or_adapt(dataset)}.",
        )
    sets, remarks = Sets([], [], []), []
    if short:
        remarks.append(f"Too short to be divided, all for training: {some(sorted(short))}.")
    for name, indices in groups.items():
        shares = (1.0, 0.0, 0.0) if name in short else data.shares
        cut, told = _cut(dataset, indices, shares, data.guard_frames)
        for ours, theirs in zip(sets, cut, strict=True):
            ours += theirs
        remarks += told
    return sets, remarks


def _or_adapt(dataset: Dataset) -> str:
    """What else a few frames of one film are good for."""
    few = len(dataset.recordings) == 1 and len(dataset) <= MOST_TO_ADAPT
    return "; or adapt a trained network to this film (ehtseg adapt)" if few else ""


def _at_random(dataset: Dataset, data: DataRecipe, seed: int) -> tuple[Sets, list[str]]:
    counts = data.counts or counts_by_share(len(dataset), data.shares)
    if sum(counts) > len(dataset):
        raise UserError(
            f"{' + '.join(map(str, counts))} = {sum(counts)} labelled frames",
            f"{len(dataset)} in {some(map(str, dataset.folders))}",
            "Give more folders, or leave the counts out to divide by shares.",
        )
    drawn = _drawn([frame.name for frame in dataset.frames], f"{seed}")
    a, b, c = counts
    sets = Sets(drawn[:a], drawn[a : a + b], drawn[a + b : a + b + c])
    return sets, [f"Drawn with seed {seed}."]


def _cut(
    dataset: Dataset, indices: Sequence[int], shares: Shares, guard: int
) -> tuple[Sets, list[str]]:
    """One recording in blocks of time, and what is to be said of its guard."""
    blocks, guards = cut_in_time([dataset.frames[i].frame for i in indices], shares, guard)
    remarks = [
        f"{dataset.frames[indices[0]].recording}: the guard before {block} is {found} frames "
        f"instead of {guard}, which would take over half of the block before."
        for found, block in zip(guards, ("validation", "test"), strict=True)
        if found < guard
    ]
    return Sets(*([indices[position] for position in block] for block in blocks)), remarks


def _drawn(names: Sequence[str], seed: str) -> list[int]:
    """Indices of the names in an order that is drawn by the seed."""
    digests = [hashlib.sha256(f"{seed}\t{name}".encode()).hexdigest() for name in names]
    return sorted(range(len(names)), key=digests.__getitem__)


def _described(dataset: Dataset, how: str, sets: Sets, remarks: list[str]) -> Split:
    train, validation, test = (tuple(sorted(part)) for part in sets)
    unused = tuple(sorted(set(range(len(dataset))) - {*train, *validation, *test}))
    frames = [[dataset.frames[i] for i in part] for part in sets]
    report = [
        f"{TITLES[how]}: {len(train)} for training, {len(validation)} for validation, "
        f"{len(test)} for test, {len(unused)} unused.",
        *(
            f"{title}: {_recordings(dataset, part)}."
            for title, part in zip(("Training", "Validation", "Test"), sets, strict=True)
            if part
        ),
        *remarks,
        *([distance_line(frames[0], frames[2])] if train and test else []),
    ]
    keys = tuple(frame.key for frame in dataset.frames)
    return Split(
        how,
        train,
        validation,
        test,
        unused,
        report=tuple(report),
        warnings=warnings_of(*frames),
        sha256=_sha256(keys, sets),
        keys=keys,
        folders=tuple(folder.resolve().name for folder in dataset.folders),
    )


def _recordings(dataset: Dataset, part: Sequence[int]) -> str:
    """The recordings of a set, each with its number of frames and their range."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for i in part:
        numbers[dataset.frames[i].recording].append(dataset.frames[i].frame)
    told = [
        f"{name} ({len(n)} frames, {min(n)} to {max(n)})" if len(n) > 1 else f"{name} (1 frame)"
        for name, n in sorted(numbers.items())
    ]
    return f"{len(told)} recording{'s' if len(told) > 1 else ''}, {some(told)}"


def _counted(keys: Counter[str]) -> str:
    names = some(key.rsplit(" ", 1)[0] for key in sorted(keys.elements()))
    return f"{keys.total()} frame(s)" + (f" ({names})" if names else "")


def _sha256(keys: Sequence[str], sets: Iterable[Iterable[int]]) -> str:
    members = [sorted(keys[i] for i in part) for part in sets]
    return hashlib.sha256(json.dumps(members).encode()).hexdigest()
