"""Pictures, by the truth of their pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conftest import shared
from ehtseg.records import Array
from ehtseg.seeing import render
from ehtseg.seeing.render import TINT, VERMILION


def square(size: int = 512, low: int = 100, high: int = 400) -> Array:
    mask = np.zeros((size, size), bool)
    mask[low:high, low:high] = True
    return mask


@pytest.mark.parametrize("shape", [(512, 512), (512, 512, 3)])
def test_overlay_draws_the_outline_tints_the_inside_and_leaves_the_rest(
    shape: tuple[int, ...],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = image.copy()
    drawn = render.overlay(image, square())
    rgb = render.as_rgb(image)
    far = ~square(512, 96, 404)
    assert (drawn[far] == rgb[far]).all()
    inner = square(512, 104, 396)
    tinted = (1 - TINT) * rgb[inner] + TINT * np.array(VERMILION)
    assert np.abs(drawn[inner] - tinted).max() <= 1
    for row in (99, 100, 399, 400):  # both sides of the two horizontal edges
        assert np.abs(drawn[row, 120:380].astype(int) - VERMILION).max() <= 6
    assert (image == before).all()


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 30), st.integers(40, 1500))
def test_what_is_drawn_does_not_depend_on_a_mask_elsewhere(
    top: int, left: int, side: int, width: int
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, width), np.uint8)
    mask = np.zeros(image.shape, bool)
    mask[top : top + side, left : left + side] = True
    alone = render.overlay(image, mask)
    mask[-1, -1] = True  # the smallest box around the mask is the picture now
    together = render.overlay(image, mask)
    assert np.array_equal(alone[:75, : width - 15], together[:75, : width - 15])


def test_the_outline_is_as_wide_as_asked_and_centred_on_the_edge() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:, 32:] = True
    for width in (1.5, 2.0, 3.0, 4.5):
        row = render.outline(mask, width)[30]
        assert row.sum() == pytest.approx(width, rel=0.05)
        assert (np.arange(64) * row).sum() / row.sum() == pytest.approx(31.5, abs=0.02)


def test_the_outline_of_a_disc_is_smooth_and_has_its_length() -> None:
    y, x = np.mgrid[:200, :200] - 99.5
    opacity = render.outline(np.hypot(x, y) < 70, 2.0)
    assert opacity.sum() == pytest.approx(2 * math.pi * 70 * 2.0, rel=0.02)
    on_edge = opacity[np.abs(np.hypot(x, y) - 70) < 0.3]
    assert on_edge.min() > 0.7  # no gaps
    assert ((opacity > 0.05) & (opacity < 0.95)).sum() > 300  # no staircase


def test_no_line_runs_along_the_border_of_the_picture() -> None:
    mask = np.zeros((50, 80), bool)
    mask[:20] = True
    opacity = render.outline(mask, 2.0)
    assert opacity[19:21].min() > 0.95
    assert opacity[:16].max() == 0
    assert not render.outline(np.ones((9, 7), bool), 2.0).any()
    assert not render.outline(np.zeros((9, 7), bool), 2.0).any()


def test_the_outline_is_told_from_light_dark_and_grey() -> None:
    for grey in (0, 128, 255):
        colour_distance = np.linalg.norm(np.array(VERMILION, float) - grey)
        assert colour_distance > 100


def test_cutout_keeps_tissue_and_replaces_the_rest() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    mask = image >= 8
    kept = render.cutout(image, mask)
    assert kept.shape == (4, 4, 3)
    assert (kept[mask] == image[mask][:, None]).all()
    assert (kept[~mask] == 255).all()
    rgb = np.random.default_rng(1).integers(0, 256, (4, 4, 3), np.uint8)
    kept = render.cutout(rgb, mask, background=(1, 2, 3))
    assert (kept[mask] == rgb[mask]).all()
    assert (kept[~mask] == (1, 2, 3)).all()


@given(st.floats(1e-3, 1e7))
def test_a_scale_bar_is_round_and_fits(width_um: float) -> None:
    length = render.scale_bar_um(width_um)
    assert width_um / 10.01 <= length <= width_um / 4
    mantissa = length / 10.0 ** math.floor(math.log10(length * 1.0001))
    assert min(abs(mantissa - step) for step in (1, 2, 5)) < 1e-6


@pytest.mark.parametrize("width_px", [19, 1392, 1393])
def test_a_picture_of_a_round_width_has_a_scale_bar(width_px: int) -> None:
    um_per_px = 4000 / width_px  # a field of view of 4 mm; times the width it may be a little less
    assert render.scale_bar_um(width_px * um_per_px) in (500, 1000)


def panels(picture: Array, n: int = 3) -> list[Array]:
    """The insides of the three panels of a figure."""
    step = (render.PAGE_INCHES - render.PANEL_INCHES - 2 * render.MARGIN_INCHES) / 2
    dots, size = render.DOTS_PER_INCH, round(render.PANEL_INCHES * render.DOTS_PER_INCH)
    found = []
    for place in range(n):
        left = round((render.MARGIN_INCHES + place * step) * dots)
        found.append(picture[:, left + 4 : left + size - 4])
    return found


def test_the_figure_shows_frame_mask_and_cut_out_in_this_order() -> None:
    mask = square(64, 16, 48)
    page = render.figure(np.full((64, 64), 90, np.uint8), mask)
    assert page.shape[1] == round(render.PAGE_INCHES * render.DOTS_PER_INCH)
    corner = -60, 40  # near the lower left of each panel: background
    middle = -350, 345
    frame, shown, cut = panels(page)
    assert (frame[corner] == 90).all()
    assert (frame[middle] == 90).all()
    assert (shown[corner] == 0).all()
    assert (shown[middle] == 255).all()
    assert (cut[corner] == 255).all()
    assert (cut[middle] == 90).all()


@pytest.mark.parametrize(("um_per_px", "length_um"), [(4.0, 500), (0.65, 50)])
def test_the_scale_bar_has_its_length(um_per_px: float, length_um: float) -> None:
    image = np.full((128, 600), 200, np.uint8)
    frame = panels(render.figure(image, image > 0, um_per_px))[0]
    dark = (frame[70:-16] < 60).all(axis=2)
    longest = max(
        len(run) for row in dark for run in "".join("#" if d else " " for d in row).split()
    )
    px_per_dot = 600 / (render.PANEL_INCHES * render.DOTS_PER_INCH)
    assert longest * px_per_dot * um_per_px == pytest.approx(length_um, rel=0.015)
    without = panels(render.figure(image, image > 0))[0]
    assert not (without[70:-16] < 60).any()


def test_a_real_frame_becomes_a_figure_of_the_same_pixels_each_time() -> None:
    folder = shared("data/eht_d1t3")
    image = np.asarray(Image.open(folder / "images" / "0000.png"))
    mask = np.asarray(Image.open(folder / "masks" / "0000.png")) > 0
    first, second = (render.figure(image, mask, 4.0) for _ in range(2))
    assert (first == second).all()
    share = (panels(first)[1][-695:-13] > 127).mean()
    assert share == pytest.approx(mask.mean(), abs=0.01)
