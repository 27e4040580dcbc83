"""Networks of segmentation_models.pytorch inside our training: contract, weights, clear words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from conftest import shared, write_labelled
from ehtseg.learning.adapt import adapt_recipe
from ehtseg.learning.evaluate import evaluate
from ehtseg.learning.train import train
from ehtseg.nets import smp_net
from ehtseg.nets.build import build
from ehtseg.nets.describe import describe
from ehtseg.nets.encoders import architecture
from ehtseg.nets.smp_net import SmpName, smp_scratch_card
from ehtseg.nets.weights import BUNDLED
from ehtseg.nets.weights_file import expected_shapes, flat
from ehtseg.reading.dataset import open_dataset
from ehtseg.recipe import SMP_ENCODERS, NetRecipe, make_recipe
from ehtseg.records import UserError
from ehtseg.seeing.run_folder import RunFolder
from net_tester import CHECKS, Member, as_parameter, name_of

LITE = "tu-tf_efficientnet_lite0"
MEMBERS = (
    Member("lite0", NetRecipe(name=f"smp:Unet/{LITE}")),
    Member("foreign", NetRecipe(name="smp:Linknet/resnet18")),
    Member(
        "resnet50", NetRecipe(name="smp:Unet/resnet50", transfer=0), 32_521_105, 21.3, slow=True
    ),
    Member(
        "nested", NetRecipe(name="smp:UnetPlusPlus/resnet50", transfer=0), 48_985_745, slow=True
    ),
)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
@pytest.mark.parametrize("member", [as_parameter(m) for m in MEMBERS])
def test_contract(member: Member, check: Callable[[Member], None]) -> None:
    check(member)


@pytest.mark.parametrize(("theirs", "ours"), SMP_ENCODERS.items())
def test_every_tensor_of_our_files_has_its_place(theirs: str, ours: str) -> None:
    with torch.device("meta"):
        encoder = smp.encoders.get_encoder(theirs, weights=None)
    own = {flat(name): tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    for name, shape in expected_shapes(architecture(ours).arch)[0].items():
        assert own[flat(name)] == shape, name


@pytest.mark.parametrize(
    ("name", "freeze"), [("smp:Linknet/resnet18", 0), ("unet", 0), ("efficientnet_lite0", "all")]
)
def test_only_our_own_encoders_stay_fixed_while_a_network_is_adapted(
    tmp_path: Path, name: str, freeze: object
) -> None:
    run = RunFolder(tmp_path, make_recipe({"net": {"name": name}}), {})
    recipe = adapt_recipe(run)
    assert recipe.net.freeze == freeze
    assert build(recipe.net).multiple > 0, "nothing in it is refused"


def features(net: torch.nn.Module, picture: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        return net.eval().body.encoder((picture - net.mean) / net.std)


def test_the_bundled_weights_compute_in_smp_what_they_compute_here() -> None:
    picture = torch.rand(1, 3, 64, 64)
    theirs = features(build(NetRecipe(name=f"smp:Unet/{LITE}")), picture)[1:]
    ours = features(build(NetRecipe(name="efficientnet_lite0")), picture)
    for one, other in zip(theirs, ours, strict=True):
        torch.testing.assert_close(one, other)


def test_the_unet_of_smp_is_ours_layer_by_layer() -> None:
    """The study of rivals takes the difference of the two for what chance does."""
    ours = build(NetRecipe(name="resnet50", transfer=0)).eval()
    theirs = build(NetRecipe(name="smp:Unet/resnet50", transfer=0)).eval()
    names, weights = theirs.state_dict().keys(), ours.state_dict().values()
    theirs.load_state_dict(dict(zip(names, weights, strict=True)))
    picture = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(theirs(picture), ours(picture))


@pytest.mark.slow
def test_the_keras_file_is_built_as_v1_inside_smp() -> None:
    file = str(shared("weights/resnet50_keras_in1k.safetensors"))
    net = build(NetRecipe(name="smp:Unet/resnet50", weights=file))
    assert net.card["variant"] == "keras_v1"
    assert net.body.encoder.layer2[0].conv1.stride == (2, 2)
    picture = torch.rand(1, 3, 64, 64)
    ours = features(build(NetRecipe(name="resnet50", weights=file)), picture)
    for one, other in zip(features(net, picture)[1:], ours, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("network", ["DeepLabV3Plus", "DeepLabV3"])
def test_the_variant_v1_leaves_dilated_stages_their_size(network: str) -> None:
    card = replace(smp_scratch_card(f"smp:{network}/resnet50"), variant="keras_v1")
    recipe = NetRecipe(name=f"smp:{network}/resnet50", transfer=0)
    net = build(recipe, card=card.as_dict()).eval()
    assert net.body.encoder.layer2[0].conv1.stride == (2, 2)
    assert net.body.encoder.layer4[0].conv1.stride == (1, 1)
    with torch.no_grad():
        assert net(torch.rand(1, 1, 64, 64)).shape == (1, 1, 64, 64)


def test_a_file_decides_the_variant_alone_where_nothing_is_transferred() -> None:
    file = str(BUNDLED / "tf_efficientnet_lite0_in1k.safetensors")
    nothing = build(NetRecipe(name=f"smp:Unet/{LITE}", transfer=0))
    named = build(NetRecipe(name=f"smp:Unet/{LITE}", transfer=0, weights=file))
    assert named.card["variant"] == "timm"
    assert named.card["transferred"] == []
    assert named.card["weights_sha256"] is None
    for one, other in zip(named.parameters(), nothing.parameters(), strict=True):
        assert torch.equal(one, other)
    table = describe(NetRecipe(name=f"smp:Unet/{LITE}", transfer=0, weights=file))
    assert "ImageNet" not in {layer.weights for layer in table.layers}


def test_describe_tells_which_layers_are_imagenets() -> None:
    table = describe(NetRecipe(name=f"smp:Unet/{LITE}"))
    assert sum(layer.parameters for layer in table.layers) == table.parameters
    kernels = [layer for layer in table.layers if "Conv2d" in layer.kind]
    assert {k.weights for k in kernels if k.part == "encoder"} == {"ImageNet"}
    assert {k.weights for k in kernels if k.part == "decoder"} == {"random (xavier)"}
    assert "No ImageNet weights" in describe(NetRecipe(name="smp:Unet/resnet18")).notes[0]


@pytest.mark.parametrize(
    ("net", "said"),
    [
        ({"name": "smp:Unet/resnet18"}, True),
        ({"name": "smp:Unet/resnet18", "transfer": 0}, False),
        ({"name": f"smp:Unet/{LITE}"}, False),
        ({"name": "unet"}, False),
    ],
)
def test_a_training_says_that_it_starts_from_random_weights(
    net: dict[str, object], said: bool, tmp_path: Path
) -> None:
    class BegunError(Exception):
        pass

    def tick(_done: int, _total: int) -> None:
        raise BegunError

    dataset = open_dataset([write_labelled(tmp_path / "film", {"film": 4}, size=32)])
    data, fit = {"split": "random", "size": 32}, {"batch": 2, "threads": 1}
    recipe = make_recipe({"data": data, "net": net, "fit": fit})
    heard: list[str] = []
    with pytest.raises(BegunError):
        train(dataset, recipe, tmp_path / "run", tell=heard.append, tick=tick)
    assert any("starts from random weights" in line for line in heard) == said


@pytest.mark.slow
def test_a_run_folder_of_smp_is_one_as_any_other(tmp_path: Path) -> None:
    dataset = open_dataset([write_labelled(tmp_path / "film", {"film": 12}, size=32)])
    recipe = make_recipe(
        {
            "data": {"split": "blocks", "guard_frames": 0, "size": 32, "augment": "flips"},
            "net": {"name": "smp:Unet/resnet18"},
            "fit": {"epochs": 1, "images_per_epoch": 4, "batch": 2, "threads": 1},
        }
    )
    run = train(dataset, recipe, tmp_path / "run")
    assert run.facts["card"]["arch"] == "smp:Unet/resnet18"
    assert evaluate(run.path, dataset).summary["images"] > 0


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"name": "smp:Unet"}, "Write for example: smp:Unet/resnet50"),
        ({"name": "smp:Unett/resnet18"}, "nearest are Unet"),
        ({"name": "smp:Unet/resnet19"}, "nearest are resnet18"),
        ({"name": "smp:DeepLabV3/vgg16"}, "an encoder that smp builds DeepLabV3 on"),
        ({"name": "smp:DPT/resnet18"}, "must start with 'tu-'"),
        ({"name": "smp:Unet/resnet18", "freeze": 1}, "no freezing"),
        ({"name": "smp:Unet/resnet18", "dropout": 0.2}, "net.dropout 0 with a network of smp"),
        ({"name": "smp:Unet/resnet18", "weights": "a.safetensors"}, "starts from random weights"),
    ],
)
def test_what_cannot_be_is_said(decisions: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(NetRecipe.model_validate(decisions))


def test_without_smp_the_install_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smp_net, "PACKAGE", "no_such_package_of_smp")
    with pytest.raises(UserError, match=r"pip install 'ehtseg\[smp\]'"):
        build(NetRecipe(name="smp:Unet/resnet18"))
    assert SmpName.of("smp:Unet/resnet18").ours is None
