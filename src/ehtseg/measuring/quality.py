"""What makes a number doubtful: flags with reasons.

Each flag is one small pure function of arrays: it gives a `Flag`, or None where all is well. A
flag never drops anything; the tables keep every frame and beat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from ehtseg.measuring.levels import swing, without_slow_line
from ehtseg.measuring.looks import BLOCK_PX
from ehtseg.measuring.traces import FEWEST_FRAMES, WORTHY_SNR, Choice, Traces
from ehtseg.records import Array

MUCH = 0.1  # share of frames from which a defect of frames is an error, not a warning
JUMP_SHARE, JUMP_SDS = 0.1, 8.0  # an area jump: so much of the area, and so many SD of its steps
SLOW_FRAMES = 31  # focus and brightness are judged by running medians over so many frames
FOCUS_FACTOR = 1.5
BRIGHTNESS_SHARE = 0.1
FEWEST_UPSTROKE_FRAMES = 5
FEWEST_BEATS = 5
LEAST_CORRELATION = 0.8
MOST_LAG_FRAMES = 2.0
DRIFT_SHARE = 0.5  # of the contraction
ROUNDING = 1e-9  # of the trace's level: what moves less is not there
PAUSE_S, NEAR_WHOLE = 3.0, 0.15  # longer gaps are pauses, not lost frames; share of a step
LEAST_MATCH = 0.5
UNCHANGED, BLOCKS = 0.97, 2.5  # from which on a film is called strongly compressed

MASK_TRACES = ("major_axis", "extent", "area", "mid_width", "perimeter")
FLOW_TRACES = ("contraction", "displacement")

Severity = Literal["note", "warning", "error"]
Spans = tuple[tuple[int, int], ...]  # first and last frame of each run, both included


@dataclass(frozen=True, slots=True)
class Flag:
    """One doubt: note (bear it in mind), warning (may be off), error (do not use what it names)."""

    code: str
    severity: Severity
    reason: str
    frames: Spans = ()
    beats: tuple[int, ...] = ()


# --- masks ------------------------------------------------------------------------------------


def runs(hit_T: Array) -> Spans:
    """First and last index of each run of True.

    >>> runs(np.array([True, True, False, True]))
    ((0, 1), (3, 3))
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hit_T, [False]]).astype(int)))
    return tuple((int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True))


def empty_mask(area_T: Array) -> Flag | None:
    """Frames without tissue."""
    return _of_frames("empty_mask", ~(area_T > 0), "no tissue is found")


def several_parts(parts_T: Array) -> Flag | None:
    """Frames in which the tissue is in more than one piece."""
    return _of_frames("several_parts", parts_T > 1, "the tissue is in several pieces", "warning")


def border(touches: Sequence[str]) -> Flag | None:
    """Frames in which the tissue touches the edge of the picture."""
    sides = sorted({side for words in touches for side in words.split()})
    hit = np.array([bool(words) for words in touches])
    doubt = f"the tissue leaves the picture ({', '.join(sides)})"
    return _of_frames("border", hit, doubt, "warning")


def area_jump(area_T: Array) -> Flag | None:
    """Frames whose area differs from the frame before more than tissue can change.

    A jump is at least 10 % of the usual area and 8 robust SD of the usual steps.
    """
    seen = np.where(area_T > 0, area_T, np.nan)
    steps = np.abs(np.diff(seen, prepend=seen[:1]))
    known = steps[np.isfinite(steps)]
    if not len(known):
        return None
    usual = JUMP_SDS * 1.4826 * float(np.median(known))
    least = max(JUMP_SHARE * float(np.nanmedian(seen)), usual)
    return _of_frames("area_jump", steps > least, "the area jumps against the frame before")


# --- picture and time -------------------------------------------------------------------------


def focus_change(sharpness_T: Array) -> Flag | None:
    """Stretches that are sharper or more blurred than usual by a factor of 1.5."""
    slow = np.log(np.maximum(_running_median(sharpness_T), 1e-9))
    hit = np.abs(slow - np.median(slow)) > math.log(FOCUS_FACTOR)
    return _of_frames("focus_change", hit, "the picture is sharper or more blurred than usual")


def brightness_change(brightness_T: Array) -> Flag | None:
    """Stretches that are brighter or darker than usual by 10 %."""
    slow = _running_median(brightness_T)
    usual = float(np.median(slow))
    hit = np.abs(slow - usual) > BRIGHTNESS_SHARE * usual
    doubt = "the picture is brighter or darker than usual"
    return _of_frames("brightness_change", hit, doubt, "warning")


def compression(unchanged_T: Array, blockiness_T: Array, repeats_T: Array) -> Flag | None:
    """A film so strongly compressed that small movements are lost with the noise.

    Films of one tissue, compressed by H.264, MPEG-4 and JPEG until their amplitude fell by 7 to
    58 %, went past one of the two limits. Frames that repeat the whole picture do not count.
    """
    seen = unchanged_T[np.isfinite(unchanged_T) & (repeats_T == 0)]
    blocks = blockiness_T[np.isfinite(blockiness_T)]
    found = []
    if len(seen) and (share := float(np.percentile(seen, 90))) >= UNCHANGED:
        found.append(f"in a tenth of the frames {share:.1%} of the tissue does not change at all")
    if len(blocks) and (steps := float(np.median(blocks))) >= BLOCKS:
        found.append(f"steps of grey are {steps:.1f} times as large every {BLOCK_PX} px")
    if not found:
        return None
    cure = "amplitudes may be too small. Export the film with less compression"
    reason = f"The film looks strongly compressed ({'; '.join(found)}): {cure}."
    return Flag("compression", "warning", reason)


def dropped_frames(time_s: Array) -> Flag | None:
    """Gaps in the time stamps: steps of more than 1.5 usual ones."""
    steps = np.diff(time_s)
    usual = float(np.median(steps)) if len(steps) else 0.0
    if usual <= 0:
        return None
    hit = np.concatenate([[False], steps > 1.5 * usual])
    doubt = f"the time stamps have a gap before them ({_gaps(steps[hit[1:]], usual)})"
    return _of_frames("dropped_frames", hit, doubt, "warning")


def _gaps(gaps_s: Array, usual: float) -> str:
    """Gaps in words; frames count as lost only where gaps are whole numbers of steps."""
    short, words = gaps_s[gaps_s <= PAUSE_S] / usual, []
    if len(short):
        words = [f"of up to {usual * short.max():.3g} s where {usual:.3g} s is usual"]
    if len(short) and np.median(np.abs(short - np.round(short))) <= NEAR_WHOLE:
        words += [f"about {np.sum(np.round(short) - 1):.0f} frames lost in all"]
    words += [f"a pause of up to {gaps_s.max():.0f} s"] if len(short) < len(gaps_s) else []
    return ", ".join(words)


def doubled_frames(repeats_T: Array, time_s: Array) -> Flag | None:
    """Frames that repeat the one before, in every pixel or in the time stamp."""
    stuck = np.concatenate([[False], np.diff(time_s) <= 0])
    hit = np.asarray(repeats_T, bool) | stuck
    return _of_frames("doubled_frames", hit, "a frame repeats the one before it", "warning")


def unfamiliar(shares_T: Array) -> Flag | None:
    """Frames unlike those that the network was trained on.

    `shares_T` is the doubt about each frame over the limit of its network, above 1 where it is
    strange and NaN where nobody looked (`seeing/familiar.py`).
    """
    known = np.isfinite(shares_T)
    strange = np.where(known, shares_T, 0) > 1
    if not strange.any():
        return None
    reason = (
        f"{int(strange.sum())} of {int(known.sum())} frames looked at are unlike the training "
        f"pictures (doubt up to {np.nanmax(shares_T):.1f} times the limit). Look at the masks "
        "before using any number."
    )
    return Flag("unfamiliar", "warning", reason, runs(strange))


# --- traces and beats -------------------------------------------------------------------------


def weak_signal(choice: Choice) -> Flag | None:
    """The chosen trace is hardly more than noise."""
    snr = next(one.snr for one in choice.agreement if one.name == choice.name)
    if snr >= WORTHY_SNR:
        return None
    needed = f"(at least {WORTHY_SNR:g} needed)"
    reason = f"{choice.name} moves by only {snr:.1f} times its noise {needed}."
    return Flag("weak_signal", "error", reason)


def disagreement(choice: Choice, step_s: float) -> Flag | None:
    """Mask and flow tell different stories, though both are clear of noise.

    The chosen trace of the one kind is compared with the best of the other; `step_s` is the time
    between frames.
    """
    others = MASK_TRACES if choice.name.startswith(FLOW_TRACES) else FLOW_TRACES
    clear = [
        one for one in choice.agreement if one.name.startswith(others) and one.snr >= WORTHY_SNR
    ]
    if not clear:
        return None
    other, lag = clear[0], abs(clear[0].lag_s) / step_s
    if other.correlation >= LEAST_CORRELATION and lag <= MOST_LAG_FRAMES:
        return None
    reason = f"correlation {other.correlation:.2f}, {lag:.1f} frames apart"
    cure = f"{choice.name} was used; look at the movie before using the other"
    told = f"{choice.name} and {other.name} disagree: {reason}. {cure}."
    return Flag("disagreement", "warning", told)


def drift(x_T: Array, time_s: Array) -> Flag | None:
    """A slow change of the trace that is not small against the contraction."""
    flat = without_slow_line(x_T, time_s)
    known = np.isfinite(x_T)
    slow = float(np.ptp((x_T - flat)[known]))
    moved = swing(flat)
    if slow <= max(DRIFT_SHARE * moved, ROUNDING * float(np.max(np.abs(x_T[known])))):
        return None
    share = f"{slow / moved:.1f} times the contraction" if moved else "without any contraction"
    return Flag("drift", "warning", f"The trace drifts by {slow:.3g} in all, {share}.")


def few_frames_in_upstroke(frames_per_upstroke: Array) -> Flag | None:
    """Too few frames between 10 % and 90 % of the upstrokes for times and velocities."""
    known = frames_per_upstroke[np.isfinite(frames_per_upstroke)]
    if not len(known) or np.median(known) >= FEWEST_UPSTROKE_FRAMES:
        return None
    beats = np.flatnonzero(frames_per_upstroke < FEWEST_UPSTROKE_FRAMES)
    reason = f"An upstroke has {np.median(known):.1f} frames; {FEWEST_UPSTROKE_FRAMES} are needed"
    cure = "for upstroke times and velocities. Record at a higher frame rate."
    return Flag("few_frames_in_upstroke", "warning", f"{reason} {cure}", (), tuple(map(int, beats)))


def few_beats(accepted: int) -> Flag | None:
    """Too few beats for a spread or an interval."""
    if accepted >= FEWEST_BEATS:
        return None
    reason = f"Only {accepted} beats are accepted; irregularity needs {FEWEST_BEATS}."
    return Flag("few_beats", "warning" if accepted else "error", reason)


def clipped_beats(clipped: Sequence[str]) -> Flag | None:
    """Beats that the start or the end of the recording cuts; each word is "", "start" or "end"."""
    beats = [number for number, word in enumerate(clipped) if word]
    if not beats:
        return None
    ends = " and ".join(word for word in ("start", "end") if word in clipped)
    reason = f"The {ends} of the recording cuts a beat; what is missing of it is not measured."
    return Flag("clipped_beats", "note", reason, (), tuple(beats))


def lost_flow(match_T: Array) -> Flag | None:
    """Frames in which the flow does not find the tissue's texture again."""
    return _of_frames("lost_flow", match_T < LEAST_MATCH, "the flow has lost the tissue")


def flags_of(traces: Traces, choice: Choice | None) -> list[Flag]:
    """Every flag that the columns of a recording can raise; those of beats are raised elsewhere."""
    columns, texts = traces.columns, traces.texts
    area = columns.get("area_mm2", columns.get("area_px"))
    by_column: dict[str, Callable[[Array], Flag | None]] = {
        "parts": several_parts,
        "sharpness": focus_change,
        "brightness_grey": brightness_change,
        "match": lost_flow,
        "unfamiliarity": unfamiliar,
    }
    found = [flag(columns[name]) for name, flag in by_column.items() if name in columns]
    found += [] if area is None else [empty_mask(area), area_jump(area)]
    found += [border(texts["touches"])] if "touches" in texts else []
    repeats = columns.get("repeats", np.zeros(len(traces.time_s)))
    if {"unchanged", "blockiness"} <= columns.keys():
        found += [compression(columns["unchanged"], columns["blockiness"], repeats)]
    found += [dropped_frames(traces.time_s), doubled_frames(repeats, traces.time_s)]
    if choice is None:
        reason = f"Nothing can be said of beats: {why_no_trace(len(traces.time_s))}."
        found += [Flag("no_trace", "error", reason)]
    else:
        step_s = float(np.median(np.diff(traces.time_s)))
        found += [weak_signal(choice), disagreement(choice, step_s)]
        found += [drift(choice.signal, traces.time_s)]
    return [flag for flag in found if flag]


def why_no_trace(n_frames: int) -> str:
    """Why no trace of a recording can be chosen.

    >>> why_no_trace(9)
    '9 frames are too few, 10 are needed'
    """
    if n_frames < FEWEST_FRAMES:
        frames = "1 frame is" if n_frames == 1 else f"{n_frames} frames are"
        return f"{frames} too few, {FEWEST_FRAMES} are needed"
    return "no trace has values in nine tenths of the frames"


def _of_frames(code: str, hit_T: Array, doubt: str, worst: Severity = "error") -> Flag | None:
    if not hit_T.any():
        return None
    count, share, first = int(hit_T.sum()), float(hit_T.mean()), int(hit_T.argmax())
    where = f"In {count} of {len(hit_T)} frames ({share:.1%}), first in frame {first},"
    severity: Severity = worst if share > MUCH else "warning"
    return Flag(code, severity, f"{where} {doubt}.", runs(hit_T))


def _running_median(values_T: Array) -> Array:
    known, frames = np.isfinite(values_T), np.arange(len(values_T))
    level = np.interp(frames, frames[known], values_T[known]) if known.any() else values_T
    return np.asarray(ndimage.median_filter(level, SLOW_FRAMES, mode="nearest"))
