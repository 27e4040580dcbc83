"""Pictures of a mask on its frame: overlay, cut-out, and the three panels of a paper figure.

Pure functions on arrays: a frame is uint8 (H, W) or (H, W, 3) RGB, a mask bool (H, W).
"""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from mpl_toolkits.axes_grid1.anchored_artists import (  # type: ignore[import-untyped]
    AnchoredSizeBar,
)
from scipy.special import ndtri

from ehtseg.records import Array

Colour = tuple[int, int, int]

VERMILION: Colour = (213, 94, 0)  # told apart under every colour blindness: Okabe and Ito, 2008
TINT = 0.12  # share of the colour inside the outline
WHITE: Colour = (255, 255, 255)
INK = "#1a1a1a"
PAGE_INCHES, PANEL_INCHES, MARGIN_INCHES = 7.2, 2.3, 0.03  # a page of two columns
DOTS_PER_INCH = 300


def as_rgb(image: Array) -> Array:
    """A frame as uint8 (H, W, 3); grey is repeated. Always a new array."""
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image.copy()


def plain(shape: tuple[int, ...], colour: Colour) -> Array:
    """A picture of one colour, uint8 (H, W, 3)."""
    return cv2.merge([np.full(shape, channel, np.uint8) for channel in colour])


def overlay(image: Array, mask: Array, colour: Colour = VERMILION) -> Array:
    """The frame with the mask's outline drawn on it and the inside lightly tinted.

    The outline is 2 px wide on a frame of 512 x 512 and grows with it. Returns uint8 (H, W, 3).
    """
    drawn = as_rgb(image)
    width_px = max(1.5, 2 * math.sqrt(mask.size) / 512)
    box = _around(mask, math.ceil(2 * width_px) + 3)
    share = np.maximum(outline(mask[box], width_px), np.float32(TINT) * mask[box])
    drawn[box] = cv2.blendLinear(drawn[box], plain(share.shape, colour), 1 - share, share)
    return drawn


def _around(mask: Array, margin_px: int) -> tuple[slice, slice]:
    """Rows and columns of the smallest box around a mask, with a margin inside the picture."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows = slice(max(0, y - margin_px), y + height + margin_px)
    return rows, slice(max(0, x - margin_px), x + width + margin_px)


def outline(mask: Array, width_px: float) -> Array:
    """Opacity in [0, 1] of a line on the edge of the mask, smooth at both sides. float32 (H, W).

    Across a straight edge, a blurred mask is the normal distribution of the distance to the edge:
    read backwards, it gives the distance. The edge runs between pixels; where tissue runs off the
    picture there is none.
    """
    sigma_px = 0.5 + width_px / 4
    blurred = cv2.GaussianBlur(
        np.uint8(255) * mask, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE
    )
    distance_px = sigma_px * ndtri(np.arange(256) / 255)
    opacity = np.clip(width_px / 2 + 0.5 - np.abs(distance_px), 0, 1)
    return cv2.LUT(blurred, opacity.astype(np.float32))


def cutout(image: Array, mask: Array, background: Colour = WHITE) -> Array:
    """The frame with everything outside the mask replaced. Returns uint8 (H, W, 3)."""
    return cv2.copyTo(as_rgb(image), mask.astype(np.uint8), plain(mask.shape, background))


def scale_bar_um(width_um: float) -> float:
    """A round length (1, 2 or 5 times a power of ten) of at most a quarter of the picture's width.

    >>> scale_bar_um(2048), scale_bar_um(665.6), scale_bar_um(100)
    (500.0, 100.0, 20.0)
    """
    most_um = width_um / 4
    power = 10.0 ** math.floor(math.log10(most_um))  # above it by a rounding of the logarithm
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= most_um)


def length_label(length_um: float) -> str:
    """A length as it is written under a scale bar.

    >>> length_label(500), length_label(2000), length_label(0.5)
    ('500 µm', '2 mm', '0.5 µm')
    """
    return f"{length_um / 1000:g} mm" if length_um >= 1000 else f"{length_um:g} µm"


def figure(image: Array, mask: Array, um_per_px: float | None = None) -> Array:
    """Frame, mask and cut-out side by side, with a scale bar where the scale is known.

    Returns uint8 (h, w, 3), 7.2 inches wide (a page of two columns) at 300 dots per inch.
    """
    panel_height = PANEL_INCHES * mask.shape[0] / mask.shape[1]
    height = panel_height + 0.25
    page = Figure((PAGE_INCHES, height), dpi=DOTS_PER_INCH, facecolor="white")
    step = (PAGE_INCHES - PANEL_INCHES - 2 * MARGIN_INCHES) / 2
    panels = {"frame": image, "mask": np.uint8(255) * mask, "cut-out": cutout(image, mask)}
    for place, (name, picture) in enumerate(panels.items()):
        left = (MARGIN_INCHES + place * step) / PAGE_INCHES
        box = (left, MARGIN_INCHES / height, PANEL_INCHES / PAGE_INCHES, panel_height / height)
        _show(page.add_axes(box), as_rgb(picture), "abc"[place], name)
    if um_per_px is not None:
        _draw_scale_bar(page.axes[0], mask.shape[1], um_per_px)
    pixels = io.BytesIO()
    page.savefig(pixels, format="rgba")
    width_dots = round(PAGE_INCHES * DOTS_PER_INCH)
    return np.frombuffer(pixels.getvalue(), np.uint8).reshape(-1, width_dots, 4)[..., :3].copy()


def _show(axes: Axes, picture: Array, letter: str, name: str) -> None:
    axes.imshow(picture, interpolation="antialiased")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=INK)
    for text, right_pt, weight in ((letter, 0, "bold"), (name, 10, "normal")):
        axes.annotate(
            text, (0, 1), (right_pt, 4), "axes fraction", "offset points", weight=weight, size=8
        )


def _draw_scale_bar(axes: Axes, width_px: int, um_per_px: float) -> None:
    length_um = scale_bar_um(width_px * um_per_px)
    bar = AnchoredSizeBar(
        axes.transData,
        length_um / um_per_px,
        length_label(length_um),
        loc="lower right",
        pad=0.4,
        sep=3,
        size_vertical=width_px / 100,
        color=INK,
        fontproperties=FontProperties(size=8),
        frameon=True,
    )
    for drawn in bar.size_bar.get_children():
        drawn.set_linewidth(0)  # an edge would make the bar longer than it says
    bar.patch.set(facecolor="white", alpha=0.85, linewidth=0)
    axes.add_artist(bar)
