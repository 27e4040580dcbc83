"""Distances between outlines against reference libraries and all pairs of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy.ndimage import binary_erosion, distance_transform_edt

from ehtseg.learning.surfaces import (
    assd_px,
    boundary_iou,
    hd95_px,
    near_outline,
    nsd,
    outline,
    outline_distances,
    outline_jitter_px,
    signed_distance,
)

SHAPE = (12, 17)
masks = arrays(np.bool_, SHAPE)


def noisy_pair(seed: int, shape: tuple[int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """A blob and a noisy probability map of it."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]] / min(shape)
    distance = np.hypot(y - 0.5, x - generator.uniform(0.4, 0.8)) - generator.uniform(0.2, 0.45)
    logits = -8 * distance + generator.normal(0, 1.5, shape)
    return (1 / (1 + np.exp(-logits))).astype(np.float32), distance < 0


def brute_force_distances(origin: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Nearest distance of every outline pixel, over all pairs."""
    a, b = np.argwhere(outline(origin)), np.argwhere(outline(target))
    return np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1)).min(1)


@pytest.mark.filterwarnings("ignore:monai.metrics.utils:FutureWarning")  # MONAI warns of itself
@pytest.mark.parametrize("seed", range(5))
def test_distances_equal_monai(seed):
    probability, truth = noisy_pair(seed, (40, 61))
    prediction = probability >= 0.5
    distances = outline_distances(prediction, truth)
    pair = torch.from_numpy(prediction)[None, None], torch.from_numpy(truth)[None, None]
    by_monai = {
        "hd95": compute_hausdorff_distance(*pair, include_background=True, percentile=95),
        "assd": compute_average_surface_distance(*pair, include_background=True, symmetric=True),
        "nsd": compute_surface_dice(*pair, class_thresholds=[2.0], include_background=True),
    }
    assert hd95_px(distances) == pytest.approx(float(by_monai["hd95"]), rel=1e-5)
    assert assd_px(distances) == pytest.approx(float(by_monai["assd"]), rel=1e-5)
    assert nsd(distances) == pytest.approx(float(by_monai["nsd"]), rel=1e-5)


@given(masks.filter(np.any), masks.filter(np.any))
@settings(max_examples=30, deadline=None)
def test_distances_equal_all_pairs(prediction, truth):
    forth, back = outline_distances(prediction, truth)
    np.testing.assert_allclose(forth, brute_force_distances(prediction, truth))
    np.testing.assert_allclose(back, brute_force_distances(truth, prediction))


def square(start: int, stop: int, shape: tuple[int, int] = (30, 40)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[start:stop, start:stop] = True
    return mask


def test_distances_of_a_grown_square():
    distances = outline_distances(square(7, 23), square(10, 20))
    assert hd95_px(distances) == pytest.approx(np.hypot(3, 3), abs=0.5)
    assert outline_distances(square(10, 20), square(7, 23))[0].max() == 3.0
    assert nsd(distances, 2.0) == 0.0
    assert nsd(distances, 5.0) == 1.0
    assert nsd(outline_distances(square(9, 21), square(10, 20))) == 1.0


def test_empty_rule_of_distances():
    empty, full = np.zeros((30, 40), bool), square(5, 25)
    both, one = outline_distances(empty, empty), outline_distances(full, empty)
    other = outline_distances(empty, full)
    assert (hd95_px(both), assd_px(both), nsd(both), boundary_iou(empty, empty)) == (0, 0, 1, 1)
    for distances in (one, other):
        assert (hd95_px(distances), assd_px(distances), nsd(distances)) == (50.0, 50.0, 0.0)
    assert boundary_iou(empty, full) == boundary_iou(full, empty) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_boundary_iou_equals_repeated_erosion(seed):
    probability, truth = noisy_pair(seed, (120, 170))
    prediction = probability >= 0.5
    width = round(0.02 * np.hypot(120, 170))
    rims = [
        mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width)
        for mask in (prediction, truth)
    ]
    expected = (rims[0] & rims[1]).sum() / (rims[0] | rims[1]).sum()
    assert boundary_iou(prediction, truth) == pytest.approx(expected)
    assert boundary_iou(truth, truth) == 1.0


def test_band_near_the_outline_is_a_distance():
    truth = square(10, 20)
    expected = distance_transform_edt(~outline(truth)) <= 5
    np.testing.assert_array_equal(near_outline(truth), expected)
    assert not near_outline(np.zeros((9, 9), bool)).any()


# --- jitter over frames -------------------------------------------------------------------------


def disc(radius_px: float, x_px: float = 60.0) -> np.ndarray:
    """A round tissue in a picture of 120 x 120 px."""
    y, x = np.mgrid[:120, :120]
    return np.hypot(y - 60, x - x_px) <= radius_px


@pytest.mark.parametrize("noise_px", [0.5, 1.0, 4.0])
def test_the_noise_of_an_outline_is_its_jitter(noise_px: float) -> None:
    radii_px = 40 + np.random.default_rng(1).normal(0, noise_px, 300)
    found = outline_jitter_px(disc(radius) for radius in radii_px)
    wanted = np.abs(np.diff(radii_px, 2)).mean() / np.sqrt(6)
    assert found == pytest.approx(wanted, rel=0.08)


def test_what_stands_still_or_moves_steadily_hardly_jitters() -> None:
    assert outline_jitter_px([disc(40)] * 5) == 0
    assert outline_jitter_px(disc(30, 40 + 2 * k) for k in range(20)) < 0.25  # pixels are whole
    assert outline_jitter_px(disc(20 + k) for k in range(30)) < 0.25


def test_the_edge_of_the_picture_is_no_outline() -> None:
    band = np.zeros((40, 60), bool)
    band[10:20] = True
    longer = np.pad(band, ((0, 0), (0, 40)), mode="edge")
    lower = np.roll(band, 1, axis=0), np.roll(longer, 1, axis=0)
    jitters = [outline_jitter_px([a, b, a]) for a, b in zip((band, longer), lower, strict=True)]
    assert jitters[0] == pytest.approx(jitters[1])
    assert jitters[0] == pytest.approx(2 / np.sqrt(6))


def test_without_three_frames_or_an_outline_there_is_no_jitter() -> None:
    assert np.isnan(outline_jitter_px([disc(20)] * 2))
    assert np.isnan(outline_jitter_px([np.zeros((9, 9), bool)] * 3))
    lost = outline_jitter_px([np.zeros((120, 120), bool), disc(20), disc(20)])
    assert lost > 50  # a tissue that comes and goes is as far as the diagonal


def test_signed_distances_agree_with_scipy() -> None:
    mask = noisy_pair(3, (40, 50))[1]
    wanted = np.where(mask, distance_transform_edt(mask) - 0.5, 0.5 - distance_transform_edt(~mask))
    np.testing.assert_allclose(signed_distance(mask), wanted, atol=1e-4)
