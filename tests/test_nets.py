"""Networks from recipes: the table, smp as oracle, geometry of the encoders, initialisation."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import timm
import torch
from torch import Tensor, nn

from ehtseg.nets.build import build, scratch_card
from ehtseg.nets.describe import describe
from ehtseg.nets.features import Encoder
from ehtseg.nets.initialise import initialise
from ehtseg.nets.transfer_unet import DECODERS, TransferUNet
from ehtseg.nets.weights import BUNDLED
from ehtseg.nets.weights_file import flat
from ehtseg.recipe import NetRecipe
from ehtseg.records import UserError
from net_tester import CHECKS, Member, as_parameter, images, name_of

BODY = "body.encoder.body."
LITE0 = BUNDLED / "tf_efficientnet_lite0_in1k.safetensors"


def scratch(name: str, **decisions: object) -> NetRecipe:
    """A recipe that needs no weights file."""
    return NetRecipe.model_validate({"name": name, "transfer": 0, **decisions})


def frozen(names: str) -> tuple[str, ...]:
    return tuple(f"{BODY}{name}." for name in names.split())


MEMBERS = (
    Member("unet-16", NetRecipe(name="unet"), 1_941_105, 6.07),
    Member("unet-valid", NetRecipe(name="unet", padding="valid", width=4, depth=2)),
    Member("unet-batch", NetRecipe(name="unet", width=8, norm="batch", up="bilinear")),
    Member("unet-instance", NetRecipe(name="unet", width=8, norm="instance", up="up_conv")),
    Member(
        "resnet50",
        scratch("resnet50", freeze=2),
        32_521_105,
        21.3,
        frozen=frozen("conv1 bn1 layer1"),
    ),
    Member(
        # 9,216 more than smp, and 1.2 GFLOPs: the full-resolution skip that smp drops
        "vgg16",
        scratch("vgg16", freeze=2),
        23_748_241 + 64 * 16 * 9,
        49.5 + 2 * 64 * 16 * 9 * 256**2 / 1e9,
        frozen=frozen("features_0 features_2 features_5 features_7"),
    ),
    Member(
        "inception_resnet_v2",
        scratch("inception_resnet_v2", freeze=2),
        62_029_297,
        32.5,
        slow=True,
        frozen=frozen("conv2d_1a conv2d_2a conv2d_2b conv2d_3b conv2d_4a"),
    ),
    Member(
        "efficientnet_lite0",
        NetRecipe(name="efficientnet_lite0", freeze=2),
        frozen=frozen("conv_stem bn1 blocks.0 blocks.1"),
    ),
    Member(
        "resnet50-paper",
        scratch("resnet50", profile="paper", freeze="all"),
        20_626_817,
        frozen=(BODY,),
    ),
    Member(
        "timm-convnext",
        scratch("timm:convnext_atto", freeze=1),
        frozen=frozen("stem_0 stem_1 stages_0"),
    ),
)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("member", [as_parameter(m) for m in MEMBERS])
def test_contract(member: Member, check: Callable[[Member], None]) -> None:
    check(member)


@pytest.mark.parametrize(
    ("name", "parameters"),  # of the public Keras tutorials that this profile follows
    [("resnet50", 20_626_817), ("vgg16", 25_858_497), ("inception_resnet_v2", 38_055_713)],
)
def test_paper_profile_has_the_tutorials_size(name: str, parameters: int) -> None:
    plan = DECODERS["paper"]
    net = TransferUNet(Encoder(name, scratch_card(name), plan.coarsest), plan)
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_no_tensor_of_an_encoder_is_left_as_the_memory_that_it_was_found_in() -> None:
    """timm's standardised convolutions have a gain, which `initialise` does not draw."""
    body = build(scratch("timm:nf_resnet26")).body.encoder.body.state_dict()
    theirs = timm.create_model("nf_resnet26", features_only=True).state_dict()
    gains = [name for name in body if name.endswith(".gain")]
    assert len(gains) == 29
    assert all(torch.equal(body[name], theirs[name]) for name in gains)


# --- segmentation_models.pytorch as oracle ---------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", "resnet50"),
        pytest.param("vgg16", "vgg16", marks=pytest.mark.slow),
        pytest.param("inception_resnet_v2", "inceptionresnetv2", marks=pytest.mark.slow),
    ],
)
def test_modern_profile_computes_what_smp_computes(ours: str, theirs: str) -> None:
    body = build(scratch(ours), seed=1).body
    reference = smp.Unet(theirs, encoder_weights=None)
    _copy(body, reference)
    pictures = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        got, expected = body.eval()(pictures), reference.eval()(pictures)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def _copy(body: nn.Module, reference: nn.Module) -> None:
    """Our weights into smp's net; the full-resolution skip that smp lacks (VGG) counts nothing."""
    last = body.decoder[-1].merge[0].weight
    there = reference.decoder.blocks[-1].conv1[0].weight.shape[1]
    with torch.no_grad():
        last[:, there:] = 0
    encoder = {flat(name): t for name, t in body.encoder.body.state_dict().items()}
    reference.encoder.load_state_dict(
        {name: encoder[flat(name)] for name in reference.encoder.state_dict()}
    )
    decoder = [*body.center.parameters(), *body.decoder.parameters(), *body.head.parameters()]
    theirs = [*reference.decoder.parameters(), *reference.segmentation_head.parameters()]
    with torch.no_grad():
        for own, other in zip(decoder, theirs, strict=True):
            other.copy_(own[:, : other.shape[1]] if own.ndim == 4 else own)


# --- geometry ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["resnet50", pytest.param("inception_resnet_v2", marks=pytest.mark.slow)]
)
def test_feature_i_looks_at_pixel_i_times_stride_at_every_level(name: str) -> None:
    """Skips register: the centre of what a feature sees is the same at all levels, to 0.3 pixels.

    Unmended, the maps of Inception-ResNet-v2 are 125/60/29/14/6 and off by 3 to 20 pixels.
    """
    encoder = _averaging(Encoder(name, scratch_card(name)))
    picture = torch.ones(1, 3, 256, 256, requires_grad=True)
    for each, output in zip(encoder.maps, encoder(picture), strict=True):
        assert output.shape[-2:] == (256 // each.reduction, 256 // each.reduction)
        middle = output.shape[-1] // 2
        seen = torch.autograd.grad(output[0, :, middle, middle].sum(), picture, retain_graph=True)
        weight_W = seen[0].sum((0, 1, 2))
        centre = float((weight_W * torch.arange(256)).sum() / weight_W.sum())
        assert abs(centre - each.reduction * middle) < 0.3


def _averaging(encoder: Encoder) -> Encoder:
    """The encoder with flat kernels and pooling, so that gradients show receptive fields."""
    initialise(encoder, "he", 0)
    for parent in list(encoder.modules()):
        if isinstance(parent, nn.Conv2d):
            nn.init.constant_(parent.weight, 1 / parent.weight[0].numel())
        for name, child in parent.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(parent, name, pool)
    return encoder.eval()


def test_keras_v1_block_is_a_stride_1_block_on_every_second_pixel() -> None:
    """Stride 2 on the first 1x1 convolution drops pixels first; v1.5 drops them at the 3x3."""

    def same(variant: str) -> bool:
        card = scratch_card("resnet50")
        object.__setattr__(card, "variant", variant)
        encoder = Encoder("resnet50", card).eval()
        initialise(encoder, "he", 0)
        block = encoder.body.layer2[0]
        features = torch.randn(1, 256, 16, 16, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            expected = block(features)
            for layer in block.modules():
                if isinstance(layer, nn.Conv2d):
                    layer.stride = (1, 1)
            return torch.allclose(block(features[..., ::2, ::2]), expected, atol=1e-4)

    assert same("keras_v1")
    assert not same("torchvision_v1.5")


def test_encoders_whose_maps_do_not_halve_are_refused() -> None:
    for name in (
        "timm:inception_v4",
        "timm:vit_tiny_patch16_224",
    ):
        with pytest.raises(UserError, match="halve step by step"):
            build(scratch(name))


# --- initialisation ---------------------------------------------------------------------------


def test_build_is_a_pure_function_of_the_seed() -> None:
    recipe = NetRecipe(name="unet", width=4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(recipe, seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert _equal(first, build(recipe, seed=1).state_dict())
    assert not _equal(first, build(recipe, seed=2).state_dict())


def test_the_decoder_is_the_same_with_and_without_imagenet() -> None:
    with_imagenet = build(NetRecipe(name="efficientnet_lite0"), seed=4).body
    without = build(scratch("efficientnet_lite0"), seed=4).body
    assert _equal(with_imagenet.decoder.state_dict(), without.decoder.state_dict())
    assert not _equal(with_imagenet.encoder.state_dict(), without.encoder.state_dict())


@pytest.mark.parametrize(
    ("rule", "variance"), [("xavier", 2 / (9 * 512 + 9 * 256)), ("he", 2 / (9 * 512))]
)
def test_variance_of_random_kernels(rule: str, variance: float) -> None:
    """Glorot: 2 / (in + out); He: 2 / in; biases are zero."""
    net = build(NetRecipe.model_validate({"name": "unet", "width": 64, "init": rule}))
    conv = net.body.merge[1][0]
    assert float(conv.weight.detach().var()) == pytest.approx(variance, rel=0.01)
    assert not conv.bias.any()


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, second[name]) for name, tensor in first.items())


# --- recipes that cannot be built ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"name": "resnet5"}, "nearest are .*resnet50"),
        ({"name": "timm:resnett18"}, "nearest are .*timm:resnet18"),
        ({"name": "unetpp:unet"}, "unet, which is a whole network"),
        ({"name": "efficientnet_lite0", "transfer": 6}, "between 0 and 5, .*got 6"),
        ({"name": "efficientnet_lite0", "freeze": 9}, "freeze between 0 and 5"),
        ({"name": "efficientnet_lite0", "transfer": ["conv_stm"]}, "nearest are conv_stem"),
        ({"name": "unet", "freeze": 1}, "no ImageNet encoder"),
        ({"name": "unet", "transfer": 2}, "no ImageNet encoder"),
    ],
)
def test_impossible_recipes_say_what_is_possible(decisions: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(NetRecipe.model_validate(decisions))


def test_the_card_of_another_network_is_refused() -> None:
    card = build(NetRecipe(name="unet", width=4)).card
    with pytest.raises(UserError, match="the card of a network resnet50"):
        build(NetRecipe(name="resnet50"), card=card)


# --- describe -----------------------------------------------------------------------------------


def test_describe_tells_where_each_layer_comes_from_and_what_stays_fixed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EHTSEG_WEIGHTS", raising=False)
    table = describe(NetRecipe(name="vgg16", transfer=3, freeze=2))
    assert "not at hand" in table.notes[0]
    rows = {layer.name: layer for layer in table.layers}
    assert (rows["features.7"].weights, rows["features.7"].fixed) == ("ImageNet", True)
    assert (rows["features.7"].channels, rows["features.7"].stride) == (128, 2)
    assert rows["features.7"].mode == "inference"
    assert (rows["features.10"].weights, rows["features.10"].fixed) == ("ImageNet", False)
    assert rows["features.17"].weights == "random (xavier)"
    assert table.parameters == sum(layer.parameters for layer in table.layers) == 23_757_457
    assert table.trainable == table.parameters - 38_720 - 221_440  # blocks 1 and 2
    assert list(table.parts()) == [*(f"block{i}" for i in range(1, 6)), "center", "decoder", "head"]


def test_describe_names_the_bundled_file_and_drifting_norms() -> None:
    table = describe(NetRecipe(name="efficientnet_lite0", freeze=1, freeze_mode="weights_only"))
    assert "bundled with the package" in table.notes[0]
    stem_norm = next(layer for layer in table.layers if layer.name == "bn1")
    assert (stem_norm.fixed, stem_norm.mode) == (True, "training")


@pytest.mark.parametrize(
    ("net", "weights", "said"),
    [
        ({"control": "random"}, {"random (xavier)", "start values"}, "but the variant of"),
        ({"control": "permuted"}, {"ImageNet, permuted"}, "ImageNet weights: "),
        ({"transfer": 0, "weights": str(LITE0)}, {"random (xavier)", "start values"}, "variant of"),
    ],
)
def test_describe_calls_no_random_layer_imagenets(
    net: dict[str, object], weights: set[str], said: str
) -> None:
    table = describe(NetRecipe.model_validate({"name": "efficientnet_lite0", **net}))
    encoder = [layer for layer in table.layers if layer.part.startswith("stage")]
    assert {layer.weights for layer in encoder} == weights
    assert said in table.notes[0]


@pytest.mark.parametrize("depth", [4, 5])
def test_describe_tells_strides_of_valid_convolutions_too(depth: int) -> None:
    recipe = NetRecipe(name="unet", width=2, depth=depth)
    valid = describe(recipe.model_copy(update={"padding": "valid"}))
    assert valid == describe(recipe)
    assert max(layer.stride for layer in valid.layers) == 2**depth


def test_logits_have_the_image_size_in_bfloat16_and_channels_last() -> None:
    net = build(NetRecipe(name="efficientnet_lite0")).eval().to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits = net(images(70, 50))
    with torch.no_grad():
        expected = net(images(70, 50))
    assert logits.shape == (1, 1, 70, 50)
    assert float((logits.float() - expected).abs().max()) < 0.1 * float(expected.std()) + 0.1
