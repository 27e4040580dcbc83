"""How near the test frames are to the training frames: distances, shared recordings, copies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ehtseg.reading.pairs import LabelledFrame, some
from ehtseg.records import Array

Frames = Sequence[LabelledFrame]


def nearest(these: Array, those: Array) -> Array:
    """Distance of each of `these` from the nearest of `those`.

    >>> nearest(np.array([0, 4, 9]), np.array([10, 5])).tolist()
    [5, 1, 1]
    """
    those = np.sort(those)
    after = np.searchsorted(those, these)
    above = np.abs(those[np.minimum(after, len(those) - 1)] - these)
    below = np.abs(these - those[np.maximum(after - 1, 0)])
    closest: Array = np.minimum(above, below)
    return closest


def crossing(*sets: Iterable[LabelledFrame]) -> list[str]:
    """Recordings that have frames in all of the sets."""
    return sorted(set.intersection(*({frame.recording for frame in part} for part in sets)))


def distance_between(train: Frames, test: Frames) -> tuple[int | None, float | None]:
    """Smallest distance of a test from a training frame of the same recording.

    In frames (None: no recording is in both) and in seconds (None: no times are known).
    """
    frames: list[int] = []
    times_s: list[float] = []
    for name in crossing(train, test):
        pair = [[frame for frame in part if frame.recording == name] for part in (train, test)]
        numbers = [np.array([frame.frame for frame in part]) for part in pair]
        frames.append(int(nearest(*numbers).min()))
        known = [[frame.time_s for frame in part if frame.time_s is not None] for part in pair]
        if all(known):
            times_s.append(float(nearest(*map(np.array, known)).min()))
    return min(frames, default=None), min(times_s, default=None)


def distance_line(train: Frames, test: Frames) -> str:
    """`distance_between` as a sentence."""
    frames, time_s = distance_between(train, test)
    if frames is None:
        return "No recording is in training and in test."
    time = "frame rate unknown" if time_s is None else f"{time_s:.3g} s"
    unit = "frame" if frames == 1 else "frames"
    return f"Smallest distance between a test and a training frame: {frames} {unit} ({time})."


def warnings_of(train: Frames, validation: Frames, test: Frames) -> tuple[str, ...]:
    """Why the scores will be too good, in words; empty where the sets are apart."""
    warnings: list[str] = []
    copies = "Frames of one film are near copies: "
    for name, part in (("test", test), ("validation", validation)):
        both = crossing(train, part)
        if both and not warnings:
            films = "1 recording is" if len(both) == 1 else f"{len(both)} recordings are"
            warnings.append(
                f"{films} in training and in {name}: {some(both)}. {copies}scores on {name} "
                "measure memory of the film, not how the network does on another one."
            )
    between = crossing(validation, test)
    if between and not warnings:
        warnings.append(
            f"{some(between)} is in validation and in test. {copies}a threshold or an epoch "
            "chosen on validation is chosen for the test film."
        )
    seen = {frame.image_sha256 for frame in (*train, *validation)} - {""}
    same = [frame.image.name for frame in test if frame.image_sha256 in seen]
    if same:
        warnings.append(
            f"{len(same)} test images are the same files as images of training or validation: "
            f"{some(same)}."
        )
    return tuple(warnings)
