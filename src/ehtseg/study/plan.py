"""What a study is, and how it becomes runs: each row with each seed, at a scale."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ehtseg.recipe import Recipe, make_recipe, profile_decisions
from ehtseg.records import UserError
from ehtseg.study.levels import LEVELS, Row, label
from ehtseg.study.published import Decisions


@dataclass(frozen=True, slots=True)
class Scale:
    """How large a study is carried out."""

    size: int  # pixels along a side, as the network sees them
    draws: int  # training images an epoch
    epochs_in_one: int = 1  # epochs of the design that one epoch stands for
    seeds: int | None = None  # at most; None: as many as the design asks for
    frames: int | None = None  # scored at a place, spread evenly; None: all


SCALES = {
    "smoke": Scale(size=64, draws=8, epochs_in_one=20, seeds=1, frames=2),
    "cpu": Scale(size=128, draws=144),  # one pass over the first block of eht_d1t3
    "paper": Scale(size=256, draws=1240),
}


TRAINED_BY = {"data", "net", "fit"}  # the sections of a recipe that make a training what it is


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs are scored: the test frames of a folder trained on, or all of another one."""

    folder: str  # below --data
    frames: Literal["test", "all"] = "all"
    most: int | None = None  # so many of these frames, spread evenly; None: all of them

    @property
    def label(self) -> str:
        """The place in words, as the tables of results name it.

        >>> Place("eht_d1t3", "test").label
        'eht_d1t3 test'
        """
        return f"{self.folder} {self.frames}"


@dataclass(frozen=True, slots=True)
class Data:
    """What runs are trained and scored on, and what is an independent unit there."""

    train: tuple[str, ...]  # folders below --data
    score: tuple[Place, ...]  # each is reported apart: their masks follow different conventions
    unit: Literal["recording", "image"]
    split: dict[str, Any]  # decisions of recipe.data
    cautions: tuple[str, ...] = ()  # what has to be known of it

    @property
    def has_unseen(self) -> bool:
        """Whether units are scored that no training has seen; frames of its own film are none."""
        return self.unit == "image" or any(p.folder not in self.train for p in self.score)


@dataclass(frozen=True, slots=True)
class Run:
    """One training with its scores: a row of a study with a seed."""

    study: str
    row: str
    recipe: Recipe
    train: tuple[str, ...]
    score: tuple[Place, ...]

    @property
    def seed(self) -> int:
        """The seed of initial weights, order of images and draw of labels; not of the sets."""
        return self.recipe.fit.seed

    @property
    def label(self) -> str:
        """The run in words."""
        return f"{self.row}, seed {self.seed}"

    @property
    def key(self) -> str:
        """Hash of what is trained, and on what: equal keys, in any study, are one training."""
        # what is not decided is left out: an option that comes later does not change old keys
        decided = self.recipe.model_dump(mode="json", include=TRAINED_BY, exclude_none=True)
        text = json.dumps([decided, *sorted(self.train)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def steps(self) -> int:
        """Optimiser steps, from which the cost is predicted."""
        fit = self.recipe.fit
        return self.recipe.epochs * math.ceil((fit.images_per_epoch or 0) / fit.batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A named experiment, written down before its results."""

    name: str
    question: str
    factors: dict[str, tuple[str, ...]]  # what is varied, and its levels
    outcome: str  # the numbers that answer the question
    expected: str
    cost: str  # number of runs and hours, at the scale cpu on two cores
    rows: tuple[Row, ...]
    contrasts: tuple[tuple[Row, Row], ...] = ()  # first - second; one family for Holm
    later: tuple[tuple[Row, Row], ...] = ()  # contrasts that were thought of later: another family
    later_when: str = ""  # what had been seen by then, in words
    # what is contrasted, a family each: columns of results.csv, in words
    scores: Mapping[str, str] = field(default_factory=lambda: {"dice": "Dice at threshold 0.5"})
    cautions: tuple[str, ...] = ()  # what has to be known of its rows
    data: Data
    seeds: int = 3
    profile: Literal["paper", "modern"] = "paper"
    decisions: Decisions = field(default_factory=dict)  # of all rows; a level wins over them
    at: Mapping[str, Decisions] = field(default_factory=dict)  # by scale; they win over levels
    scales: tuple[str, ...] = tuple(SCALES)  # at which it means what it says
    levels: Mapping[str, Decisions] = field(default_factory=dict)  # words of its own
    design: Mapping[str, Any] | None = None  # as its user wrote it; None: it is one of ours

    @property
    def kind(self) -> str:
        """The named study that it is, or that it is like; else its own name."""
        return str((self.design or {}).get("like") or self.name)

    @property
    def command(self) -> str:
        """The command that carries it out."""
        named = f"{self.name}.yaml" if self.design else self.name
        return f"ehtseg study {named} --data DATA --out studies/{self.name}"

    def plan(self, scale: str = "cpu") -> tuple[Run, ...]:
        """All runs, seed by seed: what is there after an interruption is a whole table.

        Raises: UserError for a scale that is none.
        """
        if scale not in self.scales:
            known = ", ".join(self.scales)
            raise UserError(f"a scale of {self.name} ({known})", f"{scale!r}", "Choose one of it.")
        seeds = min(self.seeds, SCALES[scale].seeds or self.seeds)
        return tuple(self._run(row, seed, scale) for seed in range(seeds) for row in self.rows)

    def _run(self, row: Row, seed: int, scale: str) -> Run:
        size, draws = SCALES[scale].size, SCALES[scale].draws
        layers: list[Decisions] = [
            profile_decisions(self.profile),
            {"data": {**self.data.split, "split_seed": 0, "size": size}},
            {"fit": {"images_per_epoch": draws, "batch": 8, "seed": seed, "checkpoint": "last"}},
            # fixed, so that no machine chooses for itself and scores can be repeated
            {"fit": {"precision": "bf16", "threads": 1}},
            self.decisions,
            *({**LEVELS, **self.levels}[level] for level in row),
            self.at.get(scale, {}),
        ]
        epochs = math.ceil(make_recipe(*layers).epochs / SCALES[scale].epochs_in_one)
        recipe = make_recipe(*layers, {"fit": {"epochs": epochs}})
        places = tuple(replace(place, most=SCALES[scale].frames) for place in self.data.score)
        return Run(self.name, label(row), recipe, self.data.train, places)


STAND_IN = " (random weights)"


def design_row(row: str) -> str:
    """The row of the design that a row of results stands for.

    >>> design_row("VGG-16, BCE, frozen (random weights)")
    'VGG-16, BCE, frozen'
    """
    return row.removesuffix(STAND_IN)


def from_random(run: Run) -> Run:
    """The same run where no ImageNet weights can be had: random ones, and its row says so."""
    without = {"net": {"transfer": 0, "control": None}}
    recipe = make_recipe(run.recipe.model_dump(), without)
    return replace(run, row=f"{run.row}{STAND_IN}", recipe=recipe)
