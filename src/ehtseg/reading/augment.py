"""Variety of training frames: drawn in one place, applied in another, replayable from its record.

`draw` turns random numbers into an `Augmentation`, a plain record of what will be done; `apply`
does it, with torchvision's transforms, to a frame and its mask alike. The same record always
gives the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from ehtseg.records import Array

Strength = Literal["none", "flips", "weak", "strong", "scenes"]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What is done to one frame, in this order. The defaults do nothing.

    Intensities are in [0, 1], lengths in pixels of the working size.
    """

    background: float = 0.0  # added outside the tissue, softly across the outline
    invert: bool = False
    gamma: float = 1.0
    contrast: float = 1.0  # about the frame's mean
    brightness: float = 0.0  # added
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor a channel; colour frames only
    flip_x: bool = False
    flip_y: bool = False
    angle_deg: float = 0.0
    scale: float = 1.0
    shear_deg: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)  # share of the canvas, x and y
    surround: float | None = None  # grey level beyond the frame; None: half of it mirrored, then 0
    light: tuple[float, float] = (0.0, 0.0)  # illumination gradient over the canvas, x and y
    low_res: float = 1.0  # sampled down to this share and up again
    blur_px: float = 0.0  # standard deviation
    noise_sd: float = 0.0
    noise_seed: int = 0


def draw(strength: Strength, rng: np.random.Generator) -> Augmentation:
    """Draw what will be done to one frame; reads `rng` and nothing else.

    "weak" is the variety inside one film: a tissue that moves, light and focus that drift.
    For "scenes" it is what "strong" does, to a frame that scenes.py has composed.
    """
    if strength == "none":
        return Augmentation()
    flip_x, flip_y = bool(rng.random() < 0.5), bool(rng.random() < 0.5)
    if strength == "flips":
        return Augmentation(flip_x=flip_x, flip_y=flip_y)
    if strength == "weak":
        return _weak(rng, flip_x, flip_y)

    def now_and_then(share: float, low: float, high: float, otherwise: float = 0.0) -> float:
        drawn = float(rng.uniform(low, high))  # always drawn, so that later draws do not move
        return drawn if rng.random() < share else otherwise

    level = float(rng.random())
    return Augmentation(
        background=now_and_then(0.5, -0.4, 0.4),
        invert=bool(rng.random() < 0.1),
        gamma=float(np.exp(rng.uniform(-0.7, 0.7))),
        contrast=float(np.exp(rng.uniform(-0.7, 0.4))),
        brightness=now_and_then(0.7, -0.25, 0.25),
        tint=tuple(float(g) for g in np.exp(rng.uniform(-0.2, 0.2, 3))),  # type: ignore[arg-type]
        flip_x=flip_x,
        flip_y=flip_y,
        angle_deg=float(rng.uniform(-180, 180)),
        scale=float(np.exp(rng.uniform(np.log(0.5), np.log(1.6)))),
        shear_deg=now_and_then(0.5, -12, 12),
        shift=(float(rng.uniform(-0.25, 0.25)), float(rng.uniform(-0.25, 0.25))),
        surround=level if rng.random() < 0.3 else None,
        light=(now_and_then(0.5, -0.3, 0.3), now_and_then(0.5, -0.3, 0.3)),
        low_res=now_and_then(0.3, 0.3, 1.0, otherwise=1.0),
        blur_px=now_and_then(0.4, 0.3, 2.5),
        noise_sd=now_and_then(0.5, 0.0, 0.08),
        noise_seed=int(rng.integers(2**31)),
    )


def _weak(rng: np.random.Generator, flip_x: bool, flip_y: bool) -> Augmentation:
    gamma, contrast, scale = (float(g) for g in np.exp(rng.uniform(-1, 1, 3) * (0.2, 0.2, 0.1)))
    blur_px, is_blurred = float(rng.uniform(0.3, 1.0)), rng.random() < 0.3
    return Augmentation(
        gamma=gamma,
        contrast=contrast,
        brightness=float(rng.uniform(-0.1, 0.1)),
        flip_x=flip_x,
        flip_y=flip_y,
        angle_deg=float(rng.uniform(-8, 8)),
        scale=scale,
        shift=(float(rng.uniform(-0.05, 0.05)), float(rng.uniform(-0.05, 0.05))),
        blur_px=blur_px if is_blurred else 0.0,
        noise_sd=float(rng.uniform(0, 0.03)),
        noise_seed=int(rng.integers(2**31)),
    )


def apply(
    record: Augmentation, image: Array, label: Array, canvas: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Do what the record says to one frame and its label (or mask).

    `image` uint8 (H, W) or (H, W, 3), `label` bool or uint8 (H, W): 1 is tissue. Returns an image
    float32 (C, h, w) in [0, 1] and the label float32 (1, h, w), where (h, w) is the canvas.
    """
    channels = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
    picture = torch.from_numpy(np.ascontiguousarray(channels)).float().div_(255)
    tissue = torch.from_numpy(np.ascontiguousarray(label[None])).float()
    picture = _light_levels(record, picture, tissue)
    moved, outline = _move(record, tv_tensors.Image(picture), tv_tensors.Mask(tissue), canvas)
    return _camera(record, moved).clamp_(0, 1), outline


def _light_levels(
    record: Augmentation, picture: torch.Tensor, tissue: torch.Tensor
) -> torch.Tensor:
    if record.background and min(tissue.shape[-2:]) > 2:  # what the blur reaches
        outside = 1 - F.gaussian_blur((tissue == 1).float(), [5, 5], [1.5, 1.5])
        picture = (picture + record.background * outside).clamp(0, 1)
    if record.invert:
        picture = 1 - picture
    if record.gamma != 1:
        picture = picture**record.gamma
    if record.contrast != 1 or record.brightness:
        mean = float(picture.numpy().mean())  # numpy's sum does not depend on threads
        picture = (picture - mean) * record.contrast + mean + record.brightness
    if len(picture) == 3 and record.tint != (1.0, 1.0, 1.0):
        picture = picture * torch.tensor(record.tint)[:, None, None]
    return picture


def _move(
    record: Augmentation,
    picture: tv_tensors.Image,
    tissue: tv_tensors.Mask,
    canvas: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor]:
    pair = (picture, tissue)
    if record.flip_x:
        pair = tuple(F.horizontal_flip(part) for part in pair)
    if record.flip_y:
        pair = tuple(F.vertical_flip(part) for part in pair)
    turned = record.angle_deg or record.scale != 1 or record.shear_deg or any(record.shift)
    if not turned:
        image, mask = (_fit_canvas(part, canvas) for part in pair)
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)
    height, width = picture.shape[-2:]
    if record.surround is None:  # half of it mirrored on each side: corners beyond that stay black
        x, y = width - 1, height - 1
        pair = tuple(F.pad(part, [x // 2, y // 2], padding_mode="reflect") for part in pair)
    shift = [record.shift[0] * canvas[1], record.shift[1] * canvas[0]]
    image, mask = (
        F.affine(
            part,
            angle=record.angle_deg,
            translate=shift,
            scale=record.scale,
            shear=[record.shear_deg, 0.0],
            interpolation=how,
            fill=fill,
        )
        for part, how, fill in zip(
            pair,
            (InterpolationMode.BILINEAR, InterpolationMode.NEAREST),
            (record.surround or 0.0, 0.0),
            strict=True,
        )
    )
    image, mask = F.center_crop(image, list(canvas)), F.center_crop(mask, list(canvas))
    return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)


def _fit_canvas(part: torch.Tensor, canvas: tuple[int, int]) -> torch.Tensor:
    """Pad by mirroring, or crop, about the centre."""
    height, width = part.shape[-2:]
    right, below = max(0, canvas[1] - width), max(0, canvas[0] - height)
    if right or below:
        mode = "reflect" if right < width and below < height else "edge"
        sides = [right // 2, below // 2, right - right // 2, below - below // 2]
        part = F.pad(part, sides, padding_mode=mode)
    return F.center_crop(part, list(canvas))  # type: ignore[no-any-return]


def _camera(record: Augmentation, picture: torch.Tensor) -> torch.Tensor:
    height, width = picture.shape[-2:]
    if any(record.light):
        slope_x = torch.linspace(-0.5, 0.5, width) * record.light[0]
        slope_y = torch.linspace(-0.5, 0.5, height)[:, None] * record.light[1]
        picture = picture + slope_x + slope_y
    if record.low_res < 1:
        small = [max(1, round(height * record.low_res)), max(1, round(width * record.low_res))]
        picture = F.resize(F.resize(picture, small, antialias=True), [height, width])
    if record.blur_px:
        reach = 2 * int(np.ceil(2.5 * record.blur_px)) + 1
        picture = F.gaussian_blur(picture, [reach, reach], [record.blur_px, record.blur_px])
    if record.noise_sd:
        noise = np.random.default_rng(record.noise_seed).standard_normal((height, width))
        picture = picture + record.noise_sd * torch.from_numpy(noise.astype(np.float32))
    return picture
