"""The rivals: every system that the paper names, under our recipe and under its own.

A row is a network, where its weights start, and a recipe. Contrasts never cross the line between
ImageNet weights and random ones. Networks and recipes: published.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ehtseg.study.levels import Row
from ehtseg.study.plan import Data, Study
from ehtseg.study.published import BATCHES_IN_EQUAL_TIME, NETWORKS, RECIPES

COMMON = "common recipe"
RECIPE_OF = {  # its own recipe; what stands on an ImageNet encoder has none of its own
    "U-Net++": "recipe of U-Net++",
    "U-Net++ port": "recipe of the port",
    "UNeXt": "recipe of UNeXt",
    "UNeXt-S": "recipe of UNeXt",
    "nnU-Net": "recipe of nnU-Net",
    "TransUNet": "recipe of TransUNet",
    "DS-TransUNet": "recipe of DS-TransUNet",
    "Med-NCA": "recipe of Med-NCA",
    "Med-NCA, 16 channels": "recipe of Med-NCA",
}
TRANSFERRED = ("ResNet-50", *(name for name in NETWORKS if name not in RECIPE_OF))
FROM_RANDOM = ("ResNet-50", "U-Net", *RECIPE_OF)

ROWS: tuple[Row, ...] = (
    *((name, "ImageNet", COMMON) for name in TRANSFERRED),
    *((name, "random", COMMON) for name in FROM_RANDOM),
    *((name, "random", recipe) for name, recipe in RECIPE_OF.items()),
)


def _beside_ours(names: Sequence[str], start: str) -> tuple[tuple[Row, Row], ...]:
    """Each network beside our ResNet-50, both with the common recipe and the same start."""
    ours = ("ResNet-50", start, COMMON)
    return tuple(((name, start, COMMON), ours) for name in names if name != "ResNet-50")


def rivals(data: Data) -> Study:
    """The study of all rivals on these recordings."""
    return Study(
        name="rivals",
        question="Which network finds the tissue of other recordings, and is it worth its price?",
        factors={
            "network": tuple(dict.fromkeys((*TRANSFERRED, *FROM_RANDOM))),
            "weights": ("ImageNet", "random"),
            "recipe": tuple(RECIPES),
        },
        outcome="Dice, IoU and HD95 at threshold 0.5 and the jitter of the area, beside "
        "parameters, multiply-adds, rates and memory; equal steps, batches and augmentation",
        expected="Among random starts the networks differ less than their seeds; the published "
        "recipes, made for many more steps, lose to the common one; ImageNet weights are ahead of "
        "all, whichever network stands on them.",
        cost=f"{3 * len(ROWS)} runs, about 4 hours",
        rows=ROWS,
        contrasts=(
            *_beside_ours(TRANSFERRED, "ImageNet"),
            *_beside_ours(FROM_RANDOM, "random"),
            *(((n, "random", own), (n, "random", COMMON)) for n, own in RECIPE_OF.items()),
        ),
        data=data,
        profile="modern",
        decisions={"fit": {"epochs": 20}},
        at={"cpu": {"fit": {"epochs": 10}}},  # 180 steps: the largest take minutes an epoch
    )


def in_equal_time(study: Study) -> Study:
    """All networks under the common recipe, each for as long as ResNet-50 takes for its steps."""
    named = [(row, f"{BATCHES_IN_EQUAL_TIME[row[0]]} batches an epoch") for row in study.rows]
    level = {row: (*row, words) for row, words in named if row[2] == COMMON}
    pairs = study.contrasts
    return replace(
        study,
        name=f"{study.name}-time",
        question="Which network finds the tissue of other recordings after equal training time?",
        factors={**study.factors, "recipe": (COMMON,), "time": tuple(r[3] for r in level.values())},
        expected="The small networks catch up and do not overtake: what they lack is not steps. "
        "The largest have hardly begun to learn.",
        cost=f"{3 * len(level)} runs, about 3 hours",
        rows=tuple(level.values()),
        scales=("cpu",),  # at which the steps were timed
        contrasts=tuple((level[a], level[b]) for a, b in pairs if a in level and b in level),
    )


def on_images(study: Study, data: Data) -> Study:
    """The same rows on a set of independent images."""
    return replace(
        study,
        name=f"{study.name}-{data.train[0]}",
        question="Which network is best where there are many independent images?",
        data=data,
    )
