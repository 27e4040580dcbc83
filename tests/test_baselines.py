"""The trivial opponents, on made-up frames with known answers and on a real film."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes, label

from conftest import shared
from ehtseg.learning.baselines import (
    BASELINES,
    RULES,
    fill_holes,
    fit_mean_mask,
    fit_nearest_mask,
    fit_threshold,
    largest_part,
    thumbnail,
)
from ehtseg.learning.scores import counts_of, dice, mean_at, score_images
from ehtseg.reading.masks import IGNORED
from ehtseg.records import UserError


def disc(x: float, shape: tuple[int, int] = (60, 80), radius: float = 15) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - shape[0] / 2, columns - x) < radius


def frame(x: float, inside: int, outside: int) -> tuple[np.ndarray, np.ndarray]:
    """A disc with a hole of the outside grey in it, on noise; its mask has no hole."""
    mask = disc(x)
    noise = np.random.default_rng(int(x)).normal(0, 6, mask.shape)
    image = np.where(mask & ~disc(x, radius=5), inside, outside) + noise
    return image.clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize(("inside", "outside"), [(180, 60), (60, 180)])
def test_threshold_finds_either_polarity_and_fills_holes(inside, outside):
    rule = fit_threshold(frame(x, inside, outside) for x in (30, 40, 50))
    assert rule.bright == (inside > outside)
    image, mask = frame(36, inside, outside)
    found = rule(image)
    assert found.dtype == np.float32
    assert dice(counts_of(found >= 0.5, mask)) > 0.95
    assert found[30, 36] == 1  # the hole


def test_threshold_follows_otsu_where_brightness_differs():
    pairs = [(30, 120, 20), (40, 250, 150), (50, 190, 90)]  # no fixed level fits all three
    rule = fit_threshold(frame(*pair) for pair in pairs)
    assert rule.from_otsu
    image, mask = frame(44, 160, 50)
    assert dice(counts_of(rule(image) >= 0.5, mask)) > 0.95


def test_threshold_keeps_the_largest_part_only_where_that_helps():
    image, mask = frame(30, 180, 60)
    litter = disc(70, radius=6)
    image = np.where(litter, 180, image).astype(np.uint8)
    assert fit_threshold([(image, mask)]).largest
    assert not fit_threshold([(image, mask | litter)]).largest


def test_mean_mask_is_the_mean_and_takes_the_size_of_the_image():
    pairs = [(np.zeros((60, 80), np.uint8), disc(x)) for x in (30, 34, 60)]
    predict = fit_mean_mask(pairs)
    expected = np.mean([disc(30), disc(34), disc(60)], axis=0)
    np.testing.assert_allclose(predict(np.zeros((60, 80), np.uint8)), expected, atol=1e-6)
    wide = predict(np.zeros((120, 200, 3), np.uint8))
    assert wide.shape == (120, 200)
    assert wide.mean() == pytest.approx(expected.mean(), rel=0.02)
    assert 0 <= wide.min() <= wide.max() <= 1


def test_nearest_mask_survives_brightness_contrast_and_size():
    places = (20, 35, 50, 65)
    predict = fit_nearest_mask(frame(x, 180, 60) for x in places)
    for x in places:
        image, mask = frame(x, 180, 60)
        dimmed = (image * 0.5 + 20).astype(np.uint8)
        np.testing.assert_array_equal(predict(dimmed) >= 0.5, mask)
        large = cv2.resize(image, (160, 120))
        mask_large = cv2.resize(mask.astype(np.uint8), (160, 120)) > 0
        assert dice(counts_of(predict(large) >= 0.5, mask_large)) > 0.97


def barred(x: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dark disc on a light ground between two darker bars; its label, which leaves them out."""
    mask, columns = disc(x, radius=12), np.indices((60, 80))[1]
    bars = (columns < 20) | (columns > 62)
    image = np.where(bars, 60, np.where(mask, 90, 200))
    image = (image + np.random.default_rng(int(x)).normal(0, 5, image.shape)).clip(0, 255)
    return image.astype(np.uint8), mask, np.where(bars, IGNORED, mask).astype(np.uint8)


def test_pixels_that_do_not_count_choose_no_threshold():
    frames = [barred(x) for x in (38, 40, 44)]
    rule = fit_threshold((image, labelled) for image, _, labelled in frames)
    for image, mask, labelled in frames:
        assert dice(counts_of((rule(image) >= 0.5) & (labelled != IGNORED), mask)) > 0.95


def test_pixels_that_do_not_count_are_in_no_mean():
    image, whole = np.zeros((60, 80), np.uint8), disc(40).astype(np.uint8)
    half = np.where(np.indices(whole.shape)[1] < 40, IGNORED, whole).astype(np.uint8)
    predict = fit_mean_mask([(image, whole), (image, half)])
    np.testing.assert_array_equal(predict(image), whole)
    none = fit_mean_mask([(image, np.full_like(whole, IGNORED)), (image, half)])
    np.testing.assert_array_equal(none(image), half == 1)


@pytest.mark.parametrize("name", BASELINES)
def test_a_label_that_leaves_nothing_out_is_as_good_as_a_mask(name):
    frames = [frame(x, 180, 60) for x in (30, 36, 51)]
    ours = BASELINES[name](frames)
    other = BASELINES[name]((image, mask.astype(np.uint8)) for image, mask in frames)
    np.testing.assert_array_equal(ours(frames[1][0]), other(frames[1][0]))


def test_constant_image_is_no_trouble():
    constant = np.full((60, 80), 7, np.uint8)
    assert not thumbnail(constant).any()
    for fit in BASELINES.values():
        predict = fit([frame(30, 180, 60), (constant, disc(30))])
        assert np.isfinite(predict(constant)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_no_training_frames_is_one_paragraph(name):
    with pytest.raises(UserError, match="training frames"):
        BASELINES[name]([])


@pytest.mark.parametrize("seed", range(3))
def test_hole_filling_and_largest_part_equal_scipy(seed):
    mask = np.random.default_rng(seed).random((40, 50)) < 0.55
    np.testing.assert_array_equal(fill_holes(mask), binary_fill_holes(mask))
    labels, _ = label(mask, np.ones((3, 3)))
    expected = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    np.testing.assert_array_equal(largest_part(mask), expected)
    empty = np.zeros((4, 4), bool)
    np.testing.assert_array_equal(largest_part(empty), empty)


def test_rules_are_distinct():
    assert len(set(RULES)) == len(RULES)


def test_real_film_has_the_published_baselines():
    folder = shared("data/eht_d1t3")

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        name = f"{i:04d}.png"
        image = cv2.imread(str(folder / "images" / name), cv2.IMREAD_UNCHANGED)
        return image, cv2.imread(str(folder / "masks" / name), cv2.IMREAD_UNCHANGED) > 0

    def score(name: str, every: int) -> float:
        predict = BASELINES[name](read(i) for i in range(0, 144, every))
        pairs = ((predict(image), mask, "", "") for image, mask in map(read, range(168, 200, 4)))
        return mean_at(score_images(pairs, [0.5]), 0.5)

    assert score("mean_mask", 2) == pytest.approx(0.9985, abs=3e-4)  # shared data, README
    assert score("threshold", 12) == pytest.approx(0.99, abs=4e-3)
    assert score("nearest_mask", 2) > 0.999
