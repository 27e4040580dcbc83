"""Whether a picture is of a kind that a network can be trusted with.

A network never says "I do not know": on a film of another kind it draws some mask. What gives it
away are signs that need no truth: its mask changes when the picture is mirrored or moved, and its
outline is a haze. `doubt` makes one number of them; above the limit that a run folder holds
(`doubt_limit` in run.json) a picture is unfamiliar. Which signs count, and the limit, come from
films left out of training: docs/log.md, 2026-11-23 (pieces of the mask were tried and add nothing).
A mask far smoother than what surrounds it is doubted fully: an empty channel is, tissue is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ehtseg.reading.geometry import mask_to_working_size, to_working_size
from ehtseg.records import Array, Frame
from ehtseg.seeing.predict import certainty
from ehtseg.seeing.variants import Variant

LOW, HIGH = 0.2, 0.8  # probabilities between which a pixel is undecided
SMOOTH = 0.4  # texture of the mask over that around it; tissue 0.8 and more, emptied films 0.23
FINE_PX, COARSE_PX = 0.7, 2.0  # texture: what is between these two sizes (SD of a Gaussian) ...
SIDE_PX = 256  # ... where the picture has so many pixels squared
RIM_PX = 4  # on either side of the outline that does not count
LEAST_SHARE = 0.02  # of the picture that must be there, inside and outside, to compare

NO_LIMIT = (
    "The network has no limit of doubt (a training sets none), so it will not say that a recording "
    "is of another kind."
)


@dataclass(frozen=True, slots=True)
class Signs:
    """What one picture's masks say about themselves; each is in [0, 1], high where all is well."""

    agreement: float  # least IoU of the mask with those of the mirrored and moved picture
    certainty: float  # IoU of a strict and a generous mask
    share: float  # of the picture that is tissue
    texture: float = 1.0  # of the mask over that of its surroundings; not in [0, 1]

    @property
    def doubt(self) -> float:
        """One number in [0, 1]; 1 where nothing was found, or what was found is smooth."""
        is_tissue = self.share > 0 and self.texture >= SMOOTH
        return 1 - self.agreement * self.certainty if is_tissue else 1.0


def signs_of(variants: Sequence[Variant], image: Array) -> Signs:
    """The signs of one picture, uint8 (H, W) or (H, W, 3); the first variant is the usual one.

    Takes as many runs of the network as there are variants.
    """
    seen = [variant.way([image])[0] for variant in variants]
    masks = [found >= variant.threshold for found, variant in zip(seen, variants, strict=True)]
    overlaps = [_iou(masks[0], other) for other in masks[1:]]
    return Signs(
        min(overlaps, default=1.0),
        certainty(seen[0], LOW, HIGH),
        float(masks[0].mean()),
        texture_ratio(image, masks[0]),
    )


def texture_ratio(image: Array, mask: Array) -> float:
    """Texture inside a mask over texture outside it, both away from its outline.

    Texture is the median |difference of two Gaussians|, so that brightness, inverted contrast and
    slow changes do not count. 1 where one side is hardly there, or nothing has any texture.
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = to_working_size(grey, SIDE_PX).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(small, (0, 0), sd) for sd in (FINE_PX, COARSE_PX))
    band, inside = np.abs(fine - coarse), mask_to_working_size(mask, SIDE_PX)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * RIM_PX + 1,) * 2)
    sides = [cv2.erode(side.astype(np.uint8), disc) > 0 for side in (inside, ~inside)]
    if min(side.mean() for side in sides) < LEAST_SHARE:
        return 1.0
    own, around = (float(np.median(band[side])) for side in sides)
    return own / around if around > 0 else 1.0


@dataclass(slots=True, eq=False)
class Doubts:
    """The doubts about a recording, from its frames 0, 1, 2, 4, 8, ... while they pass by.

    So seldom that an hour of film costs some twenty looks, and yet its end is seen.
    """

    variants: Sequence[Variant]
    limit: float
    found: dict[int, float] = field(default_factory=dict)  # by the frame's number
    n_frames: int = 0  # that passed

    def note(self, frame: Frame) -> None:
        """Count the next frame, and look at it if it is one of those.

        Runs the network: call it in the thread that does.
        """
        if self.n_frames & (self.n_frames - 1) == 0:
            self.found[self.n_frames] = signs_of(self.variants, frame.image).doubt
        self.n_frames += 1

    def unfamiliarity(self) -> Array:
        """Doubt / limit of every frame that passed, float (T,); NaN where nobody looked."""
        shares_T = np.full(self.n_frames, np.nan)
        for index, doubt in self.found.items():
            shares_T[index] = doubt / self.limit
        return shares_T

    def warning(self) -> str | None:
        """What has to be said of the recording; None where most frames looked at raise no doubt."""
        usual = float(np.median(list(self.found.values()))) if self.found else 0.0
        if usual <= self.limit:
            return None
        return (
            f"Unfamiliar picture: in most of {len(self.found)} frames looked at, the mask changes "
            f"when the picture is mirrored or moved, is a haze, is empty, or is far smoother than "
            f"its surroundings (doubt {usual:.2f}, limit {self.limit:.2f}). Do not use these masks "
            "unseen; label a few frames and adapt the network:  ehtseg adapt"
        )


def _iou(one: Array, other: Array) -> float:
    either = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / either if either else 1.0
