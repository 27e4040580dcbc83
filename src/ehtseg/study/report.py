"""The report of a study, built from its tidy results and nothing else.

`write_report` gives report.html, report.md, figures/ and tables/; the same results give the same
bytes. Sections stand in report_*.py, the verdicts on the paper's claims in verdicts.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ehtseg.records import UserError
from ehtseg.reporting.document import Block, Document, Line, Picture, Points, Section, table
from ehtseg.reporting.study_figures import examples, in_style
from ehtseg.reporting.study_page import write_document
from ehtseg.study.convergence import GOOD
from ehtseg.study.found import Found, found_in
from ehtseg.study.opponents import Shown, standing
from ehtseg.study.plan import SCALES, STAND_IN, Study
from ehtseg.study.report_cells import slug
from ehtseg.study.report_collapse import collapse_section
from ehtseg.study.report_contrasts import (
    claim_section,
    contrast_section,
    contrasts_at,
    later_pairs,
    planned_pairs,
    tally_of,
)
from ehtseg.study.report_designs import depth_in_short, leakage_in_short, level_sections
from ehtseg.study.report_paper import paper_in_short, paper_section
from ehtseg.study.report_pixels import pixel_sections
from ehtseg.study.report_rivals import rival_sections, rivals_ahead, rivals_in_short
from ehtseg.study.report_scores import place_sections
from ehtseg.study.report_training import runs_section, training_section
from ehtseg.study.results import enter_design, read_examples, read_facts, read_results
from ehtseg.study.verdicts import Claim, claims, unseen

STANDINGS: dict[Shown, str] = {
    "more than opponents": "beat every copied training mask and a threshold without a network",
    "not told from opponents": "lay above them by no more than chance may do",
    "no more than a threshold": "beat a copied mask, but not the threshold",
    "nothing": "showed nothing, for a copied training mask is as good",
    "no opponent was scored": "had no opponent with scores",
}
HOW = (
    "One epoch is one pass over the training images that the scale asks for; the headline is the "
    "last epoch unless a table names another, the best epoch on validation stands beside it.",
    "Scores are computed image by image at the size of the image, averaged over the images of a "
    "recording first, then over recordings; trainings with other seeds are repeats, not units.",
    "Intervals of 95 %: over units Student's t below 20 units and BCa bootstrap from 20, none from "
    "one unit; Student's t over trainings is added in squares, so that two trainings make a wide "
    "interval. Shares of runs: Wilson; their differences: Newcombe.",
    "Tests of contrasts: all flips of signs up to 15 units, else Wilcoxon, paired by unit, p no "
    "smaller than that of the interval, which counts trainings; Holm over the planned contrasts of "
    "a place; equality by two one-sided tests at 0.005. A pair with one training each is not "
    "judged. An interval of few units may reach beyond what a score can be.",
    f"Steps to a validation Dice of {GOOD}: first epoch that shows it; runs that never do are "
    "censored at the end of their budget.",
    "runs.csv, results.csv, curves.csv, thresholds.csv and reliability.csv hold every number that "
    "this page is made from; tables/ and figures/ hold its parts. Seconds and machine of each run "
    "are in timings.csv.",
)


def write_report(folder: Path) -> Path:
    """Write the report of a study into the folder of its results; returns the page.

    Raises: UserError for a folder without tidy results, or of a study unknown to this version.
    """
    with in_style():
        return write_document(document_of(found_in(read_results(folder)), folder), folder)


def rewrite_report(study: Study, folder: Path) -> Path:
    """`write_report` for a folder that has to hold this study, with contrasts added since.

    Raises: UserError where it holds another one.
    """
    name = read_facts(folder)["study"]
    if name != study.name:
        raise UserError(
            f"results of the study {study.name} in {folder}",
            f"those of {name}",
            f"Give the other folder, or ask for {name}.",
        )
    enter_design(folder, study.design)
    return write_report(folder)


def document_of(found: Found, folder: Path) -> Document:
    """Everything that is told of a study; `folder` may hold example pictures."""
    own, is_about_collapse = found.study.design is not None, found.study.kind == "collapse"
    judged = tuple(claim for claim in claims(found) if claim.planned or not own)
    sections = [
        _short(found, judged, folder),
        *paper_section(found),
        *rival_sections(found, folder),
        *level_sections(found),
        *(collapse_section(found) if is_about_collapse else []),
        *([claim_section(found, judged)] if judged else []),
        *contrast_section(found),
        *place_sections(found),
        *training_section(found),
        *([] if is_about_collapse else collapse_section(found)),
        *pixel_sections(found),
        *_example_sections(found, folder),
        *runs_section(found),
        _missing_section(found),
        Section("How each number was made", (Points(HOW), *_made_with(found))),
    ]
    subtitle = f"Study “{found.study.name}” at the scale “{found.scale}”. {_count(found)}"
    return Document(found.study.question, subtitle, tuple(sections))


def _short(found: Found, judged: tuple[Claim, ...], folder: Path) -> Section:
    """The answer in a few sentences, with what was expected."""
    before = (
        f"Asked: {found.study.outcome}.",
        f"Expected, written down before any result: {found.study.expected}",
        _scale_in_short(found),
        *_progress_in_short(found),
    )
    said = [*rivals_in_short(found), *depth_in_short(found), *leakage_in_short(found)]
    said += [*paper_in_short(found), *(_place_in_short(found, place) for place in found.places)]
    said += _together_in_short(found)
    said += [f"{each.name} ({each.text[:-1]}): {each.outcome}. {each.reason}" for each in judged]
    if found.stand_ins:
        said.append(
            f"{len(found.stand_ins)} rows ran from random weights, because ImageNet weights could "
            "not be had; they are labelled, stand apart and answer nothing about transfer."
        )
    lists = (rivals_ahead(found, folder), before, tuple(said))
    return Section("In short", tuple(Points(each) for each in lists if each))


def _scale_in_short(found: Found) -> str:
    """How large it was carried out, and what that forbids to say."""
    recipes = [run.recipe for run in found.study.plan(found.scale)]
    sizes = _span({recipe.data.size or 0 for recipe in recipes})
    draws = _span({recipe.fit.images_per_epoch or 0 for recipe in recipes})
    epochs = _span({recipe.epochs for recipe in recipes})
    told = f"Carried out with {draws} images an epoch, {epochs} epochs, {sizes} pixels along a side"
    if SCALES[found.scale].epochs_in_one > 1:
        return f"{told}, a fraction of the epochs: it tries the machinery, and concludes nothing."
    unknown = "; the paper names neither its picture size nor its batch"
    return f"{told}{unknown if found.study.profile == 'paper' else ''}."


def _progress_in_short(found: Found) -> list[str]:
    """What part of the plan the numbers stand on; nothing where it is all of it."""
    lost, plan = len(found.missing()), found.study.plan(found.scale)
    if not lost:
        return []
    trainings = {
        row: len(found.runs(row)["key"]) + len(found.runs(row + STAND_IN)["key"])
        for row in found.planned
    }
    return [
        f"In part: {len(plan) - lost} of {len(plan)} planned runs have scores, "
        f"{_span(set(trainings.values()))} of "
        f"{len(plan) // len(found.planned)} trainings a row; the others are listed at the end, and "
        "may change what is said here."
    ]


def _place_in_short(found: Found, place: str) -> str:
    """What the rows have shown at a place, and what its contrasts decide."""
    standings = [standing(found, row, place) for row in found.rows]
    held = Counter(each.shown for each in standings)
    once = sum(each.words.endswith("one training") for each in standings)
    alone = f" ({once} of them with one training, which decides nothing)" if once else ""
    told = f"of {len(found.rows)} rows " + "; ".join(
        f"{held[shown]} {words}{alone if shown == 'more than opponents' else ''}"
        for shown, words in STANDINGS.items()
        if held[shown]
    )
    told = told if held else "no planned row has scores here"
    return f"{place}: {told}. {_tallies(found, (place,))}".strip()


def _together_in_short(found: Found) -> list[str]:
    """What the contrasts decide over all recordings never trained on."""
    contrasted = planned_pairs(found) or later_pairs(found)
    if found.unit != "recording" or not (contrasted and found.study.data.has_unseen):
        return []
    return [f"All recordings never trained on: {_tallies(found, unseen(found))}"]


def _tallies(found: Found, places: Sequence[str]) -> str:
    """What the planned contrasts decide, and what those show that were written down later."""
    kinds = {
        "planned contrasts": planned_pairs(found),
        f"contrasts written down later ({found.study.later_when})": later_pairs(found),
    }
    told: dict[str, list[str]] = {}
    for score, words in found.study.scores.items():
        tables = {row: found.together(row, places, score) for row in found.rows}
        tallies = [
            tally_of(contrasts_at(tables, pairs), len(pairs), found.unit, kind)
            for kind, pairs in kinds.items()
        ]
        told.setdefault(" ".join(filter(None, tallies)), []).append(words)
    if len(found.study.scores) == 1:
        return "".join(told)
    return " ".join(f"In {'; '.join(words)}: {tally}" for tally, words in told.items())


def _missing_section(found: Found) -> Section:
    """What was not run, failed or skipped."""
    columns = ("row", "seed", "what happened", "reason")
    lines = [
        Line(
            (each.row, str(each.seed), each.status, each.reason or "–"),
            {"row": each.row, "seed": each.seed, "status": each.status, "reason": each.reason},
        )
        for each in found.missing()
    ]
    words = ("what happened", "reason")
    blocks: list[Block] = [
        *table("missing", "Planned runs without scores", columns, lines, "", words)
    ]
    absent = [each.label for each in found.study.data.score if each.label not in found.places]
    blocks += [f"Not scored: {', '.join(absent)}."] if absent else []
    blocks += [
        f"From random weights for want of ImageNet weights: {row}." for row in found.stand_ins
    ]
    return Section(
        "Not run, failed or skipped", tuple(blocks or ["Every planned run was carried out."])
    )


def _example_sections(found: Found, folder: Path) -> list[Section]:
    """One frame a place, as every row sees it, beside the picture and its true outline."""
    blocks: list[Block] = []
    rows = (*found.rows, *found.stand_ins)
    names = {str(key): row for row in rows for key in found.runs(row)["key"]}
    for (place, image), paths in read_examples(folder).items():
        shown = {names[key]: paths[key] for key in paths if key in names}
        if {"image", "truth"} <= set(paths) and shown:
            ordered = {row: shown[row] for row in rows if row in shown}
            pictures = {image: paths["image"], **ordered}
            loaded = {name: np.asarray(Image.open(path)) for name, path in pictures.items()}
            figure = examples(loaded, np.asarray(Image.open(paths["truth"])))
            name = f"examples_{slug(place)}_{slug(image)}"
            note = (
                "The middle frame, seen by the training of the first seed. Probability from black "
                "(0) to white (1); the line is the outline of the mask."
            )
            blocks.append(Picture(name, f"One frame of {place}", figure, note))
    return [Section("What each row sees", tuple(blocks))] if blocks else []


def _made_with(found: Found) -> tuple[Block, ...]:
    """What study.json says of command, versions, machine and data."""
    facts = found.results.facts
    told = [f"Command: {facts['command']}"] if "command" in facts else []
    words = {"made_with": "Made with", "data": "Data (SHA-256)"}
    for name, word in words.items():
        inner = facts.get(name, {})
        if inner:
            told.append(f"{word}: {_listed(inner)}")
    told += [f"Continued with: {_listed(inner)}" for inner in facts.get("continued_with", [])]
    return (Points(tuple(told)),) if told else ()


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _listed(facts: Mapping[str, str]) -> str:
    return "; ".join(f"{name} {facts[name]}" for name in sorted(facts) if facts[name])


def _count(found: Found) -> str:
    planned, lost = len(found.study.plan(found.scale)), len(found.missing())
    return f"{planned - lost} of {planned} planned runs; scored at {', '.join(found.places)}."
