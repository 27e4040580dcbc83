"""A plan as this machine can carry it out: what starts from which weights, and what is skipped."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ehtseg.nets.build import wanted_file
from ehtseg.nets.weights import WeightsFile
from ehtseg.recipe import FROM_SCRATCH, NetRecipe
from ehtseg.records import UserError
from ehtseg.study.frames import split_of
from ehtseg.study.plan import Run, from_random
from ehtseg.study.results import BASELINES, KEY_CHARACTERS


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of runs.csv: a run of the plan, or the baselines on the frames of some runs."""

    row: str
    key: str
    run: Run  # of the baselines: the first run that they are compared with
    baselines: str = ""  # the key of the baselines beside it; nothing where it is these
    skipped: str = ""  # why it is not carried out

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.run.seed

    @property
    def label(self) -> str:
        """The entry in words."""
        return f"{self.row}, seed {self.seed}"

    @property
    def places(self) -> set[str]:
        """Where it is scored."""
        return {place.label for place in self.run.score}


def entries_of(plan: Sequence[Run], data: Path) -> tuple[Entry, ...]:
    """The entries of a plan: each run, and the baselines on each set of training frames.

    Without ImageNet weights a run starts from random ones and its row says so; a run that permutes
    them is skipped.
    """
    baselines: dict[str, Entry] = {}
    found = []
    for planned in plan:
        run, skipped = startable(planned)
        key = baselines_key(run, data)
        if key and key not in baselines:
            baselines[key] = Entry(BASELINES, key, run)
        found.append(Entry(run.row, run.key[:KEY_CHARACTERS], run, key, skipped))
    return (*baselines.values(), *found)


def startable(run: Run) -> tuple[Run, str]:
    """The run as it can be started with the weights at hand, or the reason why it cannot."""
    missing = missing_weights(run.recipe.net)
    if not missing:
        return run, ""
    if run.recipe.net.control == "permuted":
        return run, f"no ImageNet weights of {missing} at hand: there is nothing to permute"
    return from_random(run), ""


def missing_weights(net: NetRecipe) -> str:
    """The encoder whose ImageNet weights a network asks for and cannot have; nothing if it can."""
    return "" if net.name in FROM_SCRATCH or _wanted(net)[1] else net.name


def baselines_key(run: Run, data: Path) -> str:
    """Hash of the sets that baselines are fitted and scored on; nothing where there are none."""
    with suppress(UserError):  # the run itself will fail with this reason
        return hashlib.sha256(f"{BASELINES} {split_of(run, data).sha256}".encode()).hexdigest()[
            :KEY_CHARACTERS
        ]
    return ""


def without_weights(plan: Sequence[Run]) -> list[str]:
    """The encoders that start from random weights though the plan asks for ImageNet's."""
    return sorted({missing_weights(run.recipe.net) for run in plan} - {""})


def weights_of(plan: Sequence[Run]) -> dict[str, str]:
    """SHA-256 of the ImageNet weights that the plan starts from, by encoder."""
    nets = [run.recipe.net for run in plan if run.recipe.net.name not in FROM_SCRATCH]
    files = {net.name: file for net in nets if (file := _wanted(net)[0])}
    return {name: str(file.card.weights_sha256) for name, file in sorted(files.items())}


def _wanted(net: NetRecipe) -> tuple[WeightsFile | None, bool]:
    """The weights file that a network asks for, and whether it has what it asks for."""
    transfer: Literal[0, "all"] = 0 if net.transfer in (0, ()) else "all"
    return _looked_up(NetRecipe(name=net.name, transfer=transfer, weights=net.weights))


@lru_cache
def _looked_up(alike: NetRecipe) -> tuple[WeightsFile | None, bool]:
    with suppress(UserError):
        return wanted_file(alike, download=True), True
    return None, False
