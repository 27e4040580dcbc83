"""The paper's claims, each judged by a rule that was set before any result.

Source of the rules: docs/protocol.md, 5. A rule is applied to every case that a
study offers (an architecture with a loss, for one); a claim is supported where it holds in all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ehtseg.study.convergence import GOOD, courses, horizon, mean_ratio, restricted
from ehtseg.study.found import Found, twins
from ehtseg.study.intervals import Interval, rate_difference, wilson
from ehtseg.study.levels import Row, label
from ehtseg.study.results import select
from ehtseg.study.statistics import Contrast, contrast_where_shared, verdict
from ehtseg.study.words import DESCRIPTIVE, conclude, say_gap, say_interval, say_rate

COLLAPSED = 0.5  # a run whose Dice stays below it at every threshold has collapsed
HALF = 0.5  # of the steps: what the paper claims

Holds = Literal["holds", "fails", "open"]
Outcome = Literal[
    "supported", "supported in part", "mixed", "contradicted in part", "contradicted",
    "cannot tell", "not tested here",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Case:
    """A claim in one setting: what the rule says of it, and the numbers in words."""

    holds: Holds
    sentence: str
    decides: bool = True  # False: too few units or trainings, the numbers describe only these


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the paper, the rule set in advance, and what it came to."""

    name: str
    text: str
    rule: str
    cases: tuple[Case, ...]
    planned: bool  # whether the study has rows that test it

    @property
    def outcome(self) -> Outcome:
        """What may be said of the claim from these results."""
        if not self.cases:
            return "not tested here"
        deciding = {case.holds for case in self.cases if case.decides}
        if deciding in ({"holds"}, {"fails"}):
            return "supported" if "holds" in deciding else "contradicted"
        if {"holds", "fails"} <= deciding:
            return "mixed"
        if "holds" in deciding:
            return "supported in part"
        return "contradicted in part" if "fails" in deciding else "cannot tell"

    @property
    def reason(self) -> str:
        """Why it came to that, in a sentence."""
        deciding = [case for case in self.cases if case.decides]
        held = sum(case.holds == "holds" for case in deciding)
        failed = sum(case.holds == "fails" for case in deciding)
        if not self.cases:
            lacks = "Of the rows that test it no pair has been run yet."
            return lacks if self.planned else "This study has no rows that test it."
        if not deciding:
            return (
                f"Fewer than {DESCRIPTIVE} independent units, or one training of a row: the "
                "numbers describe only these."
            )
        if len(deciding) == 1:
            return deciding[0].sentence
        left = len(deciding) - held - failed
        return f"Of {len(deciding)} cases: {held} for it, {failed} against it, {left} open."


def claims(found: Found) -> tuple[Claim, ...]:
    """C1 to C4 as far as the rows of a study can test them."""
    paired = bool(twins(found.study.rows)) and found.study.data.has_unseen
    return (
        Claim(
            "C1",
            "A U-Net with pretrained layers segments better than one trained from scratch.",
            "Same architecture, unseen units: the interval of ImageNet - random lies above 0.",
            tuple(_better(found)),
            paired,
        ),
        Claim(
            "C2",
            "With pretrained layers half the epochs are enough.",
            f"Restricted mean steps to a validation Dice of {GOOD}: ImageNet / random below "
            f"{HALF}, the interval below 1.",
            tuple(_sooner(found)),
            paired,
        ),
        Claim(
            "C3",
            "With pretrained layers the network is more certain of its pixels.",
            "Same architecture and loss: fewer undecided pixels, of all and near the outline "
            "(intervals), calibration not shown to be worse.",
            tuple(_more_certain(found)),
            paired,
        ),
        Claim(
            "C4",
            "Focal loss rescues training from scratch, which fails with cross-entropy.",
            "Share of collapsed runs: the interval of BCE - focal lies above 0. Its units are "
            "trainings on one film.",
            tuple(_rescued(found)),
            bool(_two_losses(found.study.rows)),
        ),
    )


def unseen(found: Found) -> tuple[str, ...]:
    """Places whose units no training has seen: other folders, or test images of independent ones.

    The last frames of a film that was trained on are near copies of it and do not count.
    """
    if found.unit == "image":
        return found.places
    return tuple(place for place in found.places if not found.is_own(place))


def best_dice(found: Found, row: str) -> dict[int, float]:
    """Dice of each run of a row at its best threshold, on the test frames of its own folder."""
    own = [place for place in found.places if found.is_own(place)]
    curves = found.results.thresholds
    by_seed = {}
    for seed in sorted(set(found.runs(row)["seed"])):
        dice = select(curves, row=row, seed=seed, place=own[0])["dice"] if own else np.empty(0)
        if len(dice):
            by_seed[int(seed)] = float(dice.max())
    return by_seed


def collapse_rate(found: Found, rows: Sequence[str]) -> Interval | None:
    """The share of runs of these rows that collapsed, after Wilson."""
    best = [dice for row in rows for dice in best_dice(found, row).values()]
    return wilson(sum(dice < COLLAPSED for dice in best), len(best)) if best else None


def _pairs(found: Found) -> Iterator[tuple[str, str, str]]:
    """Place, row from ImageNet weights and row from random ones, as far as they were run."""
    for place in unseen(found):
        for first, second in twins(found.study.rows):
            if {label(first), label(second)} <= set(found.rows):
                yield place, label(first), label(second)


def compared_over(
    found: Found, pair: tuple[str, str], places: Sequence[str], score: str
) -> Contrast | None:
    """Two rows compared over the units of places; None where they share no unit and training."""
    return contrast_where_shared(*(found.together(row, places, score) for row in pair))


def _settings(found: Found) -> Iterator[tuple[str, tuple[str, ...], tuple[str, str]]]:
    """Where rows are compared, in words and as places: one by one, and all recordings together."""
    for place, first, second in _pairs(found):
        yield place, (place,), (first, second)
    if found.unit == "recording" and len(unseen(found)) > 1:
        for pair in dict.fromkeys(pair[1:] for pair in _pairs(found)):
            yield "All recordings never trained on", unseen(found), pair


def _better(found: Found) -> Iterator[Case]:
    for name, places, pair in _settings(found):
        compared = compared_over(found, pair, places, "dice")
        if compared is not None:
            words = f"{name}: {conclude(compared, *pair, found.unit)}"
            chosen = compared_over(found, pair, places, "dice_at_chosen")
            if chosen is not None:
                words += f" At the thresholds chosen on validation: {say_gap(chosen)}."
            equal = verdict(compared) == "equal" and not compared.difference.low > 0
            fails = compared.difference.high < 0 or equal
            yield Case(_sign(compared.difference.low > 0, fails), words, _decides(compared))


def _sooner(found: Found) -> Iterator[Case]:
    for first, second in dict.fromkeys(pair[1:] for pair in _pairs(found)):
        groups = [
            courses(found.results.curves, row, found.runs(row)["seed"]) for row in (first, second)
        ]
        if not all(groups):
            continue
        end = horizon(*groups)
        times = [[course.to(GOOD) for course in group] for group in groups]
        between = max(course.grain for group in groups for course in group)
        steps = [restricted(group, end) for group in times]
        ratio = mean_ratio(steps[0], steps[1], between)
        censored = [sum(t.censored or t.steps > end for t in group) for group in times]
        sentence = (
            f"{first} takes {say_interval(ratio, 2)} times the steps of {second}, within "
            f"{end:.0f} steps; {censored[0]} of {len(times[0])} and {censored[1]} of "
            f"{len(times[1])} runs did not get there."
        )
        decides = found.unit == "image" and min(map(len, groups)) > 1
        if all(count == len(group) for count, group in zip(censored, times, strict=True)):
            words = f"Neither {first} nor {second} reached {GOOD} within {end:.0f} steps."
            yield Case("open", words, decides)
        else:
            holds = ratio.estimate < HALF and ratio.high < 1
            # where the second row did not get there, its steps are more than counted
            fails = ratio.low > HALF and not censored[1]
            yield Case(_sign(holds, fails), sentence, decides)


def _more_certain(found: Found) -> Iterator[Case]:
    for place, first, second in _pairs(found):
        scores = ("undecided", "ece", "undecided_near_outline")
        undecided, ece, near = (
            compared_over(found, (first, second), (place,), each) for each in scores
        )
        if undecided is None or ece is None:
            continue
        worse = ece.difference.low > 0
        fewer = undecided.difference.high < 0 and near is not None and near.difference.high < 0
        holds = fewer and not worse
        fails = undecided.difference.low > 0 or worse
        beside = f", near the outline {say_interval(near.difference)}" if near else ""
        sentence = (
            f"{place}: {first} - {second}: share of undecided pixels "
            f"{say_interval(undecided.difference)}{beside}, calibration error "
            f"{say_interval(ece.difference)}; units ({found.unit}s): {undecided.units}."
        )
        yield Case(_sign(holds, fails), sentence, _decides(undecided))


def _rescued(found: Found) -> Iterator[Case]:
    every = [(label(bce), label(focal)) for bce, focal in _two_losses(found.study.rows)]
    settings = {"All settings together": every} if len(every) > 1 else {}
    settings |= {first: [(first, second)] for first, second in every}
    for name, rows in settings.items():
        rates = [collapse_rate(found, [pair[side] for pair in rows]) for side in (0, 1)]
        if rates[0] is None or rates[1] is None:
            continue
        gap = rate_difference(rates[0], rates[1])
        sentence = (
            f"{name}: with BCE {say_rate(rates[0], 'runs collapsed')}, with focal loss "
            f"{say_rate(rates[1], 'runs collapsed')}; difference {say_interval(gap, 2)}."
        )
        first_case = name == next(iter(settings))
        yield Case(_sign(gap.low > 0, gap.high < 0), sentence, first_case)


def _two_losses(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The rows of a U-Net with cross-entropy, each with its twin of focal loss."""
    pairs = [(row, _with(row, "focal")) for row in rows if row[0] == "U-Net" and "BCE" in row]
    return [(bce, focal) for bce, focal in pairs if focal in rows]


def _decides(compared: Contrast) -> bool:
    """Whether there are units and trainings enough to speak of others than these."""
    return compared.units >= DESCRIPTIVE and compared.seeds > 1


def _sign(holds: bool, fails: bool) -> Holds:
    return "holds" if holds else "fails" if fails else "open"


def _with(row: Row, loss: str) -> Row:
    return tuple(loss if level == "BCE" else level for level in row)
