"""The recipe's optimiser, and its learning rate as a pure function of the step."""

from __future__ import annotations

import math

import torch

from ehtseg.recipe import FitRecipe


def learning_rate(fit: FitRecipe, step: int, steps: int) -> float:
    """The learning rate of a step: a pure function, so that there is no scheduler to save.

    one_cycle rises by a cosine from lr / 25 over the first quarter and falls to lr / 10,000;
    cosine falls to lr_end, in several half waves if asked; poly falls as (1 - step / steps) ^ 0.9;
    exponential falls by the factor lr_decay a step.

    >>> [round(learning_rate(FitRecipe(lr=1.0), s, 100), 2) for s in (0, 25, 100)]
    [0.04, 1.0, 0.0]
    """
    done = step / max(1, steps)
    if fit.schedule == "constant":
        return fit.lr
    if fit.schedule == "cosine":
        return fit.lr_end + (fit.lr - fit.lr_end) * _cosine(fit.half_waves * done)
    if fit.schedule == "exponential":
        return float(fit.lr * fit.lr_decay**step)
    if fit.schedule == "poly":
        return float(fit.lr * (1 - done) ** 0.9)
    warm = 0.25
    if done < warm:
        return fit.lr * (1 / 25 + (1 - 1 / 25) * _cosine(1 - done / warm))
    return fit.lr * (1e-4 + (1 - 1e-4) * _cosine((done - warm) / (1 - warm)))


def make_optimiser(net: torch.nn.Module, fit: FitRecipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over what is trainable; no weight decay on biases and norms."""
    trainable = [p for p in net.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": fit.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if fit.optimizer == "sgd":
        nesterov = fit.nesterov and fit.momentum > 0  # without momentum it changes nothing
        return torch.optim.SGD(groups, lr=fit.lr, momentum=fit.momentum, nesterov=nesterov)
    kind = torch.optim.AdamW if fit.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=fit.lr, betas=fit.betas, fused=True)  # one pass over each weight


def _cosine(done: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * done))
