"""Every named experiment is built: its recipes, its runs, and the paper's rows to the letter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from ehtseg.learning.losses import parse_loss
from ehtseg.nets.encoders import ENCODERS
from ehtseg.reading.blocks import counts_by_share, cut_in_time
from ehtseg.recipe import FROM_SCRATCH, NetRecipe, Recipe, make_recipe
from ehtseg.records import UserError
from ehtseg.study.designs import FILM, IMAGES, PRINTED, STUDIES, collapse, stages, table1
from ehtseg.study.levels import LEVELS, STAGES, label
from ehtseg.study.plan import SCALES, Place, Run, Study, from_random
from ehtseg.study.statistics import implied_sd

ROWS_AND_SEEDS = {
    "table1": (11, 3),
    "controls": (11 + 29, 3),
    "dsb2018": (2 * 2 * 2 * 2, 5),
    "certainty": (2 * 2 * 2, 5),
    "rates": (2 * 2 * 2, 3),
    "stages": (1 + 5 + 5, 3),
    "few-labels": (3 * 6, 3),
    "collapse": (2 * 2 * 2 * 2, 10),
    "splits": (3 * 2, 3),
    "rivals": (3 + 11 + 9, 3),
    "rivals-dsb2018": (3 + 11 + 9, 3),
    "rivals-time": (3 + 11, 3),
}

every_study = pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES.keys())


def keys(name: str) -> set[str]:
    return {run.key for run in STUDIES[name].plan()}


@every_study
@pytest.mark.parametrize("scale", SCALES)
def test_a_plan_has_each_row_with_each_seed_once(study: Study, scale: str) -> None:
    rows, seeds = ROWS_AND_SEEDS[study.name]
    if scale not in study.scales:
        with pytest.raises(UserError, match=r"a scale of rivals-time \(cpu\)"):
            study.plan(scale)
        return
    seeds = 1 if scale == "smoke" else seeds
    plan = study.plan(scale)
    assert len(plan) == rows * seeds
    assert len({run.label for run in plan}) == len({run.key for run in plan}) == len(plan)
    assert Counter(run.seed for run in plan) == dict.fromkeys(range(seeds), rows)
    assert [run.seed for run in plan] == sorted(run.seed for run in plan), "whole tables first"
    assert [run.row for run in plan[:rows]] == [label(row) for row in study.rows]


@every_study
def test_recipes_can_be_built(study: Study) -> None:
    for run in (run for scale in study.scales for run in study.plan(scale)):
        recipe = run.recipe
        assert make_recipe(recipe.model_dump(mode="json")) == recipe
        known = (*FROM_SCRATCH, *ENCODERS, "unetpp:resnet50", "smp:Unet/resnet50")
        assert recipe.net.name in known
        assert parse_loss(recipe.fit.loss)
        fixed = recipe.net.freeze, recipe.net.control == "permuted"
        assert recipe.net.name not in FROM_SCRATCH or fixed == (0, False)
        assert recipe.net.weights is None, "no path of a machine in a hash"
        assert run.steps > 0
        assert recipe.data.n_train is None or recipe.data.n_train <= 144
        tested = {place.folder for place in run.score if place.frames == "test"}
        assert tested <= set(run.train)


@every_study
def test_a_design_says_what_it_asks_and_costs(study: Study) -> None:
    assert study.question.endswith("?")
    assert study.outcome
    assert study.expected.endswith(".")
    assert study.cost.startswith(f"{len(study.plan('cpu'))} runs, ")
    assert study.command == f"ehtseg study {study.name} --data DATA --out studies/{study.name}"
    used = {level for row in study.rows for level in row}
    assert used <= set(LEVELS)
    varied = {level for levels in study.factors.values() for level in levels}
    fixed = {level for level in used - varied if all(level in row for row in study.rows)}
    assert used - varied == fixed, "what differs between rows is a factor"
    assert varied - used <= {"ImageNet"}, "the level that rows have without saying so"


@every_study
def test_contrasts_are_pairs_of_rows_with_one_difference(study: Study) -> None:
    contrasts = (*study.contrasts, *study.later)
    assert len(set(contrasts)) == len(contrasts)
    assert bool(study.later) == bool(study.later_when), "it is said when they were thought of"
    for first, second in contrasts:
        assert first in study.rows
        assert second in study.rows
        differing = {x for x in set(first) ^ set(second) if "batches an epoch" not in x}
        assert len(differing) <= 2, "steps differ where the time is equal"


def test_no_level_is_left_over() -> None:
    used = {level for study in STUDIES.values() for row in study.rows for level in row}
    assert used == set(LEVELS)


def paper_row(row: tuple[str, ...]) -> dict[str, Any]:
    """The decisions of a row of the paper, written out from the definitions in words."""
    names = {"U-Net": "unet", "ResNet-50": "resnet50", "VGG-16": "vgg16"}
    scratch = row[0] == "U-Net"
    return {
        "data": {"augment": "none", "split": "blocks", "guard_frames": 0, "split_seed": 0},
        "net": {
            "name": names.get(row[0], "inception_resnet_v2"),
            "profile": "paper",
            "transfer": "all",
            "control": None,
            "freeze": "all" if "frozen" in row else 0,
            "freeze_mode": "inference",
            "width": 16,
            "norm": "none",
            "init": "xavier",
        },
        "fit": {
            "loss": "focal_scalar" if "focal" in row else "bce",
            "focal_gamma": 2.0,
            "focal_alpha": 0.8,
            "optimizer": "adam",
            "lr": 1e-3,
            "schedule": "constant",
            "weight_decay": 0.0,
            "batch": 8,
            "epochs": 40 if scratch else 20,
            "checkpoint": "last",
        },
    }


@pytest.mark.parametrize("row", PRINTED, ids=label)
def test_the_rows_of_the_paper(row: tuple[str, ...]) -> None:
    run = next(run for run in table1.plan("cpu") if run.row == label(row))
    decided = run.recipe.model_dump()
    for section, decisions in paper_row(row).items():
        assert {key: decided[section][key] for key in decisions} == decisions


def test_the_paper_has_eleven_rows() -> None:
    assert table1.rows == tuple(PRINTED)
    for network in ("ResNet-50", "VGG-16", "Inception-ResNet-v2"):
        cells = {row[1:] for row in PRINTED if row[0] == network}
        assert cells == {("focal", "frozen"), ("BCE", "frozen"), ("focal", "not frozen")}


def test_the_printed_values_give_the_dispersion_of_the_protocol() -> None:
    sds = [implied_sd(*means) for means in PRINTED.values()]
    wanted = [0.116, 0.056, 0.017, 0.015, 0.016, 0.022, 0.020, 0.018, 0.015, 0.016, 0.015]
    assert sds == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize(
    ("scale", "size", "scratch", "transferred"),
    [("smoke", 64, 2, 1), ("cpu", 128, 720, 360), ("paper", 256, 40 * 155, 20 * 155)],
)
def test_scales(scale: str, size: int, scratch: int, transferred: int) -> None:
    for run in table1.plan(scale):
        assert run.recipe.data.size == size
        assert run.steps == (scratch if run.row.startswith("U-Net") else transferred)
    assert {run.recipe.fit.batch for run in table1.plan(scale)} == {8}


def test_scales_of_single_studies() -> None:
    assert {run.steps for run in STUDIES["dsb2018"].plan("cpu")} == {600}
    shared = keys("rates") & keys("dsb2018")
    assert len(shared) == 4 * 3, "the rows at the paper's rate are those of dsb2018"
    assert {run.recipe.data.size for run in collapse.plan("cpu")} == {64}
    assert {run.recipe.data.size for run in collapse.plan("paper")} == {256}
    with pytest.raises(UserError, match="smoke, cpu, paper"):
        table1.plan("huge")


def test_one_epoch_of_the_cpu_scale_is_one_pass_over_the_first_block() -> None:
    shares, guard = FILM.split["shares"], FILM.split["guard_frames"]
    sets, _ = cut_in_time(range(200), shares, guard)
    first, middle, last = range(144), range(144, 168), range(168, 200)
    assert sets == ([*first], [*middle], [*last])
    assert SCALES["cpu"].draws == len(first)
    assert counts_by_share(664, IMAGES.split["shares"])[0] == 478


def test_random_controls_are_the_transferred_network() -> None:
    by_row = {run.row: run.recipe for run in STUDIES["controls"].plan()}
    imagenet = by_row["VGG-16, focal, not frozen"]
    random = by_row["VGG-16, random, focal, not frozen"]
    changed = {"net": {"control": "random"}}
    assert make_recipe(imagenet.model_dump(), changed) == random
    assert random.epochs == imagenet.epochs == 20, "equal budgets"


def test_stages_are_transferred_one_by_one() -> None:
    nets = [run.recipe.net for run in stages.plan("smoke")]
    assert len(ENCODERS["resnet50"].stages) == len(STAGES)
    assert [(net.transfer, net.freeze, net.control) for net in nets] == [
        ("all", 0, "random"),
        *((k, 0, None) for k in STAGES),
        *((k, k, None) for k in STAGES),
    ]
    assert {net.profile for net in nets} == {"modern"}


def test_labels_are_few_and_steps_equal() -> None:
    plan = STUDIES["few-labels"].plan()
    assert [run.recipe.data.n_train for run in plan[:6]] == [5, 10, 20, 50, 100, None]
    assert {run.steps for run in plan} == {360}


def test_studies_share_their_runs() -> None:
    assert keys("certainty") < keys("dsb2018")
    assert keys("table1") < keys("controls")
    assert len(keys("splits") & keys("controls")) == 9
    assert not keys("dsb2018") & keys("controls")


def test_a_key_is_what_is_trained() -> None:
    run = Run("a", "row", Recipe(), ("x",), (Place("x", "test"),))
    assert run.key == replace(run, study="b", row="other", score=()).key
    assert run.key != replace(run, train=("y",)).key
    assert run.key != replace(run, recipe=make_recipe({"fit": {"seed": 1}})).key


def test_without_weights_a_run_starts_from_random_ones_and_says_so() -> None:
    run = next(run for run in table1.plan() if run.row == "Inception-ResNet-v2, focal, frozen")
    other = from_random(run)
    assert other.row == "Inception-ResNet-v2, focal, frozen (random weights)"
    assert other.recipe.net == NetRecipe(
        **{**run.recipe.net.model_dump(), "transfer": 0, "control": None}
    )
    assert (other.recipe.fit, other.recipe.data) == (run.recipe.fit, run.recipe.data)
    assert other.recipe.epochs == 20
