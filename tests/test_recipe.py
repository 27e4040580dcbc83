"""The recipe: layers, YAML there and back, unknown keys with the nearest right ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehtseg.recipe import (
    PROFILES,
    Recipe,
    make_recipe,
    profile_decisions,
    read_recipe,
    setting,
    write_recipe,
)
from ehtseg.records import UserError


def test_a_recipe_survives_yaml(tmp_path: Path) -> None:
    recipe = make_recipe({"net": {"name": "vgg16", "transfer": 3}, "data": {"counts": [9, 1, 2]}})
    write_recipe(recipe, tmp_path / "recipe.yaml")
    again = make_recipe(read_recipe(tmp_path / "recipe.yaml"))
    assert again == recipe
    assert again.sha256 == recipe.sha256


def test_later_layers_win_and_the_rest_stays() -> None:
    recipe = make_recipe(PROFILES["paper"], {"fit": {"lr": 0.1}}, {"fit": {"seed": 4}})
    assert (recipe.fit.lr, recipe.fit.seed, recipe.fit.optimizer) == (0.1, 4, "adam")
    assert recipe.data.augment == "none"


def test_the_hash_follows_every_decision() -> None:
    assert make_recipe({"fit": {"seed": 1}}).sha256 != Recipe().sha256
    assert make_recipe({"fit": {"seed": 0}}).sha256 == Recipe().sha256


@pytest.mark.parametrize(
    ("net", "epochs"),
    [
        ({"name": "unet"}, 40),
        ({"name": "vgg16"}, 20),
        ({"name": "vgg16", "transfer": 0}, 40),
        ({"name": "smp:Unet/resnet50"}, 20),
        ({"name": "smp:Unet/tu-tf_efficientnet_lite0"}, 20),
        ({"name": "smp:Unet/resnet18"}, 40),
    ],
)
def test_scratch_trains_forty_epochs_and_a_backbone_twenty(
    net: dict[str, object], epochs: int
) -> None:
    assert make_recipe({"net": net}).epochs == epochs


def test_stages_may_be_written_as_on_a_command_line() -> None:
    assert make_recipe({"net": {"transfer": "3", "freeze": "all"}}).net.transfer == 3
    assert make_recipe({"net": {"transfer": "conv1, layer1"}}).net.transfer == ("conv1", "layer1")


@pytest.mark.parametrize(
    ("decisions", "said"),
    [
        ({"fitt": {}}, "nearest: fit"),
        ({"fit": {"learning_rate": 1}}, "unknown key fit.learning_rate"),
        ({"net": {"freze": 1}}, "nearest: net.freeze"),
        ({"fit": {"epochs": 0}}, "fit.epochs: 0"),
        ({"fit": {"epochs": "many"}}, "fit.epochs: 'many'"),
        ({"data": {"shares": [0.5, 0.5]}}, "data.shares"),
        ({"fit": "fast"}, "fit: 'fast'"),
        ({"fitt": None}, "nearest: fit"),
        ({"net": {"freeze": "-1"}}, "net.freeze: -1 (Input should be greater than or equal to 0)"),
        ({"data": {"counts": [9, 1]}}, "data.counts.2"),
        ({"fit": {"seed": 2**32}}, "fit.seed: 4294967296 (Input should be less than 4294967296)"),
        ({"fit": {"betas": [0.9, 1.0]}}, "fit.betas.1: 1.0 (Input should be less than 1)"),
    ],
)
def test_a_wrong_key_or_value_is_answered(decisions: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        make_recipe(decisions)
    assert said in str(caught.value)


def test_a_section_that_is_none_is_not_passed_over_by_a_later_layer() -> None:
    with pytest.raises(UserError, match="fit: 3"):
        make_recipe({"fit": 3}, {"fit": {"seed": 1}})
    assert make_recipe({"fit": None}, {"fit": {"seed": 1}}).fit.seed == 1


def test_files_that_are_no_recipe_are_refused(tmp_path: Path) -> None:
    broken, listed = tmp_path / "broken.yaml", tmp_path / "list.yaml"
    broken.write_text("fit: {epochs: [}")
    listed.write_text("- 1\n- 2\n")
    for path in (broken, listed, tmp_path / "absent.yaml"):
        with pytest.raises(UserError, match=path.name):
            read_recipe(path)
    with pytest.raises(UserError):
        setting("epochs 5")
    with pytest.raises(UserError, match=r"fit\.lr="):
        setting("fit.lr=[1")
    with pytest.raises(UserError):
        profile_decisions("fast")
