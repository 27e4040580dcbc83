"""Figures of a study: scores with intervals, courses of trainings, probabilities, levels.

Every function takes plain numbers and gives a figure. Networks are blue, opponents that have never
seen a network grey, rows that only stand in for others vermilion; marks differ in shape as well.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory

from ehtseg.records import Array
from ehtseg.reporting.document import Tone
from ehtseg.reporting.figures import BLUE, GREY, INK, STYLE, VERMILION

WIDTH = 7.2  # inches: a page of two columns
LINE = 0.24  # inches, a row of a forest
PANEL = 1.45  # inches, the height of a small panel
COLUMNS = 4  # small panels beside each other
TITLE = 32  # characters of a panel's title in one line
MOST_CURVES = 60  # that are drawn again in each panel
PALE = "#d0d0d0"
SERIES = (BLUE, VERMILION, "#009e73", "#cc79a7", INK, "#e69f00")
SHAPES = ("o", "s", "^", "D", "v", "P")
TONES: dict[Tone, tuple[str, str]] = {
    "": (BLUE, "o"),
    "opponent": (INK, "D"),
    "apart": (VERMILION, "s"),
}


@dataclass(frozen=True, slots=True)
class Mark:
    """One row of a forest: an estimate, its interval (NaN for none), and single values."""

    label: str
    estimate: float
    low: float
    high: float
    singles: tuple[float, ...] = ()  # one a seed
    tone: Tone = ""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A line of a small panel; a weak one stands back."""

    x: Array
    y: Array
    weak: bool = False


@dataclass(frozen=True, slots=True)
class Time:
    """How long a run took; a censored one takes longer than that."""

    steps: float
    censored: bool


def in_style() -> AbstractContextManager[None]:
    """Within it figures are drawn in the style of all figures of this package."""
    return mpl.rc_context(STYLE)


def forest(marks: Sequence[Mark], x_label: str, line_at: float | None = None) -> Figure:
    """Estimates with intervals below each other; small ticks are single values."""
    figure, axes = _rows([mark.label for mark in marks])
    for y, mark in enumerate(marks):
        colour, shape = TONES[mark.tone]
        axes.plot([mark.low, mark.high], [y, y], color=colour, linewidth=1.4)
        if np.isnan(mark.low) and mark.singles:
            axes.plot([min(mark.singles), max(mark.singles)], [y, y], color=colour, linewidth=0.5)
        axes.plot(mark.singles, [y] * len(mark.singles), "|", color=colour, markersize=6, alpha=0.6)
        axes.plot(mark.estimate, y, shape, color=colour, markersize=4.5)
    if line_at is not None:
        axes.axvline(line_at, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
    axes.set_xlabel(x_label)
    return figure


def distributions(groups: Mapping[str, Array], tones: Mapping[str, Tone], x_label: str) -> Figure:
    """The values of single images: dots, with the box of the quartiles and the median."""
    figure, axes = _rows(list(groups))
    spread = np.random.default_rng(0)
    for y, (name, values) in enumerate(groups.items()):
        colour = TONES[tones.get(name, "")][0]
        heights = y + spread.uniform(-0.22, 0.22, len(values))
        axes.plot(values, heights, ".", color=colour, markersize=2.2, alpha=0.5, linestyle="none")
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        box = y + 0.33 * np.array([-1, -1, 1, 1, -1])
        axes.plot([low, high, high, low, low], box, color=INK, linewidth=0.6)
        axes.plot([middle, middle], [y - 0.33, y + 0.33], color=INK, linewidth=1.6)
    axes.set_xlabel(x_label)
    return figure


def times(groups: Mapping[str, Sequence[Time]], x_label: str) -> Figure:
    """Steps that each run took: filled dots; open arrows for runs that did not get there."""
    figure, axes = _rows(list(groups))
    for y, runs in enumerate(groups.values()):
        for height, run in zip(_fanned(y, len(runs)), runs, strict=True):
            shape, inside = (">", "white") if run.censored else ("o", BLUE)
            axes.plot(run.steps, height, shape, color=BLUE, mfc=inside, markersize=4)
    axes.set_xlim(left=0)
    axes.set_xlabel(x_label)
    return figure


def course_panels(groups: Mapping[str, Sequence[Curve]], goal: float) -> Figure:
    """Validation Dice against steps: one panel a row, the other rows pale behind it."""
    figure, panels = _panels(list(groups), "steps", "validation Dice")
    crowded = sum(map(len, groups.values())) > MOST_CURVES
    for name, axes in panels:
        for other, curves in {name: groups[name]}.items() if crowded else groups.items():
            colour, width = (BLUE, 1.0) if other == name else (PALE, 0.4)
            for curve in curves:
                point = "." if len(curve.x) == 1 else ""
                order = 2 + (other == name)
                axes.plot(curve.x, curve.y, color=colour, lw=width, marker=point, zorder=order)
        axes.axhline(goal, color=GREY, linewidth=0.6, linestyle="--")
        axes.set_ylim(0, 1.02)
    return figure


def reliability_panels(groups: Mapping[str, Sequence[Curve]]) -> Figure:
    """Observed share of tissue against predicted probability; weak: after temperature scaling."""
    figure, panels = _panels(list(groups), "predicted", "observed")
    for name, axes in panels:
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.6)
        for curve in groups[name]:
            colour, style = (VERMILION, "--") if curve.weak else (BLUE, "-")
            axes.plot(curve.x, curve.y, style, color=colour, lw=0.8, marker=".", markersize=2.5)
        axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure


def threshold_panels(
    groups: Mapping[str, Sequence[Curve]],
    plateaus: Mapping[str, Sequence[tuple[float, float]]],
    chosen: Mapping[str, Sequence[float]],
) -> Figure:
    """Dice against threshold, plateaus shaded, thresholds chosen on validation as ticks."""
    figure, panels = _panels(list(groups), "threshold", "Dice")
    for name, axes in panels:
        for plateau in plateaus[name]:
            axes.axvspan(*plateau, color="#0072b2", alpha=0.14, linewidth=0)
        for curve in groups[name]:
            axes.plot(curve.x, curve.y, color=BLUE, linewidth=0.8)
        at = blended_transform_factory(axes.transData, axes.transAxes)
        ticks = list(chosen[name])
        axes.plot(ticks, [0.04] * len(ticks), "|", color=VERMILION, markersize=7, transform=at)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
    return figure


def lines(
    levels: Sequence[str], series: Mapping[str, Sequence[Mark]], labels: tuple[str, str]
) -> Figure:
    """Estimates with intervals over ordered levels, one line a series; opponents are dashed.

    Each mark's label is its level; a series may leave levels out, and no line crosses them.
    """
    figure = Figure((WIDTH, 3.2), layout="constrained")
    axes = figure.subplots()
    shift = np.linspace(-0.12, 0.12, len(series)) if len(series) > 1 else [0.0]
    for index, (name, marks) in enumerate(series.items()):
        colour, shape = SERIES[index % len(SERIES)], SHAPES[index % len(SHAPES)]
        faint = any(mark.tone == "opponent" for mark in marks)
        y = np.full(len(levels), np.nan)
        for mark in marks:
            level = levels.index(mark.label)
            y[level], at = mark.estimate, level + shift[index]
            axes.plot([at, at], [mark.low, mark.high], color=colour, linewidth=1)
            if np.isnan(mark.low):
                axes.plot([at] * len(mark.singles), mark.singles, "_", color=colour, markersize=5)
        x = np.arange(len(levels)) + shift[index]
        line, ink = ("--", GREY) if faint else ("-", colour)
        axes.plot(x, y, line, marker=shape, color=ink, linewidth=1, markersize=4, label=name)
    axes.set_xticks(range(len(levels)), [_broken(level) for level in levels])
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.grid(axis="y", color="#eeeeee")
    figure.legend(loc="outside upper left", ncols=2, fontsize=7)
    return figure


def examples(pictures: Mapping[str, Array], truth: Array) -> Figure:
    """Small pictures beside each other, each with the outline of the true mask.

    `pictures` are uint8 (h, w) or (h, w, 3), `truth` uint8 (h, w), tissue from 128 up.
    """
    count = -(-len(pictures) // COLUMNS)
    high, wide = truth.shape
    each = WIDTH / COLUMNS
    figure = Figure((WIDTH, count * (each * high / wide + 0.3)), layout="constrained")
    grid = figure.subplots(count, COLUMNS, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (name, picture) in zip(grid, pictures.items(), strict=False):
        axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
        axes.contour(truth, levels=[127.5], colors=[VERMILION], linewidths=0.8)
        axes.set_title(textwrap.fill(name, TITLE), fontsize=6.2, loc="left")
    return figure


def _rows(labels: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes with one row a label, the first on top."""
    figure = Figure((WIDTH, 0.7 + LINE * len(labels)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(labels)), labels, fontsize=7, parse_math=False)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    return figure, axes


def _panels(
    names: Sequence[str], x_label: str, y_label: str
) -> tuple[Figure, list[tuple[str, Axes]]]:
    """Small axes, one a name, in a grid that shares its scales."""
    columns = min(COLUMNS, len(names))
    count = -(-len(names) // columns)
    size = (WIDTH * columns / COLUMNS if columns > 1 else 3.0, 0.5 + PANEL * count)
    figure = Figure(size, layout="constrained")
    grid = figure.subplots(count, columns, sharex=True, sharey=True, squeeze=False)
    for spare in grid.ravel()[len(names) :]:
        spare.set_axis_off()
    panels = list(zip(names, grid.ravel(), strict=False))
    for name, axes in panels:
        axes.set_title(textwrap.fill(name, TITLE), fontsize=6.2, loc="left")
        axes.tick_params(labelsize=6.5)
    figure.supxlabel(x_label, fontsize=8)
    figure.supylabel(y_label, fontsize=8)
    return figure, panels


def _broken(level: str) -> str:
    """A level in short lines, broken between words."""
    return textwrap.fill(level, 14, break_long_words=False)


def _fanned(y: float, count: int) -> Iterator[float]:
    """Heights around a row for several dots."""
    yield from y + (np.arange(count) - (count - 1) / 2) * min(0.2, 0.7 / max(count, 1))
