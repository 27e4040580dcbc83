"""Losses against reference libraries, published minimisers and hand-made cases."""

from __future__ import annotations

import math
from itertools import pairwise

import monai.losses
import pytest
import segmentation_models_pytorch as smp
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from ehtseg.learning.losses import LOSSES, make_loss, parse_loss, sum_over_outputs
from ehtseg.recipe import FitRecipe
from ehtseg.records import UserError


def loss_of(name: str, alpha: float = 0.8, gamma: float = 2.0):
    return make_loss(FitRecipe(loss=name, focal_alpha=alpha, focal_gamma=gamma))


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(4, 1, 9, 7, generator=generator)
    masks = (torch.rand(4, 1, 9, 7, generator=generator) < 0.3).float()
    return logits, masks


def test_bce_equals_torch(batch):
    logits, masks = batch
    torch.testing.assert_close(
        loss_of("bce")(logits, masks), binary_cross_entropy_with_logits(logits, masks)
    )


@pytest.mark.parametrize(("alpha", "gamma"), [(0.8, 2.0), (0.25, 2.0), (0.5, 0.0), (0.8, 3.5)])
def test_focal_lin_equals_smp_and_monai(batch, alpha, gamma):
    logits, masks = batch
    ours = loss_of("focal_lin", alpha, gamma)(logits, masks)
    by_smp = smp.losses.FocalLoss("binary", alpha=alpha, gamma=gamma)(logits, masks)
    by_monai = monai.losses.FocalLoss(gamma=gamma, alpha=alpha)(logits, masks)
    torch.testing.assert_close(ours, by_smp)
    torch.testing.assert_close(ours, by_monai)


def test_focal_scalar_is_a_scale_of_smp_without_alpha(batch):
    logits, masks = batch
    by_smp = smp.losses.FocalLoss("binary", alpha=None, gamma=2.0)(logits, masks)
    torch.testing.assert_close(loss_of("focal_scalar")(logits, masks), 0.8 * by_smp)


def test_focal_mean_by_hand(batch):
    logits, masks = batch
    b = float(binary_cross_entropy_with_logits(logits, masks))
    expected = 0.8 * (1 - math.exp(-b)) ** 2 * b
    assert float(loss_of("focal_mean")(logits, masks)) == pytest.approx(expected, rel=1e-5)
    assert float(loss_of("focal_scalar")(logits, masks)) != pytest.approx(expected, rel=1e-2)


def test_dice_equals_monai_per_image_and_smp_on_one_image(batch):
    logits, masks = batch
    ours = loss_of("dice")(logits, masks)
    by_monai = monai.losses.DiceLoss(sigmoid=True, smooth_nr=1.0, smooth_dr=1.0)
    torch.testing.assert_close(ours, by_monai(logits, masks))
    by_smp = smp.losses.DiceLoss("binary", smooth=0.5)  # it halves the fraction
    torch.testing.assert_close(
        loss_of("dice")(logits[:1], masks[:1]), by_smp(logits[:1], masks[:1])
    )


def test_dice_on_an_empty_mask_punishes_false_foreground():
    empty = torch.zeros(1, 1, 16, 16)
    full_logits = torch.full_like(empty, 20.0, requires_grad=True)
    full = loss_of("dice")(full_logits, empty)
    assert float(full.detach()) == pytest.approx(256 / 257)
    full.backward()
    assert full_logits.grad is not None
    assert torch.isfinite(full_logits.grad).all()
    assert float(loss_of("dice")(torch.full_like(empty, -20.0), empty)) == pytest.approx(
        0, abs=1e-5
    )
    # the reference library gives no loss at all here: the silent error that ours avoids
    assert float(smp.losses.DiceLoss("binary")(full_logits.detach(), empty)) == 0.0


MINIMISERS = {  # minimised by hand: true p -> probability that minimises the loss
    ("bce", 0.8, 2.0): (0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95),
    ("focal_scalar", 0.8, 2.0): (0.25, 0.31, 0.37, 0.5, 0.63, 0.69, 0.75),
    ("focal_lin", 0.5, 2.0): (0.25, 0.31, 0.37, 0.5, 0.63, 0.69, 0.75),
    ("focal_lin", 0.8, 2.0): (0.36, 0.43, 0.50, 0.63, 0.74, 0.79, 0.83),
    ("focal_lin", 0.8, 0.0): (0.17, 0.31, 0.50, 0.80, 0.94, 0.97, 0.99),  # balanced BCE
    ("focal_mean", 0.8, 2.0): (0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95),
}


@pytest.mark.parametrize("name", MINIMISERS, ids=str)
def test_table_of_minimisers(name):
    loss = loss_of(*name)
    for p, expected in zip((0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95), MINIMISERS[name], strict=True):
        masks = (torch.arange(20) < round(20 * p)).float().reshape(1, 1, 4, 5)

        def at(logit: float, masks: Tensor = masks) -> float:
            return float(loss(torch.full_like(masks, logit), masks))

        best = minimize_scalar(at, bounds=(-8, 8), method="bounded", options={"xatol": 1e-4}).x
        assert 1 / (1 + math.exp(-best)) == pytest.approx(expected, abs=0.0075), p


def test_sums_and_weights(batch):
    parts = {name: loss_of(name)(*batch) for name in LOSSES}
    torch.testing.assert_close(loss_of("bce+dice")(*batch), parts["bce"] + parts["dice"])
    torch.testing.assert_close(
        loss_of(" 0.5*focal_scalar + 2 * dice ")(*batch),
        0.5 * parts["focal_scalar"] + 2 * parts["dice"],
    )


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_input_is_computed_in_float32(batch, name, dtype):
    logits, masks = batch[0].to(dtype), batch[1]
    half = loss_of(name)(logits, masks.to(dtype))
    assert half.dtype == torch.float32
    assert float(half) == float(loss_of(name)(logits.float(), masks.bool()))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_extreme_logits_stay_finite(name, gamma):
    for size in (100.0, 6e4):
        logits = torch.tensor([size, -size, size, -size]).reshape(1, 1, 2, 2).requires_grad_()
        masks = torch.tensor([1.0, 0.0, 0.0, 1.0]).reshape(1, 1, 2, 2)
        for target in (masks, (logits.detach() > 0).float()):  # half wrong, and all right
            value = loss_of(name, gamma=gamma)(logits, target)
            (gradient,) = torch.autograd.grad(value, logits)
            assert torch.isfinite(value)
            assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", [*LOSSES, "bce+dice"])
def test_ignored_pixels_have_no_say(batch, name):
    logits, masks = batch
    loss = loss_of(name)
    ignore = torch.zeros_like(masks, dtype=torch.bool)
    torch.testing.assert_close(loss(logits, masks, ignore), loss(logits, masks))
    ignore[..., 5:] = True  # leaving columns out equals cropping them away
    changed = torch.where(ignore, -logits, logits)
    cropped = loss(logits[..., :5], masks[..., :5])
    torch.testing.assert_close(loss(logits, masks, ignore), cropped)
    torch.testing.assert_close(loss(changed, masks, ignore), cropped)
    everything = torch.ones_like(ignore)
    assert float(loss(logits, masks, everything)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_descends(batch, name):
    logits, masks = batch[0].clone().requires_grad_(), batch[1]
    values = []
    for _ in range(4):
        value = loss_of(name)(logits, masks)
        (gradient,) = torch.autograd.grad(value, logits)
        logits = (logits - 5 * gradient).detach().requires_grad_()
        values.append(float(value.detach()))
    assert all(later < earlier for earlier, later in pairwise(values))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_mask_of_0_and_255_is_refused(batch, dtype):
    logits, masks = batch
    with pytest.raises(UserError, match="the values 0, 255"):
        loss_of("focal_lin")(logits, (masks * 255).to(dtype))


def test_soft_and_nan_masks_are_refused(batch):
    logits, masks = batch
    for wrong in (masks * 0.5, masks * math.nan):
        with pytest.raises(UserError, match="masks of 0 and 1"):
            loss_of("bce")(logits, wrong)


def test_shapes_that_would_broadcast_are_refused(batch):
    logits, masks = batch
    with pytest.raises(ValueError, match="one shape"):
        loss_of("bce")(logits, masks[:, 0])
    with pytest.raises(ValueError, match="one shape"):
        loss_of("bce")(logits, masks, masks[:1].bool())


def test_unknown_loss_names_the_nearest():
    with pytest.raises(UserError, match="Nearest: focal_scalar") as caught:
        make_loss(FitRecipe(loss="bce+focal_scaler"))
    assert "'focal_scaler' in 'bce+focal_scaler'" in str(caught.value)


@pytest.mark.parametrize("text", ["", "bce+", "-1*bce", "0*dice", "nan*bce", "x*bce", "*bce"])
def test_malformed_sums_are_refused(text):
    with pytest.raises(UserError):
        parse_loss(text)


def test_several_outputs(batch):
    logits, masks = batch
    loss = loss_of("bce")
    expected = loss(logits, masks) + 0.25 * loss(-logits, masks)
    torch.testing.assert_close(
        sum_over_outputs(loss, (logits, -logits), (1.0, 0.25), masks), expected
    )
    torch.testing.assert_close(sum_over_outputs(loss, logits, (), masks), loss(logits, masks))
    with pytest.raises(ValueError, match="zip"):
        sum_over_outputs(loss, (logits, logits), (1.0,), masks)
