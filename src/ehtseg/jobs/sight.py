"""Who tells tissue from background: a trained network, or masks of any origin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehtseg.jobs.results import Means
from ehtseg.reading.mask_stream import masks_of, open_masks, paired
from ehtseg.reading.video import Video
from ehtseg.records import Array, Frame
from ehtseg.seeing.stream import see

Pairs = Iterator[tuple[Frame, Array]]  # frames, each with its mask (bool) or probabilities


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One recording with the masks of its frames, not yet read."""

    pairs: Pairs
    words: str  # where the masks come from
    paths: tuple[Path, ...] = ()  # the masks' file or folder; of a joined recording several
    one_mask: bool = False  # one stands for all frames


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What all recordings of one call are seen with."""

    settings: dict[str, Any]  # all that masks depend on, besides the recording and its masks
    threshold: float
    look_at: Callable[[Video], Seen]
    masks_of: Callable[[Path], Path | None]  # the masks' file or folder of a recording


def by_network(means: Means) -> Sight:
    """Tissue is what a trained network takes for it."""
    settings = means.settings

    def look_at(video: Video) -> Seen:
        pairs = see(means.engine, video.frames(), settings["size_px"], means.batch)
        weights = f"weights {settings['weights_sha256'][:16]}"
        return Seen(pairs, f"the network {means.run.path.name} ({weights})")

    return Sight(settings, settings["threshold"], look_at, lambda _: None)


def by_masks(place: Path, settings: dict[str, Any], alone: bool, threshold: float) -> Sight:
    """Tissue is what given masks mark; see `masks_of` for where they are looked for."""

    def look_at(video: Video) -> Seen:
        masks = open_masks(masks_of(video.path, place, alone))
        words = f"one mask for all frames, {masks.path}" if masks.is_single else str(masks.path)
        one_mask = masks.is_single and video.n_frames != 1
        return Seen(paired(video, masks), words, (masks.path,), one_mask)

    return Sight(settings, threshold, look_at, lambda source: masks_of(source, place, alone))
