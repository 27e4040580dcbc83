"""What can be concluded from a recording and what cannot, in sentences with their reasons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.events import Event, outside
from ehtseg.measuring.quality import FEWEST_BEATS, MASK_TRACES, Flag, why_no_trace
from ehtseg.measuring.traces import Choice, Traces
from ehtseg.reporting.report import Clock

LENGTHS = ("major_axis", "extent")
DOUBTFUL = ("few_frames_in_upstroke", "compression")  # flags that say what does not follow
MISSED = 0.1  # share of frames without a value from which a trace is not used
TIMES = "rates in beats a minute, times in ms and velocities"


def can_conclude(
    clock: Clock, choice: Choice | None, finding: BeatFinding | None, um_per_px: float | None
) -> tuple[str, ...]:
    """Sentences that hold."""
    return tuple(_can(clock, choice, finding, um_per_px))


def cannot_conclude(
    traces: Traces,
    clock: Clock,
    finding: BeatFinding | None,
    flags: Sequence[Flag],
    events: Sequence[Event],
    one_mask: bool,
    effects: Sequence[Mapping[str, Any]] = (),
) -> tuple[str, ...]:
    """Sentences on what this recording does not allow to say, each with the reason and the cure.

    `effects` are the rows of effects.csv.
    """
    return (
        *_not_of_beats(traces, clock, finding),
        *_not_of_units(traces, clock),
        *_not_of_shapes(traces, one_mask),
        *(flag.reason for flag in flags if flag.code in DOUBTFUL),
        *_not_of_events(traces, clock, events),
        *_not_of_effects([one.label for one in events if not outside(one, _span(traces))], effects),
    )


def _can(
    clock: Clock, choice: Choice | None, finding: BeatFinding | None, um_per_px: float | None
) -> Iterator[str]:
    if choice is None or finding is None:
        yield "The tables of frames hold what was seen of each; nothing follows for the tissue."
        return
    number = len(finding.accepted)
    if finding.verdict == "not beating":
        reasons = "; ".join(clock.caveat(finding.reasons))
        yield f"In this recording the tissue does not beat: {reasons}."
    elif number == 1 or finding.verdict == "beating":
        yield f"{number} contraction{'s' * (number > 1)} at the times in beats.csv."
    elif number:
        yield f"{number} movements that may be beats stand in beats.csv; no numbers follow."
    else:
        yield "The tables of frames hold what was seen of each; nothing follows for the tissue."
    if finding.verdict == "beating":
        unit = "in µm" if um_per_px else "in px and in per cent"
        kind = "with their spread" if number >= FEWEST_BEATS else "as single values"
        yield f"Intervals, amplitude ({unit}) and durations of the beats, {kind}."
    if finding.verdict == "beating" and not clock.is_known:
        yield "Times in frames, and ratios of times: they need no frame rate."


def _not_of_beats(traces: Traces, clock: Clock, finding: BeatFinding | None) -> Iterator[str]:
    if finding is None:
        yield f"Whether the tissue beats: {why_no_trace(len(traces.time_s))}."
        return
    number = len(finding.accepted)
    if finding.verdict == "cannot tell":
        reasons = "; ".join(clock.caveat(finding.reasons))
        yield f"Whether and how regularly the tissue beats: {reasons}."
    if number == 1:
        yield "Rate and irregularity: a single beat has no interval."
    elif finding.verdict == "beating" and number < FEWEST_BEATS:
        yield f"Irregularity: {number} beats are too few, {FEWEST_BEATS} are needed."


def _not_of_units(traces: Traces, clock: Clock) -> Iterator[str]:
    if not clock.is_known:
        yield (
            f"{TIMES[0].upper()}{TIMES[1:]}: the frame rate is unknown. Give it with --fps; until "
            "then times are in frames, and frames are taken as evenly spaced."
        )
    if traces.um_per_px is None:
        yield "Lengths in µm and areas in mm²: the pixel size is unknown; give --um-per-px."


def _not_of_shapes(traces: Traces, one_mask: bool) -> Iterator[str]:
    if one_mask:
        yield "Shape over time: one mask stands for all frames; only motion in it is measured."
    refused = [bool(words) for words in traces.texts.get("refused", ())]
    cut = [bool(words) for words in traces.texts.get("touches", ())]
    empty = np.array(traces.columns.get("parts", np.ones(1))) == 0
    if empty.any():
        yield f"Anything in {int(empty.sum())} of {len(empty)} frames: no tissue is found in them."
    if any(cut) and np.mean(refused) > MISSED:
        yield (
            "Sizes of the whole tissue (area, length, width, and what follows from them): in "
            f"{sum(cut)} of {len(cut)} frames it touches the edge of the picture, and its area is "
            "that of what is seen. Motion is measured all the same, and a length or width that "
            "stands in frames.csv is whole."
        )


def _not_of_events(traces: Traces, clock: Clock, events: Sequence[Event]) -> Iterator[str]:
    if events and not clock.is_known:
        yield "Effects of events: without a frame rate their place in the recording is unknown."
        return
    yield from filter(None, (outside(event, _span(traces)) for event in events))


def _not_of_effects(labels: Sequence[str], effects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Events of which no quantity tells an effect, with the reason of the first: the beat rate."""
    for label in dict.fromkeys(labels):
        rows = [row for row in effects if row["event"] == label]
        if rows and all(row["verdict"] == "cannot tell" for row in rows):
            yield f"Effect of “{label}”: {rows[0]['reason']}"


def _span(traces: Traces) -> tuple[float, float]:
    known = len(traces.time_s) > 0
    return (float(traces.time_s[0]), float(traces.time_s[-1])) if known else (0.0, 0.0)


def measured_by(name: str) -> str:
    """In words, what a trace is read from."""
    if name.startswith("post_"):
        return "optical flow inside the two posts"
    return "the outline" if name.startswith(MASK_TRACES) else "optical flow inside the mask"
