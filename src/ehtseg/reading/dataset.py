"""Labelled frames of one or several folders: looked at once, checked, and read one at a time."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehtseg.reading.geometry import mask_to_working_size, to_working_size
from ehtseg.reading.inspected import Inspected, inspect
from ehtseg.reading.intensity import Look, as_image, decide_look, sampled_indices, thinned
from ehtseg.reading.masks import IGNORED, read_mask
from ehtseg.reading.pairs import LabelledFrame, Pairs, find_pairs, some
from ehtseg.reading.pixels import EIGHT_BIT, read_pixels
from ehtseg.reading.raw import allowed
from ehtseg.records import Array, Scaling, UserError

TOLD = 3  # faults told in one error


@dataclass(frozen=True, slots=True)
class Dataset:
    """Labelled frames, joined in the order of the folders and, inside, of the file names."""

    folders: tuple[Path, ...]
    frames: tuple[LabelledFrame, ...]
    notes: tuple[str, ...]  # what was assumed, and what is worth knowing
    sha256: str  # of every image and mask file with its recording and frame number, in order
    scalings: Mapping[str, Scaling]  # one a recording
    fps: Mapping[str, float]  # one a recording, where it is known
    coloured: frozenset[str] = frozenset()  # recordings; all others are grey, however stored

    def __len__(self) -> int:
        """Number of labelled frames."""
        return len(self.frames)

    def read(self, i: int) -> tuple[Array, Array]:
        """Image i, uint8 (H, W), or (H, W, 3) where its recording has colour; its mask, bool."""
        frame = self.frames[i]
        look = Look(self.scalings[frame.recording], frame.recording not in self.coloured)
        image, _ = as_image(read_pixels(frame.image), look)
        return image, read_mask(frame.mask)

    def ignored(self, i: int) -> Array | None:
        """What of image i does not count, bool (H, W) and never tissue; None: all of it counts."""
        frame = self.frames[i]
        return None if frame.ignore is None else read_mask(frame.ignore) & ~read_mask(frame.mask)

    def read_small(self, i: int, size: int | None) -> tuple[Array, Array]:
        """Image i at working size, and its label, uint8 (h, w): 0, 1 (tissue) or `IGNORED`."""
        image, mask = self.read(i)
        label = mask_to_working_size(mask, size).astype(np.uint8)
        ignored = self.ignored(i)
        if ignored is not None:
            label[mask_to_working_size(ignored, size) & (label == 0)] = IGNORED
        return to_working_size(image, size), label

    @property
    def recordings(self) -> dict[str, tuple[int, ...]]:
        """Indices of the frames of every recording."""
        found: dict[str, list[int]] = defaultdict(list)
        for i, frame in enumerate(self.frames):
            found[frame.recording].append(i)
        return {name: tuple(indices) for name, indices in found.items()}


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that was found, the faults included; `dataset` holds the frames without one."""

    dataset: Dataset
    looks: tuple[Inspected, ...]  # one a frame of the dataset
    problems: tuple[UserError, ...]


def open_dataset(folders: Sequence[Path], recording: str | None = None) -> Dataset:
    """The labelled frames of some folders, every file read once to see that it can be used.

    `recording` names the recording of all frames that no meta.json names one for.

    Raises: UserError that tells the first faults and counts the others.
    """
    found = survey(folders, recording)
    if found.problems:
        raise _one_error(found.problems, folders)
    return found.dataset


def survey(folders: Sequence[Path], recording: str | None = None) -> Survey:
    """Look at every labelled frame of some folders, without stopping at a fault.

    Raises: UserError for a folder that may not be read.
    """
    named = _named(folders)
    pairs = []
    for folder, assumed in named.items():
        with allowed(folder):
            pairs.append(find_pairs(folder, recording, assumed))
    problems = [problem for each in pairs for problem in each.problems]
    problems += _one_name_for_several(named, recording)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        seen = list(pool.map(inspect, [frame for each in pairs for frame in each.frames]))
    looks = [look for look in seen if isinstance(look, Inspected)]
    problems += [look for look in seen if isinstance(look, UserError)]
    problems += _faults_of_all(folders, looks)
    fps = _rates(pairs, problems)
    scalings = _scalings(looks, problems)
    notes = [note for each in pairs for note in each.notes]
    coloured = frozenset(look.frame.recording for look in looks if look.coloured)
    notes += _notes(looks) + _scaling_notes(scalings) + _colour_notes(coloured, len(scalings))
    notes += _joint_notes(looks)
    frames = tuple(look.frame for look in looks)
    sha256 = _sha256(frames)
    dataset = Dataset(tuple(named), frames, tuple(notes), sha256, scalings, fps, coloured)
    return Survey(dataset, tuple(looks), tuple(problems))


def _named(folders: Sequence[Path]) -> dict[Path, str]:
    """Each folder once, with the name its recording gets if nobody names it."""
    once = {folder.resolve(): folder for folder in folders}
    times = Counter(real.name for real in once)
    return {
        folder: real.name if times[real.name] == 1 else str(folder) for real, folder in once.items()
    }


def _one_name_for_several(folders: Iterable[Path], recording: str | None) -> list[UserError]:
    silent = [str(folder) for folder in folders if not (folder / "meta.json").exists()]
    if not recording or len(silent) < 2:
        return []
    return [
        UserError(
            f"one folder without meta.json for the recording {recording}",
            f"{len(silent)}: {some(silent)}",
            "Name the recording and frame number of each image in their meta.json.",
        )
    ]


def _faults_of_all(folders: Sequence[Path], looks: Sequence[Inspected]) -> list[UserError]:
    if not folders:
        return [UserError("a folder of labelled frames", "none", "Name one or several.")]
    if looks and not any(look.share for look in looks):
        return [
            UserError(
                "tissue in at least one mask",
                f"{len(looks)} empty masks in {some(map(str, folders))}",
                "Check how the masks were exported: tissue must differ from 0.",
            )
        ]
    return []


def _rates(pairs: Sequence[Pairs], problems: list[UserError]) -> dict[str, float]:
    claims: dict[str, set[float]] = defaultdict(set)
    for each in pairs:
        for name in {frame.recording for frame in each.frames if each.fps}:
            claims[name].add(each.fps or 0.0)
    for name, rates in claims.items():
        if len(rates) > 1:
            problems.append(
                UserError(
                    f"one frame rate for the recording {name}",
                    f"{' and '.join(f'{rate:g}' for rate in sorted(rates))} frames per second",
                    "Correct fps in the meta.json of its folders, or name two recordings.",
                )
            )
    return {name: min(rates) for name, rates in claims.items()}


def _scalings(looks: Sequence[Inspected], problems: list[UserError]) -> dict[str, Scaling]:
    recordings: dict[str, list[Inspected]] = defaultdict(list)
    for look in looks:
        recordings[look.frame.recording].append(look)
    scalings = {}
    for name, frames in recordings.items():
        depths = sorted({look.dtype for look in frames})
        scalings[name] = _scaling(frames)
        if len(depths) > 1:
            problems.append(
                UserError(
                    f"one bit depth in the recording {name}",
                    f"{' and '.join(depths)}",
                    "Export all its frames alike, or name two recordings in meta.json.",
                )
            )
    return scalings


def _scaling(looks: Sequence[Inspected]) -> Scaling:
    if all(look.dtype in ("uint8", "bool") for look in looks):
        return EIGHT_BIT
    files = [looks[i].frame.image for i in sorted(sampled_indices(len(looks), deep=True))]
    return decide_look([thinned(read_pixels(file)) for file in files], deep=True).scaling


def _scaling_notes(scalings: Mapping[str, Scaling]) -> list[str]:
    return [
        f"{name} is deeper than 8 bits: {scaling.low:g} to {scaling.high:g} "
        f"({scaling.source}) become 0 to 255."
        for name, scaling in scalings.items()
        if scaling != EIGHT_BIT
    ]


def _colour_notes(coloured: frozenset[str], of: int) -> list[str]:
    if not coloured:
        return []
    return [
        f"{len(coloured)} of {of} recordings have colour ({some(sorted(coloured))}): made-up "
        "scenes (--augment scenes), which are grey, leave their frames as they are."
    ]


def _notes(looks: Sequence[Inspected]) -> list[str]:
    notes = [
        f"{count} masks read as: {how}." for how, count in Counter(x.how for x in looks).items()
    ]
    empty = [look.frame.mask.name for look in looks if not look.share]
    blank = [look.frame.image.name for look in looks if look.flat]
    turned = [look.frame.image.name for look in looks if look.turned]
    if empty:
        notes.append(f"{len(empty)} of {len(looks)} masks are empty: {some(empty)}.")
    if blank:
        notes.append(f"{len(blank)} images are the same value everywhere: {some(blank)}.")
    if turned:
        notes.append(
            f"{len(turned)} images are turned as their EXIF says, which is how viewers show them: "
            f"{some(turned)}."
        )
    return notes


def _joint_notes(looks: Sequence[Inspected]) -> list[str]:
    """What several files say about the same recording."""
    folders: dict[str, dict[Path, None]] = defaultdict(dict)
    sizes: dict[str, set[tuple[int, ...]]] = defaultdict(set)
    for look in looks:
        folders[look.frame.recording][look.frame.image.parent.parent] = None
        sizes[look.frame.recording].add(look.shape[:2])
    notes = [
        f"The recording {name} has frames in {len(where)} folders ({some(map(str, where))}), which "
        "name it alike: they count as one recording."
        for name, where in folders.items()
        if len(where) > 1
    ]
    twice = Counter((look.frame.recording, look.frame.frame) for look in looks)
    again = [f"{name} {number}" for (name, number), count in twice.items() if count > 1]
    if again:
        notes.append(f"{len(again)} frames are there more than once: {some(again)}.")
    notes += [f"{name} has frames of {len(s)} sizes." for name, s in sizes.items() if len(s) > 1]
    return notes


def _sha256(frames: Sequence[LabelledFrame]) -> str:
    lines = [f"{f.recording}\t{f.frame}\t{f.image_sha256}\t{f.mask_sha256}\n" for f in frames]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _one_error(problems: Sequence[UserError], folders: Sequence[Path]) -> UserError:
    """The first faults in one paragraph."""
    if len(problems) == 1:
        return problems[0]
    expected = list(dict.fromkeys(problem.expected for problem in problems[:TOLD]))
    cures = list(dict.fromkeys(problem.cure for problem in problems[:TOLD]))
    more = f"; and {len(problems) - TOLD} more faults" if len(problems) > TOLD else ""
    check = f"All faults:  ehtseg check {shlex.join(map(str, folders))}"
    return UserError(
        "; ".join(expected),
        "; ".join(problem.got for problem in problems[:TOLD]) + more,
        " ".join([*cures, check]),
    )
