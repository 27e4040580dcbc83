"""The planned contrasts in words, and the verdict on each claim of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ehtseg.reporting.document import Block, Line, Points, Section, table
from ehtseg.study.found import STAND_IN, Found
from ehtseg.study.levels import label
from ehtseg.study.report_cells import slug
from ehtseg.study.statistics import MARGIN, Contrast, Table, contrast, family, verdict
from ehtseg.study.verdicts import Claim, unseen
from ehtseg.study.words import conclude

Pair = tuple[str, str]

# Source: protocol of the study, section 10.7: read from the published code, not from these runs.
SENTENCE = (
    "The paper says that none of the works it cites transfers pretrained layers. As far as their "
    "published code goes, some do: TransUNet and DS-TransUNet load ImageNet encoders, and the "
    "repository of U-Net++ offers VGG-16, ResNet-50 and Inception-ResNet-v2 with ImageNet weights. "
    "The sentence does not hold as it stands; that the paper compares such encoders on engineered "
    "heart tissue remains its own."
)
CONFOUNDED = (
    "In the paper's table the networks with pretrained layers also differ from the U-Net trained "
    "from scratch in depth, width, batch norm and number of epochs. C1 to C3 therefore ask for the "
    "same architecture from random weights, as in the studies controls and dsb2018."
)


def contrast_section(found: Found) -> list[Section]:
    """Every planned contrast, place by place, each place one family for Holm."""
    planned = [(label(one), label(other)) for one, other in found.study.contrasts]
    if not planned:
        return []
    stand_ins = [(one + STAND_IN, other + STAND_IN) for one, other in planned]
    intro = (
        "First row minus second row in Dice at threshold 0.5, last epoch, paired by "
        f"{found.unit} and training. p is corrected after Holm over the contrasts of a place; "
        f"“equal” means a difference shown to be smaller than {MARGIN} (two one-sided tests)."
    )
    blocks: list[Block] = [intro]
    for place in found.places:
        tables = {row: found.table(row, place) for row in (*found.rows, *found.stand_ins)}
        blocks += _family(found, tables, planned, place, slug(place))
        title = f"{place}, rows from random weights for want of ImageNet weights"
        blocks += _family(found, tables, stand_ins, title, f"{slug(place)}_random_weights")
    if found.unit == "recording" and len(unseen(found)) > 1:
        tables = {row: across(found, row) for row in found.rows}
        title = (
            "All recordings never trained on: differences only, each within one recording and its "
            "masks; the scores themselves are never averaged over places"
        )
        blocks += _family(found, tables, planned, title, "unseen_recordings")
    lost = [pair for pair in planned if not set(pair) <= set(found.rows)]
    if lost:
        told = tuple(f"Not tested, for want of runs: {one} against {other}." for one, other in lost)
        blocks.append(Points(told))
    return [Section("Planned contrasts", tuple(blocks))]


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
    blocks: list[Block] = [CONFOUNDED]
    blocks += table("claims", "Verdicts", columns, lines, note, columns[1:])
    blocks += [Points(tuple(cases))] if cases else []
    return Section("The paper's claims", (*blocks, SENTENCE))


def contrasts_at(tables: Mapping[str, Table | None], pairs: Sequence[Pair]) -> dict[Pair, Contrast]:
    """The contrasts whose rows both have scores, corrected as one family."""
    compared = {}
    for pair in pairs:
        first, second = (tables.get(row) for row in pair)
        if first is not None and second is not None:
            compared[pair] = contrast(first, second)
    corrected = family({"\t".join(pair): each for pair, each in compared.items()})
    return {pair: corrected["\t".join(pair)] for pair in compared}


def across(found: Found, row: str) -> Table | None:
    """Dice of a row in every recording never trained on; only differences of it mean anything."""
    tables = [found.table(row, place) for place in unseen(found)]
    known = [each for each in tables if each is not None]
    if not known:
        return None
    seeds = tuple(seed for seed in known[0].seeds if all(seed in each.seeds for each in known))
    chosen = [each.values[:, [each.seeds.index(seed) for seed in seeds]] for each in known]
    units = tuple(unit for each in known for unit in each.units)
    return Table(units, seeds, np.concatenate(chosen))


def tally_of(compared: Mapping[Pair, Contrast], what: str, unit: str) -> str:
    """The contrasts of a place as one sentence."""
    verdicts = [verdict(each) for each in compared.values()]
    units = max(each.units for each in compared.values())
    counts = {name: verdicts.count(name) for name in ("higher", "lower", "equal", "open")}
    return (
        f"{what}: of {len(verdicts)} planned contrasts {counts['higher']} higher, "
        f"{counts['lower']} lower, {counts['equal']} equal to within {MARGIN}, "
        f"{counts['open']} not distinguishable with {units} {unit}{'' if units == 1 else 's'}."
    )


def _family(
    found: Found,
    tables: Mapping[str, Table | None],
    pairs: Sequence[Pair],
    title: str,
    name: str,
) -> tuple[Block, ...]:
    compared = contrasts_at(tables, pairs)
    lines = [_line(found, pair, each) for pair, each in compared.items()]
    columns = ("in words", "difference", "SD of units", "SD of seeds", "test", "p", "p, Holm")
    return table(f"contrasts_{name}", title, columns, lines, words=("in words",))


def _line(found: Found, pair: Pair, each: Contrast) -> Line:
    sentence = conclude(each, *pair, found.unit)
    numbers = (
        _number(each.sd_units),
        _number(each.sd_seeds),
        each.test,
        *map(_p, (each.p, each.p_holm)),
    )
    shown = (sentence, f"{each.difference.estimate:+.4f}", *numbers)
    values = {
        "first": pair[0], "second": pair[1], "difference": each.difference.estimate,
        "low95": each.difference.low, "high95": each.difference.high,
        "method": each.difference.method, "units": each.units, "seeds": each.seeds,
        "sd_units": each.sd_units, "sd_seeds": each.sd_seeds, "test": each.test, "p": each.p,
        "p_holm": each.p_holm, "p_equal": each.p_equal, "units_needed": each.units_needed,
        "verdict": verdict(each), "in words": sentence,
    }  # fmt: skip
    return Line(shown, values)


def _weight(holds: str, decides: bool) -> str:
    return holds if decides else f"{holds}, descriptive"


def _number(x: float) -> str:
    return f"{x:.4f}" if np.isfinite(x) else "–"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.2g}"
