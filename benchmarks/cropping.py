"""What segmenting only the surroundings of the tissue would save, and what it does to the masks.

    python benchmarks/cropping.py RECORDING [...] [--model RUN] [--margin 0.05 0.1] [--frames 16]

Frames spread over each recording (a folder `images` of 8-bit files, or one of them; masks of the
same names in `masks` beside it where they are known) are seen whole. The box around all tissue
found in them, widened on every side by the margin (a share of the picture's side) and to multiples
of 32 px of the network's input, is then seen by itself at the same scale; outside it nothing is
tissue. The guard of the engines (learning/guard.py) judges these masks against those of the whole
frame. The box is that of the frames themselves, so that a real one, from earlier frames, can only
be worse. CPU is that of the network alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from ehtseg.learning.guard import LIMITS, Verdict, compare, spread
from ehtseg.reading.folders import image_files
from ehtseg.reading.geometry import to_working_size
from ehtseg.records import Array
from ehtseg.seeing.engines import Engine, TorchEngine, flush_denormals
from ehtseg.seeing.predict import as_batch, enlarge, probability
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.seeing.shipped import chosen_run

GRID = 32  # px of the network's input: a crop of other sizes would be padded to it
NOTHING = np.float32(-20)  # the logit outside the box
Box = tuple[slice, slice]


@dataclass(frozen=True)
class Look:
    """Logits of frames seen in one box, (h, w) each, and the CPU a frame."""

    logits: list[Array]
    cpu_ms: float


def look(engine: Engine, small: Sequence[Array], box: Box) -> Look:
    """Frames, at the network's size, seen in a box only."""
    engine(as_batch([small[0][box]]))  # warm-up
    started = time.process_time()
    found = [engine(as_batch([one[box]]))[0] for one in small]
    cpu_ms = 1000 * (time.process_time() - started) / len(small)
    logits = [np.full(one.shape[:2], NOTHING) for one in small]
    for whole, part in zip(logits, found, strict=True):
        whole[box] = part
    return Look(logits, cpu_ms)


def box_of(logits: Sequence[Array], level: float, margin: float) -> Box:
    """The box around all tissue and a margin, grown to multiples of `GRID` where there is room."""
    union = np.any([probability(one) >= level for one in logits], axis=0)
    x, y, width, height = cv2.boundingRect(union.astype(np.uint8))
    reach = round(margin * union.size**0.5)
    rows, columns = union.shape
    return _side(y - reach, y + height + reach, rows), _side(x - reach, x + width + reach, columns)


def _side(start: int, stop: int, end: int) -> slice:
    start, stop = max(0, start), min(end, stop)
    length = min(end, -(-(stop - start) // GRID) * GRID)
    start = min(max(0, start - (length - (stop - start)) // 2), end - length)
    return slice(start, start + length)


def verdict(
    whole: Look, part: Look, images: Sequence[Array], masks: Sequence[Array | None], level: float
) -> Verdict:
    """Means over frames of what the guard looks at."""
    found = [
        compare(
            probability(enlarge(one, image.shape[:2])),
            probability(enlarge(other, image.shape[:2])),
            mask,
            level,
        )
        for one, other, image, mask in zip(whole.logits, part.logits, images, masks, strict=True)
    ]
    means = {name: float(np.mean([getattr(each, name) for each in found])) for name in LIMITS}
    return replace(found[0], frames=len(found), **means)


def read(file: Path) -> Array:
    """A grey picture, uint8 (H, W)."""
    return np.asarray(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE))


def truth(file: Path) -> Array | None:
    """The true mask of a frame, if it is known."""
    beside = file.parent.parent / "masks" / file.name
    return read(beside) > 127 if beside.is_file() else None


def rows(run: RunFolder, place: Path, margins: Sequence[float], count: int) -> list[str]:
    """The rows of one recording."""
    files = image_files(place) if place.is_dir() else [place]
    files = [files[k] for k in spread(range(len(files)), count)]
    images, masks = [read(file) for file in files], [truth(file) for file in files]
    small = [to_working_size(image, run.recipe.data.size) for image in images]
    engine = TorchEngine(run.net(), "fp32")
    whole = look(engine, small, (slice(0, None), slice(0, None)))
    name = str(place.relative_to(place.parents[1 if place.is_dir() else 2]))
    told = []
    for margin in margins:
        box = box_of(whole.logits, run.threshold, margin)
        part = look(engine, small, box)
        found = verdict(whole, part, images, masks, run.threshold)
        cells = [
            name,
            f"{margin:.2f}",
            f"{part.logits[0][box].size / part.logits[0].size:.2f}",
            f"{whole.cpu_ms / part.cpu_ms:.2f}",
            f"{found.dice_change:.4f}",
            f"{found.outline_px:.2f}",
            f"{found.flipped_share:.2%}",
            "holds" if found.holds else "fails",
        ]
        told.append(f"| {' | '.join(cells)} |")
    return told


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--model", nargs="+", default=["shipped"])
    parser.add_argument("--margin", nargs="+", type=float, default=[0.05, 0.1])
    parser.add_argument("--frames", type=int, default=16)
    asked = parser.parse_args()
    flush_denormals()
    for model in asked.model:
        run = chosen_run(model)
        print(f"{run.name}, {run.recipe.net.name}, network at {run.recipe.data.size}")
        print(
            "| recording | margin | share of the picture | times faster | Dice | px | flipped | |"
        )
        print("|---" * 8 + "|")
        for place in asked.recordings:
            print("\n".join(rows(run, place, asked.margin, asked.frames)), flush=True)


if __name__ == "__main__":
    main()
