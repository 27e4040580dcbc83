"""What is told about the wells of a manifest, in tables beside those of the recordings.

treatments.csv  one row a line of the manifest: each measure while it holds, and its change
plate.csv       one row a well: its first condition, and the change at its highest dose,
                or with several drugs at its last line
doses.csv       one row a measure, drug and dose: mean change over wells, 95 % interval
hill.csv        one row a measure and drug: the curve through the doses, or why there is none
similarity.csv  one row and one column a well: 1 the same, towards 0 the further apart
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehtseg.measuring.doses import DoseMean, HillFit
from ehtseg.measuring.plate import PlateTable
from ehtseg.records import Array, written_whole
from ehtseg.reporting.tables import write_rows


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One measure under one drug at one pacing: change from each well's own baseline, %."""

    measure: str
    drug: str
    pacing_bpm: float | None
    means: tuple[DoseMean, ...]
    points: tuple[tuple[str, float, float], ...]  # well, dose above 0, change
    fit: HillFit

    @property
    def unit(self) -> str:
        """Of the doses above 0; that of a control may not be written."""
        return next((mean.unit for mean in self.means if mean.dose > 0), "")

    @property
    def words(self) -> str:
        """What the curve says, for a fit that may be quoted."""
        fit = self.fit
        (low, high), (least, most) = fit.ec50_interval, fit.emax_interval
        return (
            f"{self.drug} changes {self.measure} by up to {fit.emax:.3g} % ({least:.3g} to "
            f"{most:.3g}), half of it at {fit.ec50:.3g} {self.unit} ({low:.3g} to {high:.3g}); "
            f"{fit.wells} wells, intervals of 95 %."
        )


@dataclass(frozen=True, slots=True, eq=False)
class Plate:
    """Everything that is told about the wells of a manifest."""

    rows: tuple[dict[str, Any], ...]  # of treatments.csv
    table: PlateTable
    conditions: Mapping[str, tuple[str, str]]  # of each well: the first one, the highest dose
    alike: Array  # (W, W) in the order of the table
    curves: tuple[Curve, ...]
    can: tuple[str, ...]
    cannot: tuple[str, ...]


def write_plate_tables(plate: Plate, out: Path) -> None:
    """All tables of a plate, each whole or as it was before."""
    wells = plate.table.wells
    tables = {
        "treatments.csv": plate.rows,
        "plate.csv": tuple(plate_rows(plate)),
        "doses.csv": tuple(row for curve in plate.curves for row in dose_rows(curve)),
        "hill.csv": tuple(map(hill_row, plate.curves)),
        "similarity.csv": tuple(
            {"well": well, **dict(zip(wells, map(float, line), strict=True))}
            for well, line in zip(wells, plate.alike, strict=True)
        ),
    }
    for name, rows in tables.items():
        with written_whole(out / name) as beside:
            write_rows(beside, rows, ("measure", "drug"))


def plate_rows(plate: Plate) -> Iterator[dict[str, Any]]:
    """The rows of plate.csv."""
    table = plate.table
    for well, values in zip(table.wells, table.values, strict=True):
        first, highest = plate.conditions[well]
        numbers = dict(zip(table.measures, map(float, values), strict=True))
        yield {"well": well, "condition": first, "changed_by": highest, **numbers}


def dose_rows(curve: Curve) -> Iterator[dict[str, Any]]:
    """The rows of doses.csv of one curve."""
    for mean in curve.means:
        yield {
            "measure": curve.measure,
            "drug": curve.drug,
            "pacing_bpm": curve.pacing_bpm,
            "dose": mean.dose,
            "unit": mean.unit,
            "wells": mean.wells,
            "mean_change_pct": mean.mean_pct,
            "low95_pct": mean.low_pct,
            "high95_pct": mean.high_pct,
        }


def hill_row(curve: Curve) -> dict[str, Any]:
    """The row of hill.csv of one curve."""
    fit = curve.fit
    row = {"measure": curve.measure, "drug": curve.drug, "pacing_bpm": curve.pacing_bpm}
    numbers: dict[str, Any] = {}
    for name, (low, high) in (
        ("emax", fit.emax_interval),
        ("ec50", fit.ec50_interval),
        ("slope", fit.slope_interval),
    ):
        column = f"{name}_pct" if name == "emax" else name
        numbers |= {column: getattr(fit, name), f"{name}_low95": low, f"{name}_high95": high}
    known = {"unit": curve.unit, "wells": fit.wells, "doses": fit.doses, "accepted": fit.accepted}
    return {**row, **known, **numbers, "reason": fit.reason}
