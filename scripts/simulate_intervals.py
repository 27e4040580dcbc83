#!/usr/bin/env python
"""How often intervals hold the true mean of units that several trainings score: decision 23.

    python scripts/simulate_intervals.py

Tables (U, S) of crossed normal effects. `rest`: SD of what is neither of units nor of trainings,
where that of units is 1. `ratio`: what trainings share, over the standard error that units and
rest give the mean. Four ways to an interval of 95 %, of which study/intervals.py takes the last
(below 20 units; from 20 on with the bootstrap over units).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy import stats

TABLES = 4_000


def main() -> None:
    """Print the coverage of each way, setting by setting."""
    rng = np.random.default_rng(1)
    print("units trainings rest ratio | t over units, Satterthwaite, less the rest, in squares")
    for n_units, n_seeds in product((6, 20, 100), (2, 3, 5)):
        for rest, ratio in product((0.4, 2, 7), (0, 0.5, 1, 3)):
            shared = ratio * np.sqrt((1 + rest**2 / n_seeds) / n_units) * np.sqrt(n_seeds)
            values_NUS = rng.normal(size=(TABLES, n_units, 1))
            values_NUS = values_NUS + shared * rng.normal(size=(TABLES, 1, n_seeds))
            values_NUS = values_NUS + rest * rng.normal(size=(TABLES, n_units, n_seeds))
            told = ", ".join(f"{each:.3f}" for each in coverage(values_NUS))
            print(f"{n_units} {n_seeds} {rest} {ratio} | {told}", flush=True)


def coverage(values_NUS: np.ndarray) -> list[float]:
    """The share of tables (N, U, S), of true mean 0, whose interval holds it, way by way."""
    n_units, n_seeds = values_NUS.shape[1:]
    means_NU, means_NS = values_NUS.mean(axis=2), values_NUS.mean(axis=1)
    mean_N = values_NUS.mean(axis=(1, 2))
    rest_NUS = values_NUS - means_NU[:, :, None] - means_NS[:, None] + mean_N[:, None, None]
    rest_N = (rest_NUS**2).sum(axis=(1, 2)) / ((n_units - 1) * (n_seeds - 1)) / n_units / n_seeds
    of_units = means_NU.var(axis=1, ddof=1) / n_units
    of_seeds = means_NS.var(axis=1, ddof=1) / n_seeds
    beyond = np.maximum(0, of_seeds - rest_N)
    total = of_units + of_seeds
    freedom = total**2 / (of_units**2 / (n_units - 1) + of_seeds**2 / (n_seeds - 1))
    reach_units, reach_seeds = (stats.t.ppf(0.975, n - 1) for n in (n_units, n_seeds))
    halves = (
        reach_units * np.sqrt(of_units),
        stats.t.ppf(0.975, freedom) * np.sqrt(total),
        np.sqrt(reach_units**2 * of_units + reach_seeds**2 * beyond),
        np.sqrt(reach_units**2 * of_units + reach_seeds**2 * of_seeds),
    )
    return [float((np.abs(mean_N) < half).mean()) for half in halves]


if __name__ == "__main__":
    main()
