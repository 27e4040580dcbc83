"""Steady probabilities: each frame averaged with its neighbours, without a shift in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from contextlib import closing
from math import comb

import numpy as np

from ehtseg.records import Array, Frame

Seen = tuple[Frame, Array]  # a frame and its probabilities, float32 (H, W)


def weights(reach: int) -> Array:
    """Binomial weights of the frames from -reach to reach; they sum to 1.

    They fall smoothly and let nothing of the opposite sign through, as a plain mean does.

    >>> weights(1).tolist()
    [0.25, 0.5, 0.25]
    """
    shares = [comb(2 * reach, k) / 4**reach for k in range(2 * reach + 1)]
    return np.array(shares, np.float32)


def steadied(seen: Generator[Seen, None, None], reach: int) -> Generator[Seen, None, None]:
    """The same frames in the same order with probabilities averaged over 2 reach + 1 frames.

    The weights are symmetric, so that nothing is shifted in time; contractions become smaller and
    their slopes less steep. At both ends of a recording, and around a frame of another size, the
    frames that are there share the weight. So many frames are in memory.
    """
    with closing(seen):
        window: deque[Seen] = deque()
        given = 0  # the place in the window of the next frame to be given on
        for pair in seen:
            window.append(pair)
            if len(window) > 2 * reach + 1:
                window.popleft()
                given -= 1
            if len(window) > given + reach:
                yield _mean_at(window, given, reach)
                given += 1
        while given < len(window):
            yield _mean_at(window, given, reach)
            given += 1


def _mean_at(window: Iterable[Seen], place: int, reach: int) -> Seen:
    """The frame at a place of the window, with the weighted mean around it."""
    pairs, weight = list(window), weights(reach)
    frame, own = pairs[place]
    total, sum_HW = np.float32(0), np.zeros_like(own)
    for k, (_, probability_HW) in enumerate(pairs):
        if abs(k - place) <= reach and probability_HW.shape == own.shape:
            share = weight[k - place + reach]
            sum_HW += share * probability_HW
            total += share
    return frame, sum_HW / total
