"""Deflection of the two posts that hold a tissue, by the same flow as in `flow.py`.

What tissue pulls on is seen in the picture of the posts themselves; only where they are in the
first frame has to be given, as masks or boxes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.measuring.flow import Motion, Tracker, segments
from ehtseg.measuring.reference import Reference, centre_of
from ehtseg.measuring.shapes import Axis
from ehtseg.records import Array, UserError


@dataclass(frozen=True, slots=True)
class PostFrame:
    """Movement of both posts in one frame against their relaxed places; post 1 stands left (or up).

    x, y: from the first reference, stage drift included; deflection: the same towards the other
    post; shortening: by how much their distance is reduced, which stage drift leaves as it is.
    """

    post1_x_px: float
    post1_y_px: float
    post2_x_px: float
    post2_y_px: float
    post1_deflection_px: float
    post2_deflection_px: float
    post_shortening_px: float


def two_posts(marked_HW: Array) -> tuple[Array, Array]:
    """The two posts, bool (H, W), left (or upper) first, from a picture of labels.

    marked_HW: 0 outside and two labels, or one label and two pieces.

    Raises: UserError where there are not two.
    """
    labels = [marked_HW == value for value in np.unique(marked_HW) if value]
    if len(labels) == 1:
        count, pieces = cv2.connectedComponents(labels[0].astype(np.uint8))
        labels = [pieces == number for number in range(1, count)]
    if len(labels) != 2:
        raise UserError(
            "two posts in the picture of posts", f"{len(labels)}", "Mark two pieces or two labels."
        )
    (x1, y1), (x2, y2) = (centre_of(label) for label in labels)
    swap = (x1, y1) > (x2, y2) if abs(x1 - x2) >= abs(y1 - y2) else y1 > y2
    return (labels[1], labels[0]) if swap else (labels[0], labels[1])


def box_mask(shape: tuple[int, int], box: tuple[int, int, int, int]) -> Array:
    """A box (x, y, width, height) in px as a mask, bool, of this shape (H, W)."""
    mask = np.zeros(shape, bool)
    x, y, width, height = box
    mask[y : y + height, x : x + width] = True
    return mask


def post_axis(posts: tuple[Array, Array]) -> Axis:
    """The line from the first post to the second: middle, direction and distance."""
    (x1, y1), (x2, y2) = (centre_of(post) for post in posts)
    angle = math.atan2(y2 - y1, x2 - x1)
    return Axis((x1 + x2) / 2, (y1 + y2) / 2, angle, math.hypot(x2 - x1, y2 - y1))


def towards_second(u_TN2: Array, reference: Reference) -> Array:
    """Mean displacement (px) along the axis from the first post to the second."""
    return np.asarray(u_TN2.mean(1, dtype=float) @ np.array(reference.axis.direction))


def towards_first(u_TN2: Array, reference: Reference) -> Array:
    """Mean displacement (px) along the axis from the second post to the first."""
    return -towards_second(u_TN2, reference)


def track_posts(
    images: Iterable[Array], posts: tuple[Array, Array], segment_frames: int = 300
) -> Iterator[PostFrame]:
    """Movement of both posts, one record a frame, in constant memory.

    images: uint8 (H, W) or (H, W, 3); posts: their masks (bool) at rest, from `two_posts` or
    `box_mask`. A segment should hold several beats.
    """
    axis = post_axis(posts)
    trackers = [Tracker(amount, axis, edge_px=0) for amount in (towards_second, towards_first)]
    pairs = zip(images, itertools.repeat(posts[0]))
    for pictures, _ in segments(pairs, segment_frames):
        motions = [
            tracker.follow(pictures, [post] * len(pictures))
            for tracker, post in zip(trackers, posts, strict=True)
        ]
        yield from post_frames([motion for motion in motions if motion])


def post_frames(motions: Sequence[Motion]) -> list[PostFrame]:
    """The records of one segment from the motion of both posts."""
    places = [m.u.mean(1, dtype=float) + m.reference.moved_px for m in motions]
    bent = [motion.amount for motion in motions]
    columns = [*places[0].T, *places[1].T, *bent, bent[0] + bent[1]]
    return [PostFrame(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
