"""The least noise that a trace has: steps of whole pixels, and the rounding of its own numbers.

A trace that stands still in most frames shows no jitter, and would win against any other by an
infinite signal-to-noise ratio; so would one that only its last digits move.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ehtseg.measuring.traces import Traces
from ehtseg.records import Array

ROUNDING = 1e-6  # of the largest value: single precision through sums


def least_noise(values_T: Array) -> float:
    """SD of rounding, in the unit of the trace: to the smallest step between frames, and of digits.

    A step of size d rounds with an SD of d / sqrt(12). Steps matter for hard masks; a trace that
    takes any value has some that are next to nothing.
    Source: Bennett, Bell System Technical Journal 27:446 (1948).

    >>> round(least_noise(np.array([5.0, 5.0, 6.0, 8.0])), 3)
    0.289
    """
    digits = ROUNDING * float(np.nanmax(np.abs(values_T), initial=0))
    steps = np.abs(np.diff(values_T))
    steps = steps[steps > digits]
    return max(float(steps.min(initial=math.inf)) / math.sqrt(12) if len(steps) else 0.0, digits)


def with_least_noise(traces: Traces) -> Traces:
    """The same traces, none of them with less noise than `least_noise`."""
    noise = {
        name: sd if math.isnan(sd) else max(sd, least_noise(traces.columns[name]))
        for name, sd in traces.jitter.items()
    }
    return replace(traces, jitter=noise)
