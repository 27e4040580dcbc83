"""The size at which the network looks: one home for how a frame becomes a network input."""

from __future__ import annotations

import math

import cv2

from ehtseg.records import Array


def working_shape(height: int, width: int, size: int | None) -> tuple[int, int]:
    """Height and width at which a frame is seen: its area is brought to size², never enlarged.

    The aspect ratio is kept. With `size` None the frame is seen as it is.

    >>> working_shape(512, 512, 256), working_shape(500, 1000, 256), working_shape(96, 96, 256)
    ((256, 256), (181, 362), (96, 96))
    """
    if size is None or height * width <= size * size:
        return height, width
    factor = size / math.sqrt(height * width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def to_working_size(image: Array, size: int | None) -> Array:
    """A frame (H, W) or (H, W, 3), shrunk by area averaging to `working_shape`."""
    height, width = image.shape[:2]
    shape = working_shape(height, width, size)
    if shape == (height, width):
        return image
    return cv2.resize(image, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
