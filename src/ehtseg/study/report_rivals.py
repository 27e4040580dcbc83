"""The rivals in the report: who is ahead at each place, and what each network costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from ehtseg.reporting.document import Block, Line, Points, Section, table
from ehtseg.study.found import Found
from ehtseg.study.levels import label
from ehtseg.study.prices import Price, read_prices
from ehtseg.study.published import NOT_FOLLOWED
from ehtseg.study.report_cells import NONE, slug
from ehtseg.study.report_contrasts import contrasts_at
from ehtseg.study.rival_table import RivalRow, rival_table
from ehtseg.study.rivals import COMMON
from ehtseg.study.significance import ALPHA, MARGIN
from ehtseg.study.statistics import Contrast, verdict
from ehtseg.study.verdicts import unseen
from ehtseg.study.words import say_interval

OURS = "ResNet-50"
TWIN = "smp U-Net on ResNet-50"  # the same layers with the same weights compute the same: test_smp
STARTS = {"ImageNet": "ImageNet weights", "random": "random weights"}
COLUMNS = (
    "row", "starts from", "seeds", "Dice", "IoU", "HD95 px", "jitter %", "training s",
    "parameters", "GMAC", "trained images/s", "segmented frames/s", "peak MB, segmenting",
    "peak MB, training",
)  # fmt: skip
NOTE = (
    "Means over seeds and recordings, threshold 0.5. Jitter: root mean square of the change of "
    "predicted over true area from a frame to the next. Training: seconds of one training of this "
    "study, as busy as the machine was. GMAC: thousand million multiply-adds of one frame at the "
    "working size. Rates and memory are those of prices.csv: one process a row, a moment each. "
    "Rows that start from ImageNet weights and rows that start from random ones are not compared "
    "with each other."
)


def rival_sections(found: Found, folder: Path) -> list[Section]:
    """One table a place, of the rivals and of studies whose prices stand in `folder`."""
    prices, rivals = read_prices(folder), is_of_rivals(found)
    if not (rivals or prices):
        return []
    rows = rival_table(found.results, prices)
    blocks: list[Block] = []
    kind, title = ("rivals", "The rivals") if rivals else ("costs", "Scores and costs")
    for place in _unseen_first(found):
        lines = [_line(row) for row in rows if row.place == place]
        blocks += table(f"{kind}_{slug(place)}", f"{title}, {place}", COLUMNS, lines, NOTE)
    machines = {row.price.machine or "a machine that was not noted" for row in rows if row.price}
    measured = [f"Rates and memory were measured on {name}." for name in sorted(machines)]
    blocks += measured or ["Rates and memory were not measured: `ehtseg prices` does it."]
    unlike = {n: said for n, said in NOT_FOLLOWED.items() if any(n in r for r in found.study.rows)}
    blocks += [Points(tuple(f"Not as published, {n}: {s}" for n, s in unlike.items()))] * bool(
        unlike
    )
    return [Section("What each network finds, and what it costs", tuple(blocks))] if rows else []


def rivals_in_short(found: Found) -> tuple[str, ...]:
    """The sentences of `winners`, other recordings first; none for other studies."""
    if not is_of_rivals(found):
        return ()
    rows = rival_table(found.results, {})
    return winners([row for place in _unseen_first(found) for row in rows if row.place == place])


def _unseen_first(found: Found) -> list[str]:
    """Its places, the film that was trained on last."""
    return sorted(found.places, key=found.is_own)


def rivals_ahead(found: Found, folder: Path) -> tuple[str, ...]:
    """Who is ahead across all that no training has seen, apart for each start; ImageNet first.

    Networks are held against our own, recording by recording (or image by image), because scores
    of different places are never averaged. Then what is recommended: a rival only where its lead
    is told from chance. Empty for other studies.
    """
    if not is_of_rivals(found):
        return ()
    prices, said = read_prices(folder), []
    for start, words in STARTS.items():
        lead = _lead(found, start)
        said.append(_ahead(found, start, words, lead))
        if lead and start == "ImageNet":
            said.append(_recommended(lead, prices, found.unit))
    return (*said, *_chance(found))


def _chance(found: Found) -> tuple[str, ...]:
    """How far apart chance alone puts our network and its twin, which is the same one."""
    pair = label((TWIN, "ImageNet", COMMON)), label((OURS, "ImageNet", COMMON))
    compared = contrasts_at({row: found.together(row, unseen(found)) for row in pair}, [pair])
    return tuple(
        f"What chance does: the {TWIN} is our {OURS} layer by layer, its decoder drawn from other "
        f"random numbers; its mean Dice minus ours is {say_interval(each.difference)}."
        for each in compared.values()
    )


@dataclass(frozen=True, slots=True)
class _Lead:
    """The best row of a start beside ours of the same start."""

    best: str
    ours: str
    gap: Contrast


def _lead(found: Found, start: str) -> _Lead | None:
    planned = [row for row in found.study.rows if row[1:2] == (start,)]
    ours = next(label(row) for row in planned if row[0] == OURS and COMMON in row)
    tables = {label(row): found.together(label(row), unseen(found)) for row in planned}
    leads = contrasts_at(tables, [(row, ours) for row in tables if row != ours])
    if not leads:
        return None
    (best, _), gap = max(leads.items(), key=lambda item: item[1].difference.estimate)
    return _Lead(best, ours, gap)


def _recommended(lead: _Lead, prices: Mapping[str, Price], unit: str) -> str:
    """What to take from ImageNet weights, and what the leader costs."""
    rates = [prices[row].train_images_per_s for row in (lead.ours, lead.best) if row in prices]
    price = f" trains at 1 / {rates[0] / rates[1]:.2g} of our rate." if len(rates) == 2 else ""
    if verdict(lead.gap) == "higher":
        return f"Recommended across {unit}s: {lead.best}.{price and f' It{price}'}"
    if lead.gap.difference.estimate <= 0:
        return f"Recommended across {unit}s: our {OURS}."
    price = price and f" {lead.best}{price}"
    if 2 ** (1 - lead.gap.units) >= ALPHA:
        return (
            f"Recommended across {unit}s: nothing new. With {lead.gap.units} {unit}s no lead "
            f"can be told from chance, so that our {OURS} stays by default and not by merit; the "
            f"study rivals-dsb2018 has the images that can decide against it.{price}"
        )
    return (
        f"Recommended across {unit}s: our {OURS} still, because the lead of {lead.best} is not "
        f"told from chance.{price}"
    )


def _ahead(found: Found, start: str, words: str, leading: _Lead | None) -> str:
    planned = [label(row) for row in found.study.rows if row[1:2] == (start,)]
    ran = sum(found.together(row, unseen(found)) is not None for row in planned)
    about = f"rows from {words} ({ran} of {len(planned)} have scores)"
    if leading is None:
        return f"Nobody is ahead yet among {about}."
    best, lead = leading.best, leading.gap
    gap, unit = lead.difference, f"{found.unit}{'' if lead.units == 1 else 's'}"
    first, second = best, f"our {OURS} from the same start"
    if gap.estimate <= 0:
        first, second = f"our {OURS}", f"the next, {best}"
        gap = replace(gap, estimate=-gap.estimate, low=-gap.high, high=-gap.low)
    told = {
        "higher": "", "lower": "", "equal": f", equal to within {MARGIN}",
        "open": f", not distinguishable with {lead.units} {unit}",
        "one training": ", one training each, which decides nothing",
    }[verdict(lead)]  # fmt: skip
    return (
        f"Across {lead.units} {unit} never trained on, {first} is ahead among {about}: its mean "
        f"Dice lies {say_interval(gap)} above {second}{told}. The best of several, picked "
        "afterwards, looks better than it is."
    )


def is_of_rivals(found: Found) -> bool:
    """Whether a study compares the rivals."""
    return found.study.kind.startswith("rivals")


def winners(rows: Sequence[RivalRow]) -> tuple[str, ...]:
    """Who has the highest mean Dice at each place, apart for each start, in sentences.

    `rows` are in the order of `rival_table`, place by place.
    """
    said = []
    for (place, start), group in groupby(rows, key=lambda row: (row.place, row.weights)):
        first, *others = group
        beside = f", before {_placed(others[0])}" if others else ""
        said.append(
            f"{place}, from {STARTS[start]}: highest mean Dice by {_placed(first)}{beside}."
        )
    return tuple(said)


def _placed(row: RivalRow) -> str:
    trainings = "one training" if row.seeds == 1 else f"{row.seeds} trainings"
    return f"{row.row} ({row.dice:.4f}, {trainings})"


def _line(row: RivalRow) -> Line:
    price = row.price
    costs: tuple[float | int | None, ...] = (None,) * 6
    if price is not None:
        costs = (
            price.parameters, price.gmacs, price.train_images_per_s, price.segment_frames_per_s,
            price.peak_segment_mb, price.peak_train_mb,
        )  # fmt: skip
    jitter, seconds = 100 * row.jitter, row.training_s
    shown = (
        row.row, row.weights, str(row.seeds), f"{row.dice:.4f}", f"{row.iou:.4f}",
        *map(_number, (row.hd95_px, jitter, seconds, *costs)),
    )  # fmt: skip
    names = ("row", "weights", "seeds", "dice", "iou", "hd95_px", "jitter_percent", "training_s",
             "parameters", "gmacs", "train_images_per_s", "segment_frames_per_s", "peak_segment_mb",
             "peak_train_mb")  # fmt: skip
    exact = (
        row.row,
        row.weights,
        row.seeds,
        row.dice,
        row.iou,
        row.hd95_px,
        jitter,
        seconds,
        *costs,
    )
    return Line(shown, {k: "" if v is None else v for k, v in zip(names, exact, strict=True)})


def _number(value: float | int | None) -> str:
    if value is None or math.isnan(value):
        return NONE
    return f"{value:,.0f}" if isinstance(value, int) or value >= 1000 else f"{value:.3g}"
