"""Who tells tissue from background: a trained network, or masks of any origin."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehtseg.jobs.results import Means, steady_notes
from ehtseg.reading.mask_stream import masks_of, open_masks, paired
from ehtseg.reading.video import Video
from ehtseg.records import Array, Frame
from ehtseg.seeing.clean import Cleaned, Tidied

Pairs = Iterator[tuple[Frame, Array]]  # frames, each with its mask (bool) or probabilities


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One recording with the masks of its frames, not yet read."""

    pairs: Pairs
    words: str  # where the masks come from
    paths: tuple[Path, ...] = ()  # the masks' file or folder; of a joined recording several
    one_mask: bool = False  # one stands for all frames
    notes: Callable[[], list[str]] = list  # what is to be said once all frames were seen


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
    words = [means.run.words]
    words += [] if settings["clean"] else ["raw masks"]
    words += [f"smoothed over {2 * settings['steady'] + 1} frames"] if settings["steady"] else []

    def look_at(video: Video) -> Seen:
        tidied = Tidied()

        def notes() -> list[str]:
            return [*tidied.notes(), *steady_notes(settings)]

        return Seen(_counted(means.look(video), tidied), ", ".join(words), notes=notes)

    return Sight(settings, settings["threshold"], look_at, lambda _: None)


def _counted(looks: Generator[tuple[Frame, Cleaned], None, None], tidied: Tidied) -> Pairs:
    with closing(looks):
        for frame, cleaned in looks:
            tidied.add(cleaned)
            yield frame, cleaned.probability


def by_masks(place: Path, settings: dict[str, Any], alone: bool, threshold: float) -> Sight:
    """Tissue is what given masks mark; see `masks_of` for where they are looked for."""

    def look_at(video: Video) -> Seen:
        masks = open_masks(masks_of(video.path, place, alone))
        words = f"one mask for all frames, {masks.path}" if masks.is_single else str(masks.path)
        one_mask = masks.is_single and video.n_frames != 1
        return Seen(paired(video, masks), words, (masks.path,), one_mask)

    return Sight(settings, threshold, look_at, lambda source: masks_of(source, place, alone))
