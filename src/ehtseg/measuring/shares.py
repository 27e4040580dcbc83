"""Area change and thickening of each beat, beside the trace in which the beats were found.

Beats are found in one trace. Where the area or the width of the mask follows it clearly, the same
beats are measured there too, each against its own relaxed size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ehtseg.measuring.beat import time_beats
from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.kinetics import shortening_pct
from ehtseg.measuring.summary import Limit, Number, number
from ehtseg.measuring.traces import SIGNS, WORTHY_SNR, Choice, Traces, stem, whole
from ehtseg.records import Array

BESIDE = {"area": "fac_pct", "mid_width": "width_change_pct"}
FOLLOWS = 0.8  # correlation with the chosen trace from which on a size shows the same beats
MISSED = 0.1  # most of its frames that may lack a value


def sizes_that_follow(choice: Choice) -> tuple[str, ...]:
    """Columns of sizes that are clear of noise and show the beats of the chosen trace."""
    return tuple(
        one.name
        for one in choice.agreement
        if stem(one.name) in BESIDE
        and one.name != choice.name
        and one.snr >= WORTHY_SNR
        and one.correlation >= FOLLOWS
        and one.missing <= MISSED
    )


def shares_of_beats(finding: BeatFinding, traces: Traces, choice: Choice) -> dict[str, Array]:
    """Per cent of the relaxed size by which each accepted beat changes it, (B,) by column name.

    `fac_pct` is the loss of area, `width_change_pct` the gain of width at mid section; a column is
    there only where its size follows the beats. NaN for a beat that is not seen in it.
    """
    apart = [beat for beat in finding.beats if beat.accepted or math.isfinite(beat.likeness)]
    peaks_s = np.array([beat.peak_s for beat in apart])
    kept = np.array([beat.accepted for beat in apart])
    found = {}
    for name in sizes_that_follow(choice) if kept.any() else ():
        size = np.interp(finding.time_s, *_known(traces.time_s, whole(traces, name)))
        sign = SIGNS[stem(name)]
        beats = time_beats(finding.time_s, sign * size, peaks_s)
        shares = [shortening_pct(beat.amplitude, sign * beat.rest) for beat in beats]
        unseen = [math.isnan(beat.t50_s) for beat in beats]
        found[BESIDE[stem(name)]] = np.where(unseen, math.nan, shares)[kept]
    return found


def share_numbers(shares: Mapping[str, Array], traces: Traces, choice: Choice) -> dict[str, Number]:
    """Middle, spread and interval of each share over beats.

    The resolution is what the noise of two single frames makes of two equal beats: at most so much,
    as each beat is read from several frames.
    """
    numbers = {}
    for name in sizes_that_follow(choice):
        usual = float(np.nanmedian(traces.columns[name]))
        limit = Limit(resolution=1.96 * 2**0.5 * 100 * traces.jitter[name] / usual)
        if (share := BESIDE[stem(name)]) in shares:
            numbers[share] = number(shares[share], limit)
    return numbers


def with_shares(
    rows: Sequence[dict[str, float]], finding: BeatFinding, shares: Mapping[str, Array]
) -> list[dict[str, float]]:
    """The rows of all candidates, with the shares of those that are accepted."""
    count, told = 0, []
    for beat, row in zip(finding.beats, rows, strict=True):
        own = {name: float(values[count]) for name, values in shares.items() if beat.accepted}
        count += beat.accepted
        told.append({**row, **own})
    return told


def _known(time_s: Array, values: Array) -> tuple[Array, Array]:
    seen = np.isfinite(values)
    return time_s[seen], values[seen]
