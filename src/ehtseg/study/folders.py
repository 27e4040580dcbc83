"""The labelled folders that studies train and score on, and what has to be known of them."""

from __future__ import annotations

from ehtseg.study.plan import Data, Place

KINDS = (
    "The images come from about nine kinds of source (by size, colour and ground), and differences "
    "between rows are alike within a kind: intervals speak of other images of this mixture, not of "
    "other kinds, for which they are too narrow."
)
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
