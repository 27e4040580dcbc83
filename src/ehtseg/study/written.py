"""Studies that users write down themselves in a YAML file; and any study, by its name or file.

    name: lite                   # of lower-case letters, digits and hyphens
    question: Is a light encoder as good as the paper's?
    expected: Within 0.01 of ResNet-50 in other recordings.
    like: table1                 # may be: begin with rows, contrasts, data, budget of this study
    data:                        # folders below --data, each with images/ and masks/
      train: [film_a]
      score: [film_a, film_b]    # of a folder that is trained on the test frames, of others all
      unit: recording            # what is independent: recording or image
    levels:                      # words of your own, each with what it decides in a recipe
      Lite0: {net: {name: efficientnet_lite0}}
    factors: {network: [Lite0, U-Net], loss: [BCE, focal]}  # rows: every combination
    rows: [[Lite0, focal, frozen]]                          # and rows one by one
    compare: [[Lite0, U-Net]]    # levels that are exchanged, or two whole rows: one family
    later: [[focal, BCE]]        # of which was thought when results had been seen
    later_when: after 4 of 12 runs
    seeds: 3
    profile: paper               # or modern: what is decided where no level decides it
    decisions: {data: {split: blocks}}                      # of all rows

Known levels are those of levels.py and published.py. With `like`, all that is named here is added
to what that study has, or takes its place where there can be only one. What a study is may not
change once it has results, `later` and `later_when` apart.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ehtseg.recipe import Positive, read_mapping, say_error
from ehtseg.records import UserError
from ehtseg.study.designs import STUDIES
from ehtseg.study.levels import LEVELS, Row, against, label
from ehtseg.study.plan import Data, Place, Study
from ehtseg.study.published import Decisions

SUFFIXES = (".yaml", ".yml")
SEEDED = {("fit", "seed"), ("data", "split_seed")}  # the plan gives each training its own
EXAMPLE = "name, question, expected, data: {train: [...]}, rows: [[U-Net, BCE]]"

Side = str | tuple[str, ...]  # a level, or a whole row


class _Written(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WrittenData(_Written):
    """What is trained and scored on, as its user wrote it; empty: as in the study it is like."""

    train: tuple[str, ...] = ()
    score: tuple[str, ...] = ()
    unit: Literal["recording", "image"] | None = None


class Design(_Written):
    """A study as its user wrote it."""

    name: str
    question: str
    expected: str
    like: str | None = None
    outcome: str = "Dice at threshold 0.5, last epoch"
    data: WrittenData = WrittenData()
    levels: dict[str, Decisions] = {}
    factors: dict[str, tuple[str, ...]] = {}
    rows: tuple[Row, ...] = ()
    compare: tuple[tuple[Side, Side], ...] = ()
    later: tuple[tuple[Side, Side], ...] = ()
    later_when: str = "when there were results"
    seeds: Positive | None = None
    profile: Literal["paper", "modern"] | None = None
    decisions: Decisions = {}


def find_study(name: str) -> Study:
    """The study of a name, or the one that a YAML file describes.

    Raises: UserError with the nearest names where there is none, and for a file that is no study.

    >>> find_study("table1").seeds
    3
    """
    if Path(name).suffix.lower() in SUFFIXES:
        return study_of(read_mapping(Path(name), "study", EXAMPLE))
    return _named(name)


def _named(name: str) -> Study:
    if name not in STUDIES:
        cure = _nearest(name, STUDIES) or "Choose one of these, or give a .yaml file of your own."
        raise UserError(f"a study ({', '.join(STUDIES)})", f"{name!r}", cure)
    return STUDIES[name]


def study_of(written: Mapping[str, Any]) -> Study:
    """The study that a mapping, read from its file or from study.json, describes.

    Raises: UserError that says what is unknown or missing in it.
    """
    design = _design(written)
    like = _named(design.like) if design.like else None
    levels = {**(like.levels if like else {}), **design.levels}
    crossed = product(*design.factors.values()) if design.factors else ()
    rows = tuple(dict.fromkeys([*(like.rows if like else ()), *design.rows, *crossed]))
    if not rows or not all(rows):
        raise _wrong("rows, each a list of levels", "none", f"Write for example: {EXAMPLE}.")
    _know({level for row in rows for level in row}, levels)
    began = like or Study(
        name="", question="", factors={}, outcome="", expected="", cost="", rows=(),
        data=Data((), (), "recording", {}),
    )  # fmt: skip
    data = _data(design.data, began.data)
    known = data.train == began.data.train  # of others nothing has been seen: all is planned
    planned = (*began.contrasts, *(() if known else began.later))
    contrasts = tuple(dict.fromkeys([*planned, *_pairs(design.compare, rows, levels)]))
    later = (*(began.later if known else ()), *_pairs(design.later, rows, levels))
    when = (began.later_when if known else "", design.later_when if design.later else "")
    study = replace(
        began,
        name=design.name,
        question=design.question,
        expected=design.expected,
        outcome=like.outcome if like and "outcome" not in written else design.outcome,
        cost="see --plan",
        factors={**began.factors, **design.factors},
        rows=rows,
        contrasts=contrasts,
        later=tuple(pair for pair in dict.fromkeys(later) if pair not in contrasts),
        later_when="; ".join(filter(None, when)),
        data=data,
        seeds=design.seeds or began.seeds,
        profile=design.profile or began.profile,
        decisions=_joined(began.decisions, design.decisions),
        at=_at(began.at, design),
        levels=levels,
        design=written,
    )
    for scale in study.scales:
        study.plan(scale)  # every recipe is possible
    return study


def _design(written: Mapping[str, Any]) -> Design:
    try:
        design = Design.model_validate(written)
    except ValidationError as error:
        said = "; ".join(dict.fromkeys(say_error(each, Design) for each in error.errors()))
        raise _wrong("known keys and possible values", said, "Correct these.") from error
    if design.name in STUDIES or not re.fullmatch(r"[a-z0-9][a-z0-9-]*", design.name):
        taken = "the name of a study of ehtseg" if design.name in STUDIES else ""
        raise _wrong(
            "a name of lower-case letters, digits and hyphens that no study has yet",
            f"{design.name!r}{', ' if taken else ''}{taken}",
            "Choose another name.",
        )
    for level, decided in {**design.levels, "decisions": design.decisions}.items():
        _check_level(level, decided)
    return design


def _check_level(level: str, decided: Mapping[str, Any]) -> None:
    """Raises: UserError for a level that cannot be one."""
    if level in LEVELS or "," in level or not level.strip():
        why = "a level of ehtseg" if level in LEVELS else "no word of its own"
        raise _wrong(
            "new words under levels, without commas", f"{level!r}, {why}", "Choose another."
        )
    if seeded := sorted(SEEDED & _decided(dict(decided))):
        raise _wrong(
            "decisions other than seeds, which the plan counts",
            f"{'.'.join(seeded[0])} in {level}",
            "Leave it out, and say the number of trainings of a row under seeds.",
        )


def _know(wanted: Iterable[str], own: Collection[str]) -> None:
    """Raises: UserError that names the levels nobody has defined."""
    known = [*own, *LEVELS]
    unknown = [level for level in sorted(wanted) if level not in known]
    if unknown:
        near = [f"{each}: {_nearest(each, known)}" for each in unknown if _nearest(each, known)]
        told = " ".join(near) if len(near) == len(unknown) else f"Known: {'; '.join(known)}."
        cure = f"{told} Levels of your own are defined under levels."
        raise _wrong("rows of known levels", ", ".join(map(repr, unknown)), cure)


def _pairs(
    written: Iterable[tuple[Side, Side]], rows: tuple[Row, ...], own: Collection[str]
) -> tuple[tuple[Row, Row], ...]:
    """The contrasts that are meant.

    Raises: UserError where rows of a contrast are not there.
    """
    found: list[tuple[Row, Row]] = []
    for first, second in written:
        if isinstance(first, str) and isinstance(second, str):
            _know((first, second), own)
            pairs = against(first, second, rows)
        else:
            one, other = ((side,) if isinstance(side, str) else side for side in (first, second))
            pairs = ((one, other),) if {one, other} <= set(rows) else ()
        if not pairs:
            sides = " - ".join(s if isinstance(s, str) else label(s) for s in (first, second))
            raise _wrong(
                "contrasts between rows that are there",
                f"{sides}, for which no two rows differ in just that",
                "Add the row that is missing, or give two whole rows as lists of levels.",
            )
        found += pairs
    return tuple(dict.fromkeys(found))


def _data(written: WrittenData, like: Data) -> Data:
    """What is trained and scored on.

    Raises: UserError where nothing is named, or not by the plain name of a folder.
    """
    train = written.train or like.train
    if not train:
        raise _wrong("data: {train: [FOLDER]}", "no folder to train on", "Name one below --data.")
    for name in (*train, *written.score):
        if not name or Path(name).name != name or name.startswith("."):
            raise _wrong(
                "plain names of folders below --data", f"{name!r}", "Give --data what lies above."
            )
    same = train == like.train
    places = like.score if same and not written.score else ()
    for name in dict.fromkeys(written.score or ([] if places else train)):
        places += (Place(name, "test" if name in train else "all"),)
    return Data(
        tuple(dict.fromkeys(train)),
        places,
        written.unit or like.unit,
        like.split,
        like.cautions if same else (),
    )


def _at(like: Mapping[str, Decisions], design: Design) -> dict[str, Decisions]:
    """What the scales of the study that it is like decide, but for what is decided here.

    Raises: UserError for a level that would decide what a scale decides for all rows.
    """
    theirs = {each for decided in like.values() for each in _decided(decided)}
    for level, decided in design.levels.items():
        if clash := sorted(_decided(decided) & theirs):
            raise _wrong(
                f"levels that leave to a scale of {design.like} what it decides for all rows",
                f"{'.'.join(clash[0])} in {level}",
                "Give it under decisions.",
            )
    ours = _decided(design.decisions)
    return {
        scale: {
            section: {key: x for key, x in values.items() if (section, key) not in ours}
            for section, values in decided.items()
        }
        for scale, decided in like.items()
    }


def _decided(decisions: Decisions) -> set[tuple[str, str]]:
    """What is decided, each as section and key."""
    return {(section, key) for section, values in decisions.items() for key in values or {}}


def _joined(first: Decisions, second: Decisions) -> Decisions:
    """Decisions by section; the second ones win."""
    sections = dict.fromkeys([*first, *second])
    return {name: {**first.get(name, {}), **(second.get(name) or {})} for name in sections}


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"Nearest: {', '.join(near)}." if near else ""


def _wrong(expected: str, got: str, cure: str) -> UserError:
    return UserError(f"in the file of a study {expected}", got, cure)
