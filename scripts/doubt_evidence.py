#!/usr/bin/env python
"""How well do signs known without truth tell good masks from bad ones?

    python scripts/doubt_evidence.py RUN FOLDER --none OTHER --out signs.csv
    python scripts/doubt_evidence.py --read signs.csv [signs.csv...]

The first notes the signs of pictures that the network of RUN never saw: labelled frames of FOLDER
as they are and strongly augmented, and pictures without tissue (made up, and images of OTHER). The
second tells, for each sign, how well it separates Dice below 0.9 from the rest.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ehtseg.learning.evaluate import counted
from ehtseg.reading.augment import apply, draw
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.geometry import mask_to_working_size, to_working_size
from ehtseg.reading.scenes import Scene, compose
from ehtseg.reading.textures import ground
from ehtseg.records import Array
from ehtseg.seeing.engines import TorchEngine
from ehtseg.seeing.familiar import Signs, signs_of
from ehtseg.seeing.predict import predict
from ehtseg.seeing.run_folder import open_run
from ehtseg.seeing.variants import of_one_network

SIZE, PICTURES, GOOD = 256, 32, 0.9
COLUMNS = ("kind", "dice", "agreement", "certainty", "share", "texture")
Picture = tuple[str, Array, Array | None, Array | None]  # kind, image, truth, what counts


def pictures(dataset: Dataset, none: Path) -> Iterator[Picture]:
    """Everything that is shown to the network."""
    chosen = np.linspace(0, len(dataset) - 1, min(PICTURES, len(dataset))).astype(int)
    for i in chosen[:: max(1, len(chosen) // 8)]:
        image, mask = dataset.read(i)
        yield "plain", image, mask, counted(dataset, i, np.ones(mask.shape, bool))
    for k in range(PICTURES):
        i = int(chosen[k % len(chosen)])
        image, mask = dataset.read(i)
        counts = counted(dataset, i, np.ones(mask.shape, bool))
        label = np.where(mask_to_working_size(counts, SIZE), mask_to_working_size(mask, SIZE), 2)
        record = draw("strong", np.random.default_rng((9, k)))
        picture, seen = apply(record, to_working_size(image, SIZE), label, (SIZE, SIZE))
        grey = (picture[0].numpy() * 255).round().astype(np.uint8)
        yield "augmented", grey, seen[0].numpy() == 1, seen[0].numpy() != 2
    empty = np.zeros((SIZE, SIZE), np.uint8), np.zeros((SIZE, SIZE), np.uint8)
    for k in range(PICTURES // 2):
        made = ground(np.random.default_rng((7, k)), (SIZE, SIZE))
        yield "ground", (np.clip(made, 0, 1) * 255).astype(np.uint8), None, None
        scene = Scene(tissue="none", behind="made", seed=12345 + k)
        yield "posts", compose(scene, empty, lambda _: empty)[0], None, None
    yield "blank", np.full((SIZE, SIZE), 128, np.uint8), None, None
    noise = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE))
    yield "noise", noise.astype(np.uint8), None, None
    others = open_dataset([none])
    for i in range(0, len(others), max(1, len(others) // (PICTURES // 2))):
        yield "other", others.read(i)[0], None, None


def look(run: Path, folder: Path, none: Path, out: Path) -> None:
    """Note the signs of every picture, and its Dice where truth is known."""
    opened = open_run(run)
    size = opened.recipe.data.size
    engine = TorchEngine(opened.net(), opened.facts["resolved"]["precision"])
    variants = of_one_network(engine, size, 0.5)
    with open(out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for kind, image, truth, counts in pictures(open_dataset([folder]), none):
            signs, dice = signs_of(variants, image), ""
            if truth is not None and counts is not None:
                found = (predict(engine, [image], size)[0] >= 0.5) & counts
                both = int(found.sum() + truth.sum())
                dice = f"{2 * int((found & truth).sum()) / both if both else 1:.4f}"
            values = (f"{getattr(signs, name):.4f}" for name in COLUMNS[2:])
            table.writerow([kind, dice, *values])


def read(files: list[Path], limit: float) -> None:
    """Print what each sign is worth, and what a limit of doubt flags."""
    rows = [row for file in files for row in csv.DictReader(file.read_text().splitlines())]
    known = [row for row in rows if row["dice"]]
    bad = np.array([float(row["dice"]) < GOOD for row in known])

    def signs(row: dict[str, str]) -> Signs:
        return Signs(*(float(row[name]) for name in COLUMNS[2:]))

    for name in ("agreement", "certainty", "doubt"):
        sign = 1 if name == "doubt" else -1
        values = sign * np.array([getattr(signs(row), name) for row in known])
        pairs = values[bad][:, None] - values[~bad]
        area = float(np.mean((pairs > 0) + 0.5 * (pairs == 0)))
        at = float(np.quantile(values[bad], 0.1))
        alarms = float((values[~bad] > at).mean())
        print(f"{name}: area {area:.3f}; limit {sign * at:.3f} flags 9 of 10 bad pictures")
        print(f"  and {alarms:.2f} of the {int((~bad).sum())} good ones ({int(bad.sum())} are bad)")
    flagged = np.array([signs(row).doubt > limit for row in known])
    plain = np.array([row["kind"] == "plain" for row in known])
    print(f"At the limit {limit:g}: flagged are {flagged[bad].sum()} of {bad.sum()} bad pictures,")
    print(f"  {flagged[~bad & plain].sum()} of {(~bad & plain).sum()} good ones as they are,")
    print(f"  {flagged[~bad & ~plain].sum()} of {(~bad & ~plain).sum()} good ones, augmented.")
    without = [signs(row).doubt for row in rows if not row["dice"]]
    print(f"Doubt where there is no tissue: {min(without):.2f} at least, {len(without)} pictures.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--none", type=Path, help="labelled folder of other things")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--read", type=Path, nargs="+")
    parser.add_argument("--limit", type=float, default=0.26, help="of the shipped model")
    given = parser.parse_args()
    if given.read:
        read(given.read, given.limit)
    else:
        look(given.run, given.folder, given.none, given.out)


if __name__ == "__main__":
    main()
