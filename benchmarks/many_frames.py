"""Does memory grow with the number of training frames?

    python benchmarks/many_frames.py [--frames 30000] [--side 64] [--keep FOLDER]

A labelled folder of made-up frames (a disc that grows and shrinks, with fresh noise) is written,
opened and trained from for one epoch, by the same code as for a user, with a tiny network. Printed
is the memory of the process (resident, MB) before anything is opened, when the folder is open,
after each sixth of the epoch, and at its end. The frames are written by a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from ehtseg.learning.training import Training
from ehtseg.nets.build import build
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import all_train
from ehtseg.recipe import make_recipe
from ehtseg.seeing.machine import resolve

BATCH = 16


def write_frames(folder: Path, count: int, side: int) -> None:
    """images/ and masks/ of one recording."""
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        mask = np.zeros((side, side), np.uint8)
        radius = round(side * (0.25 + 0.1 * np.sin(k / 5)))
        cv2.circle(mask, (side // 2, side // 2), radius, 255, cv2.FILLED)
        image = (mask // 3 + rng.integers(0, 80, mask.shape, np.uint8)).astype(np.uint8)
        cv2.imwrite(str(folder / "images" / f"{k:06d}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{k:06d}.png"), mask)


def memory_mb() -> float:
    """What this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def train(folder: Path, count: int) -> None:
    """One epoch over all frames."""
    begun = time.perf_counter()

    def tell(what: str) -> None:
        print(f"{what:24s}{memory_mb():7.0f} MB {time.perf_counter() - begun:7.0f} s", flush=True)

    recipe = make_recipe(
        {"net": {"name": "unet", "width": 2, "depth": 2}, "data": {"augment": "flips"}},
        {"fit": {"batch": BATCH, "images_per_epoch": count, "epochs": 1, "loss": "bce"}},
    )
    net = build(recipe.net, seed=0)
    tell("before")
    dataset = open_dataset([folder])
    tell(f"{len(dataset.frames)} frames opened")
    training = Training(dataset, all_train(dataset), recipe, resolve(recipe.fit), net)
    steps = training.steps_per_epoch
    shares = {
        round(share * steps / 6): f"{share * count // 6} frames seen" for share in range(1, 7)
    }

    def tick(step: int, _total: int) -> None:
        if step in shares:
            tell(shares[step])

    loss = training.epoch(0, tick)["loss"]
    tell(f"end, loss {loss:.3f}")


def main() -> None:
    """Write the frames in another process, so that its memory does not count; then train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=30_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="a folder for the frames, used again if there")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make:
        write_frames(asked.make, asked.frames, asked.side)
        return
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.keep or Path(temporary)) / "frames"
        if not folder.is_dir():
            words = ["--make", str(folder), "--frames", str(asked.frames)]
            words += ["--side", str(asked.side)]
            subprocess.run([sys.executable, __file__, *words], check=True)
        train(folder, asked.frames)


if __name__ == "__main__":
    main()
