"""The table and the HTML page of all recordings in a folder, and of the wells they show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ehtseg.measuring.traces import stem
from ehtseg.records import written_whole
from ehtseg.reporting.page import templates
from ehtseg.reporting.plate import Plate, dose_rows, hill_row, plate_rows, write_plate_tables
from ehtseg.reporting.plate_figures import MOST_CURVES, write_plate_figures
from ehtseg.reporting.tables import write_rows

HEADLINES = (
    "beat_rate_bpm", "beat_rate_per_1000_frames", "cv_rr", "amplitude_um", "amplitude_mm2",
    "amplitude_px", "fs_pct", "fac_pct",
    "ttp10_ms", "ttp10_frames", "cd50_ms", "cd50_frames", "rt50_ms", "rt50_frames", "force_mN",
)  # fmt: skip
HILL_COLUMNS = (
    "measure", "drug", "pacing_bpm", "wells", "doses", "accepted", "emax_pct", "ec50",
    "ec50_low95", "ec50_high95", "unit", "slope", "reason",
)  # fmt: skip
WORDS = ("well", "condition", "changed_by", "measure", "drug", "reason")  # set to the left

Records = Sequence[tuple[str, dict[str, Any]]]  # folder name and record.json of each recording


def write_batch(records: Records, out: Path, plate: Plate | None = None) -> None:
    """summary.csv and index.html of all recordings in `out`; with a plate its tables and figures.

    The figures stand inside the page and beside it as SVG and PNG.
    """
    with written_whole(out / "summary.csv") as beside:
        write_rows(beside, (record["summary"] for _, record in records), ("recording",))
    pictures: dict[str, str] = {}
    if plate:
        write_plate_tables(plate, out)
        pictures = write_plate_figures(plate, out)
    page = templates().get_template("batch.html.j2")
    context = {
        "records": records,
        "columns": told_of(records),
        "traces": traces_of(records),
        "plate": plate,
        "pictures": pictures,
        "well_rows": _shown_wells(plate) if plate else [],
        "dose_rows": [row for curve in plate.curves for row in dose_rows(curve)] if plate else [],
        "hill_rows": [hill_row(curve) for curve in plate.curves if curve.points] if plate else [],
        "hill_columns": HILL_COLUMNS,
        "most_curves": MOST_CURVES,
        "words": WORDS,
    }
    with written_whole(out / "index.html") as beside:
        beside.write_text(page.render(context), encoding="utf-8")


def told_of(records: Records) -> list[str]:
    """The parameters that a batch's page shows: those of `HEADLINES` that some recording has."""
    present = {name for _, record in records for name in record["summary"]}
    return [name for name in HEADLINES if name in present]


def traces_of(records: Records) -> list[str]:
    """The traces that the recordings were read from, each once, without its unit."""
    chosen = [record["summary"]["trace"] for _, record in records]
    return sorted({stem(name) for name in chosen if name})


def _shown_wells(plate: Plate) -> list[dict[str, Any]]:
    """plate.csv without its columns of changes, which the figure of the plate shows."""
    return [
        {name: value for name, value in row.items() if not name.endswith("_change_pct")}
        for row in plate_rows(plate)
    ]
