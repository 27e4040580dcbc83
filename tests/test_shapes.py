"""Shapes against closed forms, at places between pixels and at any angle."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import shared
from ehtseg.measuring import shapes
from ehtseg.measuring.shapes import Axis, FrameShape, measure_frame, tissue_axis
from ehtseg.records import Array, UserError

FINE = 8  # samples a pixel and direction, for the coverage of edge pixels
PLACES = [(100.0, 60.0, 0.0), (100.3, 60.7, 0.4), (99.6, 61.2, -1.1), (100.5, 60.5, math.pi / 2)]


def coverage(inside_of: object, shape: tuple[int, int] = (121, 201)) -> Array:
    """Share of each pixel inside a form, by sampling; pixel centres at integers."""
    height, width = shape
    y, x = np.meshgrid(
        (np.arange(height * FINE) + 0.5) / FINE - 0.5,
        (np.arange(width * FINE) + 0.5) / FINE - 0.5,
        indexing="ij",
    )
    inside = inside_of(x, y).astype(np.float32)  # type: ignore[operator]
    return inside.reshape(height, FINE, width, FINE).mean((1, 3))


def turned(x: Array, y: Array, place: tuple[float, float, float]) -> tuple[Array, Array]:
    cx, cy, angle = place
    cos, sin = math.cos(angle), math.sin(angle)
    return (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin


def ellipse(place: tuple[float, float, float], a: float, b: float) -> Array:
    def inside(x: Array, y: Array) -> Array:
        along, across = turned(x, y, place)
        return (along / a) ** 2 + (across / b) ** 2 <= 1

    return coverage(inside)


def rectangle(place: tuple[float, float, float], length: float, width: float) -> Array:
    def inside(x: Array, y: Array) -> Array:
        along, across = turned(x, y, place)
        return (np.abs(along) <= length / 2) & (np.abs(across) <= width / 2)

    return coverage(inside)


@pytest.mark.parametrize("place", PLACES)
def test_an_ellipse_between_pixels_is_measured_as_its_formulas_say(place):
    a, b = 48.0, 17.0
    found = measure_frame(ellipse(place, a, b))
    h = ((a - b) / (a + b)) ** 2  # Ramanujan's second approximation, right to 1e-5 here
    around = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert found.area_px == pytest.approx(math.pi * a * b, rel=1e-3)
    assert found.major_axis_px == pytest.approx(2 * a, abs=0.05)
    assert found.minor_axis_px == pytest.approx(2 * b, abs=0.05)
    assert found.extent_px == pytest.approx(2 * a, abs=0.4)
    assert found.mid_width_px == pytest.approx(2 * b, abs=0.1)
    assert found.perimeter_px == pytest.approx(around, rel=0.005)
    assert (found.centroid_x_px, found.centroid_y_px) == pytest.approx(place[:2], abs=0.01)
    assert (found.first_end_px, found.last_end_px) == pytest.approx((-a, a), abs=0.3)
    assert (found.parts, found.touches, found.refused) == (1, "", "")


@pytest.mark.parametrize("place", PLACES)
def test_a_rectangle_between_pixels_is_measured_as_its_formulas_say(place):
    length, width = 90.0, 30.0
    mask = rectangle(place, length, width)
    axis = Axis(*place, length)
    found = measure_frame(mask, axis)
    assert found.area_px == pytest.approx(length * width, rel=2e-3)
    assert found.major_axis_px == pytest.approx(4 * length / math.sqrt(12), abs=0.05)
    assert found.minor_axis_px == pytest.approx(4 * width / math.sqrt(12), abs=0.1)
    assert found.extent_px == pytest.approx(length, abs=0.6)
    assert found.mid_width_px == pytest.approx(width, abs=0.1)
    assert found.perimeter_px == pytest.approx(2 * (length + width), rel=0.02)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(-1.5, 1.5))
def test_lengths_do_not_depend_on_where_between_pixels_a_tissue_lies(dx, dy, angle):
    found = measure_frame(ellipse((100 + dx, 60 + dy, angle), 40.0, 20.0))
    assert found.major_axis_px == pytest.approx(80, abs=0.05)
    assert found.area_px == pytest.approx(math.pi * 800, rel=2e-3)


def test_a_shortening_of_a_tenth_of_a_pixel_is_seen_in_soft_masks():
    long, short = (ellipse((100.2, 60.4, 0.3), a, 20.0) for a in (45.0, 44.95))
    change = measure_frame(long).major_axis_px - measure_frame(short).major_axis_px
    assert change == pytest.approx(0.1, abs=0.02)


def test_moments_agree_with_the_plain_sums_of_the_text_books():
    mask = rectangle((90.0, 55.0, 0.7), 70.0, 25.0) >= 0.5
    y, x = np.nonzero(mask)
    covariance = np.cov(np.stack([x, y]), bias=True) + np.eye(2) / 12
    minor, major = 4 * np.sqrt(np.linalg.eigvalsh(covariance))
    found = measure_frame(mask)
    assert found.area_px == mask.sum()
    assert (found.major_axis_px, found.minor_axis_px) == pytest.approx((major, minor), rel=1e-9)
    assert (found.centroid_x_px, found.centroid_y_px) == pytest.approx((x.mean(), y.mean()))


def test_a_hard_rectangle_of_whole_pixels_is_exact():
    mask = np.zeros((40, 60), bool)
    mask[10:22, 8:38] = True
    found = measure_frame(mask, Axis(22.5, 15.5, 0.0, 30.0))
    assert (found.area_px, found.extent_px) == (360, 30)
    assert found.mid_width_px == pytest.approx(12)
    assert found.major_axis_px == pytest.approx(4 * 30 / math.sqrt(12))
    assert (found.first_end_px, found.last_end_px) == (-15, 15)


def test_haze_and_specks_do_not_count_but_halves_of_a_torn_tissue_do():
    soft = ellipse((100.0, 60.0, 0.0), 40.0, 15.0)
    hazy = np.maximum(soft, np.float32(0.02))
    hazy[5:9, 5:9] = 0.9
    clean, found = measure_frame(soft), measure_frame(hazy)
    assert found.parts == 1
    assert found.major_axis_px == pytest.approx(clean.major_axis_px, abs=0.3)
    torn = soft.copy()
    torn[:, 98:103] = 0
    found = measure_frame(torn)
    assert found.parts == 2
    assert found.extent_px == pytest.approx(clean.extent_px, abs=0.01)


def test_a_lower_threshold_draws_the_outline_farther_out():
    soft = cv2.GaussianBlur(ellipse((100.0, 60.0, 0.0), 40.0, 15.0), (0, 0), 2)
    low, high = (measure_frame(soft, threshold=t).extent_px for t in (0.2, 0.8))
    assert 80 - 6 < high < 80 < low < 80 + 6


def test_nothing_is_nothing_and_says_so():
    for mask in (np.zeros((20, 30), bool), np.full((20, 30), 0.1, np.float32)):
        found = measure_frame(mask)
        assert found.refused == "no tissue found"
        assert (found.area_px, found.parts) == (0, 0)
        assert math.isnan(found.major_axis_px)
    with pytest.raises(UserError, match="empty mask"):
        tissue_axis(np.zeros((20, 30), bool))


@pytest.mark.parametrize(
    ("angle", "side", "refused", "kept"),
    [
        (0.0, "left", ("extent_px", "major_axis_px", "first_end_px"), ("mid_width_px",)),
        (0.0, "top", ("mid_width_px", "minor_axis_px"), ("extent_px", "major_axis_px")),
        (math.pi / 2, "top", ("extent_px", "major_axis_px"), ("mid_width_px",)),
        (math.pi / 4, "right", ("extent_px", "mid_width_px"), ("area_px", "perimeter_px")),
    ],
)
def test_length_is_refused_along_the_direction_in_which_the_tissue_leaves(
    angle, side, refused, kept
):
    mask = np.zeros((100, 100), bool)
    mask[30:60, 30:70] = True
    reach = {"left": np.s_[40:50, :40], "top": np.s_[:40, 45:55], "right": np.s_[40:50, 60:]}
    mask[reach[side]] = True
    found = measure_frame(mask, Axis(50, 45, angle, 40))
    assert found.touches == side
    assert side in found.refused
    assert all(math.isnan(getattr(found, name)) for name in refused)
    assert all(math.isfinite(getattr(found, name)) for name in kept)


def test_the_real_tissue_leaves_its_picture_left_and_right():
    file = shared("data/eht_d1t3/masks/0000.png")
    mask = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) > 0
    found = measure_frame(mask)
    assert found.touches == "left right"
    assert found.refused == "length refused: the tissue touches the border (left, right)"
    assert found.area_px == 76142  # tracks.csv
    assert found.mid_width_px == pytest.approx(113, rel=0.05)  # tissue_width_info.txt


def test_the_axis_of_a_tissue_is_its_long_one_or_the_one_asked_for():
    mask = ellipse((100.0, 60.0, 0.5), 45.0, 15.0)
    axis = tissue_axis(mask)
    assert (axis.x_px, axis.y_px, axis.angle_rad) == pytest.approx((100, 60, 0.5), abs=0.01)
    assert axis.length_px == pytest.approx(90, abs=0.4)
    across = tissue_axis(mask, angle_rad=0.5 + math.pi / 2)
    assert across.length_px == pytest.approx(30, abs=0.4)


def test_every_quantity_has_its_unit_in_its_name():
    lengths = [name for name in FrameShape.__dataclass_fields__ if name.endswith("_px")]
    rest = set(FrameShape.__dataclass_fields__) - set(lengths)
    assert rest == {"parts", "touches", "refused"}


def test_outline_points_lie_on_the_outline():
    points = shapes.outline_points(ellipse((100.3, 60.6, 0.0), 40.0, 20.0), 0.5)
    away = ((points[:, 0] - 100.3) / 40) ** 2 + ((points[:, 1] - 60.6) / 20) ** 2
    assert len(points) > 150
    assert np.abs(np.sqrt(away) - 1).max() < 0.012  # a quarter of a pixel at the flat sides
