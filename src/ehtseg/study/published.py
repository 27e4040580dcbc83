"""The rivals' networks and their published recipes, as levels of a study.

A recipe here is what its authors say of optimiser, schedule, loss, deep supervision (which the
networks carry themselves) and inference, as far as that could be verified. Number of steps, size
of a batch, picture size and augmentation are those of the study in every row, so that a contrast
of two recipes is one of these five things; `NOT_FOLLOWED` says what that leaves out. Weight decay
spares biases and norms, as everywhere in this package.
Sources: the papers and, where their licence allows, the published code of each network.
"""

from __future__ import annotations

from typing import Any

Decisions = dict[str, dict[str, Any]]

NETWORKS: dict[str, Decisions] = {
    "U-Net++": {"net": {"name": "unetpp_ds"}},
    "U-Net++ port": {"net": {"name": "unetpp_bn_ds"}},
    "UNeXt": {"net": {"name": "unext"}},
    "UNeXt-S": {"net": {"name": "unext_s"}},
    "nnU-Net": {"net": {"name": "nnunet"}},
    "TransUNet": {"net": {"name": "transunet"}},
    "DS-TransUNet": {"net": {"name": "dstransunet"}},
    "Med-NCA": {"net": {"name": "mednca"}},
    "Med-NCA, 16 channels": {"net": {"name": "mednca_16"}},
    "U-Net++ on ResNet-50": {"net": {"name": "unetpp:resnet50"}},
    "smp U-Net on ResNet-50": {"net": {"name": "smp:Unet/resnet50"}},
}

# Batches of 8 an epoch in which a network trains as long as ResNet-50 does with 18 of them, its
# pictures made and the look at validation frames left out: `scripts/equal_time.py` of 2026-11-27,
# one thread, bf16, 128 x 128; smp's U-Net is our network and has its number. Fixed, so that the
# study can be repeated; on a machine with other ratios the times are equal but roughly.
BATCHES_IN_EQUAL_TIME = {
    "ResNet-50": 18,
    "U-Net++ on ResNet-50": 5,
    "smp U-Net on ResNet-50": 18,
    "U-Net": 71,
    "U-Net++": 9,
    "U-Net++ port": 7,
    "UNeXt": 120,
    "UNeXt-S": 156,
    "nnU-Net": 7,
    "TransUNet": 5,
    "DS-TransUNet": 2,
    "Med-NCA": 6,
    "Med-NCA, 16 channels": 10,
}

# what holds for every published recipe unless it says otherwise
_PLAIN: dict[str, Any] = {
    "schedule": "constant",
    "weight_decay": 0.0,
    "clip_norm": None,
    "nesterov": False,
    "checkpoint": "last",
}

RECIPES: dict[str, Decisions] = {
    "common recipe": {},
    "recipe of U-Net++": {
        "net": {"init": "he", "dropout": 0.5},
        "fit": {
            **_PLAIN,
            "loss": "0.5*bce+dice",
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 1e-4,
            "early_stop_epochs": 30,
        },
    },
    "recipe of the port": {
        "fit": {
            **_PLAIN,
            "optimizer": "sgd",
            "momentum": 0.9,
            "lr": 1e-3,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "lr_end": 1e-5,
        },
    },
    "recipe of UNeXt": {
        "fit": {
            **_PLAIN,
            "loss": "0.5*bce+dice",
            "smooth_px": 1e-5,
            "optimizer": "adam",
            "lr": 1e-4,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "lr_end": 1e-5,
            "checkpoint": "best",
        },
    },
    "recipe of nnU-Net": {
        "net": {"init": "he", "mirrored": True},
        "fit": {
            **_PLAIN,
            "loss": "bce+dice_batch",
            "smooth_px": 1e-5,
            "optimizer": "sgd",
            "momentum": 0.99,
            "nesterov": True,
            "lr": 1e-2,
            "weight_decay": 3e-5,
            "schedule": "poly",
            "clip_norm": 12.0,
        },
    },
    "recipe of TransUNet": {
        "net": {"dropout": 0.1},
        "fit": {
            **_PLAIN,
            "loss": "0.5*bce+0.5*dice_classes",
            "optimizer": "sgd",
            "momentum": 0.9,
            "lr": 1e-2,
            "weight_decay": 1e-4,
            "schedule": "poly",
        },
    },
    "recipe of DS-TransUNet": {
        "net": {"dropout": 0.5},
        "fit": {
            **_PLAIN,
            "loss": "bce+iou_outline",
            "optimizer": "sgd",
            "momentum": 0.9,
            "lr": 1e-3,
            "weight_decay": 1e-4,
            "schedule": "cosine",
            "lr_end": 1e-4,
            "half_waves": 5,
            "clip_value": 0.1,
            "checkpoint": "best",
        },
    },
    "recipe of Med-NCA": {
        "fit": {
            **_PLAIN,
            "loss": "bce+dice_batch",
            "optimizer": "adam",
            "betas": (0.5, 0.5),
            "lr": 1.6e-3,
            "schedule": "exponential",
            "lr_decay": 0.9999,
        },
    },
}

# of networks that halve six times, under either recipe; other sizes of the study need no padding
_PADDED = (
    "At a working size of 128 pixels its training windows of 96 x 96 are padded to 128 x 128, a "
    "multiple of 64: 44 % of what it sees there is repeated edge."
)
_BEST = (
    "Its best epoch was picked on the frames that it was scored on. Here validation frames pick "
    "it, and the scores are of that epoch, not of the last one."
)

NOT_FOLLOWED: dict[str, str] = {
    "recipe of U-Net++": "It stops after 30 epochs without a better one; no run here lasts as "
    "long. Keras's L2 of 1e-4 pulls at a weight w by 2e-4 w, the weight decay of 1e-4 here by half "
    "of that.",
    "recipe of the port": "Batches of 16 and 100 epochs at 96 x 96 pixels; its loss is not known, "
    "so it is that of the common recipe.",
    "recipe of UNeXt": "500 epochs; trunc-normal start weights of the linear layers; a second "
    f"division of the input by 255. {_BEST}",
    "recipe of nnU-Net": "1,000 epochs of 250 steps; the learning rate falls by step, not by "
    "epoch; a third of the patches drawn around foreground; its own augmentation; five folds; the "
    "network is the one planned for 256 x 256 pixels, whatever the study's size. Coarse logits "
    f"are enlarged to the mask; the original shrinks the mask. {_PADDED}",
    "recipe of TransUNet": "Batches of 24, 150 epochs, 224 x 224 pixels, and weights of "
    "ImageNet-21k: its rows start from random ones.",
    "recipe of DS-TransUNet": "Batches of 16 seen at 384, 512 and 640 pixels in turn, 1,000 "
    "epochs, and ImageNet weights: its rows start from random ones; its auxiliary heads have no "
    f"ReLU. {_BEST} {_PADDED}",
    "recipe of Med-NCA": "Batches of 48 and 1,000 epochs; no augmentation; batches without "
    "foreground in their window were skipped. The loss falls on the coarse logits outside the "
    "window too; the original has none there.",
}
