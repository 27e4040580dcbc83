"""Faster gradients: the numbers of torch's own layers, and where they are taken."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ehtseg.learning.gradients import (
    MOST_POSITIONS,
    DoublingConv,
    SizeKeepingConv,
    patches,
    with_fast_gradients,
)

Layer = nn.Conv2d | nn.ConvTranspose2d


def gradients(layer: nn.Module, maps: Tensor, bf16: bool) -> list[Tensor]:
    """What a layer makes of maps, and the gradients of maps and weights, in fp32."""
    torch.manual_seed(1)
    layer.zero_grad()
    seen = maps.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        made = layer(seen)
    made.backward(torch.randn(made.shape).to(made.dtype))
    assert seen.grad is not None
    grads = [weights.grad for weights in layer.parameters()]
    return [made.detach().float(), seen.grad, *(g.clone() for g in grads if g is not None)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
def test_gradients_are_those_of_torchs_own_layers(
    kind: type[Layer], last: bool, bias: bool
) -> None:
    torch.manual_seed(0)
    layout = torch.channels_last if last else torch.contiguous_format
    size = (
        {"kernel_size": 3, "padding": 1} if kind is nn.Conv2d else {"kernel_size": 2, "stride": 2}
    )
    layer = kind(24, 20, bias=bias, **size).to(memory_format=layout)
    fast = with_fast_gradients(copy.deepcopy(layer))
    assert type(fast) in (SizeKeepingConv, DoublingConv)
    maps = torch.randn(3, 24, 7, 9).to(memory_format=layout)
    exact = gradients(layer, maps, bf16=False)
    for bf16, most in ((False, 1e-5), (True, 0.02)):
        for wanted, found in zip(exact, gradients(fast, maps, bf16), strict=True):
            assert found.shape == wanted.shape
            assert float((found - wanted).norm() / wanted.norm()) < most


def test_the_product_is_taken_where_maps_are_small_and_weights_learn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken: list[int] = []

    def counted(maps: Tensor) -> Tensor:
        taken.append(maps.numel() // maps.shape[1])
        return patches(maps)

    monkeypatch.setattr("ehtseg.learning.gradients.patches", counted)
    layer = with_fast_gradients(nn.Conv2d(2, 3, 3, padding=1))
    edge = int(MOST_POSITIONS**0.5)
    for side, bf16 in ((edge, True), (edge + 1, True), (edge, False)):
        gradients(layer, torch.randn(1, 2, side, side), bf16)
    assert taken == [MOST_POSITIONS]
    layer.weight.requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(1, 2, 4, 4, requires_grad=True)).sum().backward()
    assert taken == [MOST_POSITIONS]


def test_where_nothing_learns_the_transposed_convolution_is_torchs_own() -> None:
    layer = nn.ConvTranspose2d(6, 5, 2, stride=2)
    fast = with_fast_gradients(copy.deepcopy(layer))
    maps = torch.randn(2, 6, 3, 7)
    with torch.no_grad():
        torch.testing.assert_close(fast(maps), layer(maps), rtol=0, atol=0)


@pytest.mark.parametrize(
    "other",
    [
        nn.Conv2d(4, 4, 3, padding=1, stride=2),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 1),
        nn.ConvTranspose2d(4, 4, 3, stride=2),
        nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2),
    ],
)
def test_other_convolutions_are_left_alone(other: Layer) -> None:
    kind = type(other)
    assert type(with_fast_gradients(other)) is kind
