"""The guard: a faster way to run a network is taken only where its masks stay the same.

Each way that the machine offers is compared, frame by frame, with torch in fp32 on the same frames.
It passes where none of the means over frames is beyond `LIMITS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ehtseg.learning.scores import counts_of, dice
from ehtseg.learning.surfaces import assd_px, outline_distances
from ehtseg.nets.build import Net
from ehtseg.reading.dataset import Dataset
from ehtseg.records import Array, UserError
from ehtseg.seeing.engines import Engine, TorchEngine, choose_device, flush_denormals
from ehtseg.seeing.graphs import openvino_graph
from ehtseg.seeing.predict import predict
from ehtseg.seeing.ways import REFERENCE, Way, start_graph, ways_here

LIMITS = {"dice_change": 0.002, "outline_px": 0.5, "flipped_share": 0.005}
FRAMES = 16  # of the validation frames, spread evenly: enough for means, seconds to run

Shown = tuple[Array, Array | None]  # a frame, and its true mask where somebody drew one


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far the masks of a way are from those of torch in fp32: means over frames.

    `dice_change` is the distance of the two Dice scores against the true mask; without a true mask,
    1 - Dice of the two masks. `outline_px` is the average symmetric surface distance,
    `flipped_share` the share of pixels that change sides. `probability_change` is the largest of
    any pixel and is only reported.
    """

    frames: int
    dice_change: float
    outline_px: float
    flipped_share: float
    probability_change: float

    @property
    def holds(self) -> bool:
        """Whether every mean is within its limit, over at least one frame."""
        within = all(getattr(self, name) <= limit for name, limit in LIMITS.items())
        return self.frames > 0 and within

    def as_dict(self) -> dict[str, Any]:
        """As run.json keeps it."""
        return {**asdict(self), "holds": self.holds}


NOTHING = Verdict(1, 1.0, 1e6, 1.0, 1.0)  # on a frame for which a way has no answer


def compare(reference_HW: Array, found_HW: Array, truth: Array | None, threshold: float) -> Verdict:
    """The verdict on one frame, from the probabilities of both ways."""
    ours, theirs = found_HW >= threshold, reference_HW >= threshold
    if truth is None:
        change = 1 - dice(counts_of(ours, theirs))
    else:
        change = abs(dice(counts_of(ours, truth)) - dice(counts_of(theirs, truth)))
    return Verdict(
        frames=1,
        dice_change=change,
        outline_px=assd_px(outline_distances(ours, theirs)),
        flipped_share=float(np.mean(ours != theirs)),
        probability_change=float(np.abs(found_HW - reference_HW).max()),
    )


def judge(
    reference: Engine,
    candidates: Mapping[Way, Engine],
    frames: Iterable[Shown],
    size: int | None,
    threshold: float,
) -> dict[Way, Verdict]:
    """The verdict on each candidate over all frames; one frame at a time is in memory."""
    flush_denormals()
    found: dict[Way, list[Verdict]] = {way: [] for way in candidates}
    for image, truth in frames:
        (wanted_HW,) = predict(reference, [image], size)
        for way, engine in candidates.items():
            try:
                (found_HW,) = predict(engine, [image], size)
            except UserError:  # no number, or another shape
                found[way].append(NOTHING)
                continue
            found[way].append(compare(wanted_HW, found_HW, truth, threshold))
    return {way: _mean(verdicts) for way, verdicts in found.items()}


def guard(net: Net, frames: Sequence[Shown], size: int | None, threshold: float) -> dict[str, Any]:
    """Judge every way of this machine: what run.json keeps under "guard".

    A network that is no graph is judged for torch alone; the reason is kept.
    """
    device = choose_device().value
    ways = [way for way in ways_here(device) if way != REFERENCE]
    candidates: dict[Way, Engine] = {
        way: TorchEngine(net, "bf16", device) for way in ways if way == Way("torch", "bf16")
    }
    told: dict[str, Any] = {"limits": LIMITS, "frames": len(frames)}
    graph_ways = [way for way in ways if way.engine != "torch"]
    if graph_ways:
        try:
            graph = openvino_graph(net)
            candidates |= {way: start_graph(way, graph) for way in graph_ways}
        except UserError as error:
            told["no_graph"] = str(error)
    reference = TorchEngine(net, "fp32", device)
    verdicts = judge(reference, candidates, frames, size, threshold)
    return {**told, "ways": {str(way): verdict.as_dict() for way, verdict in verdicts.items()}}


def spread(indices: Sequence[int], count: int = FRAMES) -> list[int]:
    """At most `count` of the indices, evenly spread.

    >>> spread(range(10), 4)
    [0, 3, 6, 9]
    """
    if len(indices) <= count:
        return list(indices)
    return [indices[i] for i in np.linspace(0, len(indices) - 1, count).round().astype(int)]


def shown(dataset: Dataset, indices: Sequence[int]) -> list[Shown]:
    """Frames with their true masks."""
    return [dataset.read(i) for i in indices]


def _mean(verdicts: Sequence[Verdict]) -> Verdict:
    """Means over frames, and the largest change of a probability."""
    if not verdicts:
        return Verdict(0, 0.0, 0.0, 0.0, 0.0)
    means = {name: float(np.mean([getattr(v, name) for v in verdicts])) for name in LIMITS}
    largest = max(verdict.probability_change for verdict in verdicts)
    return replace(verdicts[0], frames=len(verdicts), probability_change=largest, **means)
