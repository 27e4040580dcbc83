"""Signs of a picture that the network cannot be trusted with, from networks that are known."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from conftest import shared
from ehtseg.records import Array, Frame
from ehtseg.seeing.familiar import SMOOTH, Doubts, Signs, signs_of, texture_ratio
from ehtseg.seeing.variants import of_one_network

IMAGE = np.full((64, 96), 200, np.uint8)
IMAGE[24:40, 20:76] = 40


def dark(images_BCHW: Array) -> Array:
    """A network that is sure: dark is tissue."""
    return np.where(images_BCHW[:, 0] < 0.5, 12.0, -12.0).astype(np.float32)


def leftish(images_BCHW: Array) -> Array:
    """A network that looks at places, not at pictures: the left third is tissue."""
    logits = np.full(images_BCHW[:, 0].shape, -12.0, np.float32)
    logits[:, :, : logits.shape[2] // 3] = 12
    return logits


def hazy(images_BCHW: Array) -> Array:
    """A network that is never sure."""
    return dark(images_BCHW) / 20


def signs(engine: object, image: Array = IMAGE) -> Signs:
    return signs_of(of_one_network(engine, None, 0.5), image)  # type: ignore[arg-type]


def test_a_sure_network_on_a_clear_picture_raises_no_doubt() -> None:
    found = signs(dark)
    assert found.doubt == pytest.approx(0, abs=0.01)
    assert found.share == pytest.approx((IMAGE == 40).mean())


def test_a_mask_that_does_not_follow_the_picture_is_doubted() -> None:
    assert signs(leftish).agreement == 0
    assert signs(leftish).doubt == 1


def test_a_haze_is_doubted() -> None:
    found = signs(hazy)
    assert found.agreement == pytest.approx(1, abs=0.01)
    assert found.certainty == 0
    assert found.doubt == 1


def test_nothing_found_is_doubted_most() -> None:
    assert signs(dark, np.full((40, 40), 230, np.uint8)).doubt == 1


def test_a_smooth_mask_in_a_rough_picture_is_doubted() -> None:
    rough = np.random.default_rng(0).normal(0, 12, IMAGE.shape)
    inside = IMAGE == 40
    emptied = (IMAGE + np.where(inside, 0, rough)).clip(0, 255).astype(np.uint8)
    tissue = (IMAGE + rough).clip(0, 255).astype(np.uint8)
    assert texture_ratio(tissue, inside) == pytest.approx(1, abs=0.15)
    assert texture_ratio(255 - tissue, inside) == pytest.approx(1, abs=0.15)
    assert texture_ratio(emptied, inside) < SMOOTH / 2
    assert signs(dark, emptied).doubt == 1
    assert signs(dark, tissue).doubt < 0.1


def test_without_surroundings_or_texture_nothing_is_said_of_smoothness() -> None:
    rough = np.random.default_rng(0).integers(0, 255, IMAGE.shape).astype(np.uint8)
    assert texture_ratio(rough, np.ones(IMAGE.shape, bool)) == 1
    assert texture_ratio(np.full_like(IMAGE, 90), IMAGE == 40) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eht_d1t3", "eht_mbpt", "eht_ohw", "eht_fibrotug_stills"])
def test_real_tissue_is_not_smooth(name: str) -> None:
    folder = shared(f"data/{name}")
    for file in sorted((folder / "images").iterdir())[::10]:
        image, mask = np.array(Image.open(file)), np.array(Image.open(folder / "masks" / file.name))
        assert texture_ratio(image, mask > 0) > 1.5 * SMOOTH


def test_a_recording_is_looked_at_seldom_and_judged_by_the_usual_frame() -> None:
    blank = np.full((64, 96), 230, np.uint8)
    doubts = Doubts(of_one_network(dark, None, 0.5), limit=0.2)
    frames = [Frame(k, None, blank if k == 4 else IMAGE) for k in range(100)]
    for frame in frames:
        doubts.note(frame)
    assert sorted(doubts.found) == [0, 1, 2, 4, 8, 16, 32, 64]
    assert doubts.found[4] == 1
    assert doubts.warning() is None
    shares = doubts.unfamiliarity()
    assert shares.shape == (100,)
    assert np.isnan(shares[3])
    assert shares[4] == pytest.approx(5)
    strange = Doubts(of_one_network(hazy, None, 0.5), limit=0.2)
    strange.note(frames[0])
    assert "adapt" in str(strange.warning())
    assert Doubts((), limit=0.2).warning() is None
