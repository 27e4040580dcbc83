#!/usr/bin/env python
"""Train the model that ships, or the same without one recording, also with a larger encoder.

    python scripts/build_shipped.py --data DATA --out runs/shipped
    python scripts/build_shipped.py --data DATA --out runs/lo-r50-ohw --leave-out eht_ohw \\
        --net resnet50 --weights FILE --epochs 20 --threads 1

The same command continues a training that was interrupted. scripts/left_out.py scores the second.

DATA holds eht_d1t3, eht_mbpt, eht_ohw and eht_fibrotug_stills. The masks cover the outline of the
tissue with round posts in it; the bars that hold the tissues of the stills are outside these masks
and inside the others' convention, so they do not count, in training or in scores.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ehtseg.doors.show import bar, say
from ehtseg.learning.train import train
from ehtseg.reading.dataset import open_dataset
from ehtseg.recipe import make_recipe, read_recipe
from ehtseg.records import UserError

FILMS = ("eht_d1t3", "eht_mbpt", "eht_ohw")
STILLS = "eht_fibrotug_stills"
RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "shipped.yaml"

# outlines by hand of the bars with the dark sides of their bodies, as x, y in pixels of each still
BARS = {
    "a": (
        [(195, 55), (210, 52), (430, 118), (432, 160), (412, 172), (232, 124), (190, 100)],
        [(60, 530), (120, 525), (285, 562), (302, 598), (290, 625), (250, 660), (0, 650), (0, 590)],
    ),
    "b": (
        [(300, 38), (330, 30), (512, 150), (520, 200), (465, 184), (312, 90), (292, 70)],
        [
            (52, 450),
            (95, 448),
            (215, 525),
            (258, 560),
            (255, 610),
            (215, 650),
            (100, 640),
            (0, 560),
            (20, 490),
        ],
    ),
    "c": (
        [
            (368, 35),
            (402, 33),
            (562, 170),
            (560, 235),
            (520, 235),
            (505, 218),
            (366, 95),
            (358, 65),
        ],
        [
            (0, 385),
            (38, 380),
            (78, 382),
            (208, 508),
            (228, 530),
            (232, 560),
            (205, 590),
            (100, 600),
            (0, 530),
        ],
    ),
}


def stills_with_bars(data: Path, out: Path) -> Path:
    """A copy of the stills whose bars are marked as what does not count."""
    folder = out / STILLS
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "ignore").mkdir(parents=True)
    for part in ("images", "masks"):
        (folder / part).mkdir()
        for path in sorted((data / STILLS / part).glob("*.png")):
            (folder / part / path.name).write_bytes(path.read_bytes())
    (folder / "meta.json").write_text((data / STILLS / "meta.json").read_text())
    for name, bars in BARS.items():
        marked = np.zeros(cv2.imread(str(folder / "images" / f"{name}.png"), 0).shape, np.uint8)
        cv2.fillPoly(marked, [np.array(points, np.int32) for points in bars], 255)
        cv2.imwrite(str(folder / "ignore" / f"{name}.png"), marked)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the run folder")
    parser.add_argument("--leave-out", choices=(*FILMS, STILLS))
    parser.add_argument("--net", help="another encoder than the recipe's: resnet50, vgg16")
    parser.add_argument("--weights", help="its ImageNet weights")
    parser.add_argument("--epochs", type=int, help="of 20 steps; else the recipe's 40")
    parser.add_argument("--threads", type=int, help="1 for each of several trainings")
    given = parser.parse_args()
    beside = given.out.absolute().with_name(given.out.name + "_data")
    folders = {name: given.data / name for name in FILMS}
    folders[STILLS] = stills_with_bars(given.data, beside)
    folders.pop(given.leave_out, None)
    changed: dict[str, Any] = {
        "net": {"name": given.net, "weights": given.weights},
        "fit": {"epochs": given.epochs, "threads": given.threads},
    }
    asked = {k: {n: v for n, v in part.items() if v is not None} for k, part in changed.items()}
    recipe = make_recipe(read_recipe(RECIPE), asked)
    with bar("steps") as tick:
        run = train(open_dataset(list(folders.values())), recipe, given.out, tell=say, tick=tick)
    after = "left_out.py --data DATA" if given.leave_out else "ship.py --name NAME"
    say(f"Next: python scripts/{after} {run.path}")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"build_shipped: {error}")
