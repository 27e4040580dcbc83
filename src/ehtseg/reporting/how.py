"""How each number was made, one phrase a column: for the tables and the page."""

from __future__ import annotations

HOW = {  # by the beginning of a column's name; the longest that fits counts
    "rr": "from the 50 % upstroke of the accepted beat before",
    "beat_rate": "60 s / median interval",
    "amplitude": "peak above the relaxed level before the beat",
    "fs_pct": "shortening / relaxed length",
    "fac_pct": "loss of area / relaxed area",
    "width_change_pct": "gain of width at mid section / relaxed width",
    "ttp10": "10 % of the amplitude to the peak",
    "c50": "50 % of the upstroke to the peak",
    "upstroke": "10 to 90 % of the amplitude on the upstroke",
    "upstroke_frames": "frame intervals in the upstroke from 10 to 90 %",
    "rt50": "peak to 50 % relaxed",
    "rt90": "peak to 90 % relaxed",
    "cd10": "width at 10 % relaxed",
    "cd50": "width at 50 % relaxed (half width)",
    "cd80": "width at 80 % relaxed",
    "cd90": "width at 90 % relaxed",
    "cd50_fridericia": "cd50 / cube root of the interval in s",
    "cd90_fridericia": "cd90 / cube root of the interval in s",
    "tau": "decay constant of an exponential from 80 to 10 % of the amplitude",
    "vmax_contraction": "steepest rise, slope of parabolas over 100 ms",
    "vmax_relaxation": "steepest fall, slope of parabolas over 100 ms",
    "vmax_gap": "steepest rise to steepest fall",
    "force": "half of the posts' shortening above rest x stiffness",
    "sdnn": "standard deviation of the intervals",
    "rmssd": "root mean square of differences between successive intervals",
    "cv_rr": "standard deviation / mean of the intervals",
    "prr20_pct": "share of intervals more than 20 % off their median",
    "sd1": "Poincaré plot, across: rmssd / square root of 2",
    "sd2": "Poincaré plot, along",
    "pauses": "intervals longer than twice the median",
    "missed_beats": "beats that would fill intervals of 1.5 medians or more",
    "extra_beats": "beats after less than 80 % of the median interval",
    "alternans_amplitude": "difference of even and odd beats (counting missing ones) / mean",
    "alternans_rr": "difference of even and odd intervals / mean interval",
    "capture_ratio": "share of pacing pulses answered by a beat",
}
IN_FRAMES = {  # the same where the frame rate is unknown
    "beat_rate": "1000 frames / median interval",
    "vmax_contraction": "steepest rise, slope of parabolas over 3 frames",
    "vmax_relaxation": "steepest fall, slope of parabolas over 3 frames",
}


def how(name: str, rate_known: bool = True) -> str:
    """The phrase for a column; empty where there is none.

    >>> how("cd50_fridericia_ms"), how("cd50_frames"), how("upstroke_frames"), how("n")
    ('cd50 / cube root of the interval in s', 'width at 50 % relaxed (half width)', \
'frame intervals in the upstroke from 10 to 90 %', '')
    """
    phrases = HOW if rate_known else HOW | IN_FRAMES
    fitting = [key for key in phrases if name == key or name.startswith(f"{key}_")]
    return phrases[max(fitting, key=len)] if fitting else ""
