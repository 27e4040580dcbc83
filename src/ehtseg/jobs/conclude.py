"""From the traces of a recording to what its report says: trace, beats, kinetics, flags."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ehtseg.jobs.course import Course, course_of
from ehtseg.measuring import quality
from ehtseg.measuring.beats import BeatFinding, find_beats
from ehtseg.measuring.edits import Edit, apply_edits, needless
from ehtseg.measuring.events import Event
from ehtseg.measuring.kinetics import Meaning, table_of_beats
from ehtseg.measuring.quality import Flag
from ehtseg.measuring.shares import share_numbers, shares_of_beats, with_shares
from ehtseg.measuring.summary import Number, summary
from ehtseg.measuring.traces import Choice, Traces, choose_trace, stem
from ehtseg.measuring.verdict import SWAYS, sways
from ehtseg.recipe import MeasureRecipe
from ehtseg.records import Array
from ehtseg.reporting.how import how
from ehtseg.reporting.report import Clock

FEWEST_SEEN = 0.9  # share of frames in which a length is known, so that it can be a reference
SHARES: dict[str, Literal["fs_pct", "fac_pct"]] = {
    "major_axis": "fs_pct",
    "extent": "fs_pct",
    "area": "fac_pct",
}
# Without a frame rate these mean nothing, or (upstroke_frames) what upstroke_ms is told as.
NEED_SECONDS = ("_fridericia_ms", "capture_ratio", "upstroke_frames")


@dataclass(frozen=True, slots=True, eq=False)
class Conclusion:
    """What the traces of one recording say."""

    traces: Traces
    clock: Clock
    choice: Choice | None
    finding: BeatFinding | None
    meaning: Meaning
    beats: tuple[dict[str, Any], ...]
    parameters: tuple[dict[str, Any], ...]
    flags: tuple[Flag, ...]
    course: Course


def conclude(
    traces: Traces,
    clock: Clock,
    recipe: MeasureRecipe,
    edits: Sequence[Edit] = (),
    events: Sequence[Event] = (),
) -> Conclusion:
    """Choose a trace, find its beats, measure them, and raise every flag."""
    choice = choose_trace(traces, recipe.trace)
    flags = quality.flags_of(traces, choice)
    if choice is None:
        return Conclusion(traces, clock, None, None, Meaning(), (), (), tuple(flags), Course())
    signal, meaning = as_shortening(choice, traces)
    found = find_beats(*rising(traces.time_s, signal), max_bpm=recipe.max_bpm)
    by_hand = [_in_seconds(edit, clock) for edit in edits]
    finding = _unless_swaying(apply_edits(found, by_hand, clock.tell), traces, choice, recipe.trace)
    flags += filter(None, [needless(found, by_hand)])
    rows = table_of_beats(finding.time_s, finding.x, finding.beats, meaning)
    sure = finding.verdict == "beating"
    numbers = summary(finding, meaning, recipe.pacing_bpm) if sure else {}
    shares = shares_of_beats(finding, traces, choice) if sure else {}
    numbers |= share_numbers(shares, traces, choice)
    told = with_shares(rows, finding, shares)
    return Conclusion(
        traces,
        clock,
        choice,
        finding,
        meaning,
        tuple(beat_rows(finding, told, clock)),
        tuple(parameter_rows(numbers, clock)),
        (*flags, *_flags_of_beats(finding, rows)),
        course_of(finding, rows, events) if clock.is_known else Course(),
    )


def _unless_swaying(
    finding: BeatFinding, traces: Traces, choice: Choice, wanted: str | None
) -> BeatFinding:
    """The finding; in doubt where it rests on displacement for want of better, and that is sway."""
    kind, unit = stem(choice.name), choice.name.rpartition("_")[2]
    if finding.verdict != "beating" or kind != "displacement" or wanted == kind:
        return finding
    shift_x_T, shift_y_T = (traces.columns[f"shift_{axis}_{unit}"] for axis in "xy")
    if not sways(traces.columns[choice.name], shift_x_T, shift_y_T, traces.time_s):
        return finding
    return replace(finding, verdict="cannot tell", reasons=(SWAYS,))


def rising(time_s: Array, x: Array) -> tuple[Array, Array]:
    """The trace without frames whose time stamp is not later than every one before."""
    latest = np.maximum.accumulate(time_s)
    keep = np.concatenate([[True], time_s[1:] > latest[:-1]])
    return time_s[keep], x[keep]


def as_shortening(choice: Choice, traces: Traces) -> tuple[Array, Meaning]:
    """The chosen trace and what it stands for: its unit, and of what its amplitude is a share.

    A length or an area, which was turned to minus itself, becomes what it is shorter than usual.
    Shortening by flow is a share of the usual extent of the mask, where the whole of it is seen;
    that between posts of the distance of the relaxed posts.
    """
    name = stem(choice.name)
    unit = choice.name.removeprefix(f"{name}_")
    if name in SHARES:
        usual = float(np.nanmedian(traces.columns[choice.name]))
        return usual + choice.signal, Meaning(unit, SHARES[name], usual)
    extent = traces.columns.get(f"extent_{unit}", np.full(1, np.nan))
    if name == "contraction" and np.isfinite(extent).mean() >= FEWEST_SEEN:
        return choice.signal, Meaning(unit, "fs_pct", float(np.nanmedian(extent)))
    if name == "post_shortening":
        apart = choice.signal + traces.columns[f"post_distance_{unit}"]
        return choice.signal, Meaning(unit, "fs_pct", float(np.nanmedian(apart)))
    return choice.signal, Meaning(unit)


def beat_rows(
    finding: BeatFinding, rows: Sequence[dict[str, float]], clock: Clock
) -> Iterator[dict[str, Any]]:
    """The rows of beats.csv: one a candidate, accepted or not with the reason."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for number, (beat, row) in enumerate(zip(finding.beats, rows, strict=True)):
        times = {name: getattr(beat, name) for name in ("onset_s", "t50_s", "peak_s", "end_s")}
        values = {**times, **{name: row.get(name, math.nan) for name in columns}}
        told = _told(values, clock)
        yield {"beat": number, **told, "accepted": beat.accepted, "reason": beat.reason}


def parameter_rows(numbers: dict[str, Number], clock: Clock) -> Iterator[dict[str, Any]]:
    """The rows of kinetics.csv, each in the unit that its name tells.

    Nothing is known yet of `sd_masks`: see `with_doubt`.
    """
    for name, number in numbers.items():
        if not clock.is_known and name.endswith(NEED_SECONDS):
            continue
        parts = ("median", "mean", "sd", "low", "high", "bias", "resolution")
        told = {part: clock.tell(name, getattr(number, part))[1] for part in parts}
        told["low95"], told["high95"] = told.pop("low"), told.pop("high")
        told["sd_masks"] = math.nan
        order = ("median", "mean", "sd", "low95", "high95", "sd_masks", "bias", "resolution")
        row = {"parameter": clock.tell(name, 0.0)[0], "n": number.n}
        yield {**row, **{part: told[part] for part in order}, "how": how(name, clock.is_known)}


def with_doubt(
    rows: Sequence[dict[str, Any]], of_masks: Mapping[str, float], clock: Clock
) -> tuple[dict[str, Any], ...]:
    """The rows of kinetics.csv with the SD of each number over ways to find the masks."""
    told = dict(clock.tell(name, sd) for name, sd in of_masks.items())
    return tuple({**row, "sd_masks": told.get(row["parameter"], math.nan)} for row in rows)


def _told(values: dict[str, float], clock: Clock) -> dict[str, float]:
    kept = [name for name in values if clock.is_known or not name.endswith(NEED_SECONDS)]
    return dict(clock.tell(name, values[name]) for name in kept)


def _in_seconds(edit: Edit, clock: Clock) -> Edit:
    """A time in the beats file is in the unit of beats.csv: frames, where the rate is unknown."""
    return edit if clock.is_known else replace(edit, time_s=edit.time_s / clock.nominal_fps)


def _flags_of_beats(finding: BeatFinding, rows: Sequence[dict[str, float]]) -> tuple[Flag, ...]:
    beats = zip(finding.beats, rows, strict=True)  # what was rejected may be no upstroke at all
    frames = [row.get("upstroke_frames", math.nan) if b.accepted else math.nan for b, row in beats]
    found = (
        quality.few_beats(len(finding.accepted)),
        quality.few_frames_in_upstroke(np.array(frames)),
        quality.clipped_beats([beat.clipped for beat in finding.beats]),
    )
    return tuple(flag for flag in found if flag)
