"""The decisions that only studies take: fixed sets, fewer labels, control weights."""

from __future__ import annotations

import pytest
import torch

from conftest import write_labelled
from ehtseg.nets.build import build
from ehtseg.nets.encoders import architecture
from ehtseg.nets.weights import find_weights
from ehtseg.nets.weights_file import read_tensors
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.splits import split_dataset
from ehtseg.recipe import DataRecipe, NetRecipe
from ehtseg.records import UserError

LITE = NetRecipe(name="efficientnet_lite0")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "film"
    return open_dataset([write_labelled(folder, {"film": 40}, size=16)])


def blocks(**more: object) -> DataRecipe:
    return DataRecipe.model_validate({"split": "blocks", "guard_frames": 0, **more})


def test_fewer_labels_are_some_of_more_labels(dataset: Dataset) -> None:
    whole = split_dataset(dataset, blocks(), seed=3)
    five = split_dataset(dataset, blocks(n_train=5), seed=3)
    ten = split_dataset(dataset, blocks(n_train=10), seed=3)
    assert len(five.train) == 5
    assert set(five.train) < set(ten.train) < set(whole.train)
    assert five.test == whole.test
    assert five.validation == whole.validation
    assert len(five.unused) == len(whole.train) - 5
    assert five.train != split_dataset(dataset, blocks(n_train=5), seed=4).train


def test_more_labels_than_there_are_is_refused(dataset: Dataset) -> None:
    with pytest.raises(UserError, match="n_train"):
        split_dataset(dataset, blocks(n_train=41), seed=0)


def test_a_split_seed_fixes_the_sets_for_every_seed(dataset: Dataset) -> None:
    free = DataRecipe(split="random")
    fixed = DataRecipe(split="random", split_seed=7)
    assert split_dataset(dataset, free, 0).test != split_dataset(dataset, free, 1).test
    assert split_dataset(dataset, fixed, 0).test == split_dataset(dataset, fixed, 1).test


def stem(net: torch.nn.Module) -> torch.Tensor:
    return next(p for n, p in net.named_parameters() if "conv_stem" in n).detach()


def test_permuted_weights_have_the_values_of_imagenet_in_another_order() -> None:
    plain, permuted = stem(build(LITE)), build(LITE.model_copy(update={"control": "permuted"}))
    shuffled = stem(permuted)
    assert not torch.equal(plain, shuffled)
    assert torch.equal(plain.flatten().sort()[0], shuffled.flatten().sort()[0])
    assert "permuted" in permuted.card["source"]
    again = stem(build(LITE.model_copy(update={"control": "permuted"}), seed=5))
    assert torch.equal(shuffled, again)


def test_a_random_control_is_the_same_network_without_its_weights() -> None:
    control = build(LITE.model_copy(update={"control": "random"}))
    file = find_weights("efficientnet_lite0")
    values = read_tensors(file.path, architecture("efficientnet_lite0"))
    assert not torch.equal(stem(control), next(v for k, v in values.items() if "conv_stem" in k))
    assert control.card["mean"] == build(LITE).card["mean"]
    assert control.card["source"] != build(LITE).card["source"]


@pytest.mark.parametrize("net", [{"name": "unet"}, {"name": "resnet50", "transfer": 0}])
def test_a_control_without_transferred_weights_is_refused(net: dict[str, object]) -> None:
    with pytest.raises(UserError, match="control"):
        build(NetRecipe.model_validate({**net, "control": "permuted"}))
