"""The size at which the network looks: one home for how a frame becomes a network input."""

from __future__ import annotations

import math

import cv2
import numpy as np

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


def mask_to_working_size(mask: Array, size: int | None) -> Array:
    """A mask bool (H, W) at the size that `to_working_size` gives its frame.

    A pixel is tissue where more than half of it is. Of the pixels that are half tissue, every
    second one is: giving them all to one side would move each outline by up to a quarter of a
    pixel, always outwards or always inwards.
    """
    height, width = mask.shape
    shape = working_shape(height, width, size)
    if shape == mask.shape:
        return mask
    share = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
    odd = np.indices(shape).sum(0) % 2 == 1
    half = np.abs(share - 0.5) < 1e-3
    return np.where(half, odd, share > 0.5)
