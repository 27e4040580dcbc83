#!/usr/bin/env python
"""Draw the picture docs/scenes.png: what training shows, with labels, picture by picture.

    python scripts/show_scenes.py --data DATA [DATA...] --out docs/scenes.png

Red: the outline that is to be learnt. Blue: what does not count.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from ehtseg.learning.batches import TrainingFrames
from ehtseg.reading.dataset import open_dataset
from ehtseg.recipe import make_recipe

COLUMNS, ROWS, EDGE = 8, 5, 160
SHOWN = {"data": {"augment": "scenes", "balance": "recordings"}, "fit": {"seed": 5}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    dataset = open_dataset(given.data)
    frames = TrainingFrames(dataset, range(len(dataset)), make_recipe(SHOWN))
    order = frames.order(0)
    pictures = [panel(frames, position, order[position]) for position in range(COLUMNS * ROWS)]
    rows = [np.hstack(pictures[r * COLUMNS : (r + 1) * COLUMNS]) for r in range(ROWS)]
    cv2.imwrite(str(given.out), np.vstack(rows), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def panel(frames: TrainingFrames, position: int, i: int) -> np.ndarray:
    """One picture as training sees it, with its label drawn in."""
    image, mask, ignored = frames.picture(0, position, int(i))
    shown = cv2.cvtColor((image[0].numpy() * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    edges, _ = cv2.findContours(mask[0].numpy().astype(np.uint8), cv2.RETR_EXTERNAL, 2)
    cv2.drawContours(shown, edges, -1, (0, 0, 255), 2)
    shown[ignored[0].numpy()] //= 2
    shown[ignored[0].numpy()] += np.array([120, 60, 0], np.uint8)
    return cv2.resize(shown, (EDGE, EDGE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
