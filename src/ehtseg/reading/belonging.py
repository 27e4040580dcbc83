"""Whether labelled pictures are frames of a recording; those of another teach another tissue.

Pictures are compared by their texture: 64 x 64 px without slow changes, as unit vectors, so that
brightness, contrast, compression and a tissue that moves count for little. Frames of one film
agree to 0.998 and more, and to 0.96 after JPEG 40, clipping, noise or gamma 1.8; frames of two
films, also of one laboratory, to less than 0.5 (docs/log.md).
"""

from __future__ import annotations

import cv2
import numpy as np

from ehtseg.reading.dataset import Dataset
from ehtseg.reading.pairs import some
from ehtseg.reading.video import Progress, Video
from ehtseg.records import Array, UserError

SIDE = 64
SLOW_PX = 4.0  # standard deviation, at 64 x 64 px, of what is taken away
SAME_FILM = 0.8
ENOUGH = 0.998  # nothing is gained by looking for a better one


def check_belonging(video: Video, dataset: Dataset, progress: Progress | None = None) -> None:
    """Look for the frames of a dataset in a recording, until all are found.

    Raises: UserError for pictures of another size, or that the recording does not hold.
    """
    names = [frame.image.name for frame in dataset.frames]
    size = f"{video.width} x {video.height} px"
    shapes, textures = [], []
    for i in range(len(dataset)):
        image, _ = dataset.read(i)
        shapes.append(image.shape[:2])
        textures.append(texture(image))
    other = [(n, s) for n, s in zip(names, shapes, strict=True) if s != (video.height, video.width)]
    if other:
        raise _foreign(
            video,
            f"frames of its size, {size}",
            f"{len(other)} of {len(names)} of another size: "
            f"{some(f'{name} ({w} x {h})' for name, (h, w) in other)}",
        )
    agreement = best_agreement(video, np.stack(textures), progress)
    strange = [
        f"{name} ({found:.2f})"
        for name, found in zip(names, agreement.tolist(), strict=True)
        if found < SAME_FILM
    ]
    if strange:
        raise _foreign(
            video,
            "pictures that are its frames",
            f"{len(strange)} of {len(names)} that agree with none of them (1 is the same): "
            f"{some(strange)}",
        )


def best_agreement(video: Video, textures_NP: Array, progress: Progress | None = None) -> Array:
    """The highest agreement of each picture with any frame, float (N,) in [-1, 1].

    It ends early where every picture has found `ENOUGH`.
    """
    best_N = np.full(len(textures_NP), -1.0)
    for frame in video.frames():
        best_N = np.maximum(best_N, textures_NP @ texture(frame.image))
        if progress:
            progress(frame.index + 1, video.n_frames)
        if (best_N >= ENOUGH).all():
            break
    return best_N


def texture(image: Array) -> Array:
    """The texture of a picture as a unit vector, float32 (P,); zeros for a picture without any.

    >>> line = np.eye(64, dtype=np.uint8)
    >>> round(float(texture(line) @ texture(100 + 9 * line)), 3)
    1.0
    """
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    fine = (small - cv2.GaussianBlur(small, (0, 0), SLOW_PX)).ravel()
    fine -= fine.mean()
    length = float(np.linalg.norm(fine))
    return fine / np.float32(length) if length > 1e-3 else np.zeros_like(fine)


def _foreign(video: Video, expected: str, got: str) -> UserError:
    return UserError(
        f"labels of {video.path}: {expected}",
        got,
        "Give the folder that was labelled for this recording (`ehtseg frames` makes one).",
    )
