"""Values that resemble the one before: how much n beats in a row say about their mean.

Intervals, amplitudes and durations of successive beats are correlated, so that n beats are worth
far fewer independent ones; whoever forgets it finds drug effects in untreated tissue. `values` (N,)
are one quantity of consecutive beats, without NaN.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct
from scipy.ndimage import median_filter

from ehtseg.records import Array

WINDOW_BEATS = 40  # noise is read inside windows of so many beats, which a change spoils singly
WINDOW_STEP = 10
LARGEST_LAG1 = 0.97  # more is a drift, not a correlation
COSINES = (4, 8)  # slowest waves from which slow wander is read: one in 40 beats, so many
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


def variance_of_mean(values: Array, rho: float) -> tuple[float, float]:
    """Variance of the mean of values of lag-1 correlation `rho`, and its degrees of freedom.

    The larger of two: from `rho`, which is exact for a first-order process; and from the 4 to 8
    slowest cosine waves in the values, which also sees slow wander below the noise of single beats.
    Source of the second: Mueller 2007, J. Econometrics 141:1331.
    """
    n = len(values)
    share = share_of_mean(n, rho)
    by_lag1 = float(np.var(values)) / (1 - share) * share if share < 1 else float("inf")
    count = int(np.clip(n // WINDOW_BEATS, *COSINES))
    waves = dct(values, norm="ortho")[1 : count + 1]
    by_waves = float(np.mean(waves**2)) / n
    if by_waves > by_lag1:
        return by_waves, float(count)
    return by_lag1, max(1 / share - 1, 1.0)


def without_outliers(values: Array) -> Array:
    """Values with single outliers brought back to 4 SD from the median of their 19 neighbours.

    A pause or a missed beat is no change of rate. A new level that lasts 10 beats is kept.
    """
    level = median_filter(values, OUTLIER_BEATS, mode="nearest")
    reach = OUTLIER_SDS * 1.4826 * float(np.median(np.abs(values - level)))
    return np.clip(values, level - reach, level + reach) if reach > 0 else values
