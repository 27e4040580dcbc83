"""Levels of one quantity in several stretches of beats, and how they differ, with 95 % intervals.

Stretches hold values of consecutive beats, mostly as logarithms. What the intervals cover, on
first-order processes and on slow wander under noise of single beats, stands in docs/log.md: 92 to
99 % from 60 beats a stretch on; at 20 beats 91 % (slow wander) to 100 % (independent beats), as so
few cannot tell one from the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from ehtseg.measuring.serial import LONGEST_BEATS, lag1, unbiased_lag1, variances_of_means
from ehtseg.records import Array

SURE = 0.95
STEADY = 0.99  # a stretch has a trend only beyond this interval
FEWEST_FOR_TREND = 20
EXACT = 1e-6  # of the width of an interval
NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """Mean of a stretch of beats, and how far it may be off.

    How beats hang together can be in G ways: `variances` (G,) of the mean in each, its degrees of
    freedom (G,), and the chances (G,) of the ways, which are the same for all levels compared.
    """

    n: int
    mean: float
    variances: Array
    freedom: Array
    chances: Array


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its interval; NaN bounds where the data do not bound it."""

    estimate: float
    low: float = NAN
    high: float = NAN


def levels(stretches: Sequence[Array], longest_beats: float = LONGEST_BEATS) -> list[Level]:
    """The level of each stretch (N_k,); how their beats hang together is read from all.

    Wander with a time constant of up to `longest_beats` counts as spread about the level. NaN
    variances for a stretch of less than two beats.
    """
    known = [k for k, part in enumerate(stretches) if len(part) > 1]
    told, chances = variances_of_means([stretches[k] for k in known], longest_beats)
    spread = dict(zip(known, told, strict=True))
    unknown = np.full(len(chances), NAN)
    return [
        Level(
            len(part),
            float(np.mean(part)) if len(part) else NAN,
            spread.get(k, unknown),
            np.full(len(chances), max(len(part) - 1.0, 1.0)),
            chances,
        )
        for k, part in enumerate(stretches)
    ]


def freedom(variances: Sequence[Array], freedoms: Sequence[Array]) -> Array:
    """Degrees of freedom of a sum of independent variances (G,), at least 1.

    Source: Satterthwaite 1946, Biometrics Bull. 2:110.

    >>> freedom([np.ones(1), np.ones(1)], [np.full(1, 10.0), np.full(1, 10.0)]).tolist()
    [20.0]
    """
    terms = sum((v**2 / f for v, f in zip(variances, freedoms, strict=True)), np.zeros(1))
    whole = sum(variances, np.zeros(1)) ** 2
    return np.maximum(np.divide(whole, terms, out=np.ones_like(terms), where=terms > 0), 1.0)


def weighted(*parts: tuple[float, Level]) -> Level:
    """The sum of levels, each times its weight, as a level of all their beats."""
    variances = [weight**2 * level.variances for weight, level in parts]
    return Level(
        sum(level.n for _, level in parts),
        float(sum(weight * level.mean for weight, level in parts)),
        np.asarray(sum(variances)),
        freedom(variances, [level.freedom for _, level in parts]),
        parts[0][1].chances,
    )


def beyond(level: Level, distance: float) -> float:
    """Chance that a mean is off by more than a distance: Student's in each way, then averaged."""
    sd = np.sqrt(np.maximum(level.variances, np.finfo(float).tiny))
    return float(level.chances @ (2 * stdtr(level.freedom, -distance / sd)))


def half_width(level: Level) -> float:
    """Half of the 95 % interval of a level; NaN where one beat is all there is."""
    widest = stdtrit(level.freedom, (1 + SURE) / 2) * np.sqrt(level.variances)
    if not np.ptp(widest) > 0:  # one way only, or nothing varies, or nothing is known
        return float(widest[0])
    ends = float(widest.min()) / 2, float(widest.max()) * 2  # rounding must not shut it out
    return float(brentq(lambda half: beyond(level, half) - (1 - SURE), *ends, xtol=EXACT * ends[1]))


def log_ratio(before: Level, after: Level) -> Estimate:
    """Difference of two levels, after - before: of logarithms, the logarithm of the ratio."""
    change = weighted((1, after), (-1, before))
    half = half_width(change)
    return Estimate(change.mean, change.mean - half, change.mean + half)


def recovered(before: Level, drug: Level, wash: Level) -> Estimate:
    """Share of an effect that is gone after a wash: (wash - drug) / (before - drug).

    The interval holds every share r for which (wash - drug) - r (before - drug) may be 0. NaN
    bounds where the effect itself is not certain: then no share of it is.
    Source: Fieller 1954, J. R. Stat. Soc. B 16:175.
    """
    effect = weighted((1, before), (-1, drug))
    if effect.mean == 0:
        return Estimate(NAN)
    ratio = (wash.mean - drug.mean) / effect.mean
    if not beyond(effect, abs(effect.mean)) < 1 - SURE:
        return Estimate(ratio)
    if not weighted((1, effect), (1, wash)).variances.any():
        return Estimate(ratio, ratio, ratio)

    def doubt(share: float) -> float:
        left = weighted((1, wash), (share - 1, drug), (-share, before))
        return beyond(left, abs(left.mean)) - (1 - SURE)

    return Estimate(ratio, _end(doubt, ratio, -1.0), _end(doubt, ratio, 1.0))


def _end(doubt: Callable[[float], float], inside: float, step: float) -> float:
    """Where doubt, positive inside, becomes 0 on the side of the step."""
    while doubt(inside + step) > 0:
        step *= 2
    return float(brentq(doubt, min(inside, inside + step), max(inside, inside + step)))


def steady(stretch: Array) -> bool:
    """Whether a stretch shows no trend at 99 %; True where it is too short to tell.

    The slope of the straight line through it, against the spread that correlated beats about that
    line give to it.
    """
    n = len(stretch)
    if n < FEWEST_FOR_TREND:
        return True
    place = np.arange(n) - (n - 1) / 2
    slope = float(place @ stretch) / float(place @ place)
    left = stretch - np.mean(stretch) - slope * place
    rho = unbiased_lag1(lag1(left), n / 2)
    worth = max(n * (1 - rho) / (1 + rho) - 2, 1.0)
    variance = float(left @ left) / worth / float(place @ place)
    return bool(abs(slope) <= stdtrit(worth, (1 + STEADY) / 2) * variance**0.5)
