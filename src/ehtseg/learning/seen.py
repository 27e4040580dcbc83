"""What a network has seen: the set that each frame belongs to, and what its start knew of it.

A set is told by the content of a frame, whatever its folder is called today; whether a network has
seen it, by its image alone, whatever became of its mask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ehtseg.reading.dataset import Dataset
from ehtseg.reading.pairs import LabelledFrame, some
from ehtseg.reading.splits import MEMBERS
from ehtseg.seeing.run_folder import RunFolder

SEEN = ("train", "validation")  # sets that a network knows
START = "start"  # seen only by the networks that a training started from
UNSEEN = "unseen"


def sets_of(run: RunFolder, dataset: Dataset) -> list[str]:
    """The set of the run that each frame of a dataset belongs to, or "start", or "unseen".

    A frame whose image was trained or validated on stays so with another mask; of a run folder
    that does not know its images, one whose image and mask are the same.
    """
    images = run.facts.get("images", {})
    known = {image: name for name in reversed(SEEN) for image in images.get(name, ())}
    own = zip(dataset.frames, sets_by_key(run, dataset), strict=True)
    sets = [known.get(image_key(frame), name) for frame, name in own]
    before = seen_before(run.facts, dataset.frames, SEEN)
    return [START if b and n not in SEEN else n for n, b in zip(sets, before, strict=True)]


def sets_by_key(run: RunFolder, dataset: Dataset) -> list[str]:
    """The same, of frames whose image and mask are as they were."""
    stored = run.facts["split"]
    known = {content(key): name for name in reversed(MEMBERS) for key in stored[name]}
    return [known.get(content(frame.key), UNSEEN) for frame in dataset.frames]


def seen_by(run: RunFolder) -> dict[str, list[str]]:
    """Keys and images of what a run, or any that it started from, was trained and validated on."""
    split, images = run.facts.get("split", {}), run.facts.get("images", {})
    own = {name: split.get(name, ()) for name in SEEN}
    own |= {f"{name}_images": images.get(name, ()) for name in SEEN}
    before = run.facts.get("start", {}).get("seen", {})
    return {kind: sorted({*found, *before.get(kind, ())}) for kind, found in own.items()}


def seen_before(
    facts: Mapping[str, Any], frames: Sequence[LabelledFrame], sets: Collection[str]
) -> list[bool]:
    """Whether the networks that a training started from had each frame in these sets of theirs."""
    seen = facts.get("start", {}).get("seen", {})
    known = {content(key) for name in sets for key in seen.get(name, ())}
    known |= {image for name in sets for image in seen.get(f"{name}_images", ())}
    return [bool(known & {content(frame.key), image_key(frame)}) for frame in frames]


def start_warnings(
    facts: Mapping[str, Any], count: int, films: Collection[str], what: str
) -> list[str]:
    """Why scores are too good where a training did not start from anew, in sentences.

    `count` of `what` were seen before; `films` are the recordings that only the start can know.
    """
    start = facts.get("start", {})
    if count:
        return [
            f"The training started from {start['run']}, which had {count} of {what} in its own "
            "training or validation: their scores show memory, not skill."
        ]
    keys = start.get("seen", {}).get("train", ())
    known = sorted(film for film in films if any(_is_of(film, key) for key in keys))
    if not known:
        return []
    return [
        f"The training started from {start['run']}, which was trained on other frames of "
        f"{some(known)}. Frames of one film are near copies: scores on {what} measure memory of "
        "the film, not how the network does on another one."
    ]


def name_warnings(
    run: RunFolder, frames: Sequence[LabelledFrame], sets: Sequence[str], who: str
) -> list[str]:
    """A sentence where frames that `who` has not seen are of recordings named as its own are."""
    films = {frame.recording for frame, of in zip(frames, sets, strict=True) if of == UNSEEN}
    keys = run.facts["split"]["train"]
    known = sorted(film for film in films if any(_is_of(film, key) for key in keys))
    if not known:
        return []
    return [
        f"{who} was trained on other frames of a recording that is called {some(known)}. If it is "
        "the same film, they are near copies: scores measure memory of the film, not how the "
        "network does on another one."
    ]


def _is_of(recording: str, key: str) -> bool:
    """Whether a frame's key is that of a frame of this recording."""
    return key.startswith(f"{recording} ") and key[len(recording) :].split()[0].isdigit()


def image_key(frame: LabelledFrame) -> str:
    """The frame by the content of its image alone."""
    return frame.image_sha256[:16]


def content(key: str) -> str:
    """The part of a frame's key that tells its files' content, without its names."""
    return key.rpartition(" ")[2]
