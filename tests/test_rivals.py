"""The rival networks: published counts and arithmetic, the common contract, own rules of each."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import torch
from timm.layers import DropPath
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from ehtseg.nets.build import RIVALS, Net, build, scratch_card
from ehtseg.nets.describe import describe
from ehtseg.nets.dstransunet import ATTENTION_S, DSTransUNet, Fusion, SwinBranch, TransformerLayer
from ehtseg.nets.features import Encoder
from ehtseg.nets.initialise import initialise
from ehtseg.nets.mednca import MedNCA, MedNCAPlan, spread
from ehtseg.nets.nnunet import NnUNet, NnUNetPlan, one_logit
from ehtseg.nets.transfer_unet import DECODERS
from ehtseg.nets.transunet import Position, TransUNet
from ehtseg.nets.unetpp import TransferUNetPP, UNetPP, UNetPPPlan, logit_of_mean
from ehtseg.nets.unext import SMALL, UNeXt, UNeXtPlan, shift
from ehtseg.recipe import FROM_SCRATCH, NetRecipe, Recipe
from ehtseg.records import UserError
from net_tester import CHECKS, Member, as_parameter, images, name_of

PORT = UNetPPPlan(norm="batch", up="bilinear")
PORT_DS = UNetPPPlan(norm="batch", up="bilinear", deep_supervision=True)


def on(encoder: str) -> TransferUNetPP:
    return TransferUNetPP(Encoder(encoder, scratch_card(encoder)), DECODERS["modern"])


# --- published sizes ------------------------------------------------------------------------

SLOW = pytest.mark.slow
PUBLISHED = (  # name, body, parameters, GFLOPs, pixels
    ("unetpp", lambda: UNetPP(UNetPPPlan()), 9_042_177, None, 256),
    ("unetpp-grey", lambda: UNetPP(UNetPPPlan(channels_in=1)), 9_041_601, None, 256),
    ("unetpp-ds", lambda: UNetPP(UNetPPPlan(deep_supervision=True)), 9_042_276, None, 256),
    ("unetpp-port", lambda: UNetPP(PORT), 9_163_329, 69.0, 256),
    ("unetpp-port-ds", lambda: UNetPP(PORT_DS), 9_163_428, 9.7, 96),
    ("unetpp-resnet50", lambda: on("resnet50"), 48_985_745, 115, 256),
    # not the 39,347,345 of smp, which drops the map at full size and adds a block below the last
    ("unetpp-vgg16", lambda: on("vgg16"), 35_484_817, None, 256),
    ("unetpp-irv2", lambda: on("inception_resnet_v2"), 71_082_993, 91.4, 256),
    ("unext", lambda: UNeXt(UNeXtPlan()), 1_471_921, 1.124, 256),
    ("unext-s", lambda: UNeXt(SMALL), 253_561, 0.199, 256),
    ("nnunet-256", lambda: NnUNet(NnUNetPlan.of_size(256)), 33_472_396, 29.6, 256),
    ("nnunet-512", lambda: NnUNet(NnUNetPlan.of_size(512)), 46_325_134, 119.5, 512),
    ("transunet-224", lambda: TransUNet(224), 105_275_921, 58.3, 224),
    ("transunet-256", lambda: TransUNet(256), 105_322_001, 76.8, 256),
    ("transunet-512", lambda: TransUNet(512), 105_911_825, 336, 512),
    ("dstransunet", DSTransUNet, 171_441_329, 109.0, 256),
    ("dstransunet-384", DSTransUNet, 171_441_329, 241.5, 384),
    ("dstransunet-512", DSTransUNet, 171_441_329, 462, 512),
    ("mednca", lambda: MedNCA(MedNCAPlan()), 70_016, 310, 256),
    ("mednca-16", lambda: MedNCA(MedNCAPlan(channels=16)), 25_920, 114, 256),
)
LONG = {"unetpp-irv2", "transunet-224", "transunet-512", "dstransunet-384", "dstransunet-512"}


@pytest.mark.parametrize(
    ("body", "parameters", "gflops", "px"),
    [pytest.param(*row, id=name, marks=[SLOW] * (name in LONG)) for name, *row in PUBLISHED],
)
def test_published_parameters_and_arithmetic(
    body: Callable[[], nn.Module], parameters: int, gflops: float | None, px: int
) -> None:
    with torch.device("meta"):
        net = body().eval().to("meta")
        assert sum(p.numel() for p in net.parameters()) == parameters
        if gflops is None:
            return
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = net(torch.empty(1, 3, px, px))
    assert logits.shape == (1, 1, px, px)
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, rel=0.01)


def test_parts_of_ds_transunet_have_the_sizes_of_the_description() -> None:
    def count(part: nn.Module) -> int:
        return sum(p.numel() for p in part.parameters())

    with torch.device("meta"):
        net = DSTransUNet()
    assert count(net.branch_l) == 86_745_016
    assert count(net.branch_s) == 27_534_522
    merges = [count(fuse.merge) for fuse in net.fuse]
    assert merges == [406_272, 1_623_552, 6_491_136, 25_958_400]
    attention = [count(fuse) - merge for fuse, merge in zip(net.fuse, merges, strict=True)]
    assert attention == [186_720, 422_208, 1_040_640, 2_867_328]
    assert [count(up) for up in net.up] == [13_650_064, 3_417_160, 856_612]
    assert [count(up) for up in net.last] == [147_712, 36_992]
    assert (count(net.stem_whole), count(net.stem_half)) == (128, 55_680)


# --- the common contract ----------------------------------------------------------------------

MEMBERS = (
    Member("unetpp", NetRecipe(name="unetpp"), 9_042_177, slow=True),
    Member("unetpp_ds", NetRecipe(name="unetpp_ds"), 9_042_276),
    Member("unetpp_bn", NetRecipe(name="unetpp_bn"), 9_163_329, slow=True),
    Member("unetpp_bn_ds", NetRecipe(name="unetpp_bn_ds"), 9_163_428),
    Member("unext", NetRecipe(name="unext"), 1_471_921),
    Member("unext_s", NetRecipe(name="unext_s"), 253_561),
    Member("nnunet", NetRecipe(name="nnunet"), 33_472_396, slow=True),
    Member("nnunet_512", NetRecipe(name="nnunet_512"), 46_325_134, slow=True),
    Member("transunet", NetRecipe(name="transunet"), 105_322_001, slow=True),
    Member("dstransunet", NetRecipe(name="dstransunet"), 171_441_329, slow=True),
    Member("mednca", NetRecipe(name="mednca"), 70_016, slow=True),
    Member("mednca_16", NetRecipe(name="mednca_16"), 25_920),
    Member(
        "unetpp-lite0",
        NetRecipe(name="unetpp:efficientnet_lite0", freeze=2),
        frozen=tuple(
            f"body.encoder.body.{n}." for n in ("conv_stem", "bn1", "blocks.0", "blocks.1")
        ),
    ),
    Member(
        "unetpp-resnet50",
        NetRecipe(name="unetpp:resnet50", transfer=0),
        48_985_745,
        slow=True,
    ),
)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("member", [as_parameter(m) for m in MEMBERS])
def test_contract(member: Member, check: Callable[[Member], None]) -> None:
    check(member)


def test_every_rival_is_a_member_and_counts_as_untransferred() -> None:
    assert {"unet", *RIVALS} == set(FROM_SCRATCH)
    assert set(RIVALS) <= {member.recipe.name for member in MEMBERS}
    assert Recipe(net=NetRecipe(name="unext")).epochs == 40
    assert Recipe(net=NetRecipe(name="unetpp:resnet50")).epochs == 20


@pytest.mark.parametrize("name", ["unetpp_ds", "unetpp_bn_ds"])
def test_deep_supervision_gives_every_output_at_full_size(name: str) -> None:
    net = build(NetRecipe(name=name))
    outputs = net.train()(images(50, 75, batch=2))
    assert [tuple(o.shape) for o in outputs] == [(2, 1, 50, 75)] * 4
    assert net.output_weights == (0.25,) * 4
    assert isinstance(net.eval()(images(50, 75)), torch.Tensor)


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"name": "unext", "dropout": 0.2}, "net.dropout 0 with --net unext"),
        ({"name": "transunet", "freeze": 1}, "with --net transunet, which has no ImageNet"),
        ({"name": "unetp"}, "nearest are unetpp"),
        ({"name": "unetpp:resnet5"}, "nearest are .*resnet50"),
    ],
)
def test_impossible_recipes_say_what_is_possible(decisions: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(NetRecipe.model_validate(decisions))


def test_a_rivals_card_is_not_anothers() -> None:
    with pytest.raises(UserError, match="the card of a network unext_s"):
        build(NetRecipe(name="unext_s"), card=build(NetRecipe(name="unext")).card)


@pytest.mark.parametrize(
    "name",
    [
        "unext_s",
        "mednca_16",
        "unetpp_ds",
        *(pytest.param(n, marks=SLOW) for n in ("nnunet", "transunet", "dstransunet")),
    ],
)
def test_describe_tells_every_weight(name: str) -> None:
    table = describe(NetRecipe(name=name))
    assert sum(layer.parameters for layer in table.layers) == table.parameters
    assert {layer.stride.bit_count() for layer in table.layers} == {1}


# --- U-Net++ ----------------------------------------------------------------------------------


def test_nested_unet_on_resnet_computes_what_smp_computes() -> None:
    """Ours numbers nodes by row and column from the finest, smp by steps up from the coarsest."""
    body, reference = on("timm:resnet18"), smp.UnetPlusPlus("resnet18", encoder_weights=None)
    initialise(body, "he", 0)
    reference.encoder.load_state_dict(body.encoder.body.state_dict())
    pairs = [(body.head, reference.segmentation_head)]
    for node, merge in body.nest.merge.items():
        i, j = (int(part) for part in node.split("_"))
        pairs.append((merge, reference.decoder.blocks[f"x_{4 - i - j}_{3 - i}"]))
    pairs.append((body.decoder[0].merge, reference.decoder.blocks["x_0_4"]))
    with torch.no_grad():
        for own, theirs in pairs:
            for a, b in zip(own.parameters(), theirs.parameters(), strict=True):
                b.copy_(a)
        pictures = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
        got, expected = body.eval()(pictures), reference.eval()(pictures)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_outside_training_the_heads_vote_with_probabilities() -> None:
    logits = [torch.tensor([3.0, -200.0]), torch.tensor([-1.0, -200.0])]
    mean = torch.stack(logits).sigmoid().mean(0)
    voted = logit_of_mean(logits)
    torch.testing.assert_close(voted.sigmoid()[0], mean[0])
    assert voted[1] == -200  # where probabilities have long been zero
    net = UNetPP(UNetPPPlan((4, 8, 16), deep_supervision=True))
    picture = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        heads = net.train()(picture)
        torch.testing.assert_close(net.eval()(picture), logit_of_mean(heads))


def test_dropout_of_unetpp_follows_every_activation() -> None:
    net = UNetPP(UNetPPPlan((4, 8), dropout=0.5))
    assert [type(m).__name__ for m in net.down[0]] == ["Conv2d", "ReLU", "Dropout"] * 2


# --- UNeXt ------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [-1, -2])
def test_shift_moves_five_groups_and_lets_zeros_in(axis: int) -> None:
    """The description in its own words: pad by 2, chunk in 5, roll chunk k by k - 2, crop."""
    features = torch.rand(2, 13, 6, 7)  # chunks of 3, 3, 3, 3 and 1
    padded = nn.functional.pad(features, (2, 2, 2, 2))
    rolled = [c.roll(k - 2, axis) for k, c in enumerate(padded.chunk(5, dim=1))]
    assert torch.equal(shift(features, axis), torch.cat(rolled, 1)[..., 2:-2, 2:-2])


# --- nnU-Net ----------------------------------------------------------------------------------


def test_the_planner_of_nnunet_gives_the_published_plans() -> None:
    small, large = NnUNetPlan.of_size(256), NnUNetPlan.of_size(512)
    assert small.feature_values(256) / 1e6 == pytest.approx(20.67, abs=0.005)
    assert large.feature_values(512) / 1e6 == pytest.approx(82.80, abs=0.005)
    assert (small.batch(256, 10_000), large.batch(512, 10_000)) == (49, 12)
    assert (small.batch(256, 200), small.batch(256, 5)) == (10, 2)  # 5 % of the images, but two
    assert [len(NnUNetPlan.of_size(px).channels) for px in (96, 255, 320)] == [5, 6, 7]


def test_one_logit_means_what_the_softmax_of_two_classes_means() -> None:
    scores, mask = torch.randn(2, 2, 5, 6), torch.randint(2, (2, 5, 6))
    logit = one_logit(scores)
    torch.testing.assert_close(logit[:, 0].sigmoid(), scores.softmax(1)[:, 1])
    torch.testing.assert_close(
        binary_cross_entropy_with_logits(logit[:, 0], mask.float()), cross_entropy(scores, mask)
    )
    assert torch.equal(one_logit(scores[:, :1]), scores[:, :1])
    with torch.device("meta"):
        single = NnUNet(NnUNetPlan((32, 64, 128), classes=1))
        assert single.eval()(torch.empty(1, 3, 32, 32)).shape == (1, 1, 32, 32)


def test_nnunet_ignores_brightness_and_contrast_and_weights_its_outputs() -> None:
    net = NnUNet(NnUNetPlan((4, 8, 16, 16)))
    picture = images(16, 24, channels=3)
    with torch.no_grad():
        torch.testing.assert_close(
            net.eval()(picture), net(0.3 * picture + 0.1), rtol=1e-3, atol=1e-4
        )
    outputs = net.train()(picture)
    assert [tuple(o.shape) for o in outputs] == [(1, 1, 16, 24)] * 3
    assert net.output_weights == pytest.approx((2 / 3, 1 / 3, 0))
    assert torch.equal(outputs[2][..., ::4, ::4], outputs[2][..., 3::4, 3::4])  # the coarsest


def test_nnunet_sees_nothing_in_what_rounding_leaves_of_an_image_of_one_value() -> None:
    """Divided by next to no deviation, it was told apart by instance norms, by each engine anew."""
    net, picture = NnUNet(NnUNetPlan((4, 8, 16))), torch.full((1, 3, 16, 24), 0.3)
    picture[..., 0, 0] = torch.nextafter(picture[..., 0, 0], torch.tensor(1.0))
    assert not net._whole(picture).any()
    picture[..., 0, 0] += 1 / 255
    assert net._whole(picture).std(correction=0) == pytest.approx(1, rel=1e-3)


def test_nnunet_takes_images_of_one_coarse_pixel() -> None:
    net = NnUNet(NnUNetPlan((4, 8, 16)))
    assert net.train()(images(4, 4, channels=3))[0].shape == (1, 1, 4, 4)


# --- TransUNet and DS-TransUNet ---------------------------------------------------------------


def test_position_embedding_is_kept_at_its_size_and_stretched_at_others() -> None:
    place = Position(2, 4, dropout=0)
    with torch.no_grad():
        place.embedding_1CHW.copy_(torch.arange(4.0).view(1, 1, 4, 1).expand(1, 2, 4, 4))
        assert torch.equal(place(torch.zeros(1, 2, 4, 4)), place.embedding_1CHW)
        wide = place(torch.zeros(1, 2, 7, 3))
    assert wide[0, 0, :, 0].tolist() == pytest.approx([0, 0.5, 1, 1.5, 2, 2.5, 3])


def test_dropout_of_transunet_is_on_tokens_and_in_perceptrons_alone() -> None:
    with torch.device("meta"):
        net = TransUNet(256, dropout=0.1)
    rates = {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout)}
    perceptrons = {f"blocks.{block}.mlp.drop{k}" for block in range(12) for k in (1, 2)}
    assert {name for name, p in rates.items() if p > 0} == {"position.dropout", *perceptrons}
    assert {p for p in rates.values() if p > 0} == {0.1}


def test_ds_transunet_drops_branches_and_weights_outputs_as_published() -> None:
    with torch.device("meta"):
        net = DSTransUNet(drop_path=0.5)
    assert net.output_weights == (0.6, 0.2, 0.2)
    for part, largest in ((net.branch_l, 0.5), (net.branch_s, 0.2), (net.up, 0.2)):
        rates = [m.drop_prob for m in part.modules() if isinstance(m, DropPath)]
        assert max(rates) == pytest.approx(largest)


def test_a_message_carries_the_whole_other_branch_to_every_place() -> None:
    fuse = Fusion(32, 96)
    fuse.merge = nn.Sequential()  # what is laid beside each other: 32 channels of L, 96 of S
    map_l, map_s = torch.rand(1, 32, 8, 8), torch.rand(1, 96, 4, 4, requires_grad=True)
    fused = fuse(map_l, map_s)
    fused[0, 0, 7, 7].backward()
    assert (map_s.grad.abs().amax(1) > 0).all()
    assert fused.shape == (1, 128, 8, 8)
    assert torch.equal(fused[:, 32:, ::2, ::2], fused[:, 32:, 1::2, 1::2])


def test_attention_of_the_fusion_is_attention() -> None:
    layer, tokens = TransformerLayer(96, ATTENTION_S).eval(), torch.rand(2, 5, 96)
    reference = nn.MultiheadAttention(96, 3, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(layer.query_key_value.weight)
        reference.out_proj.load_state_dict(layer.out.state_dict())
        normed = layer.norm_a(tokens)
        middle = tokens + reference(normed, normed, normed)[0]
        expected = middle + layer.perceptron(layer.norm_b(middle))
        torch.testing.assert_close(layer(tokens), expected)


def test_swin_window_tables_do_not_shrink_on_small_images() -> None:
    with torch.device("meta"):
        branch = SwinBranch("swin_tiny_patch4_window7_224", (96, 192, 384, 768), 8, 0.2)
        assert sum(p.numel() for p in branch.parameters()) == 27_534_522
        maps = branch(torch.empty(1, 3, 64, 128))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (96, 8, 16),
        (192, 4, 8),
        (384, 2, 4),
        (768, 1, 2),
    ]


# --- Med-NCA ----------------------------------------------------------------------------------


def awake_nca(**plan: int) -> MedNCA:
    """A small Med-NCA whose last kernels are no longer zero."""
    net = MedNCA(MedNCAPlan(**{"channels": 8, "hidden": 16, "steps": 12, **plan}))
    initialise(net, "xavier", 0)
    for automaton in (net.coarse, net.fine):
        nn.init.normal_(automaton.act, std=0.1, generator=torch.Generator().manual_seed(1))
    return net.eval()


def test_mednca_begins_by_doing_nothing() -> None:
    assert not build(NetRecipe(name="mednca_16")).eval()(images(32, 32)).any()


def test_every_kernel_of_mednca_wakes_up() -> None:
    net = awake_nca().train()
    torch.manual_seed(0)
    net(images(32, 32, batch=2, channels=3)).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_image_never_changes_inside() -> None:
    net, state = awake_nca(), torch.rand(1, 8, 8, 8)
    with torch.no_grad():
        after = net.fine(state, torch.ones(12, 1, 1, 8, 8))
    assert torch.equal(after[:, :3], state[:, :3])
    assert not torch.isclose(after[:, 3:], state[:, 3:]).all()


def test_a_picture_has_one_answer_whatever_is_beside_it() -> None:
    net = awake_nca()
    picture, other = images(32, 24, channels=3), torch.rand(1, 3, 32, 24)
    with torch.no_grad():
        torch.rand(5)
        alone = net(picture)
        assert torch.equal(net(picture), alone)
        torch.testing.assert_close(net(torch.cat([other, picture]))[1:], alone)


def test_spread_is_of_the_runs_and_leaves_the_seed() -> None:
    body = awake_nca()
    net = Net(body, scratch_card("resnet50"), body.multiple).eval()
    picture, runs = images(20, 30), []
    mean, spread_B1HW = spread(net, picture, n_runs=3)
    with torch.no_grad():
        for seed in range(3):
            body.seed = seed
            runs.append(net(picture))
    body.seed = 0
    torch.testing.assert_close(mean, torch.stack(runs).mean(0))
    torch.testing.assert_close(spread_B1HW, torch.stack(runs).sigmoid().std(0))
    assert (spread_B1HW > 0).any()
    assert body.seed == 0


def test_a_cell_sees_as_far_as_its_steps() -> None:
    """One pixel a step at each scale: 3 steps reach (3 + 1) * 4 + 3 pixels at the most."""
    net, picture = awake_nca(steps=3), images(96, 8, channels=3)
    there = picture.clone()
    there[..., 0, :] = 1 - there[..., 0, :]
    with torch.no_grad():
        changed = (net(picture) != net(there)).any(dim=-1)[0, 0]
    assert changed[:4].any()
    assert not changed[20:].any()


def test_training_refines_one_window_of_each_image() -> None:
    """The window is as large as the coarse image; elsewhere stand the coarse logits in blocks."""
    net = awake_nca().train()
    with torch.no_grad():
        torch.manual_seed(0)
        logits = net(images(32, 32, batch=2, channels=3))
    blocks = logits.unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2)  # coarse pixels of 4 x 4
    fine = (blocks.amax(-1) > blocks.amin(-1))[:, 0]  # 8 x 8 coarse pixels an image
    for image in fine:
        assert 4 <= int(image.sum()) <= 9  # a window of 8 x 8 pixels touches so many
        rows, columns = image.any(1).nonzero(), image.any(0).nonzero()
        assert int(rows.max() - rows.min()) <= 2
        assert int(columns.max() - columns.min()) <= 2
