"""A score as it stands in a table of a report, in its CSV file, and in a figure."""

from __future__ import annotations

import math

from ehtseg.reporting.document import Tone
from ehtseg.reporting.study_figures import Mark
from ehtseg.study.found import Found
from ehtseg.study.intervals import interval
from ehtseg.study.statistics import Table

NONE = "–"
BRACKETS = (
    "Round brackets: 95 % interval over independent units; square brackets, where there is one "
    "unit: the lowest and the highest training, which says nothing of other recordings."
)


def score_cell(scores: Table | None, sign: str = "") -> str:
    """A score and, below it, its interval; the range of its trainings where there is one unit.

    With "+" as `sign` a difference shows its sign.
    """
    if scores is None:
        return NONE
    known, by_seed = interval(scores.values), scores.values.mean(axis=0)
    shown = f"{known.estimate:{sign}z.4f}"
    if not math.isnan(known.low):
        return f"{shown}\n({known.low:z.4f} to {known.high:z.4f})"
    if len(by_seed) == 1:
        return shown
    return f"{shown}\n[{by_seed.min():z.4f} to {by_seed.max():z.4f}]"


def epoch_words(found: Found) -> str:
    """Which epoch a headline score is of: the last, but where a recipe asks for the best."""
    planned = found.study.plan(found.scale)
    best = dict.fromkeys(run.row for run in planned if run.recipe.fit.checkpoint == "best")
    return f"last epoch (best on validation: {'; '.join(best)})" if best else "last epoch"


def held_cell(gap: float | None, shown: str = "") -> str:
    """A lead over an opponent, with its sign, and below it what has been shown by it."""
    told = NONE if gap is None else f"{gap:+z.4f}"
    return f"{told}\n{shown}" if shown else told


def short_cell(scores: Table | None, column: str) -> str:
    """A score without its interval; two digits for a distance."""
    return NONE if scores is None else f"{mean_of(scores):.{2 if 'px)' in column else 4}f}"


def mean_of(scores: Table | None) -> float:
    """The mean of a score over units and trainings; NaN for none."""
    return float(scores.values.mean()) if scores is not None else math.nan


def values_of(scores: Table | None, name: str) -> dict[str, float]:
    """A score as columns of a CSV file: estimate, interval, lowest and highest training."""
    if scores is None:
        return dict.fromkeys((name, f"{name}_low95", f"{name}_high95"), math.nan)
    known, by_seed = interval(scores.values), scores.values.mean(axis=0)
    return {
        name: known.estimate,
        f"{name}_low95": known.low,
        f"{name}_high95": known.high,
        f"{name}_lowest_seed": float(by_seed.min()),
        f"{name}_highest_seed": float(by_seed.max()),
    }


def mark_of(name: str, scores: Table, tone: Tone = "") -> Mark:
    """A score as a row of a forest; the trainings are its single values."""
    known = interval(scores.values)
    singles = tuple(scores.values.mean(axis=0)) if scores.values.shape[1] > 1 else ()
    return Mark(name, known.estimate, known.low, known.high, singles, tone)


def slug(place: str) -> str:
    """A place as part of a file name."""
    return place.replace(" ", "_").replace("/", "_")
