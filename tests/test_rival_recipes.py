"""The rivals' recipes: losses and schedules against references, resume, ImageNet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai
import numpy as np
import pytest
import timm
import torch
from scipy.ndimage import uniform_filter
from torch import Tensor

from conftest import write_labelled
from ehtseg.learning.batches import canvas_of
from ehtseg.learning.evaluate import evaluate
from ehtseg.learning.losses import make_loss
from ehtseg.learning.optimiser import learning_rate, make_optimiser
from ehtseg.learning.train import train
from ehtseg.nets.build import RIVALS, build
from ehtseg.nets.describe import describe
from ehtseg.nets.mednca import spread
from ehtseg.nets.nnunet import NnUNetPlan
from ehtseg.nets.weights_file import write_weights_file
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.recipe import FitRecipe, NetRecipe, Recipe, make_recipe
from ehtseg.records import UserError
from ehtseg.seeing.predict import as_batch
from ehtseg.seeing.run_folder import RunFolder
from ehtseg.study.designs import STUDIES
from ehtseg.study.published import NETWORKS, NOT_FOLLOWED, RECIPES
from ehtseg.study.rivals import COMMON, RECIPE_OF

SLOW = pytest.mark.slow


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Logits and masks of two images, the second without tissue."""
    source = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, 1, 40, 50, generator=source)
    masks = torch.zeros(2, 1, 40, 50)
    masks[0, :, 10:25, 5:40] = 1
    return logits, masks


# --- losses: against MONAI and scipy ------------------------------------------------------------


@pytest.mark.parametrize("smooth_px", [1.0, 1e-5])
def test_dice_of_the_whole_batch_is_monais(batch: tuple[Tensor, Tensor], smooth_px: float) -> None:
    ours = make_loss(FitRecipe(loss="dice_batch", smooth_px=smooth_px))
    theirs = monai.losses.DiceLoss(
        sigmoid=True, batch=True, smooth_nr=smooth_px, smooth_dr=smooth_px
    )
    torch.testing.assert_close(ours(*batch), theirs(*batch))


def test_dice_of_both_classes_is_monais_of_a_softmax(batch: tuple[Tensor, Tensor]) -> None:
    logits, masks = batch
    scores = torch.cat([torch.zeros_like(logits), logits], dim=1)  # the same as one logit
    theirs = monai.losses.DiceLoss(
        softmax=True, to_onehot_y=True, squared_pred=True, batch=True, smooth_nr=1, smooth_dr=1
    )
    torch.testing.assert_close(
        make_loss(FitRecipe(loss="dice_classes"))(logits, masks), theirs(scores, masks)
    )


def test_iou_near_the_outline_by_its_formula(batch: tuple[Tensor, Tensor]) -> None:
    losses = []
    for logits, mask in zip(*(part[:, 0].double().numpy() for part in batch), strict=True):
        p = 1 / (1 + np.exp(-logits))
        weight = 1 + 5 * np.abs(uniform_filter(mask, 31, mode="constant") - mask)
        overlap, total = (weight * p * mask).sum(), (weight * (p + mask)).sum()
        losses.append(1 - (overlap + 1) / (total - overlap + 1))
    ours = make_loss(FitRecipe(loss="iou_outline"))(*batch)
    assert float(ours) == pytest.approx(np.mean(losses), rel=1e-5)


def test_every_overlap_loss_takes_its_smoothing_from_the_recipe() -> None:
    empty, certain = torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 20.0)
    for name in ("dice", "dice_batch", "iou_outline"):
        sharp = make_loss(FitRecipe(loss=name, smooth_px=1e-6))(certain, empty)
        soft = make_loss(FitRecipe(loss=name, smooth_px=16.0))(certain, empty)
        assert float(sharp) == pytest.approx(1, abs=1e-5)
        assert float(soft) == pytest.approx(0.5, abs=1e-5)


# --- schedules and optimisers: against torch ----------------------------------------------------


def torchs(make: Any, steps: int) -> list[float]:
    """The learning rates of one of torch's schedulers."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, rates = make(optimiser), []
    for _ in range(steps):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    return rates


def test_cosine_falls_to_its_end_and_swings_as_often_as_asked() -> None:
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR
    for waves, period in ((1, 100), (5, 20)):
        fit = FitRecipe(lr=0.1, lr_end=0.01, schedule="cosine", half_waves=waves)
        ours = [learning_rate(fit, step, 100) for step in range(100)]
        expected = torchs(lambda o, p=period: cosine(o, p, eta_min=0.01), 100)
        assert ours == pytest.approx(expected, abs=1e-7)
        assert learning_rate(fit, 100, 100) == pytest.approx(0.01)


def test_exponential_falls_by_a_factor_a_step() -> None:
    fit = FitRecipe(lr=0.1, schedule="exponential", lr_decay=0.9)
    expected = torchs(lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9), 30)
    assert [learning_rate(fit, step, 30) for step in range(30)] == pytest.approx(expected)


def test_optimisers_take_what_the_recipe_says() -> None:
    net = torch.nn.Linear(2, 1)
    plain = make_optimiser(net, FitRecipe(optimizer="sgd", momentum=0.99, nesterov=False))
    assert (plain.defaults["nesterov"], plain.defaults["momentum"]) == (False, 0.99)
    assert make_optimiser(net, FitRecipe(optimizer="sgd")).defaults["nesterov"] is True
    quick = make_optimiser(net, FitRecipe(optimizer="adam", betas=(0.5, 0.5)))
    assert quick.defaults["betas"] == (0.5, 0.5)


# --- the network's side of a recipe -------------------------------------------------------------


def test_a_mirrored_network_is_the_mean_of_four_views() -> None:
    recipe = NetRecipe(name="unet", width=4, depth=2, norm="batch")
    plain = build(recipe, seed=1).eval()
    mirrored = build(recipe.model_copy(update={"mirrored": True}), seed=1).eval()
    picture = torch.rand(1, 1, 20, 30)
    views = ((), (-1,), (-2,), (-1, -2))
    with torch.no_grad():
        mean = sum(plain(picture.flip(v)).flip(v) for v in views) / 4
        torch.testing.assert_close(mirrored(picture), mean)
        turned = mirrored(picture.flip(-1)).flip(-1)
        torch.testing.assert_close(turned, mean)
        assert torch.equal(mirrored.train()(picture), plain.train()(picture))


# --- the study ------------------------------------------------------------------------------------

PRINTED: dict[str, dict[str, Any]] = {  # read from the papers and the published code
    "recipe of U-Net++": {
        "optimizer": "adam", "lr": 1e-4, "schedule": "constant", "weight_decay": 1e-4,
        "loss": "0.5*bce+dice", "init": "he", "dropout": 0.5, "early_stop_epochs": 30,
    },
    "recipe of the port": {
        "optimizer": "sgd", "momentum": 0.9, "lr": 1e-3, "schedule": "cosine", "half_waves": 1,
        "lr_end": 1e-5, "weight_decay": 1e-4,
    },
    "recipe of UNeXt": {
        "optimizer": "adam", "lr": 1e-4, "schedule": "cosine", "half_waves": 1, "lr_end": 1e-5,
        "weight_decay": 1e-4, "loss": "0.5*bce+dice", "smooth_px": 1e-5, "checkpoint": "best",
    },
    "recipe of nnU-Net": {
        "optimizer": "sgd", "momentum": 0.99, "nesterov": True, "lr": 1e-2, "schedule": "poly",
        "weight_decay": 3e-5, "loss": "bce+dice_batch", "smooth_px": 1e-5, "clip_norm": 12,
        "init": "he", "mirrored": True, "checkpoint": "last",
    },
    "recipe of TransUNet": {
        "optimizer": "sgd", "momentum": 0.9, "lr": 1e-2, "schedule": "poly", "weight_decay": 1e-4,
        "loss": "0.5*bce+0.5*dice_classes", "dropout": 0.1,
    },
    "recipe of DS-TransUNet": {
        "optimizer": "sgd", "momentum": 0.9, "lr": 1e-3, "schedule": "cosine", "half_waves": 5,
        "lr_end": 1e-4, "weight_decay": 1e-4, "loss": "bce+iou_outline", "clip_value": 0.1,
        "dropout": 0.5, "checkpoint": "best",
    },
    "recipe of Med-NCA": {
        "optimizer": "adam", "betas": (0.5, 0.5), "lr": 1.6e-3, "schedule": "exponential",
        "lr_decay": 0.9999, "loss": "bce+dice_batch", "smooth_px": 1.0,
    },
}  # fmt: skip
DEFAULTS = {  # of a published recipe, where it says nothing else
    "schedule": "constant", "weight_decay": 0.0, "nesterov": False, "clip_norm": None,
    "clip_value": None, "early_stop_epochs": None, "checkpoint": "last", "init": "xavier",
    "dropout": 0.0, "mirrored": False,
}  # fmt: skip


@pytest.mark.parametrize("name", PRINTED)
def test_a_recipe_is_the_published_one(name: str) -> None:
    recipe = make_recipe(RECIPES[name])
    decided = recipe.net.model_dump() | recipe.fit.model_dump()
    wanted = DEFAULTS | PRINTED[name]
    assert {key: decided[key] for key in wanted} == wanted


def test_what_a_recipe_does_not_follow_is_told() -> None:
    plan = STUDIES["rivals"].plan("cpu")
    canvas = {canvas_of([(300, 400)], run.recipe.data) for run in plan}
    assert canvas == {(96, 96)}
    with torch.device("meta"):
        coarse = {name for name in RIVALS if 96 % RIVALS[name].body(0.0).multiple}
    assert coarse == {"nnunet", "nnunet_512", "dstransunet"}
    padded = 1 - 96**2 / 128**2
    for name, own in RECIPE_OF.items():
        told = NOT_FOLLOWED[own]
        is_padded = NETWORKS[name]["net"]["name"] in coarse
        assert (f"{padded:.0%}".replace("%", " %") in told) == is_padded
        assert ("not of the last one" in told) == (
            make_recipe(RECIPES[own]).fit.checkpoint == "best"
        )
    patience = make_recipe(RECIPES["recipe of U-Net++"]).fit.early_stop_epochs
    assert patience
    for scale in ("cpu", "paper"):
        assert max(run.recipe.epochs for run in STUDIES["rivals"].plan(scale)) <= patience


def test_every_rival_is_in_the_study_under_both_recipes() -> None:
    study = STUDIES["rivals"]
    nets = {row: run.recipe.net for row, run in zip(study.rows, study.plan(), strict=False)}
    assert {net.name for net in nets.values()} >= set(RIVALS) - {
        *("unetpp", "unetpp_bn"),  # their versions with deep supervision are in
        "nnunet_512",  # for larger frames
    }
    for name, own in RECIPE_OF.items():
        assert {row[2] for row in study.rows if row[0] == name} == {COMMON, own}
    assert set(PRINTED) == set(RECIPES) - {COMMON} == set(NOT_FOLLOWED)
    assert set(NETWORKS) < {row[0] for row in study.rows}
    assert nets["nnU-Net", "random", "recipe of nnU-Net"].mirrored
    assert nets["TransUNet", "random", "recipe of TransUNet"].dropout == 0.1
    assert not any(net.mirrored for row, net in nets.items() if row[2] == COMMON)


def test_no_contrast_crosses_the_line_between_imagenet_and_random() -> None:
    for name in ("rivals", "rivals-dsb2018", "rivals-time"):
        for first, second in STUDIES[name].contrasts:
            assert first[1] == second[1]
            assert first[1] in ("ImageNet", "random")


def test_rows_differ_in_network_and_recipe_and_in_nothing_else() -> None:
    for run in STUDIES["rivals"].plan("cpu"):
        recipe = run.recipe
        assert (recipe.fit.batch, recipe.epochs, recipe.fit.images_per_epoch) == (8, 10, 144)
        assert recipe.data == STUDIES["rivals"].plan("cpu")[0].recipe.data


def test_equal_time_gives_each_network_the_steps_that_its_price_allows() -> None:
    """Milliseconds of a training step, as `scripts/equal_time.py` measured them on one day."""
    steps_ms = {"ResNet-50": 578, "U-Net": 147, "UNeXt-S": 67, "nnU-Net": 1592, "Med-NCA": 1882}
    plan = STUDIES["rivals-time"].plan("cpu")
    ours = {run.key for run in STUDIES["rivals"].plan("cpu") if run.row.startswith("ResNet-50")}
    for run in plan:
        name = run.row.split(", ")[0]
        if name in steps_ms and "16 channels" not in run.row:
            assert run.steps * steps_ms[name] == pytest.approx(180 * 578, rel=0.11)
        assert (run.key in ours) == (name == "ResNet-50" and COMMON in run.row), "ours is shared"


# --- training: several outputs, fixed sizes, random inference -------------------------------------


class KilledError(Exception):
    """Stands for the moment at which the power fails."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "film"
    return open_dataset([write_labelled(folder, {"film": 12}, size=32)])


def tiny(network: str, **fit: Any) -> Recipe:
    """A rival under its own recipe, for a moment."""
    return make_recipe(
        NETWORKS[network],
        {"data": {"split": "blocks", "guard_frames": 0, "size": 32, "augment": "flips"}},
        RECIPES[RECIPE_OF[network]],
        {"fit": {"epochs": 2, "images_per_epoch": 4, "batch": 2, "precision": "fp32"}},
        {"fit": {"threads": 1, "workers": 0, **fit}},
    )


def killed_and_resumed(dataset: Dataset, recipe: Recipe, out: Path) -> RunFolder:
    def tick(done: int, _total: int) -> None:
        if done == 3:  # the first step of the second epoch
            raise KilledError

    with pytest.raises(KilledError):
        train(dataset, recipe, out, tick=tick)
    return train(dataset, recipe, out)


LARGER = ("Med-NCA", "U-Net++", "nnU-Net", "TransUNet", "DS-TransUNet")


@pytest.mark.parametrize(
    "network", ["UNeXt-S", *(pytest.param(name, marks=SLOW) for name in LARGER)]
)
def test_a_resumed_training_has_the_same_hashes(
    dataset: Dataset, tmp_path: Path, network: str
) -> None:
    whole = train(dataset, tiny(network), tmp_path / "whole")
    resumed = killed_and_resumed(dataset, tiny(network), tmp_path / "resumed")
    assert resumed.facts["files"] == whole.facts["files"]
    assert resumed.facts["threshold"] == whole.facts["threshold"]
    one, other = (evaluate(run.path, dataset) for run in (whole, resumed))
    assert one.tables == other.tables


def test_gradients_are_clipped_by_value(dataset: Dataset, tmp_path: Path) -> None:
    net = {"net": {"name": "unet", "width": 4, "depth": 2}}
    fit = {"optimizer": "sgd", "lr": 1.0, "momentum": 0, "nesterov": False, "weight_decay": 0}
    small = {"schedule": "constant", "clip_norm": None, "clip_value": 1e-5, "loss": "bce"}
    recipe = make_recipe(tiny("UNeXt-S").model_dump(), net, {"fit": {**fit, **small}})
    run = train(dataset, recipe, tmp_path / "run")
    before, after = build(recipe.net, recipe.fit.seed).state_dict(), run.net().state_dict()
    moved = max(float((after[name] - before[name]).abs().max()) for name in before)
    assert 0 < moved <= 4 * 1e-5 * 1.01  # four steps of at most 1e-5


def test_med_nca_answers_alike_and_its_spread_is_a_map(dataset: Dataset, tmp_path: Path) -> None:
    run = train(dataset, tiny("Med-NCA", epochs=1), tmp_path / "run")
    frames = as_batch([dataset.read(i)[0] for i in range(2)])
    pictures = torch.from_numpy(frames)
    net = run.net()
    with torch.no_grad():
        assert torch.equal(net(pictures), net(pictures))
    mean, spread_B1HW = spread(net, pictures, n_runs=3)
    assert mean.shape == spread_B1HW.shape == (2, 1, 32, 32)
    assert 0 < float(spread_B1HW.max()) <= 0.5
    again = spread(run.net(), pictures, n_runs=3)
    assert torch.equal(mean, again[0])
    assert torch.equal(spread_B1HW, again[1])


# --- ImageNet weights in TransUNet and DS-TransUNet -----------------------------------------------

HALF = {"mean": [0.5] * 3, "std": [0.5] * 3}
USUAL = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def write_facts_only(path: Path, arch: str, **facts: Any) -> str:
    """A weights file that says what it is and holds next to nothing."""
    known = {"arch": arch, "variant": "timm", "bn_eps": None, **USUAL, **facts}
    write_weights_file(path, {"x": torch.zeros(1)}, known)
    return str(path)


def write_made_up(path: Path, arch: str, **facts: Any) -> dict[str, Tensor]:
    """A file of timm's names and shapes; each tensor is one number of its own, half precision."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in timm.create_model(arch).state_dict().items()}
    tensors = {
        name: torch.full(shape, (i % 997) / 1024, dtype=torch.float16)
        for i, (name, shape) in enumerate(shapes.items())
    }
    if "pos_embed" in tensors:  # the class token, then a ramp from row to row
        side = round((shapes["pos_embed"][1] - 1) ** 0.5)
        ramp = torch.linspace(0, 1, side).repeat_interleave(side)
        tensors["pos_embed"][:, 1:] = ramp.view(1, -1, 1).half()
    known = {"arch": arch, "variant": "timm", "bn_eps": None, **USUAL, **facts}
    write_weights_file(path, tensors, known)
    return tensors


@SLOW
@pytest.mark.parametrize("arch", ["vit_base_r50_s16_224", "vit_base_r50_s16_384"])
def test_transunet_takes_the_hybrid_transformer(tmp_path: Path, arch: str) -> None:
    path = tmp_path / "vit.safetensors"
    file = write_made_up(path, arch, **HALF, source="made up", licence="none")
    recipe = NetRecipe(name="transunet", weights=str(path))
    net = build(recipe)
    state = net.body.state_dict()
    for ours, theirs in {
        "stem.conv.weight": "patch_embed.backbone.stem.conv.weight",
        "stages.2.blocks.5.conv3.weight": "patch_embed.backbone.stages.2.blocks.5.conv3.weight",
        "embed.bias": "patch_embed.proj.bias",
        "blocks.11.mlp.fc2.weight": "blocks.11.mlp.fc2.weight",
        "norm.weight": "norm.weight",
    }.items():
        assert torch.equal(state[ours], file[theirs].float()), ours
    place = state["position.embedding_1CHW"]
    assert place.shape == (1, 768, 16, 16)
    assert torch.allclose(place[0, 0, :, 3], torch.linspace(0, 1, 16), atol=2e-3)
    assert net.card["source"] == "made up"
    assert net.card["transferred"] == [arch]
    assert len(set(state["decoder.0.0.weight"].flatten()[:9].tolist())) == 9, "still random"
    random = build(recipe.model_copy(update={"control": "random"}))
    assert random.card["transferred"] == []
    with pytest.raises(UserError, match="tensors of vit_base_r50"):
        build(NetRecipe(name="transunet", weights=write_facts_only(path, arch, **HALF)))


@SLOW
def test_ds_transunet_takes_two_swins_in_any_order(tmp_path: Path) -> None:
    base, small = tmp_path / "b.safetensors", tmp_path / "t.safetensors"
    big = write_made_up(base, "swin_base_patch4_window7_224", source="base")
    little = write_made_up(small, "swin_tiny_patch4_window7_224", source="tiny")
    recipe = NetRecipe(name="dstransunet", weights=f"{small}, {base}")
    net = build(recipe)
    state, table = net.body.state_dict(), "attn.relative_position_bias_table"
    for ours, theirs in {
        "branch_l.body.patch_embed.proj.weight": big["patch_embed.proj.weight"],
        f"branch_l.body.layers_2.blocks.17.{table}": big[f"layers.2.blocks.17.{table}"],
        "branch_s.body.layers_3.downsample.reduction.weight": little[
            "layers.3.downsample.reduction.weight"
        ],
        "branch_s.body.patch_embed.proj.bias": little["patch_embed.proj.bias"],
    }.items():
        assert torch.equal(state[ours], theirs.float()), ours
    kernel = state["branch_s.body.patch_embed.proj.weight"]
    assert kernel.shape[-1] == 8
    assert kernel.unique().numel() > 1000, "8-pixel patches cannot take a kernel of 4"
    assert net.card["source"] == "base; tiny"
    layers = {layer.name: layer.weights for layer in describe(recipe).layers}
    assert layers["branch_s.body.patch_embed.proj"].startswith("random")
    assert layers["branch_l.body.layers_0.blocks.0.attn.qkv"] == "ImageNet"
    assert layers["head"].startswith("random")


def test_weights_files_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    swin_b = write_facts_only(tmp_path / "b.safetensors", "swin_base_patch4_window7_224")
    swin_t = write_facts_only(tmp_path / "t.safetensors", "swin_tiny_patch4_window7_224")
    for name, weights, said in (
        ("transunet", swin_b, "weights of vit_base_r50_s16_224"),
        ("dstransunet", swin_b, "one weights file of each of swin_base"),
        ("dstransunet", f"{swin_b},{swin_b}", "one weights file of each of swin_base"),
        ("dstransunet", str(tmp_path / "none.safetensors"), "no such file"),
        ("dstransunet", f"{swin_b},{swin_t}", "tensors of swin_base"),
        ("unext", swin_b, "no weights file with --net unext"),
    ):
        with torch.device("meta"), pytest.raises(UserError, match=said):
            build(NetRecipe(name=name, weights=weights))


def test_our_planner_plans_what_nnunet_planned() -> None:
    """Plans that nnunetv2 2.8.1 made of 256 x 256 frames: 168 and 42 cases (docs/log.md)."""
    plan = NnUNetPlan.of_size(256)
    assert plan.channels == (32, 64, 128, 256, 512, 512, 512)
    assert [plan.batch(256, n) for n in (168, 42)] == [8, 2]
