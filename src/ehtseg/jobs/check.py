"""`ehtseg check`: what is in folders of labelled frames, how it is read, and every fault."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehtseg.reading.dataset import Dataset, survey
from ehtseg.reading.inspected import Inspected
from ehtseg.reading.splits import split_dataset
from ehtseg.recipe import MOST_TO_ADAPT, DataRecipe
from ehtseg.records import UserError, written_whole
from ehtseg.reporting.outlines import outlined, outlines
from ehtseg.reporting.study_figures import in_style

LISTED = 12  # recordings, sizes or kinds told one by one
DRAWN = 24  # frames
DOTS_PER_INCH = 200


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was found, as sentences; the faults with their cures."""

    lines: tuple[str, ...]
    problems: tuple[UserError, ...]

    @property
    def ok(self) -> bool:
        """Whether every file can be used; which --split `ehtseg train` needs, `lines` say."""
        return not self.problems


def check(
    folders: Sequence[Path], recording: str | None = None, picture: Path | None = None
) -> CheckReport:
    """Read every file of the folders once and tell what they hold; faults do not stop it.

    `recording` names the recording of all frames that no meta.json names one for. With `picture`
    a PNG is written there: frames of every recording with their masks, as they are read.

    Raises: UserError for a picture that is no .png or cannot be written.
    """
    if picture is not None and picture.suffix.lower() != ".png":
        raise UserError("a picture that ends in .png", str(picture), "Give such a name.")
    found = survey(folders, recording)
    looks, dataset = found.looks, found.dataset
    lines = [
        f"{len(dataset)} labelled frames that can be read, in {len(dataset.folders)} folder(s)"
    ]
    if looks:
        lines += _listed(f"{len(dataset.recordings)} recording(s)", _recordings(dataset))
        lines += _listed("sizes", _counted(f"{x.shape[1]} x {x.shape[0]} px" for x in looks))
        lines += _listed("images", _counted(f"{x.dtype}, {_colours(x)}" for x in looks))
        lines += _tissue(looks)
        lines += _splits(dataset)
    lines += _listed("notes", list(dataset.notes))
    if picture is not None and looks:
        _draw(dataset, picture)
        lines.append(f"Look at {picture}: vermilion the masks, blue what does not count.")
    return CheckReport(tuple(lines), found.problems)


def _draw(dataset: Dataset, path: Path) -> None:
    """Frames of every recording with the outlines of their masks, as they are read."""
    shown = []
    for i in _evenly(dataset):
        image, mask = dataset.read(i)
        ignored = dataset.ignored(i)
        blank = np.zeros_like(mask) if ignored is None else ignored
        frame = dataset.frames[i]
        shown.append(outlined(f"{frame.image.name} of {frame.recording}", image, mask, blank))
    with in_style(), written_whole(path) as beside:
        outlines(shown).savefig(beside, format="png", dpi=DOTS_PER_INCH)


def _evenly(dataset: Dataset) -> list[int]:
    """At most `DRAWN` frames, as many of each recording, evenly over it."""
    groups = list(dataset.recordings.values())[:DRAWN]
    each = max(1, DRAWN // len(groups))
    picked = (np.unique(np.linspace(0, len(g) - 1, each).round().astype(int)) for g in groups)
    return [group[k] for group, places in zip(groups, picked, strict=True) for k in places]


def _recordings(dataset: Dataset) -> list[str]:
    lines = []
    for name, indices in dataset.recordings.items():
        numbers = [dataset.frames[i].frame for i in indices]
        rate = f"{dataset.fps[name]:g} frames/s" if name in dataset.fps else "frame rate unknown"
        span = f"{len(numbers)} frames, {min(numbers)} to {max(numbers)}"
        lines.append(f"{name}: {span if len(numbers) > 1 else '1 frame'}, {rate}")
    return lines


def _colours(look: Inspected) -> str:
    if len(look.shape) == 2:
        return "grey"
    return {3: "RGB", 4: "RGBA"}[look.shape[2]] + ("" if look.coloured else " without colour")


def _tissue(looks: Sequence[Inspected]) -> list[str]:
    shares = np.array([look.share for look in looks])
    low, middle, high = shares.min(), np.median(shares), shares.max()
    return [
        f"tissue share of a frame: smallest {low:.1%}, median {middle:.1%}, largest {high:.1%}",
        f"empty masks: {np.count_nonzero(shares == 0)}",
    ]


def _splits(dataset: Dataset) -> list[str]:
    """What each way to split gives with the default shares, or why it cannot; which is needed."""
    lines, possible = [], []
    for how in ("recording", "blocks", "random"):
        try:
            split = split_dataset(dataset, DataRecipe.model_validate({"split": how}), seed=0)
        except UserError as fault:
            lines.append(f"{how}: not possible. {fault}")
        else:
            possible.append(how)
            lines.append(f"{how}: {split.report[0].partition(': ')[2]}")
            lines += [f"{how}: {warning}" for warning in split.warnings]
    return [*_listed("splits", lines), *_advice(dataset, possible)]


def _advice(dataset: Dataset, possible: Sequence[str]) -> list[str]:
    """What is needed, or better, where whole recordings cannot be divided: there is one only."""
    usual, lines = DataRecipe().split, []
    if usual in possible:
        return []
    few = len(dataset) <= MOST_TO_ADAPT
    if few:
        labels = [word for folder in dataset.folders for word in ("--labels", str(folder))]
        adapt = shlex.join(["ehtseg", "adapt", "VIDEO", *labels, "--out", "runs/mine"])
        lines.append(f"so few frames of one film are best used to adapt a network to it:  {adapt}")
    if not few or possible[0] != "random":  # near copies on both sides of a split tell nothing
        lines.append(
            f"`ehtseg train` needs --split {possible[0]} here: {usual}, its default, is not "
            "possible"
        )
    return lines


def _counted(kinds: Iterable[str]) -> list[str]:
    return [f"{count} x {kind}" for kind, count in Counter(kinds).most_common()]


def _listed(title: str, items: Sequence[str]) -> list[str]:
    """A title and its first items below it."""
    if not items:
        return []
    more = [f"  and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return [f"{title}:", *(f"  {item}" for item in items[:LISTED]), *more]
