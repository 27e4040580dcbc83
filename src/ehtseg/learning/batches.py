"""Training batches as pure functions of (seed, epoch, position), whoever computes them and when."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from ehtseg.reading.augment import apply, draw
from ehtseg.reading.dataset import Dataset
from ehtseg.reading.geometry import working_shape
from ehtseg.reading.masks import IGNORED
from ehtseg.reading.scenes import compose, draw_scene
from ehtseg.recipe import DataRecipe, FitRecipe, Recipe
from ehtseg.records import Array

# images_BCHW in [0, 1], masks_B1HW of 0 and 1, bool ignored_B1HW
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
STORE_BYTES = 1_000_000_000  # working-size frames kept in memory; beyond it they are read again
LEAST_DRAWS = 160  # of one epoch, so that 20 labelled frames train as long as 160 do
STRIDE = 32  # of a canvas; only networks that halve it a sixth time pad it (nnU-Net, DS-TransUNet)


def images_per_epoch(fit: FitRecipe, n_frames: int) -> int:
    """How many frames one epoch draws: the recipe's number, else one pass or `LEAST_DRAWS`."""
    return fit.images_per_epoch or max(n_frames, LEAST_DRAWS)


def epoch_order(n_frames: int, draws: int, seed: int, epoch: int) -> Array:
    """Which frame each position of an epoch shows: whole shuffled passes, the last one cut."""
    rng = np.random.default_rng((seed, epoch))
    passes = [rng.permutation(n_frames) for _ in range(-(-draws // n_frames))]
    return np.concatenate(passes)[:draws]


def balanced_order(recordings: Sequence[str], draws: int, seed: int, epoch: int) -> Array:
    """The same, with every recording shown equally often and its frames in shuffled passes.

    `recordings` names the recording of every frame.
    """
    rng = np.random.default_rng((seed, epoch))
    groups = [np.flatnonzero(np.array(recordings) == name) for name in sorted(set(recordings))]
    turns = np.concatenate([rng.permutation(len(groups)) for _ in range(-(-draws // len(groups)))])
    waiting: list[list[int]] = [[] for _ in groups]
    order = []
    for group in turns[:draws]:
        waiting[group] = waiting[group] or rng.permutation(groups[group]).tolist()
        order.append(waiting[group].pop())
    return np.array(order)


def canvas_of(shapes: Sequence[tuple[int, int]], data: DataRecipe) -> tuple[int, int]:
    """Height and width of the training pictures, from the frames' own (H, W).

    For strong augmentation and scenes, which turn, scale and shift frames, a square window of a
    share `data.window` of the working size (same resolution, less work), or of the largest frame's
    where all are smaller; without, the largest frame at working size. Rounded up to a multiple of
    `STRIDE`.
    """
    small = [working_shape(h, w, data.size) for h, w in shapes]
    height, width = max(h for h, _ in small), max(w for _, w in small)
    if data.augment in ("strong", "scenes"):
        edge = max(math.ceil(math.sqrt(h * w)) for h, w in small)  # of a square of the same area
        height = width = round(data.window * min(data.size or edge, edge))
    return -(-height // STRIDE) * STRIDE, -(-width // STRIDE) * STRIDE


class TrainingFrames:
    """The training frames at working size: read once where they fit in memory, else each time."""

    def __init__(self, dataset: Dataset, indices: Sequence[int], recipe: Recipe) -> None:
        self.dataset, self.indices, self.recipe = dataset, tuple(indices), recipe
        self._kept: dict[int, tuple[Array, Array]] = {}
        self._bytes = 0
        self.canvas = canvas_of([self.read(i)[1].shape for i in range(len(self))], recipe.data)

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, i: int) -> tuple[Array, Array]:
        """Frame i at working size: image uint8 (h, w) or (h, w, 3), label uint8 (h, w)."""
        if i in self._kept:
            return self._kept[i]
        image, label = self.dataset.read_small(self.indices[i], self.recipe.data.size)
        if self._bytes + image.nbytes + label.nbytes <= STORE_BYTES:
            self._kept[i] = image, label
            self._bytes += image.nbytes + label.nbytes
        return image, label

    def order(self, epoch: int) -> Array:
        """Which frame each position of an epoch shows."""
        fit = self.recipe.fit
        draws = images_per_epoch(fit, len(self))
        if self.recipe.data.balance == "frames":
            return epoch_order(len(self), draws, fit.seed, epoch)
        names = [self.dataset.frames[i].recording for i in self.indices]
        return balanced_order(names, draws, fit.seed, epoch)

    def picture(self, epoch: int, position: int, i: int) -> Batch:
        """What one position of one epoch shows: (C, h, w), its mask and what to ignore."""
        rng = np.random.default_rng((self.recipe.fit.seed, epoch, position))
        frame = self.read(i)
        if self.recipe.data.augment == "scenes":
            frame = compose(draw_scene(rng), frame, lambda n: self.read(n % len(self)))
        picture, label = apply(draw(self.recipe.data.augment, rng), *frame, self.canvas)
        return picture, (label == 1).float(), label == IGNORED


def epoch_batches(frames: TrainingFrames, epoch: int, workers: int) -> Iterator[Batch]:
    """The batches of one epoch, in order; `workers` threads prepare the next ones meanwhile.

    The number of workers never changes a batch.
    """
    fit = frames.recipe.fit
    order = frames.order(epoch)
    starts = range(0, len(order), fit.batch)

    def batch(start: int) -> Batch:
        positions = range(start, min(start + fit.batch, len(order)))
        return _stack([frames.picture(epoch, p, int(order[p])) for p in positions])

    if workers == 0:
        yield from map(batch, starts)
        return
    with ThreadPoolExecutor(workers) as pool:
        ahead = deque(pool.submit(batch, start) for start in starts[: workers + 1])
        for start in [*starts[workers + 1 :], *[None] * len(ahead)]:
            ready = ahead.popleft().result()
            if start is not None:
                ahead.append(pool.submit(batch, start))
            yield ready


def _stack(pictures: list[Batch]) -> Batch:
    channels = max(len(image) for image, _, _ in pictures)
    alike = [(image.expand(channels, -1, -1), mask, ignore) for image, mask, ignore in pictures]
    images, masks, ignored = (torch.stack(part) for part in zip(*alike, strict=True))
    return images, masks, ignored
