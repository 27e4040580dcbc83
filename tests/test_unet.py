"""The plain U-Net family: published counts, valid padding, and the ways up."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ehtseg.nets.blocks import crop_like, mirror, pad_below_right, step_up
from ehtseg.nets.build import build
from ehtseg.nets.unet import UNet, UNetPlan, valid_margin
from ehtseg.recipe import NetRecipe

W16, W32 = UNetPlan.of_width(16, 4).channels, UNetPlan.of_width(32, 4).channels
WIDE = UNetPlan.of_width(35, 4).channels  # 35, 70, 140, 280, 560: the wide U-Net of UNet++

PUBLISHED = {  # of the original and of widely used ports
    "original, 1 -> 2": (UNetPlan(channels_in=1, channels_out=2, padding="valid"), 31_030_658),
    "same padding, 1 -> 1": (UNetPlan(channels_in=1), 31_030_593),
    "the same with up-convolutions": (UNetPlan(channels_in=1, up="up_conv"), 31_030_593),
    "extra 64 -> 2 head": (UNetPlan(channels_in=1, up="up_conv", head_channels=2), 31_031_685),
    "3 -> 1": (UNetPlan(), 31_031_745),
    "batch norm, with bias": (UNetPlan(norm="batch", conv_bias=True), 31_043_521),
    "batch norm, no bias": (UNetPlan(norm="batch"), 31_037_633),
    "width 32, 1 -> 1": (UNetPlan(W32, channels_in=1), 7_759_521),
    "wide": (UNetPlan(WIDE, channels_in=1), 9_282_246),
    "width 32, batch norm, bilinear": (
        UNetPlan(W32, norm="batch", up="bilinear", conv_bias=True),
        7_852_545,
    ),
    "width 16": (UNetPlan(W16), 1_941_105),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name: str) -> None:
    plan, parameters = PUBLISHED[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in UNet(plan).parameters()) == parameters


@pytest.mark.parametrize(
    ("plan", "px", "out_px", "gflops"),
    [
        (UNetPlan(), 256, 256, 96.3),
        (UNetPlan(channels_in=1, channels_out=2, padding="valid"), 572, 388, 300.9),
        (UNetPlan(W16), 256, 256, 6.07),
    ],
)
def test_published_shapes_and_arithmetic(
    plan: UNetPlan, px: int, out_px: int, gflops: float
) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        logits = UNet(plan)(torch.empty(1, plan.channels_in, px, px))
    assert logits.shape == (1, plan.channels_out, out_px, out_px)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, rel=0.01)


@pytest.mark.parametrize("up", ["transpose", "up_conv", "bilinear", "nearest"])
def test_every_step_up_doubles_the_size(up: str) -> None:
    assert step_up(6, 3, up)(torch.rand(1, 6, 5, 7)).shape[-2:] == (10, 14)


def test_valid_padding_mirrors_the_border_like_the_original() -> None:
    """The net answers for the whole image, from its mirrored surroundings."""
    net = build(NetRecipe(name="unet", padding="valid", width=4, depth=2)).eval()
    picture, margin = torch.rand(1, 3, 60, 64), valid_margin(2) + 2
    outside = functional.pad((picture - 0.5) / 0.5, (margin,) * 4, mode="reflect")
    with torch.no_grad():
        raw = net.body(outside)
        assert raw.shape[-2:] == (64, 68)  # two pixels more on every side
        torch.testing.assert_close(net(picture), raw[..., 2:-2, 2:-2])


def test_valid_logits_do_not_depend_on_padding_inside() -> None:
    """A valid U-Net shifted by its coarsest step gives shifted logits, to the last pixel."""
    body = UNet(UNetPlan((4, 8, 16), padding="valid")).eval()
    picture = torch.rand(1, 3, 64, 60)
    with torch.no_grad():
        top, bottom = body(picture[..., :60, :]), body(picture[..., 4:, :])
    torch.testing.assert_close(top[..., 4:, :], bottom[..., :-4, :])


def test_mirror_is_reflection_at_any_size() -> None:
    picture = torch.rand(1, 2, 9, 7)
    assert torch.equal(mirror(picture, 5), functional.pad(picture, (5,) * 4, mode="reflect"))
    assert mirror(picture[..., :2, :1], 4)[0, 0, :, 0].tolist() == pytest.approx(
        [picture[0, 0, i % 2, 0].item() for i in range(10)]
    )


def test_padding_repeats_the_edge_and_cropping_takes_the_centre() -> None:
    picture = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_below_right(picture, 4)
    assert padded[0, 0, :, -1].tolist() == [2, 5, 5, 5]
    assert torch.equal(pad_below_right(padded, 4), padded)
    assert crop_like(padded, 2, 2)[0, 0].tolist() == [[4, 5], [4, 5]]


def test_dropout_acts_in_training_only() -> None:
    net = build(NetRecipe(name="unet", width=4, dropout=0.5))
    picture = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        assert not torch.equal(net.train()(picture), net(picture))
        assert torch.equal(net.eval()(picture), net(picture))
