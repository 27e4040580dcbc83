"""A recording through a network: decoding, network and what follows run at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

from ehtseg.records import Array, Frame
from ehtseg.seeing.engines import Engine, flush_denormals
from ehtseg.seeing.predict import predict

T = TypeVar("T")
Note = Callable[[Frame], None]
Seen = tuple[Frame, Array]  # a frame and its probabilities, float32 (H, W)


def see(
    engine: Engine,
    frames: Iterator[Frame],
    size: int | None,
    batch: int,
    note: Note = lambda _: None,
) -> Generator[Seen, None, None]:
    """Every frame with its probabilities, in order, `batch` frames at a time in the network.

    One thread decodes, one runs the network, and the caller's own does what follows; at most
    six batches are in memory. `note` sees every frame in the network's thread, so that it may use
    the network too. What fails in a thread is raised here.
    """
    with closing(ahead(_seen(engine, ahead(_batches(frames, batch)), size, note))) as seen:
        for pairs in seen:
            yield from pairs


def ahead(items: Generator[T, None, None], depth: int = 2) -> Generator[T, None, None]:
    """The same items in the same order, made in a thread that runs up to `depth` items ahead.

    >>> list(ahead(n * n for n in range(5)))
    [0, 1, 4, 9, 16]
    """
    end = object()
    with closing(items), ThreadPoolExecutor(1) as worker:
        try:
            waiting = deque(worker.submit(next, items, end) for _ in range(depth))
            while (item := waiting.popleft().result()) is not end:
                waiting.append(worker.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            worker.shutdown(cancel_futures=True)


def _batches(frames: Iterator[Frame], batch: int) -> Generator[list[Frame], None, None]:
    while some := list(islice(frames, batch)):
        yield some


def _seen(
    engine: Engine, batches: Generator[list[Frame], None, None], size: int | None, note: Note
) -> Generator[list[Seen], None, None]:
    flush_denormals()  # holds for the thread that asks, and this code runs in the network's own
    with closing(batches):
        for frames in batches:
            found = predict(engine, [frame.image for frame in frames], size)
            for frame in frames:
                note(frame)
            yield list(zip(frames, found, strict=True))
