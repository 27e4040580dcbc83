"""Figures of a plate: its wells as a grid, how alike they are, change against dose.

Colours run from dark to light (cividis, viridis) or from blue to orange through grey, so that they
can be told apart under every colour blindness; cells that are wide enough hold their numbers.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from ehtseg.measuring.doses import hill
from ehtseg.measuring.plate import plate_grid
from ehtseg.records import Array, written_whole
from ehtseg.reporting.embedded import as_address, as_svg
from ehtseg.reporting.figures import BLUE, DOTS_PER_INCH, GREY, INK, STYLE, VERMILION
from ehtseg.reporting.plate import Curve, Plate

WIDTH = 7.2  # inches: a page of two columns
PANELS = 3  # beside each other ...
MOST_BESIDE = 12  # ... of so many columns at most: each number needs its room
MOST_WRITTEN = 30  # columns; numbers of more would run into each other: a scale instead
MOST_CURVES = 60  # panels of doses; a figure of hundreds takes minutes and is metres long
MOST_TICKS = 8  # doses that are written below a panel; of more the powers of ten
MOST_NUMBERS = 24  # wells a side up to which similarities are written into their cells
FINE = 200  # points of a drawn curve
LEAST_PCT = 10.0  # colours and axes of change span at least so much on either side
LETTERS = 44  # that a panel is wide


def plate_figures(plate: Plate) -> dict[str, Figure]:
    """The figures that this plate has something to show in, by file name."""
    found = {}
    drawn = [name for name in plate.table.measures if _has(plate, name)]
    if drawn:
        found["plate"] = plate_figure(plate, drawn)
    if len(plate.table.wells) > 1 and np.isfinite(plate.alike).sum() > len(plate.alike):
        found["similarity"] = similarity_figure(plate)
    curves = [curve for curve in plate.curves if curve.points]
    if curves:
        found["doses"] = doses_figure(curves if len(curves) <= MOST_CURVES else _telling(curves))
    return found


def write_plate_figures(plate: Plate, out: Path) -> dict[str, str]:
    """NAME.svg and NAME.png of each figure; returns the SVG as the address of itself."""
    addresses = {}
    with mpl.rc_context(STYLE):
        for name, figure in plate_figures(plate).items():
            svg = as_svg(figure)
            with written_whole(out / f"{name}.svg") as beside:
                beside.write_text(svg, encoding="utf-8")
            with written_whole(out / f"{name}.png") as beside:
                figure.savefig(beside, dpi=DOTS_PER_INCH)
            addresses[name] = as_address(svg)
    return addresses


def plate_figure(plate: Plate, names: Sequence[str]) -> Figure:
    """Each measure over the wells in their places; wells without a place stand in one row."""
    letters, numbers, grid = _placed(plate, names[0])
    beside = PANELS if len(numbers) <= MOST_BESIDE else 1
    rows = math.ceil(len(names) / beside)
    tall = max(1.1, 0.3 * len(letters) + 0.75) + 0.06 * max(0, max(map(len, numbers)) - 6)
    page = Figure((WIDTH, rows * tall), layout="constrained")
    panels = page.subplots(rows, beside, squeeze=False).ravel()
    for axes, name in zip(panels, names, strict=False):
        grid = _placed(plate, name)[2]
        changed = name.endswith("_change_pct")
        low, high = _scale(grid, changed)
        colours = "PuOr_r" if changed else "cividis"
        image = axes.imshow(grid, colours, vmin=low, vmax=high, aspect="auto")
        if len(numbers) <= MOST_WRITTEN:
            _numbered(axes, grid, lambda value: f"{value:.3g}")
        else:
            page.colorbar(image, ax=axes, pad=0.01).ax.tick_params(labelsize=6)
        _named(axes, letters, numbers)
        axes.set_title(_title(name), size=7, loc="left")
    for axes in panels[len(names) :]:
        axes.set_axis_off()
    return page


def similarity_figure(plate: Plate) -> Figure:
    """How alike the wells are: a matrix, 1 the same."""
    wells = plate.table.wells
    side = min(WIDTH, 1.6 + 0.33 * len(wells))
    page = Figure((side + 0.6, side), layout="constrained")
    axes = page.subplots()
    image = axes.imshow(plate.alike, vmin=0, vmax=1, cmap="viridis")
    if len(wells) <= MOST_NUMBERS:
        _numbered(axes, plate.alike, lambda value: f"{value:.2f}".removeprefix("0"))
    _named(axes, wells, wells)
    page.colorbar(image, ax=axes, shrink=0.8, label="similarity")
    return page


def doses_figure(curves: Sequence[Curve]) -> Figure:
    """Change against dose: wells in grey, mean with its interval, the curve where one holds."""
    rows = math.ceil(len(curves) / PANELS)
    page = Figure((WIDTH, 2.1 * rows), layout="constrained")
    panels = page.subplots(rows, PANELS, squeeze=False).ravel()
    for axes, curve in zip(panels, curves, strict=False):
        _draw_curve(axes, curve)
    for axes in panels[len(curves) :]:
        axes.set_axis_off()
    return page


def _telling(curves: Sequence[Curve]) -> Sequence[Curve]:
    """As many as are drawn: those with a curve before the others."""
    return sorted(curves, key=lambda curve: not curve.fit.accepted)[:MOST_CURVES]


def _scale(grid: Array, changed: bool) -> tuple[float, float]:
    """What the darkest and the lightest colour stand for; a few per cent are no contrast."""
    if changed:
        reach = float(np.nanmax(np.abs(grid), initial=LEAST_PCT))
        return -reach, reach
    middle = float(np.nanmedian(grid))
    least = LEAST_PCT / 100 * abs(middle)
    return min(float(np.nanmin(grid)), middle - least), max(float(np.nanmax(grid)), middle + least)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    doses = np.array([dose for _, dose, _ in curve.points])
    changes = np.array([change for _, _, change in curve.points])
    axes.semilogx(doses, changes, "o", color=GREY, markersize=2.5, markeredgewidth=0)
    means = [mean for mean in curve.means if mean.dose > 0]
    at, middle = [m.dose for m in means], np.array([m.mean_pct for m in means])
    halves = np.array([m.high_pct - m.mean_pct for m in means])
    axes.errorbar(
        at, middle, np.nan_to_num(halves), fmt="o", color=BLUE, markersize=4, capsize=2, lw=0.8
    )
    if curve.fit.accepted:
        fit = curve.fit
        fine = np.geomspace(doses.min(), doses.max(), FINE)
        axes.plot(fine, hill(fine, fit.emax, fit.ec50, fit.slope), color=VERMILION, linewidth=1)
        said = f"EC50 {fit.ec50:.3g} {curve.unit}"
    else:
        said = f"no curve: {curve.fit.reason}"
    axes.axhline(0, color=GREY, linewidth=0.5)
    axes.set_xlim(doses.min() / 2, doses.max() * 2)
    axes.xaxis.set_minor_formatter(NullFormatter())
    if len(at) <= MOST_TICKS:
        axes.set_xticks(at, [f"{dose:g}" for dose in at])
    low, high = axes.get_ylim()
    axes.set_ylim(min(low, -LEAST_PCT), max(high, LEAST_PCT))
    axes.set_xlabel(f"{curve.drug} ({curve.unit})", size=7, parse_math=False)
    axes.set_ylabel("change (%)", size=7)
    paced = f", paced at {curve.pacing_bpm:g}/min" if curve.pacing_bpm else ""
    words = textwrap.fill(said, LETTERS)
    axes.set_title(f"{curve.measure}{paced}\n{words}", size=6, loc="left")
    axes.tick_params(labelsize=6)


def _placed(plate: Plate, name: str) -> tuple[Sequence[str], Sequence[str], Array]:
    table = plate.table
    values = table.values[:, table.measures.index(name)]
    letters, numbers, grid = plate_grid(table.wells, values)
    if sum(map(bool, np.isfinite(grid).ravel())) == np.isfinite(values).sum() and letters:
        return letters, [str(number) for number in numbers], grid
    return [""], table.wells, values[None]


def _numbered(axes: Axes, grid: Array, write: Callable[[float], str]) -> None:
    """Numbers in the cells, in the ink that stands out from the colour below."""
    image = axes.images[0]
    for (row, column), value in np.ndenumerate(grid):
        if math.isfinite(value):
            red, green, blue, _ = image.cmap(image.norm(value))
            light = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
            ink = INK if light else "white"
            axes.text(column, row, write(value), ha="center", va="center", size=5, color=ink)


def _named(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    turned = 90 if max(map(len, columns), default=0) > 3 else 0
    size = min(6.0, 240 / max(len(columns), 1))
    axes.set_xticks(range(len(columns)), columns, size=size, rotation=turned, parse_math=False)
    size = min(6.0, 240 / max(len(rows), 1))
    axes.set_yticks(range(len(rows)), rows, size=size, parse_math=False)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _title(name: str) -> str:
    return f"change in {name.removesuffix('_change_pct')} (%)" if "_change_" in name else name


def _has(plate: Plate, name: str) -> bool:
    return bool(np.isfinite(plate.table.values[:, plate.table.measures.index(name)]).any())
