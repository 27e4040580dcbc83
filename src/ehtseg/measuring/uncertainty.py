"""How uncertain masks reach each number: the same beats, measured in masks found in several ways.

Only stretches of a recording are segmented again. There the trace is moved by the difference
between each way and the usual one; everything else, the mean beat too, stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehtseg.measuring.beat import Beat, time_beats
from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.kinetics import Meaning, table_of_beats
from ehtseg.measuring.summary import rhythm_numbers
from ehtseg.records import Array

STRETCHES = 3  # of a sample: near the start, in the middle, near the end
BEFORE, AFTER = 0.5, 1.0  # intervals from a stretch to its first, and from its last upstroke
NAN = float("nan")

Span = tuple[int, int]  # first frame, and the one after the last


@dataclass(frozen=True, slots=True, eq=False)
class SeenAgain:
    """One trace in stretches of a recording, read from masks found in K ways, the usual one first.

    `values` has (K, T) of each stretch, in the unit and with the sign of the trace that beats are
    read from.
    """

    ways: tuple[str, ...]
    stretches: tuple[Span, ...]
    values: tuple[Array, ...]

    @property
    def n_frames(self) -> int:
        """Frames in all stretches."""
        return sum(stop - first for first, stop in self.stretches)


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """SD of each number, by column name, over the ways to find the masks; and what it is from."""

    sd: Mapping[str, float]
    ways: tuple[str, ...]
    n_frames: int
    n_beats: int


def spread(values_KN: Array) -> Array:
    """SD (N,) over K passes, with K - 1; NaN where fewer than two passes have a value."""
    known = np.isfinite(values_KN)
    count = known.sum(0)
    mean = np.where(known, values_KN, 0).sum(0) / np.maximum(count, 1)
    squares = np.where(known, (values_KN - mean) ** 2, 0).sum(0)
    return np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan)


def parameter_spread(
    traces_KT: Sequence[Array], measure: Callable[[Array], Mapping[str, Array | float]]
) -> dict[str, Array]:
    """SD of each parameter when the same recording is segmented in K ways.

    traces_KT: K traces of one recording (flips, shifts or several networks). `measure` turns one
    trace (T,) into parameters by name: a number, or one value a beat for the SAME beats each time.
    """
    found = [measure(trace) for trace in traces_KT]
    return {
        name: spread(np.array([np.atleast_1d(one[name]) for one in found], float))
        for name in found[0]
    }


def sample(finding: BeatFinding, time_s: Array, most: int) -> tuple[Span, ...]:
    """Up to three stretches of whole beats, spread over a recording, with at most `most` frames.

    `time_s` (T,) of all frames. At least one beat where there is one, however long it takes.
    """
    beats = [beat for beat in finding.accepted if np.isfinite(beat.t50_s)]
    period_s = finding.period_s if np.isfinite(finding.period_s) else NAN
    if not beats or np.isnan(period_s):
        return ()
    frames = period_s / float(np.median(np.diff(time_s)))
    shortest = (BEFORE + AFTER) * frames  # for one beat
    count = int(np.clip(most // (shortest + frames), 1, STRETCHES))  # two beats each, if it fits
    each = int(np.clip((most / count - shortest) // frames + 1, 1, len(beats)))
    starts = np.unique(np.linspace(0, len(beats) - each, count).astype(int))
    spans = []
    for start in starts:
        first_s = beats[start].t50_s - BEFORE * period_s
        last_s = beats[start + each - 1].t50_s + AFTER * period_s
        first, stop = np.searchsorted(time_s, [first_s, last_s])
        spans.append((int(first), int(stop)))
    return without_overlap(spans)


def without_overlap(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Spans in order, those that touch made one.

    >>> without_overlap([(0, 5), (4, 8), (9, 12)])
    ((0, 8), (9, 12))
    """
    merged: list[Span] = []
    for first, stop in sorted(spans):
        if merged and first <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((first, stop))
    return tuple(merged)


def uncertainty_of(
    finding: BeatFinding, meaning: Meaning, time_s: Array, again: SeenAgain
) -> Uncertainty:
    """SD over the ways of the mean of each number over the beats in the stretches.

    `time_s` (T,) of all frames, those of `finding` among them. The numbers of the rhythm only
    where the stretches hold every beat.
    """
    beats = [beat for beat in finding.accepted if np.isfinite(beat.t50_s)]
    inside = np.array([_is_inside(beat, time_s, again.stretches) for beat in beats], bool)
    peaks_s = np.array([beat.peak_s for beat in beats])
    nothing = Uncertainty({}, again.ways, again.n_frames, int(inside.sum()))
    if not inside.any():
        return nothing

    def measure(x: Array) -> dict[str, float]:
        found = time_beats(finding.time_s, x, peaks_s)
        rows = table_of_beats(finding.time_s, x, found, meaning)
        for k in np.flatnonzero(~np.append(False, inside[:-1])):  # the beat before is not inside
            rows[k]["rr_s"] = NAN
        numbers = _means([rows[k] for k in np.flatnonzero(inside)])
        if inside.all():
            times_s = np.array([beat.t50_s for beat in found])
            sizes = np.array([beat.amplitude for beat in found])
            numbers |= rhythm_numbers(np.diff(times_s), sizes)
        return numbers

    traces = list(ways_of(finding, time_s, again))
    sd = {name: float(one[0]) for name, one in parameter_spread(traces, measure).items()}
    if "rr_s" in sd and "beat_rate_bpm" not in sd:
        sd["beat_rate_bpm"] = 60 * sd["rr_s"] / finding.period_s**2
    return Uncertainty(sd, again.ways, again.n_frames, int(inside.sum()))


def ways_of(finding: BeatFinding, time_s: Array, again: SeenAgain) -> list[Array]:
    """The trace of a finding as each way would have it, K times (T',)."""
    frame = np.searchsorted(time_s, finding.time_s)
    moved = []
    for k in range(len(again.ways)):
        difference = np.zeros(len(time_s))
        for (first, stop), values in zip(again.stretches, again.values, strict=True):
            difference[first:stop] = np.nan_to_num(values[k] - values[0])
        moved.append(finding.x + difference[frame])
    return moved


def _is_inside(beat: Beat, time_s: Array, stretches: Sequence[Span]) -> bool:
    return any(
        time_s[first] <= beat.onset_s and beat.end_s <= time_s[stop - 1]
        for first, stop in stretches
    )


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each number over rows; NaN where none has it."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: np.array([row.get(name, NAN) for row in rows]) for name in names}
    known = {name: values[np.isfinite(values)] for name, values in columns.items()}
    return {name: float(np.mean(v)) if len(v) else NAN for name, v in known.items()}
