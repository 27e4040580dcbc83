"""Which frames a network is least sure about: labels teach most there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ehtseg.jobs.segment import decide_means
from ehtseg.records import Array, Frame
from ehtseg.seeing.predict import certainty, predict
from ehtseg.seeing.run_folder import RunFolder

SPARE = 4  # candidates for each frame that is wanted: variety chooses them, doubt among them


def by_doubt(run: RunFolder, frames: Iterable[Frame], candidates: Sequence[int]) -> list[int]:
    """Candidates (numbers of frames) in order of doubt, the largest first; of equals, as they are.

    The frames are read up to the last candidate, one in memory.
    """
    means = decide_means(run, run.recipe.segment, None, None)
    threshold = float(means.settings["threshold"])
    doubts: dict[int, float] = {}
    for frame in frames if candidates else ():
        if frame.index in candidates:
            (found,) = predict(means.engine, [frame.image], run.recipe.data.size)
            doubts[frame.index] = doubt(found, threshold)
        if frame.index == max(candidates):
            break
    return sorted(candidates, key=lambda index: -doubts.get(index, 0.0))


def doubt(probability_HW: Array, threshold: float) -> float:
    """How unsure a network is of one frame: 0 for a sharp outline, 1 for a haze or no tissue.

    >>> import numpy as np
    >>> doubt(np.array([[0.0, 0.95]]), 0.5), doubt(np.array([[0.0, 0.3]]), 0.5)
    (0.0, 1.0)
    """
    if not (probability_HW >= threshold).any():
        return 1.0
    return 1.0 - certainty(probability_HW)
