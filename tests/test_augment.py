"""Augmentation: a record replays, mask and frame move together, each effect does what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ehtseg.reading.augment import Augmentation, apply, draw

CANVAS = (64, 64)
MASK = np.zeros((64, 64), bool)
MASK[20:40, 10:50] = True
IMAGE = np.where(MASK, 60, 200).astype(np.uint8)


def done(record: Augmentation, image: np.ndarray = IMAGE) -> tuple[torch.Tensor, torch.Tensor]:
    return apply(record, image, MASK, CANVAS)


def test_the_default_record_does_nothing() -> None:
    image, mask = done(Augmentation())
    assert torch.equal(image[0], torch.from_numpy(IMAGE).float() / 255)
    assert torch.equal(mask[0] > 0.5, torch.from_numpy(MASK))


def test_a_draw_is_a_function_of_its_generator_and_replays() -> None:
    records = [draw("strong", np.random.default_rng((1, 2, 3))) for _ in range(2)]
    assert records[0] == records[1]
    first, again = done(records[0]), done(records[1])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert records[0] != draw("strong", np.random.default_rng((1, 2, 4)))


def test_flips_alone_flip() -> None:
    drawn = [draw("flips", np.random.default_rng(k)) for k in range(40)]
    assert {(r.flip_x, r.flip_y) for r in drawn} == {(a, b) for a in (0, 1) for b in (0, 1)}
    assert {replace(r, flip_x=False, flip_y=False) for r in drawn} == {Augmentation()}
    _, mask = done(Augmentation(flip_x=True))
    assert torch.equal(mask[0] > 0.5, torch.from_numpy(MASK[:, ::-1].copy()))


@pytest.mark.parametrize("seed", range(30))
def test_frame_and_mask_move_together_and_stay_in_range(seed: int) -> None:
    record = draw("strong", np.random.default_rng(seed))
    image, mask = done(record)
    assert image.shape == (1, *CANVAS)
    assert mask.shape == (1, *CANVAS)
    assert image.min() >= 0
    assert image.max() <= 1
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    geometry = Augmentation(
        flip_x=record.flip_x,
        flip_y=record.flip_y,
        angle_deg=record.angle_deg,
        scale=record.scale,
        shear_deg=record.shear_deg,
        shift=record.shift,
        surround=200 / 255,
    )
    moved, outline = done(geometry)  # dark tissue on a light ground: the mask must lie on the dark
    dark = moved < 130 / 255
    agreement = (dark == (outline > 0.5)).float().mean()
    assert agreement > 0.97


def test_a_quarter_turn_and_a_shift_go_where_they_should() -> None:
    _, turned = done(Augmentation(angle_deg=90, surround=0.0))
    assert torch.equal(turned[0] > 0.5, torch.from_numpy(np.rot90(MASK, -1).copy()))
    _, shifted = done(Augmentation(shift=(0.25, 0.0), surround=0.0))
    assert torch.equal(shifted[0, :, 26:50] > 0.5, torch.from_numpy(MASK[:, 10:34]))


def test_intensity_effects_do_what_they_say() -> None:
    inside = torch.from_numpy(MASK)
    background, _ = done(Augmentation(background=-0.3))
    assert background[0, 0, 0] == pytest.approx(200 / 255 - 0.3, abs=1e-5)
    assert background[0, 30, 30] == pytest.approx(60 / 255, abs=1e-5)
    inverted, _ = done(Augmentation(invert=True))
    assert inverted[0][inside].mean() == pytest.approx(1 - 60 / 255, abs=1e-5)
    gamma, _ = done(Augmentation(gamma=2.0))
    assert gamma[0, 30, 30] == pytest.approx((60 / 255) ** 2, abs=1e-5)
    noisy, _ = done(Augmentation(noise_sd=0.05, noise_seed=3))
    plain, _ = done(Augmentation())
    assert (noisy - plain).std() == pytest.approx(0.05, rel=0.1)
    lit, _ = done(Augmentation(light=(0.2, 0.0)))
    assert lit[0, 0, -1] - lit[0, 0, 0] == pytest.approx(0.2, abs=1e-3)
    for soft in (Augmentation(blur_px=2.0), Augmentation(low_res=0.25)):
        edge, _ = done(soft)
        assert edge.diff(dim=-1).abs().max() < plain.diff(dim=-1).abs().max() / 2


def test_a_colour_frame_is_tinted_and_a_grey_one_is_not() -> None:
    tint = Augmentation(tint=(1.0, 0.5, 1.0))
    colour, _ = done(tint, np.repeat(IMAGE[:, :, None], 3, axis=2))
    assert colour[1, 0, 0] == pytest.approx(100 / 255, abs=1e-5)
    grey, _ = done(tint)
    assert grey[0, 0, 0] == pytest.approx(200 / 255, abs=1e-5)


def test_a_small_frame_is_padded_to_the_canvas_by_its_mirror_image() -> None:
    image, mask = apply(Augmentation(), IMAGE[:50], MASK[:50], CANVAS)
    assert image.shape == (1, 64, 64)
    assert mask.sum() == MASK.sum()
    assert torch.equal(image[0, 7 - 3], image[0, 7 + 3])
