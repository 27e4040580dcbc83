"""Stretches of a recording segmented in several ways: how much do its numbers owe to the masks?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ehtseg.jobs.conclude import Conclusion
from ehtseg.jobs.kept import Watched, read_json, write_json
from ehtseg.jobs.material import Material
from ehtseg.jobs.segment import decide_means
from ehtseg.jobs.sight import Sight, by_network
from ehtseg.measuring.flow import measure_flow
from ehtseg.measuring.quality import FLOW_TRACES, MASK_TRACES
from ehtseg.measuring.shapes import measure_frame
from ehtseg.measuring.traces import SIGNS, stem, with_unit
from ehtseg.measuring.uncertainty import SeenAgain, Span, Uncertainty, sample, uncertainty_of
from ehtseg.reading.video import Progress
from ehtseg.recipe import MeasureRecipe
from ehtseg.records import Array
from ehtseg.seeing.run_folder import open_run
from ehtseg.seeing.variants import Variant

AGAIN = "masks_again.json"
AT_ONCE = 16  # frames for the network
CHUNK = 300  # frames in memory, where all of a recording is seen again


@dataclass(frozen=True, slots=True, eq=False)
class Doubt:
    """What the doubt about masks does to the numbers, and what that was read from."""

    found: Uncertainty
    seen: SeenAgain
    made_of: dict[str, Any]  # all that `seen` depends on

    @property
    def words(self) -> str:
        """One sentence on where the column sd_masks comes from."""
        found = self.found
        return (
            f"sd_masks: masks were found in {len(found.ways)} ways ({', '.join(found.ways)}) in "
            f"{found.n_frames} frames with {found.n_beats} beats; it is the SD over the ways of "
            "the mean of these beats."
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Ruler:
    """How the trace that was chosen is read from masks."""

    trace: str  # name of a column without its unit
    factor: float  # from px to its unit, contraction up
    watched: Watched

    def read(self, images: Sequence[Array], found: Sequence[Array], threshold: float) -> Array:
        """The trace in consecutive frames, (T,); their masks as probabilities."""
        name = f"{self.trace}_px"
        if self.trace in MASK_TRACES:
            axis = self.watched.axis
            rows = [measure_frame(one, axis, threshold) for one in found]
            return self.factor * np.array([getattr(row, name) for row in rows], float)
        reference = self.watched.reference
        pairs = zip(images, (one >= threshold for one in found), strict=True)
        moved = measure_flow(pairs, reference.axis if reference else None)
        return self.factor * np.array([getattr(row, name) for row in moved], float)


def uncertainty(
    material: Material, said: Conclusion, recipe: MeasureRecipe, folder: Path, progress: Progress
) -> Doubt | None:
    """What the doubt about masks does to the numbers, and what was seen for it.

    None for masks of another origin, and where nothing beats. What an earlier run in `folder` has
    seen in the same ways is not seen again.
    """
    if recipe.uncertainty == "none" or not said.parameters or said.finding is None:
        return None
    trace = said.choice.name if said.choice else ""
    chosen = [recipe.uncertainty, recipe.uncertainty_frames, *recipe.other_runs]
    made_of = {"watched": material.made_of, "ways": chosen, "trace": trace}
    seen = _seen_before(folder, made_of) or _see(material, said, recipe, progress)
    if seen is None:
        return None
    found = uncertainty_of(said.finding, said.meaning, said.traces.time_s, seen)
    return Doubt(found, seen, made_of)


def _see(
    material: Material, said: Conclusion, recipe: MeasureRecipe, progress: Progress
) -> SeenAgain | None:
    ways = ways_of(material.sight, recipe)
    name = said.choice.name if said.choice else "none"
    trace = stem(name)
    if len(ways) < 2 or trace not in (*MASK_TRACES, *FLOW_TRACES) or said.finding is None:
        return None
    time_s = said.traces.time_s
    spans = sample(said.finding, time_s, recipe.uncertainty_frames)
    if recipe.uncertainty == "complete":
        spans = _all(len(time_s))
    factor = SIGNS[trace] * with_unit(f"{trace}_px", material.video.um_per_px)[1]
    ruler = _Ruler(trace, factor, material.watched)
    values = tuple(_read(material, spans, ways, ruler, progress))
    return SeenAgain(tuple(one.name for one in ways), spans, values)


def ways_of(sight: Sight, recipe: MeasureRecipe) -> tuple[Variant, ...]:
    """The ways to find masks: of one network, or of this and others; none for given masks."""
    if not sight.variants or not recipe.other_runs:
        return sight.variants
    others = [open_run(Path(path)) for path in recipe.other_runs]
    seen = [by_network(decide_means(run, run.recipe.segment, None, None)) for run in others]
    own = replace(sight.variants[0], name="the network itself")
    named = zip(others, seen, strict=True)
    return (own, *(replace(one.variants[0], name=str(run.path)) for run, one in named))


def keep(doubt: Doubt, folder: Path) -> None:
    """Write what was seen, for a later run with other beats."""
    seen = doubt.seen
    values = [one.tolist() for one in seen.values]
    content = {"ways": seen.ways, "stretches": seen.stretches, "values": values}
    write_json({"made_of": doubt.made_of, **content}, folder / AGAIN)


def _seen_before(folder: Path, made_of: dict[str, Any]) -> SeenAgain | None:
    content = read_json(folder / AGAIN)
    if content is None or content["made_of"] != made_of:
        return None
    spans = tuple((first, stop) for first, stop in content["stretches"])
    values = tuple(np.array(one, float) for one in content["values"])
    return SeenAgain(tuple(content["ways"]), spans, values)


def _all(n_frames: int) -> tuple[Span, ...]:
    return tuple((k, min(k + CHUNK, n_frames)) for k in range(0, n_frames, CHUNK))


def _read(
    material: Material,
    spans: Sequence[Span],
    ways: Sequence[Variant],
    ruler: _Ruler,
    progress: Progress,
) -> Iterator[Array]:
    """The trace in each stretch, (K, T), in one pass over the frames."""
    waiting, images = list(spans), list[Array]()
    last = spans[-1][1]
    for count, frame in enumerate(material.video.frames(), 1):
        if waiting[0][0] < count:
            images.append(frame.image)
        if count == waiting[0][1]:
            yield np.array([_one_way(way, images, ruler) for way in ways])
            waiting.pop(0)
            images = []
        progress(count, last)
        if not waiting:
            return


def _one_way(variant: Variant, images: Sequence[Array], ruler: _Ruler) -> Array:
    starts = range(0, len(images), AT_ONCE)
    found = [one for k in starts for one in variant.way(images[k : k + AT_ONCE])]
    return ruler.read(images, found, variant.threshold)
