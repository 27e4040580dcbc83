"""Who does the work: processes of this machine, or the workers of a Dask cluster.

The seam is `hired`: both are an `Executor`, and nothing else in the package knows which it is.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from ehtseg.records import UserError

START = "spawn"  # how a process begins: a fork of one that runs threads may hang
LIVES = 3  # a task under which so many workers died is given up

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Crew:
    """How many worker processes there are here, or the address of a Dask scheduler."""

    workers: int = 1
    scheduler: str | None = None


@dataclass(frozen=True, slots=True)
class Hired:
    """Workers at hand."""

    executor: Executor
    workers: int
    at_once: int  # tasks that are handed out at a time; on a cluster workers may join later
    lost: tuple[type[BaseException], ...]  # what a task ends with whose worker died


@dataclass(frozen=True, slots=True)
class Ended(Generic[T, R]):
    """A task that has ended: with a result, or with what went wrong."""

    task: T
    result: R | None = None
    error: BaseException | None = None


def workers_of(asked: int | None, scheduler: str | None) -> int:
    """How many work at a time: those of the scheduler, else as asked, else one a core.

    With a GPU it is one, whose memory and time two trainings would have to share.

    Raises: UserError for a scheduler that cannot be reached.
    """
    from ehtseg.seeing.engines import choose_device  # torch: a process of the crew can do without

    if scheduler is not None:
        with hired(Crew(scheduler=scheduler)) as hands:
            return hands.workers
    gpu = choose_device().value != "cpu"
    return asked or (1 if gpu else os.cpu_count() or 1)


def perform(tasks: Sequence[T], job: Callable[[T], R], crew: Crew) -> Iterator[Ended[T, R]]:
    """Do a job for each task; each is yielded as it ends.

    A task whose worker dies goes to the end of the line, and ends with an error after `LIVES`
    deaths. One death ends the tasks of all processes, so the last life of each is spent alone: a
    task is not given up for its neighbour, nor for memory that the two did not have together. The
    same job may so be begun more than once: it has to continue what it finds.

    Raises: UserError for a scheduler that cannot be reached, or is lost.
    """
    line, alone, deaths = deque(range(len(tasks))), deque[int](), Counter[int]()
    while line or alone:
        if not line:
            line.append(alone.popleft())
        died: list[int] = []
        with hired(crew) as hands:
            for number, future in _through(line, tasks, job, hands):
                if isinstance(future.exception(), hands.lost):
                    died.append(number)
                else:
                    yield _ended(tasks[number], future)
        deaths.update(died)
        for number in died:
            if deaths[number] == LIVES:
                yield Ended(tasks[number], error=_given_up())
            else:
                (alone if deaths[number] == LIVES - 1 else line).append(number)


def _ended(task: T, future: Future[R]) -> Ended[T, R]:
    error = future.exception()
    return Ended(task, error=error) if error else Ended(task, result=future.result())


def _through(
    line: deque[int], tasks: Sequence[T], job: Callable[[T], R], hands: Hired
) -> Iterator[tuple[int, Future[R]]]:
    """Hand out the line; each number with its future as it ends. Stops early if workers are lost.

    Raises: UserError where the scheduler is lost.
    """
    under_way: dict[Future[R], int] = {}
    whole = True
    while under_way or (line and whole):
        while whole and line and len(under_way) < hands.at_once:
            try:
                future = hands.executor.submit(job, tasks[line[0]])
            except BrokenExecutor:  # a worker died just now
                whole = False
            else:
                under_way[future] = line.popleft()
        for future in wait(under_way, return_when=FIRST_COMPLETED).done:
            if future.cancelled():
                raise UserError(
                    "a scheduler that stays until the study has ended",
                    "a connection that was lost",
                    "Start it again, and give the same command: what is complete is kept.",
                )
            whole = whole and not isinstance(future.exception(), BrokenExecutor)
            yield under_way.pop(future), future


@contextmanager
def hired(crew: Crew) -> Iterator[Hired]:
    """Workers for the length of the block: the seam between a machine and a cluster.

    Raises: UserError for a scheduler that cannot be reached.
    """
    with _cluster(crew.scheduler) if crew.scheduler else _processes(crew.workers) as hands:
        yield hands


@contextmanager
def _processes(workers: int) -> Iterator[Hired]:
    """Processes that end at once when the block or this process does, however it ends."""
    context: Any = multiprocessing.get_context(START)
    ours, theirs = context.Pipe(duplex=False)  # theirs is kept open here: its end is the signal
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_serve, initargs=(ours,))
    try:
        yield Hired(pool, workers, workers, (BrokenExecutor,))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        theirs.close()
        ours.close()


def _serve(signal_end: Connection) -> None:
    """Leave Ctrl-C to the parent, and end with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    ends: list[Any] = [signal_end, *([parent.sentinel] if parent else [])]

    def watch() -> None:
        multiprocessing.connection.wait(ends)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def _cluster(scheduler: str) -> Iterator[Hired]:
    """The workers of a Dask cluster, which see the same folders as this machine.

    Raises: UserError where distributed is not installed or no scheduler answers.
    """
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise UserError(
            "the package distributed for --scheduler", "none", "pip install 'ehtseg[cluster]'"
        ) from error
    try:
        client = distributed.Client(scheduler, timeout=20)
    except (OSError, ValueError) as error:
        raise UserError(
            f"a Dask scheduler at {scheduler}",
            f"“{error}”",
            "Start one (dask scheduler) and give the address that it prints.",
        ) from error
    try:
        workers = max(1, sum(client.nthreads().values()))
        lost = (distributed.KilledWorker,)
        yield Hired(client.get_executor(pure=False), workers, sys.maxsize, lost)
    finally:
        client.close()


def _given_up() -> UserError:
    return UserError(
        "a worker process that lives until the run has ended",
        f"{LIVES} that were killed",
        "The machine may be short of memory: give fewer --workers.",
    )
