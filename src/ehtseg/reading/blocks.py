"""One recording cut into blocks of time, with a guard between them; and numbers by shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ehtseg.reading.leakage import nearest
from ehtseg.records import Array

Shares = tuple[float, float, float]  # training, validation, test; they need not add up to 1


class Sets(NamedTuple):
    """Indices of frames."""

    train: list[int]
    validation: list[int]
    test: list[int]


def counts_by_share(n: int, shares: Shares) -> tuple[int, int, int]:
    """Divide n things by shares (largest remainder), at least one where a share is above 0.

    >>> counts_by_share(200, (0.72, 0.12, 0.16)), counts_by_share(3, (0.72, 0.12, 0.16))
    ((144, 24, 32), (1, 1, 1))
    """
    ideal = [n * share / sum(shares) for share in shares]
    counts = [int(count + 1e-9) for count in ideal]
    by_rest = sorted(range(3), key=lambda i: counts[i] - ideal[i])
    for i in by_rest[: n - sum(counts)]:
        counts[i] += 1
    for i in range(3):
        if shares[i] and not counts[i] and max(counts) > 1:
            counts[counts.index(max(counts))] -= 1
            counts[i] += 1
    return counts[0], counts[1], counts[2]


def cut_in_time(frames: Sequence[int], shares: Shares, guard: int) -> tuple[Sets, tuple[int, int]]:
    """Positions in `frames` (frame numbers of one recording) of three blocks in time.

    Left out are training frames within `guard` frames of a validation or test frame, and
    validation frames within it of a test frame. A guard that would take over half of a block is
    shortened; the two that were used come second. Frames of the same number stay together.

    >>> cut_in_time(range(8), (0.5, 0.25, 0.25), 1)
    (Sets(train=[0, 1, 2], validation=[4], test=[6, 7]), (1, 1))
    """
    numbers = np.asarray(frames)
    distinct = np.unique(numbers)
    a, b, _ = counts_by_share(len(distinct), shares)
    block = np.searchsorted([a, a + b], np.searchsorted(distinct, numbers), side="right")
    train, guard_train = _kept_apart(numbers, block == 0, block > 0, guard)
    validation, guard_validation = _kept_apart(numbers, block == 1, block == 2, guard)
    kept = (train, validation, block == 2)
    return Sets(*(np.flatnonzero(each).tolist() for each in kept)), (guard_train, guard_validation)


def _kept_apart(numbers: Array, block: Array, held_out: Array, guard: int) -> tuple[Array, int]:
    """Which frames of a block, bool (T,), are further than the guard from any held-out one."""
    if not block.any() or not held_out.any():
        return block, guard
    apart = nearest(numbers, numbers[held_out])
    while guard and 2 * np.count_nonzero(block & (apart > guard)) < np.count_nonzero(block):
        guard -= 1
    return block & (apart > guard), guard
