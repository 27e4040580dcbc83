"""The labelled folders that studies train and score on, and what has to be known of them."""

from __future__ import annotations

from ehtseg.study.plan import Data, Place

KINDS = (
    "The images come from about nine kinds of source (by size, colour and ground), and differences "
    "between rows are alike within a kind: intervals speak of other images of this mixture, not of "
    "other kinds, for which they are too narrow."
)
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

# Blocks 0-143, 144-167, 168-199: the middle one, a beat long, is the guard of the last one.
FILM = Data(
    train=("eht_d1t3",),
    score=(
        Place("eht_d1t3", "test"),
        Place("eht_mbpt"),
        Place("eht_ohw"),
        Place("eht_fibrotug_stills"),
    ),
    unit="recording",
    split={"split": "blocks", "shares": (0.72, 0.12, 0.16), "guard_frames": 0},
)
IMAGES = Data(
    train=("dsb2018",),
    score=(Place("dsb2018", "test"),),
    unit="image",
    split={"split": "recording", "shares": (0.72, 0.12, 0.16)},
    cautions=(KINDS,),
)
