"""Many wells side by side: table of wells and measures, plate as a grid, similarity of wells."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehtseg.measuring.manifest import PLATE_WELL, well_name
from ehtseg.records import Array

FEWEST_SHARED = 2  # measures that two wells must both have to be compared


@dataclass(frozen=True, eq=False)
class PlateTable:
    """One row a well, one column a measure with its unit in the name; NaN where there is none."""

    wells: tuple[str, ...]
    measures: tuple[str, ...]
    values: Array  # (W, M)


def plate_table(wells: Sequence[str], columns: Mapping[str, Sequence[float]]) -> PlateTable:
    """The table of wells and measures; of several recordings of a well the median.

    `wells` (N,) the well of each recording, `columns` name -> (N,). Wells in order of the plate.
    """
    names = [well_name(well) for well in wells]
    order = sorted(set(names), key=_place)
    rows = [[k for k, name in enumerate(names) if name == well] for well in order]
    known = [np.asarray(values, float) for values in columns.values()]
    cells = [[_median(values[row]) for values in known] for row in rows]
    return PlateTable(tuple(order), tuple(columns), np.array(cells).reshape(len(order), -1))


def plate_grid(wells: Sequence[str], values: Array) -> tuple[list[str], list[int], Array]:
    """Row letters, column numbers and the values in their places (R, C), NaN where no well is.

    `wells` are names such as B3; other names have no place on a plate and are left out.

    >>> plate_grid(["A1", "B2"], np.array([1.0, 2.0]))[2].tolist()
    [[1.0, nan], [nan, 2.0]]
    """
    places = [PLATE_WELL.fullmatch(well) for well in wells]
    letters = sorted({place[1].upper() for place in places if place})
    numbers = sorted({int(place[2]) for place in places if place})
    grid = np.full((len(letters), len(numbers)), np.nan)
    for place, value in zip(places, values, strict=True):
        if place:
            grid[letters.index(place[1].upper()), numbers.index(int(place[2]))] = value
    return letters, numbers, grid


def standard_scores(values_WM: Array) -> Array:
    """Each measure as (value - median) / (1.4826 MAD) over the wells; 0 where no well differs.

    Where more than half of the wells agree exactly, the standard deviation stands in for the MAD.
    """
    scores = np.full(values_WM.shape, np.nan)
    for column, out in zip(values_WM.T, scores.T, strict=True):
        known = column[np.isfinite(column)]
        if len(known):
            off = column - np.median(known)
            spread = 1.4826 * float(np.median(np.abs(known - np.median(known)))) or np.std(known)
            out[:] = off / spread if spread > 0 else 0 * off
    return scores


def similarity(values_WM: Array) -> Array:
    """How alike the wells behave, (W, W): 1 the same, towards 0 the further apart.

    s_ij = 1 / (1 + d_ij), d_ij = sqrt(mean over m of (z_im - z_jm)^2), where z are the robust
    standard scores of measure m over the wells, and m runs over the measures that both wells have;
    NaN with fewer than 2. Two wells that differ by one robust SD in every measure have s = 0.5.
    The matrix depends on which measures are in the table: leave out all but one of those that
    say the same (cd50, cd80, cd90).
    """
    z = standard_scores(values_WM)
    gap = z[:, None] - z[None]  # (W, W, M)
    shared = np.isfinite(gap)
    squares = np.where(shared, gap, 0) ** 2
    count = shared.sum(axis=2)
    distance = np.sqrt(squares.sum(axis=2) / np.maximum(count, 1))
    return np.where(count >= FEWEST_SHARED, 1 / (1 + distance), np.nan)


def _place(well: str) -> tuple[int, str, int]:
    """Wells of a plate by row and number, then other names with their numbers in order."""
    found = PLATE_WELL.fullmatch(well)
    if found:
        return 0, found[1].upper(), int(found[2])
    digits = re.search(r"\d+", well)
    return 1, re.sub(r"\d+", "", well), int(digits[0]) if digits else 0


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
