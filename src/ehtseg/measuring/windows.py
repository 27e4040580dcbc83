"""Sliding windows over the per-beat table: rate, amplitude, duration and irregularity over time."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ehtseg.measuring.levels import frame_interval_s
from ehtseg.measuring.rhythm import (
    SLOWEST_S,
    beat_rate_bpm,
    cv_rr,
    gaps_s,
    intervals_s,
    rmssd_s,
    sdnn_s,
)
from ehtseg.records import Array

WIDTH_S = 30.0
STEP_S = 10.0
SEEN = 0.5  # share of a window that frames must cover
LONGEST_S = 1.0  # between two frames; longer, and than two usual steps, is a gap
FEWEST_INTERVALS = 5  # for a measure of irregularity


def window_starts_s(start_s: float, end_s: float, width_s: float, step_s: float) -> Array:
    """Starts of the whole windows in a recording, s; one window where it is shorter than that.

    >>> window_starts_s(0.0, 60.0, 30.0, 10.0).tolist()
    [0.0, 10.0, 20.0, 30.0]
    """
    count = int(np.floor((end_s - start_s - width_s) / step_s + 1e-9)) + 1
    return start_s + step_s * np.arange(max(count, 1))


def window_rate_bpm(rr_s: Array, beats: int) -> float:
    """Beat rate in a window, 1/min: 0 where no beat lies in it, NaN where one beat has no interval.

    `rr_s` are the intervals that end in the window.
    """
    return 0.0 if beats == 0 else beat_rate_bpm(rr_s)


def seen_share(frames_s: Array, start_s: float, end_s: float) -> float:
    """Share of a window that lies in no gap between frames.

    >>> round(seen_share(np.array([0.0, 0.5, 1.0, 8.0, 8.5]), 0.0, 10.0), 3)
    0.3
    """
    gaps = gaps_s(frames_s, max(LONGEST_S, 2 * frame_interval_s(frames_s)))
    lost_s = np.clip(gaps[:, 1], start_s, end_s) - np.clip(gaps[:, 0], start_s, end_s)
    return 1 - float(lost_s.sum()) / max(end_s - start_s, 1e-9)


def irregularity(rr_s: Array) -> dict[str, float]:
    """SDNN and RMSSD (s) and CV of the intervals in a window; NaN with fewer than 5 of them."""
    enough = rr_s if len(rr_s) >= FEWEST_INTERVALS else rr_s[:0]
    return {"sdnn_s": sdnn_s(enough), "rmssd_s": rmssd_s(enough), "cv_rr": cv_rr(enough)}


def sliding_windows(
    t50_s: Array,
    columns: Mapping[str, Array],
    span_s: tuple[float, float],
    width_s: float = WIDTH_S,
    step_s: float = STEP_S,
    frames_s: Array | None = None,
) -> dict[str, Array]:
    """The course of the beating as columns, one entry a window (W,).

    `t50_s` (N,) times of the accepted beats; `columns` name -> (N,), amplitude, durations, ...: of
    each the median over the beats of a window, NaN left out, under its own name; `span_s` start
    and end of the recording. A window holds the beats with start_s <= t50_s < end_s, and the
    intervals that end in it. An arrest is a window with 0 beats and rate 0; of a window of which
    less than half was seen (`frames_s`, the times of the frames) no rate is known. None lies in a
    pause longer than a window: they begin anew after it, with a short one for a short clip.
    """
    t50_s = np.asarray(t50_s, float)
    rr_s = np.append(np.nan, intervals_s(t50_s, frames_s)) if len(t50_s) else t50_s
    start_s, end_s = _places(_clips_s(span_s, frames_s, width_s), width_s, step_s)
    rows: list[dict[str, float]] = []
    for first, stop in zip(*np.searchsorted(t50_s, [start_s, end_s]), strict=True):
        inside = rr_s[first:stop]
        inside = inside[np.isfinite(inside)]
        rate_bpm = window_rate_bpm(inside, int(stop - first))
        window_s = start_s[len(rows)], end_s[len(rows)]
        if frames_s is not None and seen_share(frames_s, *window_s) < SEEN:
            rate_bpm = np.nan
        if rate_bpm == 0 and np.ptp(window_s) < min(SLOWEST_S, width_s):
            rate_bpm = np.nan  # of a clip too short for an arrest
        medians = {name: _median(values[first:stop]) for name, values in columns.items()}
        beats = {"n_beats": float(stop - first), "beat_rate_bpm": rate_bpm}
        rows.append({**beats, **medians, **irregularity(inside)})
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return {"start_s": start_s, "end_s": end_s, **table}


def _clips_s(span_s: tuple[float, float], frames_s: Array | None, width_s: float) -> Array:
    """Start and end of what lies between pauses longer than a window, (C, 2), s."""
    pauses_s = gaps_s(frames_s, width_s) if frames_s is not None else np.zeros((0, 2))
    return np.concatenate([span_s[:1], pauses_s.ravel(), span_s[1:]]).reshape(-1, 2)


def _places(clips_s: Array, width_s: float, step_s: float) -> tuple[Array, Array]:
    """Start and end of every window, s: (W,) each."""
    starts_s = [window_starts_s(start, end, width_s, step_s) for start, end in clips_s]
    ends_s = [np.minimum(s + width_s, c) for s, c in zip(starts_s, clips_s[:, 1], strict=True)]
    return np.concatenate(starts_s), np.concatenate(ends_s)


def _median(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
