"""Values that resemble the one before: how much n beats in a row say about their mean.

Intervals, amplitudes and durations of successive beats are correlated, so that n beats are worth
far fewer independent ones; whoever forgets it finds drug effects in untreated tissue. `values` (N,)
are one quantity of consecutive beats, without NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.fft import dct
from scipy.ndimage import median_filter

from ehtseg.records import Array

WINDOW_BEATS = 40  # noise is read inside windows of so many beats, which a change spoils singly
WINDOW_STEP = 10
LARGEST_LAG1 = 0.97  # more is a drift, not a correlation
LONGEST_BEATS = 100.0  # time constant of the slowest wander that is reckoned with
SHORTEST_BEATS, TIME_CONSTANTS = 0.5, 12
NOISE_SHARES = (0.0, 0.25, 0.5, 0.75)  # of single beats in the variance
INDEPENDENT = 0.3  # chance, beforehand, that beats are independent
OUTLIER_BEATS = 19  # a level held for 10 of these beats is no outlier
OUTLIER_SDS = 4.0


def lag1(values: Array) -> float:
    """Correlation of each value with the next, as it is measured; 0 where nothing varies."""
    left = values - np.mean(values)
    power = float(left @ left)
    return float(left[1:] @ left[:-1]) / power if power > 0 else 0.0


def unbiased_lag1(measured: float, n: float) -> float:
    """Lag-1 correlation without the bias of n values about their own mean; 0 to 0.97.

    The measured one is (1 + 4 rho) / n too small on average. Negative ones become 0: alternation
    must not make a mean look more certain than independent beats would.
    Source: Marriott and Pope 1954, Biometrika 41:390; Kendall 1954, Biometrika 41:403.

    >>> round(unbiased_lag1(0.695, 40), 3)
    0.8
    """
    if n <= 5:
        return 0.0
    return float(np.clip((measured + 1 / n) / (1 - 4 / n), 0, LARGEST_LAG1))


def share_of_mean(n: int, rho: float) -> float:
    """Variance of the mean of n values of lag-1 correlation rho, as a share of their variance.

    1 / n without correlation; 1 / this is the number of independent values that n are worth.
    Source: Bayley and Hammersley 1946, J. R. Stat. Soc. Suppl. 8:184.

    >>> round(1 / share_of_mean(100, 0.0)), round(1 / share_of_mean(100, 0.8))
    (100, 12)
    """
    ends = 2 * rho * (1 - rho**n) / (n * (1 - rho) ** 2)
    return float(((1 + rho) / (1 - rho) - ends) / n)


def long_run_variance(values: Array) -> float:
    """What n Var(mean of n values) becomes for large n: variance x (1 + rho) / (1 - rho).

    Variance and lag-1 correlation are medians over windows of 40 beats, so that a change of level
    spoils only the windows that hold it; both are freed from the bias of a short window.
    """
    size = min(WINDOW_BEATS, len(values))
    starts = range(0, len(values) - size + 1, WINDOW_STEP)
    windows = [values[start : start + size] for start in starts]
    rho = unbiased_lag1(float(np.median([lag1(window) for window in windows])), size)
    variance = float(np.median([np.var(window) for window in windows]))
    return variance / (1 - share_of_mean(size, rho)) * (1 + rho) / (1 - rho)


@dataclass(frozen=True, slots=True, eq=False)
class Processes:
    """G ways in which n beats may hang together: slow wander of so many beats under single noise.

    Each has the spectrum a + (1 - a) x that of a first-order process, where a is the share of
    noise of single beats in the variance; the first way is independent beats.
    """

    spectra: Array  # (G, n - 1) at the cosine waves of n beats; their mean is about 1
    of_mean: Array  # (G,) variance of the mean of n beats, as a share of the variance
    log_prior: Array  # (G,)


@lru_cache(maxsize=8)
def processes(n: int, longest_beats: float) -> Processes:
    """The ways for n beats; the time constant of the wander is at most `longest_beats`.

    Beforehand, independent beats have 3 of 10 chances; the rest is flat in the logarithm of the
    time constant and in the share of noise: chosen on simulated beats, so that intervals hold
    under wander that the data hardly show.
    """
    waves = np.pi * np.arange(1, n) / n
    spectra, of_mean, prior = [np.ones(n - 1)], [1 / n], [INDEPENDENT]
    taus = np.geomspace(SHORTEST_BEATS, max(longest_beats, SHORTEST_BEATS), TIME_CONSTANTS)
    weight = (1 - INDEPENDENT) / len(taus) / len(NOISE_SHARES)
    for tau in taus:
        rho = float(np.exp(-1 / tau))
        wander = (1 - rho**2) / (1 - 2 * rho * np.cos(waves) + rho**2)
        for noise in NOISE_SHARES:
            spectra.append(noise + (1 - noise) * wander)
            of_mean.append(noise / n + (1 - noise) * share_of_mean(n, rho))
            prior.append(weight)
    return Processes(np.array(spectra), np.array(of_mean), np.log(prior))


def log_likelihood(values: Array, known: Processes) -> tuple[Array, Array]:
    """Of each way (G,): its log likelihood, and the variance that it gives to the values.

    The cosine waves in the values are independent, each with the variance of the spectrum there;
    the level, and the size of the variance, are integrated out.
    Source: Whittle 1953, Ark. Mat. 2:423.
    """
    powers = dct(values, norm="ortho")[1:] ** 2
    size = np.mean(powers / known.spectra, axis=1)
    return -0.5 * (np.log(known.spectra).sum(1) + len(powers) * np.log(size)), size


def variances_of_means(
    stretches: Sequence[Array], longest_beats: float
) -> tuple[list[Array], Array]:
    """Of each stretch of beats the variance of its mean in each way (G,); the ways' chances (G,).

    All stretches hang together in one way, which nobody knows: how likely each is, all of them
    tell together. Stretches have two values or more; one that does not vary has variances of 0.
    """
    variances = []
    log_chances = processes(2, longest_beats).log_prior
    for values in stretches:
        known = processes(len(values), longest_beats)
        likelihood, size = np.zeros(1), np.zeros(1)
        if np.ptp(values) > 0:
            likelihood, size = log_likelihood(values, known)
        log_chances = log_chances + likelihood
        variances.append(size * known.of_mean)
    chances = np.exp(log_chances - log_chances.max())
    return variances, chances / chances.sum()


def without_outliers(values: Array) -> Array:
    """Values with single outliers brought back to 4 SD from the median of their 19 neighbours.

    A pause or a missed beat is no change of rate. A new level that lasts 10 beats is kept.
    """
    level = median_filter(values, OUTLIER_BEATS, mode="nearest")
    reach = OUTLIER_SDS * 1.4826 * float(np.median(np.abs(values - level)))
    return np.clip(values, level - reach, level + reach) if reach > 0 else values
