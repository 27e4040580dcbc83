"""A training that kills itself (SIGKILL) at a chosen moment: run by test_kills.py.

Usage: killable.py DATA OUT PHASE COUNT; PHASE is step, write, flush, rename, full or never, and
COUNT says at which of these moments. A write dies after half of the file's bytes, a flush before
the fsync, a rename before the rename; full lets no file grow beyond COUNT bytes.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ehtseg.seeing.run_folder as run_folder
from ehtseg.learning.train import train
from ehtseg.reading.dataset import open_dataset
from ehtseg.recipe import make_recipe

RECIPE = {
    "data": {"split": "blocks", "guard_frames": 0, "size": 32},
    "net": {"name": "unet", "width": 4, "depth": 2, "norm": "batch", "dropout": 0.1},
    "fit": {"epochs": 6, "images_per_epoch": 16, "lr": 5e-3, "precision": "fp32", "threads": 1},
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., Any], count: int, half: bool = False) -> Callable[..., Any]:
    """`function`, whose `count`-th call is the last thing that this process does."""
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            if half:  # leave half of the file behind, as a power failure would
                function(*args, **kwargs)
                path = Path(args[1])
                os.truncate(path, path.stat().st_size // 2)
            die()
        return function(*args, **kwargs)

    return wrapped


def main(data: str, out: str, phase: str, count: int) -> None:
    if phase == "rename":
        os.replace = deadly(os.replace, count)
    elif phase == "flush":
        os.fsync = deadly(os.fsync, count)
    elif phase == "write":
        run_folder.save_file = deadly(run_folder.save_file, count, half=True)
    elif phase == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    steps = 0

    def tick(_done: int, _total: int) -> None:
        nonlocal steps
        steps += 1
        if phase == "step" and steps == count:
            die()

    train(open_dataset([Path(data)]), make_recipe(RECIPE), Path(out), tick=tick)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
