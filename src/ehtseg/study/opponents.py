"""What a row has shown against opponents that copy training masks and have seen no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ehtseg.study.found import Found
from ehtseg.study.intervals import interval
from ehtseg.study.statistics import Table, difference

COPIES = ("mean_mask", "nearest_mask")
PLAIN = "threshold"

Shown = Literal[
    "nothing",  # a copied mask is as good
    "no more than a threshold",
    "not told from opponents",
    "more than opponents",
    "no opponent was scored",
]


@dataclass(frozen=True, slots=True)
class Standing:
    """A row at a place: its Dice minus that of each opponent, and what it has shown by it."""

    gaps: dict[str, float]  # by opponent
    shown: Shown
    units: int
    trainings: int

    @property
    def words(self) -> str:
        """What it has shown, and of how much that holds."""
        if self.shown != "more than opponents":
            return self.shown
        here = ", here" if self.units == 1 else ""
        return f"{self.shown}{here}{', one training' if self.trainings == 1 else ''}"


def standing(found: Found, row: str, place: str) -> Standing:
    """Hold a row against the copied masks and the threshold.

    It has shown nothing where a copy is as good, and no more than a threshold where that is; with
    several units its lead has to be larger than chance (interval above 0).
    """
    scores = found.table(row, place)
    gaps: dict[str, float] = {}
    sure = True
    for model in (*COPIES, PLAIN):
        opponent = found.opponent(row, place, model)
        if scores is not None and opponent is not None:
            known = interval(difference(scores, opponent).values)
            gaps[model] = known.estimate
            sure = sure and not known.low <= 0
    return Standing(gaps, _shown(gaps, sure), *(scores.values.shape if scores else (0, 0)))


def opponent_of(
    found: Found, rows: Sequence[str], place: str, model: str, score: str = "dice"
) -> Table | None:
    """An opponent of several rows: the mean over all sets of frames it was fitted on for them."""
    keys = {found.opponents_of([row]): row for row in rows}
    tables = [found.opponent(row, place, model, score) for row in keys.values()]
    known = [each for each in tables if each is not None]
    units = [u for u in known[0].units if all(u in each.units for each in known)] if known else []
    if not units:
        return None
    chosen = [each.values[[each.units.index(u) for u in units]].mean(axis=1) for each in known]
    return Table(tuple(units), (0,), np.mean(chosen, axis=0)[:, None])


def _shown(gaps: dict[str, float], sure: bool) -> Shown:
    if not gaps:
        return "no opponent was scored"
    if any(gap <= 0 for model, gap in gaps.items() if model in COPIES):
        return "nothing"
    if gaps.get(PLAIN, 1.0) <= 0:
        return "no more than a threshold"
    return "more than opponents" if sure else "not told from opponents"
