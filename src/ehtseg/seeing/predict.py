"""The one function from frames to probabilities: validation, evaluation and segmentation use it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ehtseg.reading.geometry import to_working_size
from ehtseg.records import Array, UserError
from ehtseg.seeing.engines import Engine, option


def predict(engine: Engine, images: Sequence[Array], size: int | None) -> list[Array]:
    """Probability of tissue in every pixel of every frame, at the frames' own resolution.

    Frames are uint8 (H, W) or (H, W, 3) and may differ in size. Each is shrunk to the working
    size, run through the engine, and its logits (not its mask) are brought back to full size.
    Returns one float32 (H, W) in [0, 1] a frame.

    Raises: UserError where the network's answer is no number (it would look like no tissue) or
    has another shape.
    """
    small = [to_working_size(image, size) for image in images]
    logits: list[Array] = []
    start = 0
    while start < len(small):
        stop = start + 1
        while stop < len(small) and small[stop].shape == small[start].shape:
            stop += 1
        batch_BCHW = as_batch(small[start:stop])
        logits.extend(_checked(engine(batch_BCHW), batch_BCHW))
        start = stop
    return [
        probability(enlarge(logits_hw, image.shape[:2]))
        for logits_hw, image in zip(logits, images, strict=True)
    ]


def as_batch(images: Sequence[Array]) -> Array:
    """Frames uint8 (H, W) or (H, W, 3) of one shape -> float32 (B, C, H, W) in [0, 1]."""
    stack = np.stack(images)
    stack_BCHW = stack[:, None] if stack.ndim == 3 else stack.transpose(0, 3, 1, 2)
    return stack_BCHW.astype(np.float32) / np.float32(255)


def enlarge(logits_hw: Array, shape: tuple[int, int]) -> Array:
    """Logits brought to the shape (H, W) by bilinear interpolation."""
    if logits_hw.shape == shape:
        return logits_hw
    return cv2.resize(logits_hw, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)


def probability(logits_HW: Array) -> Array:
    """The logistic function, without overflow: float32 in, float32 out."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * logits_HW) + np.float32(1))


def certainty(probability_HW: Array, low: float = 0.1, high: float = 0.9) -> float:
    """How sharply tissue is told from background: pixels of at least `high` per pixel of `low`.

    That is the IoU of a strict and a generous mask: 1 for a sharp outline, towards 0 for a haze,
    and 1 where no pixel reaches `low`. Its level depends on the loss (focal losses give softer
    probabilities): compare frames, not networks.
    Source: the stability score of Kirillov et al., Segment Anything, ICCV 2023.
    """
    possible = np.count_nonzero(probability_HW >= low)
    return float(np.count_nonzero(probability_HW >= high) / possible) if possible else 1.0


def _checked(logits_BHW: Array, images_BCHW: Array) -> Array:
    wanted = (len(images_BCHW), *images_BCHW.shape[2:])
    if logits_BHW.shape != wanted:
        raise UserError(
            f"an answer of the shape {wanted} from the network's engine",
            f"{logits_BHW.shape}",
            f"Take {option('engine', 'torch')}.",
        )
    if not np.isfinite(logits_BHW).all():
        raise UserError(
            "numbers from the network",
            "NaN or infinity",
            f"Try {option('precision', 'fp32')}; if that does not help, train again with a lower "
            "fit.lr.",
        )
    return logits_BHW
