"""The working size: aspect and area kept, masks neither grown nor shrunk."""

from __future__ import annotations

import numpy as np
import pytest

from ehtseg.reading.geometry import mask_to_working_size, to_working_size, working_shape


@pytest.mark.parametrize("shape", [(512, 512), (500, 1000), (1024, 300), (257, 256)])
def test_the_area_is_brought_to_the_size_and_the_aspect_is_kept(shape: tuple[int, int]) -> None:
    height, width = working_shape(*shape, 256)
    assert height * width == pytest.approx(256**2, rel=0.01)
    assert height / width == pytest.approx(shape[0] / shape[1], rel=0.01)


def test_a_small_frame_is_never_enlarged() -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    assert to_working_size(image, 256) is image
    assert to_working_size(image, None) is image
    assert working_shape(4000, 3000, None) == (4000, 3000)


def test_a_frame_is_averaged_not_sampled() -> None:
    stripes = np.tile(np.array([[0, 200]], np.uint8), (64, 32))
    assert set(np.unique(to_working_size(stripes, 32))) == {100}


@pytest.mark.parametrize("size", [16, 24, 32, 50])
def test_a_shrunk_mask_keeps_its_area(size: int) -> None:
    """Outlines at every phase of the coarse grid: on average nothing grows and nothing shrinks."""
    shares = []
    for left in range(8, 24):
        for right in range(36, 52):
            mask = np.zeros((64, 64), bool)
            mask[left:right, left:right] = True
            small = mask_to_working_size(mask, size)
            shares.append(small.mean() / mask.mean())
    assert np.mean(shares) == pytest.approx(1, abs=0.006)


def test_frame_and_mask_get_one_size() -> None:
    frame, mask = np.zeros((500, 1000), np.uint8), np.ones((500, 1000), bool)
    assert to_working_size(frame, 256).shape == mask_to_working_size(mask, 256).shape
    assert mask_to_working_size(mask, 256).all()
