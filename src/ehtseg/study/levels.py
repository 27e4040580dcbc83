"""The vocabulary of rows: what each level of a factor decides, and how levels are combined.

A row of a study is a tuple of levels, such as ("ResNet-50", "focal", "frozen").
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from ehtseg.study.published import BATCHES_IN_EQUAL_TIME, NETWORKS, RECIPES, Decisions

Row = tuple[str, ...]

BACKBONES = ("ResNet-50", "VGG-16", "Inception-ResNet-v2")
STAGES = (1, 2, 3, 4, 5)  # of ResNet-50: stem, layer1 to layer4
LABELS = (5, 10, 20, 50, 100)
BATCHES = sorted(set(BATCHES_IN_EQUAL_TIME.values()))  # of 8 images

# Of two levels that decide the same, the later one in a row wins.
LEVELS: dict[str, Decisions] = {
    "U-Net": {"net": {"name": "unet", "width": 16, "depth": 4, "norm": "none", "init": "xavier"}},
    "ResNet-50": {"net": {"name": "resnet50"}},
    "VGG-16": {"net": {"name": "vgg16"}},
    "Inception-ResNet-v2": {"net": {"name": "inception_resnet_v2"}},
    # losses
    "BCE": {"fit": {"loss": "bce"}},
    "focal": {"fit": {"loss": "focal_scalar", "focal_gamma": 2.0, "focal_alpha": 0.8}},
    "focal (Lin)": {"fit": {"loss": "focal_lin", "focal_gamma": 2.0, "focal_alpha": 0.8}},
    # what is transferred, and what stays fixed
    "ImageNet": {"net": {"transfer": "all", "control": None}},
    "random": {"net": {"transfer": "all", "control": "random"}},
    "permuted": {"net": {"transfer": "all", "control": "permuted"}},
    "frozen": {"net": {"freeze": "all", "freeze_mode": "inference"}},
    "frozen, statistics adapt": {"net": {"freeze": "all", "freeze_mode": "weights_only"}},
    "not frozen": {"net": {"freeze": 0}},
    "no stage": {"net": {"transfer": "all", "control": "random"}},
    **{f"stages to {k}": {"net": {"transfer": k}} for k in STAGES},
    **{f"stages to {k}, frozen": {"net": {"transfer": k, "freeze": k}} for k in STAGES},
    # the plain U-Net, and how it is trained
    "Xavier": {"net": {"init": "xavier"}},
    "He": {"net": {"init": "he"}},
    "no norm": {"net": {"norm": "none"}},
    "batch norm": {"net": {"norm": "batch"}},
    "width 64": {"net": {"width": 64}},
    "lr 0.001": {"fit": {"lr": 1e-3}},
    "lr 0.0001": {"fit": {"lr": 1e-4}},
    "20 epochs": {"fit": {"epochs": 20}},
    "40 epochs": {"fit": {"epochs": 40}},
    # the labelled frames
    "random frames": {"data": {"split": "random"}},
    "time blocks": {"data": {"split": "blocks"}},
    "all labels": {"data": {"n_train": None}},
    **{f"{n} labels": {"data": {"n_train": n}} for n in LABELS},
    # other people's networks and recipes
    **{f"{n} batches an epoch": {"fit": {"images_per_epoch": 8 * n}} for n in BATCHES},
    **NETWORKS,
    **RECIPES,
}


def label(row: Row) -> str:
    """A row in words.

    >>> label(("VGG-16", "BCE", "frozen"))
    'VGG-16, BCE, frozen'
    """
    return ", ".join(row)


def cross(*factors: Sequence[str]) -> tuple[Row, ...]:
    """Every combination of levels.

    >>> cross(["BCE", "focal"], ["frozen"])
    (('BCE', 'frozen'), ('focal', 'frozen'))
    """
    return tuple(product(*factors))


def against(first: str, second: str, rows: Sequence[Row]) -> tuple[tuple[Row, Row], ...]:
    """Each row with the level `first`, beside the row that has `second` instead and is there.

    >>> against("focal", "BCE", cross(["BCE", "focal"], ["frozen"]))
    ((('focal', 'frozen'), ('BCE', 'frozen')),)
    """
    pairs = [(row, tuple(second if x == first else x for x in row)) for row in rows if first in row]
    return tuple((one, other) for one, other in pairs if other in rows)
