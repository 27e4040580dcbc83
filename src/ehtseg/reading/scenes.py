"""Scenes: a tissue, cut out or made up, before another background, with what chips add to it.

`draw_scene` says what stands before what, `compose` does it; the same scene always gives the same
picture. Labels are uint8: 0 background, 1 tissue, `IGNORED` what does not count. A label covers
the outline of the tissue with round posts in it; bars at its ends do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from ehtseg.reading.masks import IGNORED
from ehtseg.reading.textures import Rng, cloud, fibres, filled, ground, outline, ring
from ehtseg.records import Array

Frame = tuple[Array, Array]  # image uint8 (H, W) or (H, W, 3), label uint8 (H, W)
Labelled = tuple[Array, Array]  # image float32 (H, W) in [0, 1], label uint8 (H, W)


@dataclass(frozen=True, slots=True)
class Scene:
    """What stands before what. The defaults leave a frame as it is."""

    tissue: Literal["own", "made", "none"] = "own"
    behind: Literal["own", "other", "made"] = "own"
    bend_px: float = 0.0  # of the whole frame, smoothly
    lighter: float = 0.0  # added to the tissue
    walls: bool = False
    debris: int = 0  # specks and bubbles, also on the tissue
    text: bool = False
    seed: int = 0  # of shapes and textures


def draw_scene(rng: Rng) -> Scene:
    """Draw a scene; reads `rng` and nothing else."""
    tissue = rng.choice(["own", "made", "none"], p=[0.55, 0.37, 0.08])
    behind = rng.choice(["own", "other", "made"], p=[0.5, 0.2, 0.3])
    if tissue != "own":
        behind = rng.choice(["own", "other", "made"], p=[0.25, 0.15, 0.6])
    return Scene(
        tissue=str(tissue),  # type: ignore[arg-type]
        behind=str(behind),  # type: ignore[arg-type]
        bend_px=float(rng.uniform(0, 10)) if rng.random() < 0.7 else 0.0,
        lighter=float(rng.uniform(-0.25, 0.25)) if rng.random() < 0.5 else 0.0,
        walls=bool(rng.random() < 0.3),
        debris=int(rng.integers(1, 25)) if rng.random() < 0.4 else 0,
        text=bool(rng.random() < 0.15),
        seed=int(rng.integers(2**31)),
    )


def compose(scene: Scene, frame: Frame, other: Callable[[int], Frame]) -> Frame:
    """The scene from one labelled frame; `other(number)` gives some other one.

    Frames are images uint8 (H, W) with labels uint8 (H, W). A colour frame (H, W, 3) is left as
    it is: made-up textures are grey.
    """
    if frame[0].ndim == 3:
        return frame
    rng = np.random.default_rng(scene.seed)
    own = _bent(rng, _grey(frame), scene.bend_px)
    if scene.tissue == "own" and scene.behind == "own":
        image, label = own[0] + scene.lighter * _soft(own[1]), own[1].copy()
    else:
        image, label = _before(rng, scene, own, other)
    if scene.walls:
        _wall(rng, image, label)
    for _ in range(scene.debris):
        size = rng.uniform(0.005, 0.03) * max(label.shape)
        ring(rng, image, size, rng.uniform(-0.5, 0.5))
    if scene.text:
        _write(rng, image)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), label


def _grey(frame: Frame) -> Labelled:
    image, label = frame
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image
    return grey.astype(np.float32) / 255, label


def _before(rng: Rng, scene: Scene, own: Labelled, other: Callable[[int], Frame]) -> Labelled:
    """A tissue, or none, before a background that is not its own."""
    shape = own[1].shape
    if scene.behind == "made":
        behind = ground(rng, shape)
    else:
        source = own if scene.behind == "own" else _grey(other(int(rng.integers(2**31))))
        behind = cv2.resize(_emptied(rng, source), shape[::-1], interpolation=cv2.INTER_AREA)
    if scene.tissue == "made":
        return _made(rng, own, behind)
    if scene.tissue == "none":
        if rng.random() < 0.5:
            _posts(rng, behind, _ends(rng, shape), rng.uniform(0.03, 0.12) * max(shape))
        return behind, np.zeros(shape, np.uint8)
    cover = _soft((own[1] > 0).astype(np.uint8))
    return behind * (1 - cover) + (own[0] + scene.lighter) * cover, own[1].copy()


def _made(rng: Rng, own: Labelled, behind: Array) -> Labelled:
    """A made-up tissue, with its posts, before a background."""
    shape = behind.shape
    style = rng.choice(["posts", "bars", "strip", "plain"], p=[0.5, 0.15, 0.2, 0.15])
    half_length = rng.uniform(0.2, 0.48) * max(shape) if style != "strip" else max(shape)
    ends = "square" if style in ("bars", "strip") else "round"
    points = outline(rng, shape, half_length, ends)
    cover = filled(points, shape)
    label = (cover > 0.5).astype(np.uint8)
    level = float(behind[label > 0].mean() if label.any() else 0.5)
    darker = rng.uniform(0.12, 0.5) * (1 if rng.random() < 0.8 else -1)
    texture = _texture(rng, own, shape)
    tissue = np.clip(level - darker, 0.03, 0.97) + texture
    rim = rng.normal(0, 0.12) * (cv2.GaussianBlur(cover, (0, 0), rng.uniform(1, 5)) - cover)
    picture = behind * (1 - cover) + tissue * cover + 2 * rim
    width = float(np.ptp(points[:, 1])) / 2
    if style == "posts":
        reach = half_length - rng.uniform(0.7, 1.1) * width
        centres = [(shape[1] / 2 + side * reach, shape[0] / 2) for side in (-1, 1)]
        _posts(rng, picture, centres, width * rng.uniform(0.4, 0.75))
    if style == "bars":
        _bars(rng, picture, label, half_length, width)
    if style == "strip" and rng.random() < 0.7:
        _edge_walls(rng, picture, points)
    return picture, label


def _texture(rng: Rng, own: Labelled, shape: tuple[int, int]) -> Array:
    """The look of a tissue, about 0: made-up fibres, or what the own tissue looks like inside."""
    image, label = own
    inside = cv2.erode((label == 1).astype(np.uint8), np.ones((25, 25), np.uint8))
    rows, columns = np.nonzero(inside)
    if len(rows) and rng.random() < 0.5:
        pick = rng.integers(len(rows))
        edge = 24
        top, left = max(0, rows[pick] - edge), max(0, columns[pick] - edge)
        patch = image[top : top + 2 * edge, left : left + 2 * edge]
        tiles = [-(-shape[axis] // patch.shape[axis]) for axis in (0, 1)]
        tiled = np.pad(
            patch,
            [(0, (n - 1) * s) for n, s in zip(tiles, patch.shape, strict=True)],
            mode="symmetric",
        )[: shape[0], : shape[1]]
        look: Array = (tiled - tiled.mean()) * np.float32(rng.uniform(0.7, 1.5))
        return look
    streaks = fibres(rng, shape, rng.uniform(2, 14), rng.uniform(0.6, 2.5))
    lumps = cloud(rng, shape, rng.uniform(8, 60))
    return np.float32(rng.uniform(0.01, 0.1)) * streaks + np.float32(rng.uniform(0, 0.06)) * lumps


def _posts(rng: Rng, picture: Array, centres: list[tuple[float, float]], radius_px: float) -> None:
    """Round posts: a disc, mostly bright, rings in it, often a dark collar. In place."""
    rows, columns = np.ogrid[: picture.shape[0], : picture.shape[1]]
    level, collar = rng.uniform(0.1, 0.95), rng.uniform(0, 0.6) * (rng.random() < 0.7)
    rings, period = rng.uniform(0, 0.12), rng.uniform(0.15, 0.5)
    stretch = rng.uniform(0.8, 1.25)
    for x, y in centres:
        apart = np.hypot((columns - x) / stretch, rows - y) / max(radius_px, 1)
        disc = 1 / (1 + np.exp((apart - 1) * radius_px))
        around = np.exp(-(((apart - 1.15) / 0.2) ** 2)) * (apart > 1)
        look = level + rings * np.cos(2 * np.pi * apart / period)
        picture += np.float32(disc) * (look - picture) - np.float32(collar * around) * picture


def _bars(rng: Rng, picture: Array, label: Array, half_length: float, width: float) -> None:
    """Bars across the ends, which do not count. In place."""
    height, length = picture.shape
    thick, wide = rng.uniform(0.03, 0.09) * length, width * rng.uniform(1.0, 1.6)
    for side in (-1, 1):
        centre = (length / 2 + side * (half_length + thick / 2), height / 2)
        box = cv2.boxPoints((centre, (thick, 2 * wide), float(rng.uniform(-12, 12))))
        cover = cv2.GaussianBlur(filled(box, picture.shape), (0, 0), rng.uniform(0.6, 2))
        picture += cover * (np.float32(rng.uniform(0.02, 0.7)) - picture)
        label[cover > 0.3] = IGNORED


def _edge_walls(rng: Rng, picture: Array, points: Array) -> None:
    """Dark lines along the two long edges of a strip. In place."""
    half = len(points) // 2
    drawn = np.zeros(picture.shape, np.uint8)
    out = rng.uniform(1, 4)
    for side, away in ((points[:half], -out), (points[half:], out)):
        line = np.round((side + np.array([0, away])) * 16).astype(np.int32)
        cv2.polylines(drawn, [line], False, 255, int(rng.integers(1, 5)), cv2.LINE_AA, shift=4)
    cover = drawn.astype(np.float32) / 255 * np.float32(rng.uniform(0.4, 1))
    picture += cover * (np.float32(rng.uniform(0, 0.3)) - picture)


def _wall(rng: Rng, image: Array, label: Array) -> None:
    """A straight band of a chip beside the tissue, never over it. In place."""
    height, width = image.shape
    free = np.flatnonzero(~(label > 0).any(1))
    if not len(free):
        return
    top = int(rng.choice(free))
    below = free[(free >= top) & (free < top + rng.integers(3, max(4, height // 5)))]
    if not (len(below) and below[-1] - below[0] == len(below) - 1):
        return
    band = np.float32(rng.uniform(0.02, 0.9)) + 0.03 * fibres(rng, (len(below), width), 20, 1)
    image[below[0] : below[-1] + 1] += np.float32(rng.uniform(0.4, 1)) * (
        band - image[below[0] : below[-1] + 1]
    )


def _write(rng: Rng, image: Array) -> None:
    """A time stamp or a scale bar near a corner, black or white. In place."""
    height, width = image.shape
    drawn = np.zeros(image.shape, np.uint8)
    x, y = int(rng.uniform(0, 0.6) * width), int(rng.choice([0.08, 0.95]) * height)
    if rng.random() < 0.5:
        stamp = f"{rng.integers(60):02d}:{rng.integers(60):02d}.{rng.integers(999):03d}"
        cv2.putText(drawn, stamp, (x, y), 0, float(rng.uniform(0.3, 0.6)), 255, 1, cv2.LINE_AA)
    else:
        cv2.rectangle(drawn, (x, y), (x + int(rng.uniform(0.1, 0.3) * width), y + 3), 255, -1)
    image += drawn.astype(np.float32) / 255 * (np.float32(rng.choice([0.0, 1.0])) - image)


def _bent(rng: Rng, frame: Labelled, bend_px: float) -> Labelled:
    if not bend_px:
        return frame
    image, label = frame
    rows, columns = np.indices(label.shape, dtype=np.float32)
    coarse = rng.uniform(0.3, 0.8) * max(label.shape)
    away = np.float32(bend_px)
    x, y = (axis + away * cloud(rng, label.shape, coarse) for axis in (columns, rows))
    return (
        cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT),
        cv2.remap(label, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT),
    )


def _emptied(rng: Rng, frame: Labelled) -> Array:
    """The frame with its tissue covered by what is around it, smoothly."""
    image, label = frame
    small = (max(1, label.shape[1] // 4), max(1, label.shape[0] // 4))
    wide = cv2.dilate((label > 0).astype(np.uint8), np.ones((9, 9), np.uint8))
    free = cv2.resize(1 - wide.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    seen = cv2.resize(image, small, interpolation=cv2.INTER_AREA) * free
    weight = cv2.GaussianBlur(free, (0, 0), 12) + 1e-4
    around = cv2.GaussianBlur(seen, (0, 0), 12) / weight
    around = cv2.resize(around, label.shape[::-1], interpolation=cv2.INTER_LINEAR)
    around = around + np.float32(0.03) * cloud(rng, label.shape, 3)
    cover = _soft(wide)
    emptied: Array = image * (1 - cover) + around * cover
    return emptied


def _ends(rng: Rng, shape: tuple[int, int]) -> list[tuple[float, float]]:
    apart = rng.uniform(0.15, 0.4) * shape[1]
    return [(shape[1] / 2 + side * apart, shape[0] / 2) for side in (-1, 1)]


def _soft(mask: Array) -> Array:
    blurred: Array = cv2.GaussianBlur((mask == 1).astype(np.float32), (0, 0), 1.0)
    return blurred
