"""What was trained, how soon each row got there, and how many runs collapsed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ehtseg.reporting.document import Block, Line, Picture, Section, table
from ehtseg.reporting.study_figures import Curve, Time, course_panels, times
from ehtseg.study.convergence import GOOD, SHARE, Course, Reached, courses, horizon, restricted
from ehtseg.study.found import Found
from ehtseg.study.plan import STAND_IN
from ehtseg.study.report_cells import NONE

NOT_NOTED = "not noted"
MACHINES = (
    "A package is where the file of ImageNet weights came from. The same training on another "
    "machine ends in other weights, because sums of floats are rounded in another order: that is "
    "part of the spread between trainings."
)


def training_section(found: Found) -> list[Section]:
    """Validation Dice against steps, and the steps that each run took."""
    rows = [*found.rows, *found.stand_ins]
    groups = {row: _courses(found, row) for row in rows}
    groups = {row: runs for row, runs in groups.items() if runs}
    if not groups:
        return []
    end = horizon(*groups.values())
    lines = [_line(row, runs, end, row in found.stand_ins) for row, runs in groups.items()]
    columns = (
        "row", "runs", f"to {GOOD}", f"not there by {end:.0f}", "restricted mean",
        f"to {SHARE:.0%} of final".replace("%", " %"), "final validation Dice", "best",
    )  # fmt: skip
    note = (
        "Steps of the optimiser; validation is looked at once an epoch, so that no number is finer "
        "than that. Steps: median of the runs that got there (lowest to highest). Restricted mean: "
        f"mean steps to {GOOD}, at most {end:.0f}, the smallest budget, runs that did not get "
        "there counted with all of it; a run may fall below it again. Validation frames come from "
        "the folder of the training."
    )
    curves = {row: [Curve(run.steps, run.dice) for run in runs] for row, runs in groups.items()}
    blocks: list[Block] = [
        Picture("courses", "Validation Dice against steps", course_panels(curves, GOOD)),
        *table("convergence", "Steps of each row", columns, lines, note),
        _picture(groups, GOOD, None),
        _picture(groups, None, SHARE),
    ]
    return [Section("Convergence", tuple(blocks))]


def runs_section(found: Found) -> list[Section]:
    """What each row trained: parameters, epochs, steps, weights."""
    lines = []
    for row in (*found.rows, *found.stand_ins):
        runs = found.runs(row)
        sizes = {name: runs[name][0] for name in ("parameters", "trainable", "epochs", "steps")}
        start = " or ".join(sorted(set(runs["weights"])))
        seeds = ", ".join(f"{seed:.0f}" for seed in np.unique(runs["seed"]))
        shown = (row, seeds, *(f"{size:,.0f}" for size in sizes.values()), start)
        made = _made_on(found, row)
        values = {"row": row, "seeds": seeds, **sizes, "weights": start, "made on": made}
        lines.append(Line((*shown, made), values, "apart" if row.endswith(STAND_IN) else ""))
    columns = (
        "row", "seeds", "parameters", "trained", "epochs", "steps", "encoder starts from",
        "made on",
    )  # fmt: skip
    rows = table("rows", "Rows", columns, lines, MACHINES, columns[-2:])
    return [Section("What was trained", rows)]


def _made_on(found: Found, row: str) -> str:
    """The machine of each run of a row, with the seeds where there were several."""
    timings = found.results.timings
    of_row = {name: values[np.isin(timings["key"], found.runs(row)["key"])]
              for name, values in timings.items()}  # fmt: skip
    by_machine = {
        str(machine): sorted({int(seed) for seed in of_row["seed"][of_row["machine"] == machine]})
        for machine in np.unique(of_row["machine"])
    }
    if len(by_machine) == 1:
        return next(iter(by_machine)) or NOT_NOTED
    told = [
        f"{name or NOT_NOTED} (seed {', '.join(map(str, seeds))})"
        for name, seeds in by_machine.items()
    ]
    return "; ".join(told) or NOT_NOTED


def _courses(found: Found, row: str) -> list[Course]:
    return courses(found.results.curves, row, found.runs(row)["seed"])


def _line(row: str, runs: Sequence[Course], end: float, apart: bool) -> Line:
    good, own = [run.to(GOOD) for run in runs], [run.to_share() for run in runs]
    late = sum(time.censored or time.steps > end for time in good)
    mean = float(restricted(good, end).mean())
    final, best = (float(np.mean([pick(run) for run in runs])) for pick in (_last, _highest))
    shown = (
        row, str(len(runs)), _range(good), f"{late} of {len(runs)}", f"{mean:.0f}", _range(own),
        f"{final:.4f}", f"{best:.4f}",
    )  # fmt: skip
    values = {
        "row": row, "runs": len(runs), "steps_to_good": _median(good), "censored": late,
        "restricted_mean": mean, "horizon": end, "steps_to_share_of_final": _median(own),
        "final_val_dice": final, "best_val_dice": best,
    }  # fmt: skip
    return Line(shown, values, "apart" if apart else "")


def _picture(groups: dict[str, list[Course]], level: float | None, share: float | None) -> Picture:
    """Steps of every run to a level, or to a share of its own final Dice."""
    reached = {
        row: [run.to(level) if level is not None else run.to_share(share or SHARE) for run in runs]
        for row, runs in groups.items()
    }
    dots = {row: [Time(t.steps, t.censored) for t in found] for row, found in reached.items()}
    what = f"{level}" if level is not None else f"{100 * (share or SHARE):.0f} % of the own final"
    name = "steps_to_good" if level is not None else "steps_to_share"
    note = "A dot is a run; an open arrow one that did not get there in the steps it had."
    title = f"Steps to a validation Dice of {what}"
    return Picture(name, title, times(dots, "steps"), note if level is not None else "")


def _last(run: Course) -> float:
    return float(run.dice[-1])


def _highest(run: Course) -> float:
    return float(run.dice.max())


def _median(times_: Sequence[Reached]) -> float:
    there = [time.steps for time in times_ if not time.censored]
    return float(np.median(there)) if there else math.nan


def _range(times_: Sequence[Reached]) -> str:
    there = [time.steps for time in times_ if not time.censored]
    if not there:
        return NONE
    if min(there) == max(there):
        return f"{there[0]:.0f}"
    return f"{np.median(there):.0f} ({min(there):.0f} to {max(there):.0f})"
