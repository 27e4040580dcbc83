#!/usr/bin/env python
"""How many batches an epoch each rival has in equal time: the steps of trainings are timed.

    python scripts/equal_time.py --data DATA [--weights-folder WEIGHTS]

A step is that of a training, with its pictures and without the look at validation frames. What is
printed goes into BATCHES_IN_EQUAL_TIME (study/published.py), before any run of rivals-time.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ehtseg.records import UserError
from ehtseg.study.cost import measure
from ehtseg.study.designs import STUDIES
from ehtseg.study.entries import Entry, startable
from ehtseg.study.rivals import COMMON
from ehtseg.study.task import Task, look_for_weights

OURS = "ResNet-50"


def seconds_a_step(data: Path, weights: Path | None) -> dict[str, float]:
    """Seconds of one training step of each network under the common recipe, one thread."""
    look_for_weights(weights)
    found: dict[str, float] = {}
    for planned in STUDIES["rivals"].plan("cpu"):
        network, _, recipe = planned.row.rsplit(", ", 2)
        if planned.seed or recipe != COMMON or network in found:
            continue
        run, _ = startable(planned)
        found[network] = measure(Task(Entry(run.row, run.key, run), data, Path(), weights)).step
        print(f"{network}: {1000 * found[network]:.0f} ms a step", flush=True)
    return found


def main(arguments: list[str]) -> None:
    """Time them, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights-folder", type=Path)
    given = parser.parse_args(arguments)
    steps = seconds_a_step(given.data.absolute(), given.weights_folder)
    batches = STUDIES["rivals"].plan("cpu")[0].recipe.fit.images_per_epoch or 0
    ours = batches / 8
    for name, seconds in steps.items():
        print(f'    "{name}": {max(1, round(ours * steps[OURS] / seconds))},')


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
