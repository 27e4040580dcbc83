"""Features of a frozen encoder on disk: the same training, and a folder within bounds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from conftest import write_labelled
from ehtseg.learning.feature_cache import FeatureCache, features_kept, hash_of, make_room
from ehtseg.learning.training import Training
from ehtseg.nets.build import build
from ehtseg.nets.encoders import Card
from ehtseg.nets.features import Encoder
from ehtseg.nets.initialise import initialise
from ehtseg.reading.dataset import open_dataset
from ehtseg.reading.splits import split_dataset
from ehtseg.recipe import Recipe, make_recipe
from ehtseg.seeing.machine import resolve


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EHTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


def recipe_of(**net: Any) -> Recipe:
    return make_recipe(
        {
            "net": {"name": "efficientnet_lite0", "freeze": "all", **net},
            "data": {"size": 64, "augment": "none", "split": "random"},
            "fit": {"batch": 2, "images_per_epoch": 8, "precision": "fp32", "epochs": 2},
        }
    )


def trained(folder: Path, recipe: Recipe, epochs: int = 2) -> tuple[dict[str, Tensor], list[int]]:
    """Tensors after some epochs, and how many pictures the encoder itself looked at in each."""
    dataset = open_dataset([folder])
    split = split_dataset(dataset, recipe.data, 0)
    net = build(recipe.net, seed=0)
    training = Training(dataset, split, recipe, resolve(recipe.fit), net)
    computed = []
    for epoch in range(epochs):
        with features_kept(net, recipe, "fp32") as kept:
            training.epoch(epoch, lambda _done, _total: None)
        computed.append(kept.computed if kept else -1)
    return net.state_dict(), computed


def test_training_is_the_same_and_the_encoder_looks_once(tmp_path: Path) -> None:
    folder = write_labelled(tmp_path / "data", {"a": 8})
    recipe = recipe_of()
    off = make_recipe(recipe.model_dump(), {"fit": {"feature_cache_gb": 0}})
    expected, none = trained(folder, off)
    found, computed = trained(folder, recipe)
    assert none == [-1, -1]
    assert computed[0] > 0
    assert computed[1] == 0
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)
    again, computed = trained(folder, recipe, 1)  # a later training finds everything there
    assert computed == [0]
    assert again.keys() == expected.keys()


@pytest.mark.parametrize(
    "net",
    [
        {"freeze": 2},
        {"freeze": 0},
        {"freeze_mode": "weights_only"},
        {"freeze_mode": "all_but_norm"},
    ],
)
def test_an_encoder_that_changes_is_never_cached(net: dict[str, Any], cache: Path) -> None:
    recipe = recipe_of(**net)
    with features_kept(build(recipe.net), recipe, "fp32") as kept:
        assert kept is None
    assert not cache.exists()


def test_random_pictures_are_never_cached() -> None:
    recipe = make_recipe(recipe_of().model_dump(), {"data": {"augment": "strong"}})
    with features_kept(build(recipe.net), recipe, "fp32") as kept:
        assert kept is None


def test_networks_without_an_encoder_are_left_alone() -> None:
    recipe = make_recipe({"net": {"name": "unet", "width": 2}, "data": {"augment": "none"}})
    with features_kept(build(recipe.net), recipe, "fp32") as kept:
        assert kept is None


def maps_of(images: Tensor) -> list[Tensor]:
    """Stands for an encoder: the picture, and its half."""
    return [images * 2, images[..., ::2, ::2].to(torch.bfloat16)]


def test_maps_come_back_to_the_bit_whatever_was_there_before(tmp_path: Path) -> None:
    kept = FeatureCache(tmp_path / "a" / "one", 10**9)
    images = torch.randn(3, 3, 8, 6)
    kept(images[1:2], maps_of)
    found = kept(images, maps_of)
    assert (kept.computed, kept.looked_up) == (3, 1)
    for got, expected in zip(found, maps_of(images), strict=True):
        assert got.dtype == expected.dtype
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(got, expected)


def test_a_picture_that_alone_is_new_is_never_computed_alone(tmp_path: Path) -> None:
    """oneDNN takes another kernel for a batch of one, whose maps differ by 1e-6."""
    kept, asked = FeatureCache(tmp_path / "a" / "one", 10**9), list[int]()

    def compute(some: Tensor) -> list[Tensor]:
        asked.append(len(some))
        return maps_of(some)

    images = torch.randn(4, 3, 8, 6)
    kept(images[:3], compute)
    found = kept(images, compute)
    assert asked == [3, 2]
    assert kept.computed == 4
    assert torch.equal(found[0], images * 2)
    other = FeatureCache(tmp_path / "b" / "one", 10**9)
    other(images[:1], compute)  # as it would be without a cache
    assert asked == [3, 2, 1]


def test_a_picture_of_the_same_values_and_another_shape_is_another(tmp_path: Path) -> None:
    kept = FeatureCache(tmp_path / "a" / "one", 10**9)
    for shape in ((1, 3, 8, 6), (1, 3, 6, 8)):
        images = torch.ones(shape)
        assert torch.equal(kept(images, maps_of)[0], images * 2)
    assert kept.computed == 2


def test_a_file_cut_short_is_computed_again(tmp_path: Path) -> None:
    kept = FeatureCache(tmp_path / "a" / "one", 10**9)
    images = torch.randn(1, 3, 8, 6)
    kept(images, maps_of)
    (file,) = kept.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    (found, _) = kept(images, maps_of)
    assert torch.equal(found, images * 2)


def test_beyond_the_limit_nothing_is_written_and_answers_stay_right(tmp_path: Path) -> None:
    images = torch.randn(4, 3, 8, 8)
    one = sum(each.nbytes for each in maps_of(images[:1]))
    kept = FeatureCache(tmp_path / "a" / "one", 2 * one)
    assert torch.equal(kept(images, maps_of)[0], images * 2)
    assert len(list(kept.folder.iterdir())) == 2
    assert torch.equal(kept(images, maps_of)[0], images * 2)
    assert kept.computed == 4 + 2


def test_the_cache_that_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "old", "oldest")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(b"x" * 100)
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    (tmp_path / "own").mkdir()
    assert make_room(tmp_path / "own", 450) == 200
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["new", "old", "own"]


def test_a_file_that_another_training_renames_meanwhile_is_no_fault(tmp_path: Path) -> None:
    for name in ("other", "own"):
        (tmp_path / name).mkdir()
    (tmp_path / "other" / "kept").write_bytes(b"x" * 100)
    (tmp_path / "other" / "renamed").symlink_to("nowhere")  # listed, and gone when looked at
    assert make_room(tmp_path / "own", 450) == 100


def test_maps_from_disk_go_to_the_device_of_the_pictures(tmp_path: Path) -> None:
    class OnGpu(Tensor):
        device = torch.device("meta")  # type: ignore[assignment]

    kept = FeatureCache(tmp_path / "a" / "one", 10**9)
    images = torch.randn(2, 3, 8, 6)
    kept(images[:1], maps_of)
    for found in kept(images.as_subclass(OnGpu), lambda some: maps_of(some.as_subclass(Tensor))):
        assert found.device.type == "meta"


def test_other_weights_have_another_folder() -> None:
    encoders = [part for part in build(recipe_of().net).modules() if isinstance(part, Encoder)]
    before = hash_of(encoders[0])
    with torch.no_grad():
        next(encoders[0].parameters())[0, 0, 0, 0] += 1e-3
    assert hash_of(encoders[0]) != before


def test_another_variant_of_the_same_weights_has_another_folder() -> None:
    cards = [
        Card("resnet50", variant, eps, (0.5,) * 3, (0.5,) * 3)
        for variant, eps in (("timm", None), ("keras_v1", None), ("timm", 1.001e-5))
    ]
    encoders = [Encoder("resnet50", card, coarsest=8).eval() for card in cards]
    for encoder in encoders:
        initialise(encoder, "he", seed=0)
        for name, tensor in encoder.state_dict().items():
            assert torch.equal(tensor, encoders[0].state_dict()[name])
    assert len({hash_of(encoder) for encoder in encoders}) == 3
    assert hash_of(encoders[0]) == hash_of(encoders[0])
    image = torch.rand(1, 3, 32, 32)
    one, other = (encoder(image)[-1] for encoder in encoders[:2])
    assert not torch.equal(one, other), "they are different functions"
