"""Frame rate and pixel size: from the user or from the file, never from a default."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehtseg.records import Array, UserError

AGREEMENT = 0.005  # two statements of one quantity agree within this share
STEADY = 0.1  # an interval is regular within this share of the median interval
GAP = 1.5  # an interval longer than this many medians is a gap

UM_PER: Mapping[str, float] = {
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", r"\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer"), 1e-3),
    **dict.fromkeys(("mm", "millimeter"), 1e3),
    **dict.fromkeys(("cm", "centimeter"), 1e4),
    **dict.fromkeys(("inch", "in"), 25400.0),
    "m": 1e6,
}
S_PER: Mapping[str, float] = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "μs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3600.0),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What one source says of a quantity, for example 25.0 and "the container's header"."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The value that is used (None where nobody knows), who says so, and who contradicts."""

    value: float | None
    source: str
    notes: tuple[str, ...] = ()


def decide_um_per_px(given: float | None, claims: Sequence[Claim]) -> Decision:
    """The pixel size in micrometres: the user's, else the file's first claim, else None.

    Raises: UserError for a size that is not a positive number.

    >>> decide_um_per_px(4.0, [Claim(2.0, "OME-XML")]).notes[0]
    'The pixel size is contradictory: 4 um/px by the user, 2 by OME-XML; 4 is used.'
    """
    return _decide("pixel size", "um/px", given, claims)


def decide_fps(given: float | None, claims: Sequence[Claim], times_s: Array | None) -> Decision:
    """The frame rate per second: the user's, else the header's, else that of the time stamps.

    Time stamps are what was measured: where the header contradicts them, they win.

    Raises: UserError for a rate that is not a positive number.
    """
    stamps = [] if times_s is None else _rate_of(times_s)
    told = [claim for claim in claims if stamps and not _agree(claim.value, stamps[0].value)]
    ordered = [*stamps, *claims] if told else [*claims, *stamps]
    return _decide("frame rate", "fps", given, ordered)


def describe_times(times_s: Array, tick_s: float) -> tuple[str, ...]:
    """What is irregular in the time stamps (T,) of a recording, in sentences with numbers.

    `tick_s` is the step in which the file counts time: differences of that size are rounding.

    >>> describe_times(np.array([0.0, 0.1, 0.2, 0.5, 0.6]), 0.0)[0]
    'The time stamps have 1 gap of about 2 frames in all (the longest, 0.3 s, before frame 3).'
    """
    steps = np.diff(times_s)
    if not (steps > 0).any():
        return ("All time stamps are equal.",) if len(steps) else ()
    middle = float(np.median(steps[steps > 0]))
    repeated, gaps = steps <= 0, steps > GAP * middle + 2 * tick_s
    uneven = (np.abs(steps - middle) > STEADY * middle + 2 * tick_s) & ~repeated & ~gaps
    notes = []
    if repeated.any():
        first = int(np.argmax(repeated)) + 1
        notes.append(
            "Frames whose time stamp is not later than that of the frame before: "
            f"{repeated.sum()} of {len(times_s)} (first: frame {first})."
        )
    if gaps.any():
        missing = int(np.rint(steps[gaps] / middle - 1).sum())
        longest = int(np.argmax(steps))
        notes.append(
            f"The time stamps have {_count(gaps.sum(), 'gap')} of about "
            f"{_count(missing, 'frame')} in all (the longest, {steps[longest]:.4g} s, before "
            f"frame {longest + 1})."
        )
    if uneven.any():
        even = steps[~repeated & ~gaps]
        notes.append(
            f"The frame rate varies: the time between frames runs from {even.min():.4g} to "
            f"{even.max():.4g} s, median {middle:.4g} s."
        )
    return tuple(notes)


def unit_factor(table: Mapping[str, float], unit: object) -> float | None:
    """The factor of a unit written in any common spelling, or None for an unknown one.

    >>> unit_factor(UM_PER, "Microns"), unit_factor(S_PER, "ms"), unit_factor(UM_PER, "pixel")
    (1.0, 0.001, None)
    """
    return table.get(str(unit).strip().lower())


def told_number(said: object) -> float:
    """A number above 0 that a file tells; 0 where it is none.

    >>> told_number("0.04"), told_number("0,04"), told_number(None), told_number("inf")
    (0.04, 0.0, 0.0, 0.0)
    """
    with suppress(ValueError):
        number = float(str(said))
        return number if 0 < number < math.inf else 0.0
    return 0.0


def told_ratio(fraction: object) -> float:
    """The same of a fraction as TIFF writes it.

    >>> told_ratio((1, 4)), told_ratio((1, 0)), told_ratio(None)
    (0.25, 0.0, 0.0)
    """
    match fraction:
        case (int(over), int(under)) if under:
            return over / under
    return 0.0


def imagej_rates(imagej: dict[str, Any]) -> tuple[tuple[Claim, ...], tuple[str, ...]]:
    """The frame rate by ImageJ's description of a file, and what is doubtful about it."""
    second = unit_factor(S_PER, imagej.get("tunit", "sec"))
    interval, shown = told_number(imagej.get("finterval")), told_number(imagej.get("fps"))
    if second and interval > 0:
        return (Claim(1 / (interval * second), "ImageJ's frame interval"),), ()
    if shown > 0:
        note = f"ImageJ's fps ({shown:g}) may be a speed of showing, not of recording."
        return (Claim(shown, "ImageJ's fps"),), (note,)
    return (), ()


def _decide(what: str, unit: str, given: float | None, claims: Sequence[Claim]) -> Decision:
    if given is not None:
        if not (math.isfinite(given) and given > 0):
            raise UserError(f"a positive {what} in {unit}", f"{given}", "Correct this number.")
        claims = [Claim(float(given), "the user"), *claims]
    if not claims:
        return Decision(None, "neither in the file nor given")
    used = claims[0]
    notes = tuple(
        f"The {what} is contradictory: {used.value:.6g} {unit} by {used.source}, "
        f"{other.value:.6g} by {other.source}; {used.value:.6g} is used."
        for other in claims[1:]
        if not _agree(used.value, other.value)
    )
    return Decision(used.value, used.source, notes)


def _rate_of(times_s: Array) -> list[Claim]:
    """One claim: the inverse of the mean of all intervals that are no gaps and no repetitions."""
    steps = np.diff(times_s)
    steps = steps[steps > 0]
    if not len(steps):
        return []
    near = steps[np.abs(steps - np.median(steps)) <= (GAP - 1) * np.median(steps)]
    return [Claim(round(float(1 / near.mean()), 6), f"the time stamps of {len(times_s)} frames")]


def _agree(a: float, b: float) -> bool:
    return abs(a - b) <= AGREEMENT * max(a, b)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
