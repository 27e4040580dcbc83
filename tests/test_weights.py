"""ImageNet weights: the four roads, the hub against a local server, and files that are refused."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from conftest import shared
from ehtseg.nets import hub
from ehtseg.nets.build import build
from ehtseg.nets.encoders import Card, architecture
from ehtseg.nets.features import Encoder
from ehtseg.nets.hub import HubFile, sha256_of
from ehtseg.nets.weights import BUNDLED, find_weights
from ehtseg.nets.weights_file import expected_shapes, read_card, read_tensors, write_weights_file
from ehtseg.recipe import NetRecipe
from ehtseg.records import UserError

LITE0 = BUNDLED / "tf_efficientnet_lite0_in1k.safetensors"
FACTS = {"arch": "resnet50", "variant": "torchvision_v1.5", "bn_eps": 1e-5}
FACTS |= {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "source": "made up"}


@pytest.fixture(autouse=True)
def _only_what_the_test_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EHTSEG_WEIGHTS", raising=False)
    monkeypatch.setenv("EHTSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there


def made_up(arch: str, seed: int = 0) -> dict[str, Tensor]:
    """Tensors of the right shapes, with values that a network survives."""
    source = torch.Generator().manual_seed(seed)
    return {
        name: torch.zeros(shape, dtype=torch.int64)
        if name.endswith("tracked")
        else torch.rand(shape, generator=source) * 0.1 - (0.05 if len(shape) > 1 else -0.5)
        for name, shape in expected_shapes(arch)[0].items()
    }


# --- real files -----------------------------------------------------------------------------------


def test_the_bundled_file_is_found_and_loaded() -> None:
    found = find_weights("efficientnet_lite0")
    assert (found.path, found.road) == (LITE0, "bundled with the package")
    net = build(NetRecipe(name="efficientnet_lite0"))
    assert net.card["weights_sha256"] == sha256_of(LITE0) == found.card.weights_sha256
    assert net.card["licence"] == "Apache-2.0"
    stem = load_file(LITE0)["conv_stem.weight"].float()
    assert torch.equal(net.body.encoder.body.conv_stem.weight, stem)


def test_the_bundled_file_is_the_shared_one() -> None:
    assert sha256_of(LITE0) == sha256_of(shared("weights/tf_efficientnet_lite0_in1k.safetensors"))


def test_keras_resnet50_is_built_as_v1_with_its_own_epsilon_and_mean() -> None:
    path = shared("weights/resnet50_keras_in1k.safetensors")
    net = build(NetRecipe(name="resnet50", weights=str(path)))
    body = net.body.encoder.body
    for layer in (body.layer2, body.layer3, body.layer4):
        assert (layer[0].conv1.stride, layer[0].conv2.stride) == ((2, 2), (1, 1))
    assert {m.eps for m in body.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}
    assert net.mean.flatten().tolist() == pytest.approx([0.4850196, 0.4579569, 0.4076039])
    assert torch.equal(body.conv1.weight, load_file(path)["conv1.weight"].float())
    assert net.card["variant"] == "keras_v1"


def test_vgg16_is_rescaled_to_the_usual_std_without_changing_its_function() -> None:
    """Trap 2: activations of the file as it is reach thousands; ours are those, divided by 57.6."""
    path = shared("weights/vgg16_keras_in1k.safetensors")
    net = build(NetRecipe(name="vgg16", weights=str(path))).eval()
    entry = architecture("vgg16")
    plain = Encoder("vgg16", read_card(path, entry)).eval()
    tensors = {name.replace("s.", "s_", 1): t for name, t in read_tensors(path, entry).items()}
    plain.body.load_state_dict(tensors)
    picture = torch.rand(1, 3, 64, 64)
    mean = torch.tensor(read_card(path, entry).mean).view(1, 3, 1, 1)
    with torch.no_grad():
        ours = net.body.encoder((picture - net.mean) / net.std)
        theirs = plain((picture - mean) * 255)
    factor = net.card["divided_by"]
    assert factor == pytest.approx((0.229 + 0.224 + 0.225) / 3 * 255, rel=1e-4)
    assert theirs[2].max() > 1000 > ours[2].max()
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine * factor, other, rtol=1e-3, atol=1e-3 * float(other.max()))


def test_activations_of_real_weights_are_finite_and_alive() -> None:
    for name, file in (
        ("resnet50", "weights/resnet50_keras_in1k.safetensors"),
        ("vgg16", "weights/vgg16_keras_in1k.safetensors"),
    ):
        net = build(NetRecipe(name=name, weights=str(shared(file)))).eval()
        with torch.no_grad():
            for features in net.body.encoder(torch.randn(1, 3, 64, 64)):
                assert torch.isfinite(features).all()
                assert 1e-3 < features.std() < 100


# --- which tensors are transferred ----------------------------------------------------------------


def test_transfer_by_stages_and_by_layers_takes_just_these() -> None:
    real = load_file(LITE0)

    def taken(transfer: int | tuple[str, ...]) -> set[str]:
        net = build(NetRecipe(name="efficientnet_lite0", transfer=transfer))
        state = net.body.encoder.body.state_dict()
        kernels = [name for name, t in state.items() if t.ndim == 4]
        return {name for name in kernels if torch.equal(state[name], real[name].float())}

    assert taken(0) == set()
    assert taken(1) == {
        "conv_stem.weight",
        "blocks.0.0.conv_dw.weight",
        "blocks.0.0.conv_pw.weight",
    }
    assert taken(("blocks.0.0.conv_dw",)) == {"blocks.0.0.conv_dw.weight"}
    assert taken(("conv_stem", "blocks.6")) == {
        "conv_stem.weight",
        *(f"blocks.6.0.conv_{part}.weight" for part in ("pw", "dw", "pwl")),
    }


def test_a_named_file_decides_the_variant_of_a_random_control(tmp_path: Path) -> None:
    path = tmp_path / "r.safetensors"
    write_weights_file(path, {}, {**FACTS, "variant": "keras_v1: stride first", "bn_eps": 1e-3})
    recipe = NetRecipe(name="resnet50", weights=str(path), transfer=0)
    with pytest.raises(UserError, match="the 318 tensors"):  # the file has to fit all the same
        build(recipe)
    write_weights_file(path, made_up("resnet50"), {**FACTS, "variant": "keras_v1"})
    card = build(recipe).card
    assert (card["variant"], card["source"]) == ("keras_v1", "random initialisation")
    assert (card["transferred"], card["weights_sha256"]) == ([], None)


# --- round trips -------------------------------------------------------------------------------


@pytest.mark.slow
def test_inception_resnet_v2_by_round_trip(tmp_path: Path) -> None:
    """No real file could be had: tensors of the right shapes go in, the same come out."""
    path, tensors = tmp_path / "irv2.safetensors", made_up("inception_resnet_v2")
    facts = {"arch": "inception_resnet_v2", "variant": "timm", "bn_eps": 1e-3}
    write_weights_file(path, tensors, {**facts, "mean": [0.5] * 3, "std": [0.5] * 3})
    net = build(NetRecipe(name="inception_resnet_v2", weights=str(path)))
    state = net.body.encoder.body.state_dict()
    assert set(state) == set(tensors)
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())


def test_torchvision_v1_5_is_built_as_timm_builds_it(tmp_path: Path) -> None:
    """Also with the classifier in the file, and without counters."""
    tensors = {n: t for n, t in made_up("resnet50").items() if not n.endswith("tracked")}
    head = {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)}
    path = tmp_path / "tv.safetensors"
    write_weights_file(path, tensors | head, FACTS)
    net = build(NetRecipe(name="resnet50", profile="paper", weights=str(path)))
    assert net.body.encoder.body.layer2[0].conv2.stride == (2, 2)
    assert net.card["bn_eps"] == 1e-5


def test_a_timm_encoder_by_round_trip_though_its_modules_are_renamed(tmp_path: Path) -> None:
    tensors = made_up("convnext_atto")
    facts = {"arch": "convnext_atto", "variant": "timm", "bn_eps": None}
    path = tmp_path / "c.safetensors"
    write_weights_file(path, tensors, {**facts, "mean": [0.5] * 3, "std": [0.5] * 3})
    net = build(NetRecipe(name="timm:convnext_atto", weights=str(path)))
    gamma = net.body.encoder.body.stages_2.blocks[1].gamma
    assert torch.equal(gamma, tensors["stages.2.blocks.1.gamma"])


def test_a_card_rebuilds_the_net_without_its_file(tmp_path: Path) -> None:
    path = tmp_path / "tv.safetensors"
    write_weights_file(path, made_up("resnet50"), {**FACTS, "variant": "keras_v1", "bn_eps": 0.01})
    recipe = NetRecipe(name="resnet50", profile="paper", weights=str(path), freeze=1)
    net = build(recipe)
    path.unlink()
    card = json.loads(json.dumps(net.card))
    again = build(recipe, seed=7, card=card)
    again.load_state_dict(net.state_dict())
    picture = torch.rand(1, 1, 40, 50)
    with torch.no_grad():
        assert torch.equal(net.eval()(picture), again.eval()(picture))
    assert again.card == net.card
    assert Card.of(card).as_dict() == card


# --- the four roads -----------------------------------------------------------------------------


def test_the_folder_comes_before_the_bundled_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.safetensors").write_bytes(LITE0.read_bytes())
    (tmp_path / "broken.safetensors").write_bytes(b"no header")
    (tmp_path / "a_link.safetensors").symlink_to("nowhere")
    monkeypatch.setenv("EHTSEG_WEIGHTS", str(tmp_path))
    assert find_weights("efficientnet_lite0").path == tmp_path / "a.safetensors"


def test_a_silent_file_named_after_the_encoder_is_refused_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "resnet50_mine.safetensors")
    monkeypatch.setenv("EHTSEG_WEIGHTS", str(tmp_path))
    with pytest.raises(UserError, match=r"resnet50_mine.safetensors\), got no such metadata"):
        find_weights("resnet50")


def test_nothing_found_names_all_four_roads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EHTSEG_WEIGHTS", str(tmp_path))
    for name, last in (
        ("resnet50", "refused"),
        ("timm:regnetx_002", "no revision of it is pinned"),
    ):
        with pytest.raises(UserError) as caught:
            build(NetRecipe(name=name))
        said = str(caught.value)
        for road in ("--weights", f"EHTSEG_WEIGHTS is {tmp_path}", "bundles", "model hub", last):
            assert road in said
        assert "\n" not in said


def test_a_silent_file_that_is_the_pinned_one_to_the_byte_is_known_by_its_pin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"  # as the hub names every file
    save_file(made_up("resnet50"), path, {"format": "pt"})
    pin = HubFile("timm/resnet50.tv_in1k", "0123456789" * 4, sha256_of(path))
    monkeypatch.setitem(hub.PINS, "resnet50", pin)
    given = find_weights("resnet50", path)
    assert (given.road, given.card.variant, given.card.weights_sha256) == (
        "--weights",
        "timm",
        pin.sha256,
    )
    assert given.card.source == f"{pin.repository}@{pin.revision}"
    with pytest.raises(UserError, match="got weights of resnet50"):
        find_weights("vgg16", path)
    (tmp_path / "a.safetensors").write_bytes(b"no header")
    monkeypatch.setenv("EHTSEG_WEIGHTS", str(tmp_path))
    assert find_weights("resnet50").path == path
    path.rename(tmp_path / "resnet50.tv_in1k.safetensors")
    assert find_weights("resnet50").card == given.card
    with pytest.raises(UserError, match="holds no file of vgg16"):
        find_weights("vgg16")


def test_files_that_say_what_they_are_are_not_hashed_to_find_a_pin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ehtseg.nets.weights.pin_of", pytest.fail)
    assert find_weights("efficientnet_lite0", LITE0).path == LITE0


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubFile]:
    """A hub on this machine with one silent ResNet-50 file, as timm's files are."""
    revision = "0123456789" * 4
    path = tmp_path / f"hub/timm/resnet50.tv_in1k/resolve/{revision}/model.safetensors"
    path.parent.mkdir(parents=True)
    save_file(made_up("resnet50"), path, {"format": "pt"})
    handler = partial(_Quiet, directory=str(tmp_path / "hub"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    yield HubFile("timm/resnet50.tv_in1k", revision, sha256_of(path))
    server.shutdown()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_the_hub_file_is_fetched_once_and_its_pin_speaks_for_it(
    served: HubFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(hub.PINS, "resnet50", served)
    with pytest.raises(UserError, match="not downloaded yet"):
        find_weights("resnet50")
    found = find_weights("resnet50", download=True)
    assert found.card.variant == "timm"
    assert found.card.mean == (0.485, 0.456, 0.406)
    assert found.card.weights_sha256 == served.sha256
    assert found.card.licence == "bsd-3-clause"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert find_weights("resnet50").path == found.path
    net = build(NetRecipe(name="resnet50", profile="paper"))
    assert net.card["bn_eps"] == 1e-5


def test_a_hub_file_pinned_by_the_user(served: HubFile) -> None:
    text = f"hub:{served.repository}@{served.revision}#{served.sha256}"
    assert find_weights("resnet50", text, download=True).card.source.endswith(served.revision)


def test_other_bytes_than_pinned_are_refused_and_not_kept(served: HubFile) -> None:
    wrong = replace(served, sha256=hashlib.sha256(b"other").hexdigest())
    with pytest.raises(UserError, match="Nothing was kept"):
        hub.fetch(wrong)
    assert not list(hub.cache_folder().iterdir())
    with pytest.raises(UserError, match="404"):
        hub.fetch(replace(served, revision="f" * 40))


def test_a_hub_file_that_is_not_pinned_is_refused() -> None:
    with pytest.raises(UserError, match="hub:OWNER/NAME@REVISION#SHA256"):
        find_weights("resnet50", "hub:timm/resnet50.tv_in1k@main")


# --- files that are refused ----------------------------------------------------------------------


def _refused(path: Path, said: str, name: str = "resnet50") -> None:
    with pytest.raises(UserError, match=said) as caught:
        build(NetRecipe(name=name, weights=str(path)))
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "none.safetensors", "no such file")
    _refused(tmp_path, "a folder")


def test_a_pickle_by_name_or_by_content(tmp_path: Path) -> None:
    for name, zipped in (("w.pth", True), ("w.safetensors", True), ("v.safetensors", False)):
        path = tmp_path / name
        torch.save({"a": torch.zeros(1)}, path, _use_new_zipfile_serialization=zipped)
        _refused(path, "a pickle, which can run code")


def test_a_corrupt_or_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(LITE0.read_bytes()[:10_000])
    _refused(path, "cannot be read")
    path.write_bytes(b"")
    _refused(path, "cannot be read")


def test_a_silent_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file(made_up("resnet50"), path, {"format": "pt"})
    _refused(path, "states its arch, variant, bn_eps, mean, std .* no such metadata")
    write_weights_file(path, {}, {"arch": "resnet50", "mean": [0, 0, 0], "std": [1, 1, 1]})
    _refused(path, "without variant, bn_eps")


def test_another_architecture_or_variant() -> None:
    _refused(LITE0, "got weights of tf_efficientnet_lite0")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"variant": "keras_v2"}, "nearest are keras_v1"),
        ({"std": [0.2, 0.2, 0]}, "three positive std"),
        ({"mean": [0.5]}, "three means"),
        ({"bn_eps": "small"}, "bn_eps positive or null"),
    ],
)
def test_facts_that_cannot_be(change: dict[str, object], said: str, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights_file(path, {}, FACTS | change)
    _refused(path, said)


def test_missing_unknown_and_misshapen_tensors(tmp_path: Path) -> None:
    tensors = made_up("resnet50")
    tensors["layer9.weight"] = torch.zeros(1)
    tensors["bn1.weight"] = torch.zeros(65)
    del tensors["layer1.0.conv1.weight"]
    path = tmp_path / "w.safetensors"
    write_weights_file(path, tensors, FACTS)
    _refused(path, r"1 missing \(layer1.0.conv1.weight\); 1 unknown \(layer9.weight\)")
    _refused(path, r"bn1.weight \(65,\), not \(64,\)")


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    tensors = {"b": torch.zeros(2), "a": torch.ones(3)}
    for name in ("1", "2"):
        write_weights_file(tmp_path / name, tensors, FACTS)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
