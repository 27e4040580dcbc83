"""The one pass over a recording: shape, motion and look of every frame, in constant memory.

What stays of a frame are some thirty numbers; pictures are held for one segment at a time, and
after each segment what is known of it is kept on disk (`kept.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from ehtseg.jobs.kept import TIME, Parts, Watched, joined
from ehtseg.measuring.flow import FlowFrame, Tracker, flow_frames, segments, shortening
from ehtseg.measuring.looks import Look, look
from ehtseg.measuring.shapes import Axis, FrameShape, measure_frame, tissue_axis
from ehtseg.measuring.traces import columns_of
from ehtseg.reading.video import Progress
from ehtseg.records import Array, Frame

BLOCK_FRAMES = 64  # the first so many frames, from the first tissue on, decide on the fixed axis
BLOCK_BYTES = 2**28  # fewer where frames are large
SEGMENT_FRAMES = 300  # in memory; fewer where frames are large

Pairs = Iterable[tuple[Frame, Array]]  # frames, each with its mask (bool) or probabilities
Row = tuple[float, FrameShape, Look]


class Watcher:
    """Measures frame by frame; the rows wait until the motion of their segment is known.

    `shown` is the frame of the picture: the last of number 1, 2, 4, 8, ... that has tissue.
    """

    def __init__(self, threshold: float, with_flow: bool, start: Watched | None) -> None:
        self.threshold = threshold
        self.count = 0
        self.rows: list[Row] = []
        self.axis = start.axis if start else None
        self.tracker = Tracker(shortening) if with_flow else None
        if self.tracker and start:
            self.tracker.reference = start.reference
        self.shown = start.shown if start else 0
        self.image = start.image if start else np.zeros((1, 1), np.uint8)
        self.mask = start.mask if start else np.zeros((1, 1), bool)
        self.before: Array | None = None  # the frame before

    def passed(self, frame: Frame) -> None:
        """A frame that an earlier run has measured."""
        self.count += 1
        self.before = frame.image

    def add(self, frame: Frame, seen: Array) -> Array:
        """Measure one frame whose mask (bool) or probabilities are `seen`; returns its mask."""
        mask = seen if seen.dtype == bool else seen >= self.threshold
        shape = measure_frame(seen, self.axis, self.threshold)
        # an area of 0 would look like a huge contraction
        shape = shape if shape.parts else replace(shape, area_px=math.nan)
        time_s = math.nan if frame.time_s is None else frame.time_s
        self.rows.append((time_s, shape, look(frame.image, mask, self.before)))
        self.before = frame.image
        self.count += 1
        if self.count == 1 or (mask.any() and self.count & (self.count - 1) == 0):
            self.shown, self.image, self.mask = frame.index, frame.image, mask
        return mask

    def part(self, images: Sequence[Array], masks: Sequence[Array]) -> Watched:
        """The first waiting rows with their motion; images grey, uint8 (H, W), masks bool."""
        done, self.rows = self.rows[: len(images)], self.rows[len(images) :]
        times_s, shapes, looks = zip(*done, strict=True)
        columns = {TIME: np.array(times_s, float)}
        columns |= columns_of(shapes) | columns_of(looks)
        reference = None
        if self.tracker:
            motion = self.tracker.follow(images, masks)
            flow = flow_frames(motion) if motion else [FlowFrame()] * len(images)
            columns |= columns_of(flow)
            reference = self.tracker.reference
        return Watched(columns, self.axis, reference, self.shown, self.image, self.mask)


def watch(
    pairs: Pairs,
    threshold: float,
    n_frames: int | None,
    parts: Parts,
    with_flow: bool = True,
    keep_masks: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Watched:
    """Measure every frame of a recording, each with its mask (bool) or probabilities (float32).

    Goes on after `parts`, of whose frames only the pictures are read again; with `keep_masks` the
    masks are kept beside them.
    """
    watcher = Watcher(threshold, with_flow, parts.parts[-1] if parts.parts else None)
    measured = _measured(watcher, _not_passed(watcher, pairs, parts.n_frames), n_frames, progress)
    for images, masks in segments(measured, SEGMENT_FRAMES):
        parts.add(watcher.part(images, masks), masks if keep_masks else ())
    return joined(parts.parts)


def _not_passed(watcher: Watcher, pairs: Pairs, passed: int) -> Iterator[tuple[Frame, Array]]:
    """The pairs after the first `passed`."""
    for frame, found in pairs:
        if watcher.count < passed:
            watcher.passed(frame)
        else:
            yield frame, found


def _measured(
    watcher: Watcher, pairs: Pairs, n_frames: int | None, progress: Progress
) -> Iterator[tuple[Array, Array]]:
    """Each frame measured, and given on as image and mask for the flow."""
    for block in _blocks(watcher, pairs):
        watcher.axis = watcher.axis or _axis(block, watcher.threshold)
        for frame, found in block:
            yield frame.image, watcher.add(frame, found)
            progress(watcher.count, n_frames)


def _axis(block: list[tuple[Frame, Array]], threshold: float) -> Axis | None:
    """The long axis of the mean mask; None where none of these frames has tissue."""
    masks = [seen if seen.dtype == bool else seen >= threshold for _, seen in block]
    found = [mask for mask in masks if mask.any()]
    if not found:
        return None
    usual = np.mean(found, axis=0) >= 0.5
    return tissue_axis(usual if usual.any() else found[0])


def _blocks(watcher: Watcher, pairs: Pairs) -> Iterator[list[tuple[Frame, Array]]]:
    """Many frames at a time until the axis is known, then each by itself."""
    block: list[tuple[Frame, Array]] = []
    held = 0
    for frame, found in pairs:
        block.append((frame, found))
        held += frame.image.nbytes + found.nbytes
        if watcher.axis or len(block) >= BLOCK_FRAMES or held >= BLOCK_BYTES:
            yield block
            block, held = [], 0
    if block:
        yield block
