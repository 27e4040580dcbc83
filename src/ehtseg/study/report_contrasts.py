"""The planned contrasts in words, and the verdict on each claim of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ehtseg.reporting.document import Block, Line, Points, Section, table
from ehtseg.study.found import Found
from ehtseg.study.levels import label
from ehtseg.study.plan import STAND_IN
from ehtseg.study.report_cells import BRACKETS, NONE, epoch_words, score_cell, slug
from ehtseg.study.significance import MARGIN
from ehtseg.study.statistics import (
    Contrast,
    Table,
    contrast_where_shared,
    difference,
    family,
    verdict,
)
from ehtseg.study.verdicts import Claim, compared_over, unseen
from ehtseg.study.words import cautions, say_contrast, say_gap

Pair = tuple[str, str]

# Read from the published code, not from these runs.
SENTENCE = (
    "The paper says that none of the works it cites transfers pretrained layers. As far as their "
    "published code goes, some do: TransUNet and DS-TransUNet load ImageNet encoders, and the "
    "repository of U-Net++ offers VGG-16, ResNet-50 and Inception-ResNet-v2 with ImageNet weights. "
    "The sentence does not hold as it stands; that the paper compares such encoders on engineered "
    "heart tissue remains its own."
)
CONFOUNDED = (
    "In the paper's table the networks with pretrained layers also differ from the U-Net trained "
    "from scratch in the number of epochs and, as the table is rebuilt here, in depth, width and "
    "batch norm. C1 to C3 therefore ask for the same architecture from random weights, as in the "
    "studies controls and dsb2018."
)
CONSTANT_RATE = (
    " All rows here train by Adam at the paper's constant rate of 0.001, which is high for layers "
    "that are trained on from ImageNet weights: the study rates asks how much of a result is the "
    "rate."
)


def contrast_section(found: Found) -> list[Section]:
    """Every contrast, place by place, each place one family for Holm; later ones stand apart."""
    lists = {
        "Planned contrasts": (planned_pairs(found), "the planned contrasts of a place", ""),
        "Contrasts written down later": (
            later_pairs(found),
            f"these contrasts, which were written down later: {found.study.later_when}. They "
            "describe; what they suggest has to be planned and run anew",
            "later_",
        ),
    }
    return [
        _section(found, pairs, title, (family_words, prefix), score)
        for title, (pairs, family_words, prefix) in lists.items()
        for score in found.study.scores
        if pairs
    ]


def planned_pairs(found: Found) -> list[Pair]:
    """The contrasts that were written down before any result."""
    return [(label(one), label(other)) for one, other in found.study.contrasts]


def later_pairs(found: Found) -> list[Pair]:
    """The contrasts that were thought of when results had been seen."""
    return [(label(one), label(other)) for one, other in found.study.later]


def _section(
    found: Found, pairs: Sequence[Pair], title: str, words: tuple[str, str], score: str
) -> Section:
    (family_words, prefix), scores = words, found.study.scores
    title += f": {scores[score]}" if len(scores) > 1 else ""
    prefix += "contrasts" if score == "dice" else f"contrasts_{score}"
    stand_ins = [(one + STAND_IN, other + STAND_IN) for one, other in pairs]
    intro = (
        f"First row minus second row in {scores[score]}, {epoch_words(found)}, paired by "
        f"{found.unit} and training. p is corrected after Holm over {family_words}, including "
        "those that could not be tested yet; “equal” means a difference shown to be smaller than "
        f"{MARGIN} (two one-sided tests)."
    )
    apart = "Rows from random weights for want of ImageNet weights"
    blocks: list[Block] = [intro, *found.study.data.cautions, *found.study.cautions]
    if len(found.places) > 1:
        blocks += _overview(found, pairs, prefix, "Differences, place by place", score)
    blocks += _overview(found, stand_ins, f"{prefix}_random_weights", apart, score)
    for place in found.places:
        blocks += _family(found, (place,), pairs, (f"{prefix}_{slug(place)}", place), score)
    if found.unit == "recording" and len(unseen(found)) > 1:
        together = (
            "All recordings never trained on: differences only, each within one recording and its "
            "masks; the scores themselves are never averaged over places"
        )
        named = (f"{prefix}_unseen_recordings", together)
        blocks += _family(found, unseen(found), pairs, named, score)
    lost = [pair for pair in pairs if not set(pair) <= set(found.rows)]
    if lost:
        told = tuple(
            f"Not tested, for want of runs or weights: {one} against {other}."
            for one, other in lost
        )
        blocks.append(Points(told))
    return Section(title, tuple(blocks))


def claim_section(found: Found, judged: Sequence[Claim]) -> Section:
    """The verdicts on the paper's claims, with every case they rest on."""
    lines = [
        Line(
            (f"{claim.name}. {claim.text}", claim.rule, claim.outcome, claim.reason),
            {
                "claim": claim.name, "text": claim.text, "rule": claim.rule,
                "outcome": claim.outcome, "reason": claim.reason,
            },
        )
        for claim in judged
    ]  # fmt: skip
    columns = ("claim", "rule set in advance", "verdict", "why")
    cases = [
        f"{claim.name}: {_weight(case.holds, case.decides)}. {case.sentence}"
        for claim in judged
        for case in claim.cases
    ]
    note = "The cases below hold the numbers. “Cannot tell” is an answer."
    blocks: list[Block] = [CONFOUNDED + (CONSTANT_RATE if _at_the_papers_rate(found) else "")]
    blocks += table("claims", "Verdicts", columns, lines, note, columns[1:])
    blocks += [Points(tuple(cases))] if cases else []
    return Section("The paper's claims", (*blocks, SENTENCE))


def contrasts_at(tables: Mapping[str, Table | None], pairs: Sequence[Pair]) -> dict[Pair, Contrast]:
    """The contrasts whose rows both have scores, corrected as one family with those that lack."""
    compared = {}
    for pair in pairs:
        found = contrast_where_shared(*(tables.get(row) for row in pair))
        if found is not None:
            compared[pair] = found
    corrected = family({"\t".join(pair): each for pair, each in compared.items()}, len(pairs))
    return {pair: corrected["\t".join(pair)] for pair in compared}


def tally_of(
    compared: Mapping[Pair, Contrast], planned: int, unit: str, kind: str = "planned contrasts"
) -> str:
    """The contrasts of a place as one sentence; nothing where there is none."""
    if not compared:
        return f"None of {planned} {kind} could be tested." if planned else ""
    units = max(each.units for each in compared.values())
    if units < 2:
        return f"One {unit} decides no contrast."
    verdicts = [verdict(each) for each in compared.values()]
    words = {
        "higher": "higher", "lower": "lower", "equal": f"equal to within {MARGIN}",
        "open": f"not distinguishable with {units} {unit}s",
        "one training": "with one training each, which decides nothing",
    }  # fmt: skip
    told = [f"{verdicts.count(name)} {word}" for name, word in words.items() if name in verdicts]
    lost = planned - len(verdicts)
    told += [f"{lost} not tested, for want of runs or weights"] if lost else []
    return f"Of {planned} {kind} {', '.join(told)}."


def _at_the_papers_rate(found: Found) -> bool:
    fits = [run.recipe.fit for run in found.study.plan(found.scale)]
    return all((f.optimizer, f.schedule, f.lr) == ("adam", "constant", 1e-3) for f in fits)


def _overview(
    found: Found, pairs: Sequence[Pair], name: str, title: str, score: str
) -> tuple[Block, ...]:
    """The difference of each pair at each place, with its verdict where there are several units."""
    tables = {place: _tables(found, pairs, place, score) for place in found.places}
    at = {place: contrasts_at(tables[place], pairs) for place in found.places}
    lines = []
    for first, second in pairs:
        values: dict[str, object] = {"first": first, "second": second}
        cells = []
        for place, compared in at.items():
            each = compared.get((first, second))
            cells.append(_cell(tables[place], (first, second), each))
            values[place] = each.difference.estimate if each else None
        if any(cell != NONE for cell in cells):
            lines.append(Line((f"{first} − {second}", *cells), values))
    return table(name, title, ("contrast", *found.places), lines, BRACKETS)


def _tables(found: Found, pairs: Sequence[Pair], place: str, score: str) -> dict[str, Table | None]:
    return {row: found.table(row, place, score) for pair in pairs for row in pair}


def _cell(tables: Mapping[str, Table | None], pair: Pair, each: Contrast | None) -> str:
    first, second = (tables[row] for row in pair)
    if each is None or first is None or second is None:
        return NONE
    told = "" if each.units < 2 else f"\n{verdict(each)}"
    return score_cell(difference(first, second), "+") + told


def _family(
    found: Found,
    places: Sequence[str],
    pairs: Sequence[Pair],
    named: tuple[str, str],
    score: str,
) -> tuple[Block, ...]:
    """The contrasts of places taken together, in words; nothing where there is only one unit."""
    compared = contrasts_at({row: found.together(row, places, score) for row in found.rows}, pairs)
    chosen: dict[Pair, Contrast | None] = dict.fromkeys(compared)
    if score == "dice":
        chosen = {pair: compared_over(found, pair, places, "dice_at_chosen") for pair in compared}
    lines = [
        _line(found, pair, each, chosen[pair]) for pair, each in compared.items() if each.units > 1
    ]
    columns = (
        "in words", "difference", "at chosen thresholds", "SD of units", "SD of seeds", "test",
        "p", "p, Holm",
    )  # fmt: skip
    units = max((each.units for each in compared.values()), default=0)
    spread = (
        "SD: of the differences, between units and between seeds. Chosen thresholds: those of "
        "each training on its validation frames; intervals without a test."
    )
    spread = spread if score == "dice" else "SD: of the differences, between units and seeds."
    seeds = min((each.seeds for each in compared.values()), default=0)
    note = " ".join([spread, *cautions(units, seeds, found.unit)])
    return table(*named, columns, lines, note, words=("in words",))


def _line(found: Found, pair: Pair, each: Contrast, chosen: Contrast | None) -> Line:
    sentence = say_contrast(each, *pair, found.unit)
    judged = verdict(each) != "one training"
    tested = (each.test, _p(each.p), _p(each.p_holm)) if judged else (NONE,) * 3
    numbers = (_number(each.sd_units), _number(each.sd_seeds), *tested)
    at_chosen = say_gap(chosen) if chosen else NONE
    shown = (sentence, f"{each.difference.estimate:+z.4f}", at_chosen, *numbers)
    values = {
        "first": pair[0], "second": pair[1], "difference": each.difference.estimate,
        "low95": each.difference.low, "high95": each.difference.high,
        "method": each.difference.method, "units": each.units, "seeds": each.seeds,
        "difference_at_chosen": chosen.difference.estimate if chosen else "",
        "sd_units": each.sd_units, "sd_seeds": each.sd_seeds, "error_seeds": each.error_seeds,
        "test": each.test, "p": each.p, "p_holm": each.p_holm, "p_equal": each.p_equal,
        "units_needed": each.units_needed, "verdict": verdict(each), "in words": sentence,
    }  # fmt: skip
    return Line(shown, values)


def _weight(holds: str, decides: bool) -> str:
    return holds if decides else "decides nothing"


def _number(x: float) -> str:
    return f"{x:.4f}" if np.isfinite(x) else "–"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
