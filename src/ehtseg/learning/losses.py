"""Losses by name: `make_loss(recipe.fit)` turns "bce+dice" into one function of logits and masks.

Every loss takes logits (never probabilities), computes in float32 whatever the input precision,
and returns a scalar. Pixels where `ignore` is true are left out; where all are, the loss is 0.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, logsigmoid, softplus

from ehtseg.recipe import FitRecipe
from ehtseg.records import UserError

NEAR_PX = 31  # edge of the square over which `iou_outline` averages the mask


class Loss(Protocol):
    """logits (B, 1, H, W) and masks (B, 1, H, W) of 0 and 1 -> scalar."""

    def __call__(
        self, logits_B1HW: Tensor, masks_B1HW: Tensor, ignore_B1HW: Tensor | None = None, /
    ) -> Tensor: ...


# A term sees checked input: logits and masks in float32, and `keep` of 1 (counted) and 0 (ignored).
Term = Callable[[Tensor, Tensor, Tensor, FitRecipe], Tensor]


def bce(logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, _: FitRecipe) -> Tensor:
    """Binary cross-entropy, mean over pixels."""
    return _mean(softplus(-_margin(logits_B1HW, masks_B1HW)), keep_B1HW)


def dice(logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe) -> Tensor:
    """Soft Dice loss, 1 - (2 Σpy + s) / (Σp + Σy + s), per image, then mean; s = fit.smooth_px.

    On an empty mask it is Σp / (Σp + s): 0 for an empty prediction, near 1 for a full one, so
    that false foreground is never free.
    """
    probabilities, masks = _kept(logits_B1HW, masks_B1HW, keep_B1HW)
    overlap_B = (probabilities * masks).flatten(1).sum(1)
    total_B = (probabilities + masks).flatten(1).sum(1)
    return (1 - (2 * overlap_B + fit.smooth_px) / (total_B + fit.smooth_px)).mean()


def dice_batch(
    logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe
) -> Tensor:
    """Soft Dice loss of all pixels of the batch together (nnU-Net in 2D, Med-NCA)."""
    probabilities, masks = _kept(logits_B1HW, masks_B1HW, keep_B1HW)
    overlap, total = (probabilities * masks).sum(), (probabilities + masks).sum()
    return 1 - (2 * overlap + fit.smooth_px) / (total + fit.smooth_px)


def dice_classes(
    logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe
) -> Tensor:
    """Soft Dice loss with squares below, of the batch together, mean over tissue and background.

    Source: the loss of TransUNet, as its authors published it.
    """

    def one_class(sign: float, members: Tensor) -> Tensor:
        probabilities, masks = _kept(sign * logits_B1HW, members, keep_B1HW)
        overlap, total = (probabilities * masks).sum(), (probabilities**2 + masks**2).sum()
        return 1 - (2 * overlap + fit.smooth_px) / (total + fit.smooth_px)

    return (one_class(1.0, masks_B1HW) + one_class(-1.0, 1 - masks_B1HW)) / 2


def iou_outline(
    logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe
) -> Tensor:
    """Soft IoU loss per image, pixels near the outline counting up to six times.

    The weight is 1 + 5 |m - y| with m the mean of the mask over 31 x 31 pixels. Source: the loss
    of DS-TransUNet, by its description (its BCE, meant to be weighted alike, is the plain mean).
    """
    probabilities, masks = _kept(logits_B1HW, masks_B1HW, keep_B1HW)
    mean_B1HW = avg_pool2d(masks, NEAR_PX, stride=1, padding=NEAR_PX // 2)
    weight_B1HW = 1 + 5 * (mean_B1HW - masks).abs()
    overlap_B = (weight_B1HW * probabilities * masks).flatten(1).sum(1)
    total_B = (weight_B1HW * (probabilities + masks)).flatten(1).sum(1)
    union_B = total_B - overlap_B
    return (1 - (overlap_B + fit.smooth_px) / (union_B + fit.smooth_px)).mean()


def focal_lin(logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe) -> Tensor:
    """Focal loss with `alpha` on foreground and 1 - alpha on background, mean over pixels.

    Source: Lin et al. 2018, arXiv 1708.02002, equation 5.
    """
    alpha_B1HW = fit.focal_alpha * masks_B1HW + (1 - fit.focal_alpha) * (1 - masks_B1HW)
    return _mean(alpha_B1HW * _focal(logits_B1HW, masks_B1HW, fit.focal_gamma), keep_B1HW)


def focal_scalar(
    logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe
) -> Tensor:
    """Focal loss with `alpha` on both classes (a mere scale), mean over pixels.

    Source: the form of the widely copied loss collections; the paper's most plausible loss.
    """
    return fit.focal_alpha * _mean(_focal(logits_B1HW, masks_B1HW, fit.focal_gamma), keep_B1HW)


def focal_mean(
    logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor, fit: FitRecipe
) -> Tensor:
    """alpha (1 - exp(-b))^gamma b with b the mean BCE of the batch: not a pixelwise loss.

    Its minimiser is that of BCE. Kept apart because published code uses it under the name "focal".
    """
    mean_bce = bce(logits_B1HW, masks_B1HW, keep_B1HW, fit)
    modulator = (-torch.expm1(-mean_bce)).clamp_min(torch.finfo(torch.float32).tiny)
    return fit.focal_alpha * modulator**fit.focal_gamma * mean_bce


LOSSES: dict[str, Term] = {
    "bce": bce,
    "dice": dice,
    "dice_batch": dice_batch,
    "dice_classes": dice_classes,
    "iou_outline": iou_outline,
    "focal_lin": focal_lin,
    "focal_scalar": focal_scalar,
    "focal_mean": focal_mean,
}


def make_loss(fit: FitRecipe) -> Loss:
    """The loss that a recipe names: one of `LOSSES`, or a sum such as "0.5*bce+dice".

    Raises: UserError for a name that is none, or a weight that is not a positive number; and, when
    the loss is called, for masks with other values than 0 and 1.

    >>> loss = make_loss(FitRecipe(loss="bce+dice"))
    >>> logits, masks = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    >>> round(float(loss(logits, masks)), 3)  # ln 2 + 8 / 9
    1.582
    """
    terms = parse_loss(fit.loss)

    def loss(logits_B1HW: Tensor, masks_B1HW: Tensor, ignore_B1HW: Tensor | None = None) -> Tensor:
        _check(logits_B1HW, masks_B1HW, ignore_B1HW)
        logits, masks = logits_B1HW.float(), masks_B1HW.float()
        keep = torch.ones_like(logits) if ignore_B1HW is None else (~ignore_B1HW).float()
        parts = [weight * LOSSES[name](logits, masks, keep, fit) for weight, name in terms]
        return torch.stack(parts).sum()

    return loss


def parse_loss(text: str) -> list[tuple[float, str]]:
    """The weighted terms of a loss.

    Raises: UserError that names the nearest known losses.

    >>> parse_loss("0.5*bce + dice")
    [(0.5, 'bce'), (1.0, 'dice')]
    """
    return [_parse_term(term.strip(), text) for term in text.split("+")]


def sum_over_outputs(
    loss: Loss,
    outputs: Tensor | Sequence[Tensor],
    weights: Sequence[float],
    masks_B1HW: Tensor,
    ignore_B1HW: Tensor | None = None,
) -> Tensor:
    """The loss of a net with one output, or the weighted sum over the outputs of deep supervision.

    `outputs` is one tensor of logits (B, 1, H, W), whose weight is 1 whatever `weights` says, or
    several, each with its weight.
    """
    if isinstance(outputs, Tensor):
        return loss(outputs, masks_B1HW, ignore_B1HW)
    parts = [
        weight * loss(logits, masks_B1HW, ignore_B1HW)
        for weight, logits in zip(weights, outputs, strict=True)
    ]
    return torch.stack(parts).sum()


def _kept(logits_B1HW: Tensor, masks_B1HW: Tensor, keep_B1HW: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and masks, 0 where a pixel is ignored."""
    return torch.sigmoid(logits_B1HW) * keep_B1HW, masks_B1HW * keep_B1HW


def _margin(logits_B1HW: Tensor, masks_B1HW: Tensor) -> Tensor:
    """The logit of the true class: sigmoid(margin) is the probability given to the truth."""
    return torch.where(masks_B1HW > 0.5, logits_B1HW, -logits_B1HW)


def _focal(logits_B1HW: Tensor, masks_B1HW: Tensor, gamma: float) -> Tensor:
    """(1 - p_true)^gamma BCE of each pixel, in log space: finite with any logit and gamma >= 0."""
    margin_B1HW = _margin(logits_B1HW, masks_B1HW)
    return torch.exp(gamma * logsigmoid(-margin_B1HW)) * softplus(-margin_B1HW)


def _mean(values_B1HW: Tensor, keep_B1HW: Tensor) -> Tensor:
    return (values_B1HW * keep_B1HW).sum() / keep_B1HW.sum().clamp_min(1)


def _check(logits_B1HW: Tensor, masks_B1HW: Tensor, ignore_B1HW: Tensor | None) -> None:
    shapes = {tuple(t.shape) for t in (logits_B1HW, masks_B1HW, ignore_B1HW) if t is not None}
    if len(shapes) > 1:  # otherwise broadcasting would give a wrong number in silence
        raise ValueError(f"logits, masks and ignore must have one shape, got {sorted(shapes)}")
    if masks_B1HW.dtype == torch.bool or bool(((masks_B1HW == 0) | (masks_B1HW == 1)).all()):
        return
    values = ", ".join(f"{value:g}" for value in torch.unique(masks_B1HW)[:6].tolist())
    raise UserError(
        "masks of 0 and 1 for the loss",
        f"a mask with the values {values}",
        "Read masks with ehtseg.reading.masks.read_mask, or turn them to bool: mask > 127.",
    )


def _parse_term(term: str, text: str) -> tuple[float, str]:
    weight_text, star, name = term.rpartition("*")
    name = name.strip()
    try:
        weight = float(weight_text) if star else 1.0
    except ValueError:
        weight = math.nan
    if not (weight > 0 and math.isfinite(weight)):
        raise UserError(
            f"a positive number before * in the loss {text!r}",
            f"{weight_text!r}",
            "Write for example 0.5*bce+dice.",
        )
    if name not in LOSSES:
        near = difflib.get_close_matches(name, LOSSES, n=3, cutoff=0.4) or list(LOSSES)
        raise UserError(
            f"a sum of {', '.join(LOSSES)} as fit.loss",
            f"{name!r} in {text!r}",
            f"Nearest: {', '.join(near)}.",
        )
    return weight, name
