"""Named experiments, each written down before its results: question, rows, expected answer, cost.

Contrasts that were thought of when results had been seen stand apart, as `later`. Source of the
rules: docs/protocol.md. The hours of a cost are for two cores at the scale `cpu`,
measured where a study was carried out; machines differ by a factor of two.
"""

from __future__ import annotations

from ehtseg.study.folders import FILM, IMAGES
from ehtseg.study.levels import BACKBONES, LABELS, STAGES, Row, against, cross
from ehtseg.study.plan import Study
from ehtseg.study.rivals import in_equal_time, on_images, rivals

RANDOM_FROZEN = (
    "A frozen encoder of random weights is a weak opponent. Its batch norms, in inference mode, "
    "normalise nothing, and VGG-16 has none: at the start its features are 6 to 20 times smaller "
    "than those of ImageNet weights, stage by stage (VGG-16: 13 to 300 times). Such a contrast is "
    "one of features and of their scale together; the study controls has a row whose statistics "
    "adapt."
)
OF_CERTAINTY = {  # columns of results.csv, in words
    "undecided": "the share of undecided pixels",
    "undecided_near_outline": "the share of undecided pixels near the outline",
    "ece": "calibration error",
    "undecided_calibrated": "the share of undecided pixels, after temperature scaling",
    "undecided_near_outline_calibrated": "the share near the outline, after temperature scaling",
    "ece_calibrated": "calibration error, after temperature scaling",
    "dice": "Dice at threshold 0.5",
}

PRINTED: dict[Row, tuple[float, float]] = {  # Dice and IoU, as the paper's table 1 prints them
    ("U-Net", "BCE"): (0.301895, 0.183314),
    ("U-Net", "focal"): (0.915201, 0.848639),
    ("ResNet-50", "focal", "frozen"): (0.945546, 0.897186),
    ("ResNet-50", "BCE", "frozen"): (0.933888, 0.876329),
    ("ResNet-50", "focal", "not frozen"): (0.945705, 0.897424),
    ("VGG-16", "focal", "frozen"): (0.939017, 0.885833),
    ("VGG-16", "BCE", "frozen"): (0.937961, 0.883814),
    ("VGG-16", "focal", "not frozen"): (0.943959, 0.894383),
    ("Inception-ResNet-v2", "focal", "frozen"): (0.937819, 0.883294),
    ("Inception-ResNet-v2", "BCE", "frozen"): (0.941037, 0.889093),
    ("Inception-ResNet-v2", "focal", "not frozen"): (0.943449, 0.893321),
}

table1 = Study(
    name="table1",
    question="Does the paper's table come out again, and what can be concluded from it?",
    factors={
        "network": ("U-Net", *BACKBONES),
        "loss": ("BCE", "focal"),
        "freeze": ("frozen", "not frozen"),
    },
    outcome="Dice and IoU at threshold 0.5, last epoch",
    expected="Within the film every row is near the mean training mask, so that none is told from "
    "another; in other recordings all fall far, and six recordings decide nothing.",
    cost="33 runs, about 4 hours",
    rows=tuple(PRINTED),
    contrasts=(
        *against("focal", "BCE", tuple(PRINTED)),
        *against("frozen", "not frozen", tuple(PRINTED)),
    ),
    data=FILM,
)

ADDED: tuple[Row, ...] = (
    *cross(BACKBONES, ("random", "permuted"), ("focal",), ("frozen", "not frozen")),
    *cross(BACKBONES, ("BCE", "focal (Lin)"), ("not frozen",)),
    *cross(BACKBONES, ("focal",), ("not frozen",), ("40 epochs",)),
    # in inference mode the batch norms of a random encoder normalise nothing: the fairer control
    ("ResNet-50", "random", "focal", "frozen, statistics adapt"),
    *cross(("U-Net",), ("BCE", "focal"), ("batch norm", "width 64", "20 epochs")),
    ("U-Net", "focal (Lin)"),
)

WEIGHTS_ALONE = tuple(
    ((network, "focal", freeze), (network, weights, "focal", freeze))
    for network in BACKBONES
    for weights in ("random", "permuted")
    for freeze in ("frozen", "not frozen")
)
BUDGET_AND_LOSS = (
    *against("focal", "BCE", cross(BACKBONES, ("focal", "BCE"), ("not frozen",))),
    *against("focal (Lin)", "focal", cross(BACKBONES, ("focal", "focal (Lin)"), ("not frozen",))),
    *(((n, "focal", "not frozen", "40 epochs"), (n, "focal", "not frozen")) for n in BACKBONES),
)
PLAIN = (  # the U-Net with what sets it apart from the others, one by one
    *(
        (("U-Net", loss, what), ("U-Net", loss))
        for loss in ("BCE", "focal")
        for what in ("batch norm", "width 64", "20 epochs")
    ),
    (("U-Net", "focal (Lin)"), ("U-Net", "focal")),
)
STATISTICS = against("frozen, statistics adapt", "frozen", ADDED)

controls = Study(
    name="controls",
    question="Which part of the paper's gain is left when depth, norms, loss and budget are equal?",
    factors={
        "network": ("U-Net", *BACKBONES),
        "weights": ("ImageNet", "random", "permuted"),
        "loss": ("BCE", "focal", "focal (Lin)"),
        "freeze": ("frozen", "frozen, statistics adapt", "not frozen"),
        "U-Net": ("batch norm", "width 64"),
        "budget": ("20 epochs", "40 epochs"),
    },
    outcome="Dice at threshold 0.5, last epoch",
    expected="Within the film nothing. Elsewhere ImageNet above random and permuted, most of all "
    "frozen; a U-Net with batch norm as good as an untrained encoder.",
    cost="120 runs, of them 33 those of table1; about 8 hours more",
    rows=tuple(PRINTED) + ADDED,
    contrasts=(*WEIGHTS_ALONE, *BUDGET_AND_LOSS, *PLAIN, *STATISTICS),
    cautions=(RANDOM_FROZEN,),
    data=FILM,
)

CELLS = cross(
    ("ResNet-50", "VGG-16"), ("ImageNet", "random"), ("BCE", "focal"), ("not frozen", "frozen")
)
LIGHT = {"net": {"profile": "modern"}}  # all else as the paper has it
NOT_FROZEN = tuple(row for row in CELLS if "not frozen" in row)

dsb2018 = Study(
    name="dsb2018",
    question="With many independent images: do ImageNet weights, focal loss and freezing matter?",
    factors={
        "network": ("ResNet-50", "VGG-16"),
        "weights": ("ImageNet", "random"),
        "loss": ("BCE", "focal"),
        "freeze": ("not frozen", "frozen"),
    },
    outcome="Dice at threshold 0.5, last epoch, image by image",
    expected="ImageNet above random by a few hundredths, by more where frozen; focal and BCE "
    "equal; frozen a little below not frozen.",
    cost="80 runs, about 7 hours (the decoder of the paper profile would need 20)",
    rows=CELLS,
    contrasts=(
        *against("ImageNet", "random", NOT_FROZEN),
        *against("focal", "BCE", NOT_FROZEN),
        *against("frozen", "not frozen", tuple(row for row in CELLS if "ImageNet" in row)),
    ),
    later=against("ImageNet", "random", tuple(row for row in CELLS if row not in NOT_FROZEN)),
    later_when="after 24 of the 80 runs",
    cautions=(RANDOM_FROZEN,),
    data=IMAGES,
    seeds=5,
    decisions=LIGHT,
    at={"cpu": {"fit": {"images_per_epoch": 240}}},  # 20 epochs of 30 steps, half a pass each
)

certainty = Study(
    name="certainty",
    question="Is a transferred encoder more certain, within one loss and one architecture?",
    factors={
        "network": ("ResNet-50", "VGG-16"),
        "weights": ("ImageNet", "random"),
        "loss": ("BCE", "focal"),
        "freeze": ("not frozen",),
    },
    outcome="share of undecided pixels, overall and near the outline, with ECE, before and after "
    "temperature scaling; Dice and IoU at thresholds 0.4, 0.5, 0.9",
    expected="The loss decides: focal loss leaves more pixels undecided whatever the encoder. "
    "ImageNet weights leave fewer, as far as they also raise Dice.",
    cost="40 runs, all of them in dsb2018",
    rows=NOT_FROZEN,
    contrasts=against("ImageNet", "random", NOT_FROZEN),
    scores=OF_CERTAINTY,
    data=IMAGES,
    seeds=5,
    decisions=LIGHT,
    at=dsb2018.at,
)

RATED = cross(
    ("ResNet-50", "VGG-16"),
    ("ImageNet", "random"),
    ("BCE",),
    ("not frozen",),
    ("lr 0.001", "lr 0.0001"),
)

rates = Study(
    name="rates",
    question="Is it the paper's constant rate of 0.001 that spoils transferred layers?",
    factors={
        "network": ("ResNet-50", "VGG-16"),
        "weights": ("ImageNet", "random"),
        "loss": ("BCE",),
        "freeze": ("not frozen",),
        "lr": ("lr 0.001", "lr 0.0001"),
    },
    outcome="Dice at threshold 0.5, last epoch, image by image",
    expected="At 0.0001 the ImageNet rows gain some hundredths and the random ones lose: there "
    "ImageNet is ahead by more.",
    cost="24 runs, of them 12 in dsb2018; about 1 hour more",
    rows=RATED,
    contrasts=(*against("lr 0.0001", "lr 0.001", RATED), *against("ImageNet", "random", RATED)),
    data=IMAGES,
    decisions=LIGHT,
    at=dsb2018.at,
)

stages = Study(
    name="stages",
    question="How does Dice depend on the number of stages that are transferred, or also frozen?",
    factors={
        "stages": ("no stage", *(f"stages to {k}" for k in STAGES)),
        "stages frozen": tuple(f"stages to {k}, frozen" for k in STAGES),
    },
    outcome="Dice at threshold 0.5 in recordings never trained on, against the number of stages",
    expected="The first two stages give most of the gain; freezing the last ones costs some.",
    cost="33 runs, about 1 hour",
    rows=(
        ("ResNet-50", "no stage"),
        *(("ResNet-50", f"stages to {k}{frozen}") for frozen in ("", ", frozen") for k in STAGES),
    ),
    later=(
        *((("ResNet-50", f"stages to {k}"), ("ResNet-50", "no stage")) for k in STAGES),
        *(
            (("ResNet-50", f"stages to {k}, frozen"), ("ResNet-50", f"stages to {k}"))
            for k in STAGES
        ),
    ),
    later_when="the first five after 21 of the 33 runs, those of freezing after all of them",
    data=FILM,
    profile="modern",
)

COUNTS = (*(f"{n} labels" for n in LABELS), "all labels")
LEARNERS = cross(("ResNet-50",), ("ImageNet", "random"), COUNTS)

few_labels = Study(
    name="few-labels",
    question="How many labelled frames does a network need, with ImageNet weights and without?",
    factors={
        "network": ("ResNet-50", "U-Net"),
        "weights": ("ImageNet", "random"),
        "norm": ("batch norm",),
        "labels": COUNTS,
    },
    outcome="Dice at threshold 0.5 against the number of labelled frames, at equal steps",
    expected="Within the film five frames are enough for each, because frames are near copies; "
    "elsewhere ImageNet is ahead at any number, and more frames of one film help little.",
    cost="54 runs, about 3 hours",
    rows=LEARNERS + cross(("U-Net",), ("batch norm",), COUNTS),
    contrasts=against("ImageNet", "random", LEARNERS),
    data=FILM,
    profile="modern",
    decisions={"fit": {"epochs": 20}},
)

collapse = Study(
    name="collapse",
    question="Was the paper's 0.30 the loss, or a failed run?",
    factors={
        "loss": ("BCE", "focal"),
        "init": ("Xavier", "He"),
        "norm": ("batch norm", "no norm"),
        "lr": ("lr 0.001", "lr 0.0001"),
    },
    outcome="share of runs whose Dice at the best threshold stays below 0.5",
    expected="Hardly a run collapses with either loss; those that do have Xavier and no norm.",
    cost="160 runs, about 2 hours",
    rows=cross(
        ("U-Net",),
        ("BCE", "focal"),
        ("Xavier", "He"),
        ("batch norm", "no norm"),
        ("lr 0.001", "lr 0.0001"),
    ),
    data=FILM,
    seeds=10,
    at={"cpu": {"data": {"size": 64}}},
)

DIVIDED: tuple[Row, ...] = (
    ("U-Net", "focal"),
    ("ResNet-50", "focal", "not frozen"),
    ("ResNet-50", "random", "focal", "not frozen"),
)

splits = Study(
    name="splits",
    question="How much of a score is memory of the same film?",
    factors={
        "network": ("U-Net", "ResNet-50"),
        "weights": ("ImageNet", "random"),
        "freeze": ("not frozen",),
        "split": ("random frames", "time blocks"),
    },
    outcome="Dice on the test frames of the random split, minus Dice in recordings never trained "
    "on; the last block in time stands between",
    expected="Random frames and time blocks both near 0.99; other recordings lower by 0.2 or more.",
    cost="18 runs, of them 9 in controls; about 1 hour more",
    rows=tuple((*row, split) for split in ("random frames", "time blocks") for row in DIVIDED),
    data=FILM,
)

STUDIES = {
    study.name: study
    for study in (
        table1, dsb2018, collapse, few_labels, stages, certainty, splits, controls, rates,
        rivals(FILM), on_images(rivals(FILM), IMAGES), in_equal_time(rivals(FILM)),
    )
}  # fmt: skip
