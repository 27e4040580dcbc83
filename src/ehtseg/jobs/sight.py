"""Who tells tissue from background: a trained network, or masks of any origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs.naming import unique_names
from ehtseg.jobs.results import Means, steady_notes
from ehtseg.reading.mask_stream import masks_of, name_of, open_masks, paired
from ehtseg.reading.video import Video
from ehtseg.records import Array, Frame
from ehtseg.seeing.clean import Cleaned, Tidied, clean
from ehtseg.seeing.familiar import NO_LIMIT
from ehtseg.seeing.variants import Variant, Way, of_one_network

Pairs = Iterator[tuple[Frame, Array]]  # frames, each with its mask (bool) or probabilities

NOTHING: Array = np.zeros((0, 0), bool)


@dataclass(slots=True)
class Behind:
    """How many frames an interrupted run has left behind; counted down as they pass."""

    frames: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One recording with the masks of its frames, not yet read; each call of `pairs` starts anew.

    Frames that are behind us come with `NOTHING` where masks cost time.
    """

    pairs: Callable[[Behind], Pairs]
    words: str  # where the masks come from
    paths: tuple[Path, ...] = ()  # the masks' file or folder; of a joined recording several
    one_mask: bool = False  # one stands for all frames
    notes: Callable[[], list[str]] = list  # what is to be said once all frames were seen
    columns: Callable[[], dict[str, Array]] = dict  # and what is known of each frame, (T,)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What all recordings of one call are seen with."""

    settings: dict[str, Any]  # all that masks depend on, besides the recording and its masks
    threshold: float
    look_at: Callable[[Video], Seen]
    masks_of: Callable[[Path], Path | None]  # the masks' file or folder of a recording
    variants: tuple[Variant, ...] = ()  # ways in which it finds masks, the usual one first

    @property
    def draws(self) -> bool:
        """Whether it makes masks itself, so that they are part of the results."""
        return bool(self.variants)


def by_network(means: Means) -> Sight:
    """Tissue is what a trained network takes for it."""
    settings = means.settings
    words = [means.run.words]
    words += [] if settings["clean"] else ["raw masks"]
    words += [f"smoothed over {2 * settings['steady'] + 1} frames"] if settings["steady"] else []

    def look_at(video: Video) -> Seen:
        tidied, doubts = Tidied(), means.doubts()

        def pairs(behind: Behind) -> Pairs:
            frames = video.frames()
            if not settings["steady"]:  # which needs the frames before
                for frame, nothing in _passed(frames, behind):
                    tidied.passed += 1
                    if doubts:
                        doubts.note(frame)
                    yield frame, nothing
            yield from _counted(means.look(frames, doubts), tidied)

        def notes() -> list[str]:
            doubt = doubts.warning() if doubts else NO_LIMIT
            return [*tidied.notes(), *steady_notes(settings), *([doubt] if doubt else [])]

        def columns() -> dict[str, Array]:
            return {"unfamiliarity": doubts.unfamiliarity()} if doubts else {}

        return Seen(pairs, ", ".join(words), notes=notes, columns=columns)

    threshold = settings["threshold"]
    variants = of_one_network(means.engine, settings["size_px"], threshold)
    if settings["clean"]:
        variants = tuple(replace(one, way=_clean(one)) for one in variants)
    return Sight(settings, threshold, look_at, lambda _: None, variants)


def _passed(frames: Iterator[Frame], behind: Behind) -> Pairs:
    while behind.frames > 0 and (frame := next(frames, None)) is not None:
        behind.frames -= 1
        yield frame, NOTHING


def _clean(variant: Variant) -> Way:
    """The way of a variant, its masks cleaned as usual."""

    def way(images: Sequence[Array]) -> list[Array]:
        found = variant.way(images)
        return [clean(one, variant.threshold).probability for one in found]

    return way


def _counted(looks: Generator[tuple[Frame, Cleaned], None, None], tidied: Tidied) -> Pairs:
    with closing(looks):
        for frame, cleaned in looks:
            tidied.add(cleaned)
            yield frame, cleaned.probability


def by_masks(
    place: Path, settings: dict[str, Any], sources: Sequence[Path], threshold: float
) -> Sight:
    """Tissue is what given masks mark; see `masks_of` for where they are looked for.

    Where several recordings have one name, their masks are called as `segment` calls their folders.
    """
    usual = Counter(map(name_of, sources))
    told_apart = zip(sources, unique_names(sources), strict=True)
    names = {source: name for source, name in told_apart if usual[name_of(source)] > 1}

    def found(source: Path) -> Path:
        return masks_of(source, place, len(sources) == 1, names.get(source, ""))

    def look_at(video: Video) -> Seen:
        masks = open_masks(found(video.path))
        words = f"one mask for all frames, {masks.path}" if masks.is_single else str(masks.path)
        one_mask = masks.is_single and video.n_frames != 1
        return Seen(lambda _: paired(video, masks), words, (masks.path,), one_mask)

    return Sight(settings, threshold, look_at, found)
