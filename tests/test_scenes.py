"""Scenes: they replay, label what they show, and hold no tissue where they say so."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ehtseg.reading.augment import apply, draw
from ehtseg.reading.masks import IGNORED
from ehtseg.reading.scenes import Scene, compose, draw_scene
from ehtseg.reading.textures import cloud, fibres, filled, outline

LABEL = np.zeros((128, 128), np.uint8)
LABEL[50:80, 20:110] = 1
IMAGE = np.where(LABEL, 60, 200).astype(np.uint8)
OTHER = (np.full((128, 128), 120, np.uint8), np.zeros((128, 128), np.uint8))


def made(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return compose(scene, (IMAGE, LABEL), lambda _: OTHER)


def test_the_default_scene_is_the_frame() -> None:
    image, label = made(Scene())
    assert np.array_equal(image, IMAGE)
    assert np.array_equal(label, LABEL)


@pytest.mark.parametrize("seed", range(40))
def test_a_drawn_scene_replays_and_leaves_its_frame_alone(seed: int) -> None:
    before = IMAGE.copy(), LABEL.copy()
    scene = draw_scene(np.random.default_rng(seed))
    image, label = made(scene)
    again = made(draw_scene(np.random.default_rng(seed)))
    assert image.dtype == label.dtype == np.uint8
    assert image.shape == label.shape == LABEL.shape
    assert set(np.unique(label)) <= {0, 1, IGNORED}
    assert np.array_equal(image, again[0])
    assert np.array_equal(label, again[1])
    assert np.array_equal(IMAGE, before[0])
    assert np.array_equal(LABEL, before[1])


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (3, 40), (19, 30), (64, 4)])
def test_frames_of_a_few_pixels_make_scenes_too(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    label = np.zeros(shape, np.uint8)
    label[shape[0] // 2 :] = 1
    small = rng.integers(0, 256, shape, dtype=np.uint8), label
    for seed in range(60):
        drawn = np.random.default_rng(seed)
        image, found = compose(draw_scene(drawn), small, lambda _: small)
        assert image.shape == found.shape == shape
        picture, _ = apply(draw("scenes", drawn), image, found, (32, 32))
        assert picture.shape == (1, 32, 32)


@pytest.mark.parametrize("behind", ["own", "other", "made"])
def test_a_scene_without_tissue_has_none(behind: str) -> None:
    for seed in range(5):
        image, label = made(Scene(tissue="none", behind=behind, seed=seed))
        assert not label.any()
        assert image[60:70, 40:90].mean() > 75  # the own tissue, at 60, is covered


def test_a_tissue_keeps_its_look_before_another_background() -> None:
    image, label = made(Scene(behind="other", seed=3))
    assert np.array_equal(label, LABEL)
    assert abs(float(image[60:70, 40:90].mean()) - 60) < 2
    assert abs(float(image[:30].mean()) - 120) < 8


def test_a_colour_frame_is_left_as_it_is() -> None:
    colour = np.stack([IMAGE, IMAGE // 2, 255 - IMAGE], -1)
    image, label = compose(Scene(tissue="made", seed=1), (colour, LABEL), lambda _: OTHER)
    assert np.array_equal(image, colour)
    assert np.array_equal(label, LABEL)


def test_bending_moves_frame_and_label_together() -> None:
    image, label = made(Scene(bend_px=8, seed=1))
    assert (label != LABEL).mean() > 0.01
    assert ((image < 130) == (label == 1)).mean() > 0.98


def test_a_made_tissue_differs_from_its_background_inside_its_label() -> None:
    differences = []
    for seed in range(12):
        image, label = made(Scene(tissue="made", behind="other", seed=seed))
        assert 0.01 < (label == 1).mean() < 0.6
        ring = cv2.dilate((label > 0).astype(np.uint8), np.ones((15, 15))) - (label > 0)
        differences.append(abs(float(image[label == 1].mean()) - float(image[ring > 0].mean())))
    assert np.median(differences) > 20


def test_every_kind_of_scene_is_drawn() -> None:
    drawn = [draw_scene(np.random.default_rng(k)) for k in range(300)]
    assert {s.tissue for s in drawn} == {"own", "made", "none"}
    assert {(s.walls, s.debris > 0, s.text) for s in drawn} >= {(True, True, False)}
    assert 0.03 < np.mean([s.tissue == "none" for s in drawn]) < 0.15


def test_textures_are_standardised_and_outlines_closed() -> None:
    rng = np.random.default_rng(0)
    for noise in (cloud(rng, (60, 80), 20), fibres(rng, (60, 80), 6, 1)):
        assert abs(float(noise.mean())) < 1e-3
        assert float(noise.std()) == pytest.approx(1, abs=1e-3)
    along = fibres(rng, (200, 200), 8, 1)
    assert np.abs(np.diff(along, axis=1)).mean() < 0.5 * np.abs(np.diff(along, axis=0)).mean()
    cover = filled(outline(rng, (100, 100), 40, "round"), (100, 100))
    assert cv2.connectedComponents((cover > 0.5).astype(np.uint8))[0] == 2
