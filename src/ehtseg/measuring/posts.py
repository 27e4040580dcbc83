"""Deflection of the two posts that hold a tissue, by the same flow as in `flow.py`.

What tissue pulls on is seen in the picture of the posts themselves; only where they are in the
first frame has to be given, as masks or boxes.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ehtseg.measuring.flow import LEAST_PX, Motion, Tracker, segments
from ehtseg.measuring.reference import Reference, centre_of
from ehtseg.measuring.shapes import Axis
from ehtseg.records import Array, UserError


@dataclass(frozen=True, slots=True)
class PostFrame:
    """Movement of both posts in one frame against their relaxed places; post 1 stands left (or up).

    x, y: from the first reference, stage drift included; deflection: the same towards the other
    post; shortening: by how much their distance is reduced, which stage drift leaves as it is;
    distance: what is left of it.
    """

    post1_x_px: float
    post1_y_px: float
    post2_x_px: float
    post2_y_px: float
    post1_deflection_px: float
    post2_deflection_px: float
    post_shortening_px: float
    post_distance_px: float


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


def two_boxes(text: str, shape: tuple[int, int]) -> Array:
    """A picture of labels (H, W) from two boxes "x,y,width,height;x,y,width,height" in px.

    Raises: UserError where these are not two boxes inside the picture of this shape.

    >>> np.unique(two_boxes("0,0,2,2; 5,0,2,2", (4, 8))).tolist()
    [0, 1, 2]
    """
    boxes = [tuple(map(int, re.findall(r"\d+", box))) for box in text.split(";")]
    marked = np.zeros(shape, np.uint8)
    for label, box in enumerate(boxes, 1):
        inside = len(box) == 4 and box[0] + box[2] <= shape[1] and box[1] + box[3] <= shape[0]
        if len(boxes) != 2 or not inside:
            raise UserError(
                f"two boxes x,y,width,height inside a picture of {shape[1]} x {shape[0]} px",
                f"“{text}”",
                'Write for example "40,200,60,60;410,200,60,60", as the posts stand in frame 0.',
            )
        marked[box_mask(shape, (box[0], box[1], box[2], box[3]))] = label
    return marked


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


class PostTracker:
    """Follows two posts from segment to segment.

    posts: their masks, bool (H, W), in the first frame, from `two_posts`.

    Raises: UserError for posts that are too small to be followed.
    """

    def __init__(self, posts: tuple[Array, Array]) -> None:
        least = min(int(post.sum()) for post in posts)
        if least < LEAST_PX:
            raise UserError(
                f"posts of at least {LEAST_PX} px each, which have a texture to follow",
                f"{least} px",
                "Mark the whole head of each post.",
            )
        self.posts, self.axis = posts, post_axis(posts)
        amounts = (towards_second, towards_first)
        self.trackers = [Tracker(amount, self.axis, edge_px=0) for amount in amounts]

    def follow(self, images: Sequence[Array]) -> list[PostFrame]:
        """Both posts in a segment of images, uint8 (H, W); it should hold several beats."""
        motions = [
            tracker.follow(images, [post] * len(images))
            for tracker, post in zip(self.trackers, self.posts, strict=True)
        ]
        return post_frames([motion for motion in motions if motion], self.axis.length_px)


def track_posts(
    images: Iterable[Array], posts: tuple[Array, Array], segment_frames: int = 300
) -> Iterator[PostFrame]:
    """Movement of both posts, one record a frame, in constant memory.

    images: uint8 (H, W) or (H, W, 3); posts: their masks (bool) in the first frame, from
    `two_posts`.
    """
    tracker = PostTracker(posts)
    pairs = zip(images, itertools.repeat(posts[0]))
    for pictures, _ in segments(pairs, segment_frames):
        yield from tracker.follow(pictures)


def post_frames(motions: Sequence[Motion], apart_px: float) -> list[PostFrame]:
    """The records of one segment from the motion of both posts, which stand `apart_px` apart."""
    places = [m.u.mean(1, dtype=float) + m.reference.moved_px for m in motions]
    bent = [motion.amount for motion in motions]
    nearer = bent[0] + bent[1]
    columns = [*places[0].T, *places[1].T, *bent, nearer, apart_px - nearer]
    return [PostFrame(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]
