"""Frames beside each other with the outlines of two masks: as labelled, and as found."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.figure import Figure

from ehtseg.records import Array
from ehtseg.reporting.figures import BLUE, VERMILION
from ehtseg.reporting.study_figures import COLUMNS, TITLE, WIDTH

LARGEST_PX = 420  # longer side of a picture
TALLEST = 1.5  # of a picture, in widths; a taller one is drawn smaller
HEAD_INCHES = 0.4  # of a row, for the titles


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """A frame with its true mask and the one that was found."""

    title: str  # may have several lines
    picture: Array  # uint8 (h, w) or (h, w, 3)
    truth: Array  # uint8 (h, w), tissue from 128 up
    found: Array


def outlined(title: str, picture: Array, truth: Array, found: Array) -> Outlined:
    """A frame, uint8 (H, W) or (H, W, 3), with masks, bool (H, W), small enough to be kept."""
    share = min(1.0, LARGEST_PX / max(truth.shape))
    size = round(truth.shape[1] * share), round(truth.shape[0] * share)
    masks = (255 * mask.astype(np.uint8) for mask in (truth, found))
    small = [cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (picture, *masks)]
    return Outlined(title, *small)


def outlines(shown: Sequence[Outlined]) -> Figure:
    """Small pictures beside each other, each with two outlines: as labelled and as found."""
    shapes = [min(each.truth.shape[0] / each.truth.shape[1], TALLEST) for each in shown]
    heights = [max(shapes[k : k + COLUMNS]) for k in range(0, len(shown), COLUMNS)]
    size = WIDTH, sum(heights) * WIDTH / COLUMNS + HEAD_INCHES * len(heights)
    figure = Figure(size, layout="constrained")
    ratios = {"height_ratios": [height + HEAD_INCHES * COLUMNS / WIDTH for height in heights]}
    grid = figure.subplots(len(heights), COLUMNS, squeeze=False, gridspec_kw=ratios).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, each in zip(grid, shown, strict=False):
        axes.imshow(each.picture, cmap="gray", vmin=0, vmax=255)
        for mask, colour in ((each.truth, VERMILION), (each.found, BLUE)):
            if mask.min() < 127.5 < mask.max():
                axes.contour(mask, levels=[127.5], colors=[colour], linewidths=0.8)
        lines = [textwrap.fill(line, TITLE) for line in each.title.splitlines()]
        axes.set_title("\n".join(lines), fontsize=6.2, loc="left", parse_math=False)
    return figure
