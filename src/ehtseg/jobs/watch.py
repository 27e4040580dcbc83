"""The one pass over a recording: shape, motion and look of every frame, in constant memory.

What stays of a frame are some thirty numbers; pictures are held for one segment at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ehtseg.measuring.flow import FlowFrame, measure_flow
from ehtseg.measuring.quality import Look, look
from ehtseg.measuring.shapes import Axis, FrameShape, measure_frame, tissue_axis
from ehtseg.measuring.traces import Traces, collect
from ehtseg.reading.video import Progress
from ehtseg.records import Array, Frame

BLOCK_FRAMES = 64  # the first so many frames, from the first tissue on, decide on the fixed axis
BLOCK_BYTES = 2**28  # fewer where frames are large
NOMINAL_FPS = 30.0  # at which windows in seconds are read where nobody knows the frame rate


@dataclass(slots=True, eq=False)
class Watched:
    """What one pass leaves of a recording."""

    threshold: float
    times_s: list[float | None] = field(default_factory=list)
    shapes: list[FrameShape] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    flow: list[FlowFrame] = field(default_factory=list)
    axis: Axis | None = None  # fixed for the recording
    shown: int = 0  # the frame of the picture: the last of number 1, 2, 4, 8, ... with tissue
    image: Array = field(default_factory=lambda: np.zeros((1, 1), np.uint8))
    mask: Array = field(default_factory=lambda: np.zeros((1, 1), bool))
    before: Array | None = None  # the frame before

    def add(self, frame: Frame, seen: Array) -> Array:
        """Measure one frame whose mask (bool) or probabilities are `seen`; returns its mask."""
        mask = seen if seen.dtype == bool else seen >= self.threshold
        self.times_s.append(frame.time_s)
        shape = measure_frame(seen, self.axis, self.threshold)
        # an area of 0 would look like a huge contraction
        self.shapes.append(shape if shape.parts else replace(shape, area_px=math.nan))
        self.looks.append(look(frame.image, mask, self.before))
        self.before = frame.image
        count = len(self.times_s)
        if count == 1 or (mask.any() and count & (count - 1) == 0):
            self.shown, self.image, self.mask = frame.index, frame.image, mask
        return mask

    def traces(self, um_per_px: float | None) -> Traces:
        """The columns over time; without a frame rate, time is frame number / `NOMINAL_FPS`."""
        known = None not in self.times_s
        counted = np.arange(len(self.times_s)) / NOMINAL_FPS
        time_s = np.array(self.times_s, float) if known else counted
        records: list[list[Any]] = [self.shapes, self.looks]
        records += [self.flow] if self.flow else []
        return collect(time_s, *records, um_per_px=um_per_px)


def watch(
    seen: Iterable[tuple[Frame, Array]],
    threshold: float,
    n_frames: int | None,
    with_flow: bool = True,
    progress: Progress = lambda _done, _total: None,
) -> Watched:
    """Measure every frame of a recording, each with its mask (bool) or probabilities (float32)."""
    watched = Watched(threshold)
    pairs = _measured(watched, seen, n_frames, progress)
    if with_flow:
        watched.flow = list(measure_flow(pairs))
    else:
        for _ in pairs:
            pass
    return watched


def _measured(
    watched: Watched,
    seen: Iterable[tuple[Frame, Array]],
    n_frames: int | None,
    progress: Progress,
) -> Iterator[tuple[Array, Array]]:
    """Each frame measured, and given on as image and mask for the flow."""
    for block in _blocks(watched, seen):
        watched.axis = watched.axis or _axis(block, watched.threshold)
        for frame, found in block:
            yield frame.image, watched.add(frame, found)
            progress(len(watched.times_s), n_frames)


def _axis(block: list[tuple[Frame, Array]], threshold: float) -> Axis | None:
    """The long axis of the mean mask; None where none of these frames has tissue."""
    masks = [seen if seen.dtype == bool else seen >= threshold for _, seen in block]
    found = [mask for mask in masks if mask.any()]
    if not found:
        return None
    usual = np.mean(found, axis=0) >= 0.5
    return tissue_axis(usual if usual.any() else found[0])


def _blocks(
    watched: Watched, seen: Iterable[tuple[Frame, Array]]
) -> Iterator[list[tuple[Frame, Array]]]:
    """Many frames at a time until the axis is known, then each by itself."""
    block: list[tuple[Frame, Array]] = []
    held = 0
    for frame, found in seen:
        block.append((frame, found))
        held += frame.image.nbytes + found.nbytes
        if watched.axis or len(block) >= BLOCK_FRAMES or held >= BLOCK_BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block
