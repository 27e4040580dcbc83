"""The three meanings of freezing, and the errors of other tools that ours must not have."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ehtseg.nets.build import Net, build
from ehtseg.nets.freeze import freeze
from ehtseg.recipe import NetRecipe
from net_tester import images


def _step(mode: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    recipe = NetRecipe.model_validate(
        {"name": "efficientnet_lite0", "freeze": 2, "freeze_mode": mode}
    )
    net = build(recipe).train()
    before = _frozen_tensors(net)
    net(images(64, 64, batch=2)).square().mean().backward()
    trainable = [p for p in net.parameters() if p.requires_grad]
    torch.optim.SGD(trainable, lr=0.1, weight_decay=0.1).step()
    return before, _frozen_tensors(net)


def _frozen_tensors(net: Net) -> dict[str, Tensor]:
    parts = ("conv_stem", "bn1", "blocks.0", "blocks.1")
    state = net.body.encoder.body.state_dict()
    return {name: t.clone() for name, t in state.items() if name.startswith(parts)}


def _changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Kinds of tensors that are not bit-equal: kernel, scale (and shift), or statistics."""
    names = {name for name in before if not torch.equal(before[name], after[name])}
    return {
        "statistics"
        if name.endswith(("mean", "var", "tracked"))
        else ("kernel" if before[name].ndim > 1 else "scale")
        for name in names
    }


@pytest.mark.parametrize(
    ("mode", "changed"),
    [
        ("inference", set()),
        ("weights_only", {"statistics"}),
        ("all_but_norm", {"statistics", "scale"}),
    ],
)
def test_what_a_training_step_changes(mode: str, changed: set[str]) -> None:
    assert _changed(*_step(mode)) == changed


def test_no_frozen_module_is_in_training_mode_not_even_dropout() -> None:
    """smp 0.6: `freeze_encoder(); eval()` leaves the encoder in training mode; ours must not."""
    net = build(NetRecipe(name="efficientnet_lite0"))
    encoder = net.body.encoder
    encoder.body.blocks[1][0].drop_path = nn.Dropout(0.5)
    freeze(encoder, 2, "inference")
    for wake in (net.train, encoder.train, net.body.train):
        wake()
        still = encoder.body.blocks[1], encoder.body.blocks[0], encoder.body.bn1
        assert not any(module.training for part in still for module in part.modules())
        assert encoder.body.blocks[2].training
    assert not any(module.training for module in net.eval().modules())
    with torch.no_grad():
        assert torch.equal(net(images(64, 64)), net(images(64, 64)))


def test_all_frozen_holds_the_whole_encoder_and_nothing_else() -> None:
    net = build(NetRecipe(name="efficientnet_lite0", freeze="all")).train()
    assert not any(module.training for module in net.body.encoder.body.modules())
    assert all(module.training for module in net.body.decoder.modules())
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    decoder = [*net.body.decoder.parameters(), *net.body.head.parameters()]
    assert trainable == sum(p.numel() for p in decoder)


def test_a_random_encoder_can_be_frozen_beyond_what_is_transferred() -> None:
    net = build(NetRecipe(name="efficientnet_lite0", transfer=1, freeze=4))
    stages = net.body.encoder.stage_of
    for name, parameter in net.body.encoder.body.named_parameters():
        assert parameter.requires_grad == (stages[name] >= 4)
    assert net.card["transferred"] == ["stage1"]


def test_freezing_survives_a_copy() -> None:
    net = copy.deepcopy(build(NetRecipe(name="efficientnet_lite0", freeze=1))).train()
    assert not net.body.encoder.body.bn1.training
