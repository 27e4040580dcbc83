"""Dose and response: change from each well's own baseline, the mean over wells, the Hill fit.

The well is the unit: beats, doses and repeats of one well resemble each other, and n is the number
of wells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import f as f_distribution
from scipy.stats import t as student_t

from ehtseg.measuring.manifest import Treatment
from ehtseg.records import Array

FEWEST_DOSES, FEWEST_WELLS, LEAST_SPAN = 4, 3, 10.0
LEVEL = 0.05  # of the test that the response changes with dose
UNLIKE = 0.01  # of the test that the points follow the curve
WIDEST = 100.0  # of the EC50's interval, upper / lower bound
SLOPES = (0.3, 5.0)  # Hill slopes that are tried
BEYOND = 2.0  # decades beyond the tested doses in which an EC50 is sought
NAN = float("nan")


@dataclass(frozen=True, slots=True)
class PairedChange:
    """A well's change from its own baseline at the same pacing; NaN with the reason."""

    treatment: Treatment
    change_pct: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DoseMean:
    """Mean change of several wells at one dose, 95 % interval by Student's t over wells."""

    drug: str
    dose: float
    unit: str
    wells: int
    mean_pct: float
    low_pct: float = NAN
    high_pct: float = NAN


@dataclass(frozen=True, slots=True)
class HillFit:
    """response = emax / (1 + (ec50 / dose)^slope), with 95 % intervals.

    `accepted` False where the rule of `fit_hill` forbids to quote the numbers; `reason` says why.
    The EC50 is in the unit of the doses, emax in the unit of the response.
    """

    accepted: bool
    reason: str
    wells: int
    doses: int
    emax: float = NAN
    ec50: float = NAN
    slope: float = NAN
    emax_interval: tuple[float, float] = (NAN, NAN)
    ec50_interval: tuple[float, float] = (NAN, NAN)
    slope_interval: tuple[float, float] = (NAN, NAN)


def paired_changes(
    treatments: Sequence[Treatment], values: Sequence[float], kinds: Sequence[str] = ()
) -> tuple[PairedChange, ...]:
    """The change of each treatment from its well's own baseline at the same pacing, %.

    `values` holds one number a treatment (rate, amplitude, ...), in the same order; `kinds` what
    each was read from, where only numbers of one kind can be compared. The baseline is the last
    line above without a drug, at dose 0, for the same well and pacing.
    """
    known: dict[tuple[str, float | None], tuple[float, str]] = {}
    changes = []
    for one, value, kind in zip(treatments, values, kinds or [""] * len(values), strict=True):
        if one.is_baseline and not one.drug:
            known[one.well, one.pacing_bpm] = value, kind
            continue
        baseline, other = known.get((one.well, one.pacing_bpm), (None, kind))
        change = _paired(one, value, baseline)
        if kind != other and np.isfinite(change.change_pct):
            why = f"read from {kind}, but at the baseline of well {one.well} from {other}"
            change = PairedChange(one, NAN, why)
        changes.append(change)
    return tuple(changes)


def dose_means(changes: Sequence[PairedChange]) -> tuple[DoseMean, ...]:
    """Mean change of the wells at each drug, dose and unit; several lines of a well count once."""
    groups: dict[tuple[str, float, str], dict[str, list[float]]] = {}
    for change in changes:
        if np.isfinite(change.change_pct):
            one = change.treatment
            wells = groups.setdefault((one.drug, one.dose, one.unit), {})
            wells.setdefault(one.well, []).append(change.change_pct)
    found = []
    for (drug, dose, unit), wells in sorted(groups.items()):
        means = np.array([np.mean(values) for values in wells.values()])
        n, mean, half = len(means), float(means.mean()), NAN
        if n > 1:
            half = float(student_t.ppf(0.975, n - 1) * means.std(ddof=1) / n**0.5)
        found.append(DoseMean(drug, dose, unit, n, mean, mean - half, mean + half))
    return tuple(found)


def hill(dose: Array, emax: float, ec50: float, slope: float) -> Array:
    """Response to a dose: emax / (1 + (ec50 / dose)^slope), 0 without drug.

    Source: Hill 1910, J. Physiol. 40:iv.

    >>> hill(np.array([1.0, 10.0]), emax=-80.0, ec50=1.0, slope=1.0).round(1).tolist()
    [-40.0, -72.7]
    """
    return np.asarray(emax / (1 + (ec50 / dose) ** slope))


def fit_hill(dose: Array, response: Array, wells: Sequence[str]) -> HillFit:
    """Fit the Hill curve to changes from each well's own baseline (N,), or say why not.

    Not fitted: fewer than 4 doses or 3 wells; doses that span less than tenfold; a response that
    has no trend over the logarithm of the dose (5 %, wells as units). Fitted, but not to be
    quoted: an EC50 outside the tested doses; its interval wider than a hundredfold; a slope at
    the edge of 0.3 to 5; points that do not follow the curve (lack of fit, 1 %).

    Least squares; intervals from the covariance that allows for wells as clusters, Student's t
    with one degree of freedom less than wells. Doses of 0 and NaN are left out.
    Source of the intervals: Liang and Zeger 1986, Biometrika 73:13.
    """
    kept = np.isfinite(response) & (dose > 0)
    dose, response = dose[kept].astype(float), response[kept].astype(float)
    names = np.array(list(wells), str)[kept]
    group = np.unique(names, return_inverse=True)[1]
    counts = len(np.unique(group)), len(np.unique(dose))
    against = _forbidden(dose, response, group)
    if against:
        return HillFit(False, against, *counts)
    params, jacobian = _least_squares(dose, response)
    left = response - hill(dose, params[0], 10 ** params[1], 10 ** params[2])
    half = interval_halves(jacobian, left, group)
    low, high = params - half, params + half
    against = _unquotable(dose, left, params, half)
    return HillFit(
        not against,
        against,
        *counts,
        emax=float(params[0]),
        ec50=float(10 ** params[1]),
        slope=float(10 ** params[2]),
        emax_interval=(float(low[0]), float(high[0])),
        ec50_interval=_powers(low[1], high[1]),
        slope_interval=_powers(low[2], high[2]),
    )


def interval_halves(jacobian: Array, left: Array, group: Array) -> Array:
    """Half widths of 95 % intervals (P,) of least squares whose points come in groups (wells).

    `jacobian` (N, P), residuals `left` (N,), `group` (N,) numbers from 0. NaN where the points do
    not determine a parameter.
    """
    n, p = jacobian.shape
    n_groups = int(group.max()) + 1
    if np.linalg.matrix_rank(jacobian) < p or n <= p:
        return np.full(p, NAN)
    bread = np.linalg.inv(jacobian.T @ jacobian)
    scores = np.zeros((n_groups, p))
    np.add.at(scores, group, jacobian * left[:, None])
    small = n_groups / (n_groups - 1) * (n - 1) / (n - p)
    variance = np.diag(small * bread @ scores.T @ scores @ bread)
    return np.asarray(student_t.ppf(0.975, n_groups - 1) * np.sqrt(variance))


def _paired(one: Treatment, value: float, baseline: float | None) -> PairedChange:
    if baseline is None:
        paced = f" at {one.pacing_bpm:g} beats a minute" if one.pacing_bpm else " without pacing"
        return PairedChange(one, NAN, f"well {one.well} has no baseline{paced} before this line")
    if not np.isfinite(baseline) or baseline == 0 or not np.isfinite(value):
        return PairedChange(one, NAN, f"no value in well {one.well} here or at its baseline")
    return PairedChange(one, 100 * (value / baseline - 1))


def _forbidden(dose: Array, response: Array, group: Array) -> str:
    doses, n_wells = np.unique(dose), len(np.unique(group))
    if len(doses) < FEWEST_DOSES:
        return f"{len(doses)} doses with a response; {FEWEST_DOSES} are needed for a curve."
    if n_wells < FEWEST_WELLS:
        return f"{n_wells} wells with a response; {FEWEST_WELLS} are needed for an interval."
    if doses[-1] / doses[0] < LEAST_SPAN:
        return f"The doses span {doses[-1] / doses[0]:.1f}-fold; {LEAST_SPAN:g}-fold is needed."
    design = np.stack([np.ones_like(dose), np.log10(dose)], axis=1)
    trend = np.linalg.lstsq(design, response, rcond=None)[0]
    half = interval_halves(design, response - design @ trend, group)
    if not abs(trend[1]) > half[1]:
        steadily = "does not rise or fall steadily with the dose"
        return f"The response {steadily} beyond what wells differ by."
    return ""


def _unquotable(dose: Array, left: Array, params: Array, half: Array) -> str:
    low, high = np.log10(dose.min()), np.log10(dose.max())
    if params[1] < low:
        return f"The EC50 lies below the lowest dose ({dose.min():g})."
    if params[1] > high:
        return f"The EC50 lies above the highest dose ({dose.max():g}): no plateau was seen."
    if not 2 * half[1] <= np.log10(WIDEST):
        return "The EC50 is uncertain by more than a hundredfold."
    if lack_of_fit(dose, left) < UNLIKE:
        return "The response does not follow a Hill curve (lack of fit)."
    if not np.log10(SLOPES[0]) + 1e-3 < params[2] < np.log10(SLOPES[1]) - 1e-3:
        return f"The slope ran to the edge of what is tried ({SLOPES[0]:g} to {SLOPES[1]:g})."
    return ""


def lack_of_fit(dose: Array, left: Array) -> float:
    """p of the residuals' means at the doses, against their spread within a dose; 1 untestable.

    Source: the F test of Draper and Smith, Applied Regression Analysis, 3rd ed. 1998, section 2.1.
    """
    doses, which, counts = np.unique(dose, return_inverse=True, return_counts=True)
    means = np.bincount(which, left) / counts
    across, within = float(counts @ means**2), float(np.sum((left - means[which]) ** 2))
    free, rest = len(doses) - 3, len(left) - len(doses)
    if free < 1 or rest < 1 or within == 0:
        return 1.0
    return float(f_distribution.sf(across / free / (within / rest), free, rest))


def _least_squares(dose: Array, response: Array) -> tuple[Array, Array]:
    """Parameters (emax, log10 ec50, log10 slope) and the Jacobian of the curve (N, 3)."""
    low, high = float(np.log10(dose.min())), float(np.log10(dose.max()))
    scale = float(np.max(np.abs(response)))
    bounds = (
        [-10 * scale, low - BEYOND, np.log10(SLOPES[0])],
        [10 * scale, high + BEYOND, np.log10(SLOPES[1])],
    )

    def miss(q: Array) -> Array:
        return hill(dose, q[0], 10 ** q[1], 10 ** q[2]) - response

    top = float(response[np.argmax(np.abs(response))])
    starts = product([top], np.linspace(low, high, 4)[1:3], [0.0, np.log10(3.0)])
    fits = [
        least_squares(miss, start, bounds=bounds, x_scale=[scale, 1.0, 1.0]) for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.cost))
    return np.asarray(best.x), np.asarray(best.jac)


def _powers(low: float, high: float) -> tuple[float, float]:
    edges = np.clip([low, high], -300, 300)
    return float(10 ** edges[0]), float(10 ** edges[1])
