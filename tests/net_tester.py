"""The one tester for networks: a table of members, each of which buys every check.

A test file writes MEMBERS, a tuple of `Member`, and one test that goes through MEMBERS and CHECKS;
tests/test_nets.py shows how.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from ehtseg.nets.build import Net, build, trainable_parameters
from ehtseg.recipe import NetRecipe

ODD_SIZES = ((50, 75), (1, 40))


@dataclass(frozen=True)
class Member:
    """One row of the table: a recipe, and what is known of its network from outside the code.

    `frozen` are the beginnings of the names of all tensors that must stay as they are; `gflops`
    counts one multiply-add as 2, at `gflops_px` x `gflops_px` pixels.
    """

    name: str
    recipe: NetRecipe
    parameters: int | None = None
    gflops: float | None = None
    gflops_px: int = 256
    frozen: tuple[str, ...] = ()
    slow: bool = False


@lru_cache(maxsize=1)  # pytest goes through the checks of one member, then to the next one
def built(member: Member) -> Net:
    """The network of a member; not to be changed. A Med-NCA is awake: it starts from zeros."""
    net, source = build(member.recipe, seed=3), torch.Generator().manual_seed(3)
    for name, parameter in net.named_parameters():
        if name.endswith(".act"):
            torch.nn.init.normal_(parameter, std=0.01, generator=source)
    return net


@lru_cache(maxsize=1)
def stepped(member: Member) -> tuple[Net, dict[str, Tensor]]:
    """The network after one training step, and its tensors before."""
    net = copy.deepcopy(built(member)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    pictures = images(64, 64, batch=2)
    target = (pictures > 0.5).float()
    sum(binary_cross_entropy_with_logits(o, target) for o in outputs_of(net(pictures))).backward()
    torch.optim.SGD(trainable_parameters(net), lr=0.1, weight_decay=0.1).step()
    return net, before


def images(height: int, width: int, batch: int = 1, channels: int = 1) -> Tensor:
    """Pictures in [0, 1], the same every time."""
    source = torch.Generator().manual_seed(0)
    return torch.rand(batch, channels, height, width, generator=source)


def outputs_of(logits: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """All outputs of a forward pass in training (several with deep supervision)."""
    return logits if isinstance(logits, tuple) else (logits,)


def check_shapes(member: Member) -> None:
    """Any height and width in, the same out; grey is the same as three equal channels."""
    net = built(member).eval()
    with torch.no_grad():
        for height, width in ODD_SIZES:
            logits = net(images(height, width))
            assert logits.shape == (1, 1, height, width)
            assert torch.isfinite(logits).all()
        grey = images(64, 64)
        logits = net(grey)
        assert logits.std() > 0, "a constant answer shows nothing"
        torch.testing.assert_close(logits, net(grey.repeat(1, 3, 1, 1)))


def check_gradients(member: Member) -> None:
    """Every trainable parameter gets a finite gradient, and every trainable kernel a real one."""
    net, _ = stepped(member)
    for name, parameter in net.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, name
            continue
        assert parameter.grad is not None, f"no gradient reaches {name}"
        assert torch.isfinite(parameter.grad).all(), name
        if parameter.ndim > 1:
            assert parameter.grad.abs().max() > 0, f"the gradient of {name} is zero"


def check_frozen(member: Member) -> None:
    """After a step in training mode frozen tensors and buffers are bit-equal, kernels moved."""
    net, before = stepped(member)
    for name, tensor in net.state_dict().items():
        same = torch.equal(tensor, before[name])
        if name.startswith(member.frozen):
            assert same, f"{name} is frozen and changed"
        elif tensor.ndim > 1 or name.endswith("running_mean"):
            assert not same, f"{name} is not frozen and did not change"
    assert not any(module.training for module in net.eval().modules())


def check_save_and_load(member: Member) -> None:
    """Weights written to safetensors and read into a net of the same card give the same logits."""
    net = built(member).eval()
    other = build(member.recipe, seed=9, card=net.card).eval()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "net.safetensors"
        save_file(net.state_dict(), path)
        other.load_state_dict(load_file(path))
    picture = images(64, 64)
    with torch.no_grad():
        assert torch.equal(net(picture), other(picture))


def check_parameters(member: Member) -> None:
    """As many parameters as published."""
    if member.parameters is not None:
        assert sum(p.numel() for p in built(member).parameters()) == member.parameters


def check_gflops(member: Member) -> None:
    """Within 1 % of the published arithmetic, counted without computing (the meta device)."""
    if member.gflops is None:
        return
    net, px = copy.deepcopy(built(member)).eval().to("meta"), member.gflops_px
    with FlopCounterMode(display=False) as counter:
        net(torch.empty(1, 1, px, px, device="meta"))
    assert abs(counter.get_total_flops() / 1e9 / member.gflops - 1) < 0.01


CHECKS: tuple[Callable[[Member], None], ...] = (
    check_shapes,
    check_gradients,
    check_frozen,
    check_save_and_load,
    check_parameters,
    check_gflops,
)


def name_of(thing: object) -> str:
    """The name under which pytest lists a check."""
    return getattr(thing, "__name__", str(thing))


def as_parameter(member: Member) -> object:
    """A member as pytest takes it: with its name, and its mark where it is slow."""
    marks = [pytest.mark.slow] if member.slow else []
    return pytest.param(member, id=member.name, marks=marks)
