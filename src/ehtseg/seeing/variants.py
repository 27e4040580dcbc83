"""The same frames segmented in several ways, so that the doubt about masks can be measured.

A network that is sure of an outline finds it again when the picture is mirrored or moved; where it
does not, its masks are one draw of several. Several networks differ more than one does from itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.records import Array
from ehtseg.seeing.engines import Engine
from ehtseg.seeing.predict import predict

SHIFT = 0.02  # of the longer side: between two places of the network's own grid at any usual size

Way = Callable[[Sequence[Array]], list[Array]]  # frames -> probabilities, float32 (H, W)


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """One way to segment: frames, uint8 (H, W) or (H, W, 3), to probabilities in their place."""

    name: str
    way: Way
    threshold: float


def of_one_network(engine: Engine, size: int | None, threshold: float) -> tuple[Variant, ...]:
    """A network on frames as they are, mirrored two ways, and moved along both diagonals.

    Test-time augmentation; the first is the network as it is always used.
    Source: Wang et al., Neurocomputing 338:34 (2019).
    """

    def seen(images: Sequence[Array]) -> list[Array]:
        return predict(engine, images, size)

    ways: dict[str, Way] = {
        "as it is": seen,
        "mirrored left to right": lambda images: mirrored(seen, images, 1),
        "mirrored top to bottom": lambda images: mirrored(seen, images, 0),
        "moved down right": lambda images: moved(seen, images, SHIFT),
        "moved up left": lambda images: moved(seen, images, -SHIFT),
    }
    return tuple(Variant(name, way, threshold) for name, way in ways.items())


def mirrored(way: Way, images: Sequence[Array], axis: int) -> list[Array]:
    """Probabilities of mirrored frames, mirrored back; axis 0 top to bottom, 1 left to right."""
    found = way([np.ascontiguousarray(np.flip(image, axis)) for image in images])
    return [np.ascontiguousarray(np.flip(one, axis)) for one in found]


def moved(way: Way, images: Sequence[Array], share: float) -> list[Array]:
    """Probabilities of frames moved by a share of their longer side, right and down, moved back.

    What moves in repeats the last row or column; there the probabilities are repeated likewise.
    """
    steps = [round(share * max(image.shape[:2])) for image in images]
    found = way([shifted(image, step) for image, step in zip(images, steps, strict=True)])
    return [shifted(one, -step) for one, step in zip(found, steps, strict=True)]


def shifted(image: Array, step_px: int) -> Array:
    """A picture (H, W, ...) moved right and down by whole pixels; its edge goes on.

    >>> shifted(np.arange(9.0).reshape(3, 3), 1)[2].tolist()
    [3.0, 3.0, 4.0]
    """
    far, (height, width) = abs(step_px), image.shape[:2]
    wide = cv2.copyMakeBorder(image, far, far, far, far, cv2.BORDER_REPLICATE)
    start = far - step_px
    return np.ascontiguousarray(wide[start : start + height, start : start + width])
