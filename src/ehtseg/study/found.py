"""What was found of a design: its rows and places, scores by unit and seed, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ehtseg.records import UserError
from ehtseg.study.designs import STUDIES
from ehtseg.study.levels import Row, label
from ehtseg.study.plan import SCALES, STAND_IN, Study
from ehtseg.study.results import BASELINES, NET, Columns, Results, select
from ehtseg.study.statistics import Table, tabulate
from ehtseg.study.written import study_of

OPPONENTS = {
    "mean_mask": "mean training mask",
    "nearest_mask": "mask of the nearest training frame",
    "threshold": "threshold with hole filling",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """A planned run without scores, or one that stands in for it."""

    row: str
    seed: int
    status: str  # "not run", "failed", "skipped"
    reason: str


@dataclass(frozen=True)
class Found:
    """A design with its results."""

    study: Study
    results: Results

    @cached_property
    def done(self) -> Columns:
        """The finished trainings: rows of runs.csv, those of the baselines left out."""
        runs = select(self.results.runs, status="done")
        return _where(runs, runs["row"] != BASELINES)

    @cached_property
    def planned(self) -> tuple[str, ...]:
        """The rows of the design, in words and in order."""
        return tuple(label(row) for row in self.study.rows)

    @cached_property
    def rows(self) -> tuple[str, ...]:
        """The planned rows that have runs."""
        present = set(self.done["row"])
        return tuple(row for row in self.planned if row in present)

    @cached_property
    def stand_ins(self) -> tuple[str, ...]:
        """Rows run from random weights because ImageNet weights could not be had."""
        present = set(self.done["row"])
        return tuple(row + STAND_IN for row in self.planned if row + STAND_IN in present)

    @cached_property
    def places(self) -> tuple[str, ...]:
        """Where runs were scored: in the order of the design, each reported apart."""
        present = set(self.results.images["place"])
        return tuple(each.label for each in self.study.data.score if each.label in present)

    @property
    def unit(self) -> str:
        """What is independent of others: "recording" or "image"."""
        return self.study.data.unit

    def is_own(self, place: str) -> bool:
        """Whether a place is part of what was trained on (its test frames)."""
        return place.rpartition(" ")[0] in self.study.data.train

    def runs(self, row: str) -> Columns:
        """The finished runs of a row."""
        return select(self.done, row=row)

    def images(self, row: str, place: str) -> Columns:
        """The scores of every image of a place by every run of a row."""
        return self._scored(tuple(self.runs(row)["key"]), place, NET)

    def opponent_images(self, rows: Sequence[str], place: str, model: str) -> Columns:
        """The scores of every image by an opponent, fitted on what the rows were trained on."""
        return self._scored(self.opponents_of(rows), place, model)

    def opponents_of(self, rows: Sequence[str]) -> tuple[str, ...]:
        """The runs of baselines, by key, that were fitted on the frames of these rows."""
        chosen = self.done["baselines"][np.isin(self.done["row"], rows)]
        return tuple(sorted(set(chosen) - {""}))

    def table(self, row: str, place: str, score: str = "dice") -> Table | None:
        """A score of a row by unit and seed; None where there is none.

        Images whose score is not defined (no outline, for one) do not count.
        """
        return self._tabulated(self.images(row, place), score)

    def together(self, row: str, places: Sequence[str], score: str = "dice") -> Table | None:
        """A score of a row by every unit of several places; only differences of it mean anything.

        Trainings that were scored at all of them.
        """
        tables = [self.table(row, place, score) for place in places]
        known = [each for each in tables if each is not None]
        if not known:
            return None
        seeds = tuple(seed for seed in known[0].seeds if all(seed in each.seeds for each in known))
        chosen = [each.values[:, [each.seeds.index(seed) for seed in seeds]] for each in known]
        units = tuple(unit for each in known for unit in each.units)
        return Table(units, seeds, np.concatenate(chosen))

    def opponent(
        self, row: str, place: str, model: str = "mean_mask", score: str = "dice"
    ) -> Table | None:
        """A score of an opponent by unit and by the seed of the row that it opposes."""
        runs = self.runs(row)
        found = []
        for seed, key in zip(runs["seed"], runs["baselines"], strict=True):
            scored = self._scored((str(key),), place, model)
            found.append({**scored, "seed": np.full(len(scored["seed"]), seed)})
        if not found:
            return None
        together = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
        return self._tabulated(together, score)

    def missing(self) -> list[Missing]:
        """The planned runs that have no scores, each with its reason."""
        done = set(zip(self.done["row"], self.done["seed"], strict=True))
        runs = self.results.runs
        told = {
            (row, seed): (status, reason)
            for row, seed, status, reason in zip(
                runs["row"], runs["seed"], runs["status"], runs["reason"], strict=True
            )
        }
        found = []
        for run in self.study.plan(self.scale):
            names = (run.row, run.row + STAND_IN)
            if not any((name, run.seed) in done for name in names):
                named = next((name for name in names if (name, run.seed) in told), run.row)
                status, reason = told.get((named, run.seed), ("not run", ""))
                found.append(Missing(run.row, run.seed, str(status), str(reason)))
        return found

    @property
    def scale(self) -> str:
        """How large the study was carried out: a name of plan.SCALES."""
        return str(self.results.facts["scale"])

    def _scored(self, keys: Sequence[str], place: str, model: str) -> Columns:
        images = self.results.images
        chosen = (images["place"] == place) & (images["model"] == model)
        return _where(images, chosen & np.isin(images["key"], np.array(keys, str)))

    def _tabulated(self, images: Columns, score: str) -> Table | None:
        known = np.isfinite(images[score])
        if not known.any():
            return None
        columns = (images[name][known].tolist() for name in (score, self.unit, "seed"))
        return tabulate(*columns)


def found_in(results: Results) -> Found:
    """The design of these results, with them.

    Raises: UserError for results of a study or a scale that this version does not know.
    """
    facts = results.facts
    name, scale = str(facts["study"]), str(facts["scale"])
    written = study_of(facts["design"]) if "design" in facts else None
    known = {name: written} if written else STUDIES
    for kind, given, there in (("study", name, known), ("scale", scale, SCALES)):
        if given not in there:
            raise UserError(
                f"the results of a known {kind} ({', '.join(there)})",
                f"{given!r} in study.json",
                "Give the folder of such a study, or the version of ehtseg that wrote it.",
            )
    return Found(known[name], results)


def twins(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Rows that differ in nothing but the weights that they start from: (ImageNet, random).

    Frozen rows are left out: an untrained encoder that stays untrained is no training from scratch.

    >>> twins([("VGG-16", "ImageNet", "BCE"), ("VGG-16", "random", "BCE"), ("VGG-16", "BCE")])
    [(('VGG-16', 'ImageNet', 'BCE'), ('VGG-16', 'random', 'BCE'))]
    """
    named = {"random": ("ImageNet", ""), "no stage": ("stages to 5",)}
    pairs = []
    for row in rows:
        level = next((level for level in row if level in named), None)
        if level is None or any("frozen" in each and each != "not frozen" for each in row):
            continue
        swapped = (tuple(new if x == level else x for x in row) for new in named[level])
        partners = (tuple(x for x in each if x) for each in swapped)
        pairs += [(partner, row) for partner in partners if partner in rows][:1]
    return pairs


def _where(table: Columns, chosen: np.ndarray) -> Columns:
    return {name: values[chosen] for name, values in table.items()}
