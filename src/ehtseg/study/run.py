"""A study carried out: planned, predicted, trained by worker processes, entered in tidy tables.

The same command continues after a kill at any moment, also from the tables alone, and gives the
same tables to the byte. A key (what is trained, and on what) is trained once, whatever study of
the same scale and data asks for it.
"""

from __future__ import annotations

import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ehtseg.records import UserError
from ehtseg.seeing.machine import machine_facts
from ehtseg.study.cost import Cost, frames_of, kind, makespan, measure, to_measure
from ehtseg.study.crew import Crew, perform
from ehtseg.study.entries import Entry, entries_of, weights_of, without_weights
from ehtseg.study.frames import check_folders, opened
from ehtseg.study.ledger import Ledger, locked
from ehtseg.study.plan import Run, Study
from ehtseg.study.prices import PRICES
from ehtseg.study.results import (
    BASELINES,
    EXAMPLES,
    Tables,
    check_design,
    enter_design,
    read_facts,
    write_facts,
)
from ehtseg.study.shared import Neighbour, neighbours
from ehtseg.study.task import Task, carry_out, look_for_weights, once

Tell = Callable[[str], None]  # one sentence for the user
Tick = Callable[[int, int], None]  # runs done, runs in all
IDENTITY = {  # facts that must not change while a study is carried out, in words
    "study": "study",
    "scale": "scale",
    "data": "content of the labelled folders",
    "random_instead": "ImageNet weights",
    "weights": "files of ImageNet weights",
    "plan": "design or recipe",
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for."""

    study: Study
    scale: str
    data: Path  # the folder that holds the labelled folders
    out: Path
    weights: Path | None = None  # a folder of ImageNet weights
    share: Path | None = None  # the folder whose studies lend their runs; None: that of `out`
    retry: bool = False  # try again what has failed
    keep: bool = False  # the run folders, with their weights
    rows: tuple[str, ...] = ()  # only rows whose names hold one of these texts; none: every row

    def asks_for(self, entry: Entry) -> bool:
        """Whether an entry is of a row that is asked for; the baselines always are."""
        if entry.row == BASELINES or not self.rows:
            return True
        return any(text.casefold() in entry.row.casefold() for text in self.rows)


@dataclass(frozen=True, slots=True)
class Work:
    """An order that has been looked at: every entry, and which of them are left to carry out."""

    order: Order
    facts: dict[str, Any]  # study.json
    entries: tuple[Entry, ...]
    left: tuple[Entry, ...]
    # how many runs studies beside it have carried out, by study
    lent: Mapping[str, int] = field(default_factory=dict)

    def task(self, entry: Entry) -> Task:
        """What a worker gets."""
        weights = self.order.weights
        data, out = self.order.data.absolute(), self.order.out.absolute()
        return Task(entry, data, out, weights.absolute() if weights else None)


def look_at(order: Order) -> Work:
    """Plan a study and see what is there of it; nothing is written.

    Raises: UserError for folders that are missing, for an `out` that holds something else, and
    where no row has a name that was asked for.
    """
    folders = (*order.study.data.train, *(place.folder for place in order.study.data.score))
    check_folders(dict.fromkeys(folders), order.data)
    look_for_weights(order.weights)
    plan = order.study.plan(order.scale)
    facts = facts_of(order, plan)
    check_identity(order.out, facts)
    entries = entries_of(plan, order.data)
    check_rows(order, entries)
    left = _opened_ledger(order, entries).left()
    lent = {entry.key: study.folder.name for entry, study, _ in _lent(left, order, facts)}
    to_do = [entry for entry in left if order.asks_for(entry) and entry.key not in lent]
    return Work(order, facts, entries, tuple(to_do), Counter(lent.values()))


def check_rows(order: Order, entries: Sequence[Entry]) -> None:
    """See that each text asked for is in the name of a row.

    Raises: UserError with the rows that there are.
    """
    rows = list(dict.fromkeys(entry.row for entry in entries if entry.row != BASELINES))
    for text in order.rows:
        if not any(text.casefold() in row.casefold() for row in rows):
            raise UserError(
                f"in --rows a part of the name of a row of {order.study.name}",
                f"{text!r}",
                f"Its rows: {'; '.join(rows)}.",
            )


def facts_of(order: Order, plan: Sequence[Run]) -> dict[str, Any]:
    """What study.json says: no times and no paths."""
    study = order.study
    folders = {*study.data.train, *(place.folder for place in study.data.score)}
    keys = json.dumps(sorted(run.key for run in plan))
    own = {"design": study.design} if study.design else {}
    return own | {
        "study": study.name,
        "question": study.question,
        "scale": order.scale,
        "command": f"{study.command} --scale {order.scale}",
        "unit": study.data.unit,
        "rows": list(dict.fromkeys(run.row for run in plan)),
        "seeds": sorted({run.seed for run in plan}),
        "data": {name: opened((order.data / name,)).sha256 for name in sorted(folders)},
        "random_instead": without_weights(plan),
        "weights": weights_of(plan),
        "plan": hashlib.sha256(keys.encode()).hexdigest(),
        "made_with": machine_facts(),
    }


def check_identity(out: Path, facts: dict[str, Any]) -> None:
    """See that `out` is new, or holds this very study.

    Raises: UserError that says what is different.
    """
    if not (out / "study.json").exists():
        own = {"runs", PRICES}  # prices may be measured before the first run
        if out.exists() and (not out.is_dir() or {p.name for p in out.iterdir()} - own):
            raise UserError(
                f"a new or empty folder for the study at {out}",
                "one that holds other things",
                "Choose another --out.",
            )
        return
    before = read_facts(out)
    for name, words in IDENTITY.items():
        if before.get(name) != facts[name]:
            raise UserError(
                f"the {words} with which {out} was begun{_said(before.get(name))}",
                f"another one{_said(facts[name])}",
                "Choose another --out, or give the same command as before.",
            )
    check_design(out, facts.get("design"))


def predict(
    work: Work, crew: Crew, tell: Tell, tick: Tick = lambda _done, _total: None
) -> dict[str, float]:
    """Seconds that each run that is left will take, by key; measured on the machine that works.

    Empty where the study is so short that measuring would not pay.
    """
    tasks = [work.task(entry) for entry in to_measure(work.left)]
    costs: dict[str, Cost] = {}
    if tasks:
        tell(f"Kinds of training to be timed first, to say how long it will take: {len(tasks)}.")
    for done, ended in enumerate(perform(tasks, measure, crew), 1):
        tick(done, len(tasks))
        run = ended.task.entry.run
        if ended.result is None:
            tell(f"{run.label} could not be timed. {reason_of(ended.error, work.order)}")
        else:
            costs[kind(run)] = ended.result
    return {
        entry.key: costs[kind(entry.run)].of(entry.run, frames_of(entry.run, work.order.data))
        for entry in work.left
        if entry.row != BASELINES and kind(entry.run) in costs
    }


def predicted_s(work: Work, seconds: dict[str, float], crew: Crew) -> float:
    """Seconds until the study has ended, with so many workers."""
    known = [seconds[entry.key] for entry in work.left if entry.key in seconds]
    return makespan(known, crew.workers)


def run_study(
    work: Work,
    crew: Crew,
    *,
    tell: Tell = lambda _: None,
    tick: Tick = lambda _done, _total: None,
    job: Callable[[Task], None] = carry_out,
) -> Ledger:
    """Carry out what is left of a study; its tables stand in `out` after every run.

    Raises: UserError where another command works there, or the disk is full, or the scheduler of
    a cluster is lost.
    """
    order, keep = work.order, work.order.keep
    with locked(order.out):
        ledger = _opened_ledger(order, work.entries)
        if (order.out / "study.json").exists():
            ledger.save()  # with the machine of each run, before another one goes on
        _write_facts(order.out, work.facts, tell)
        ledger.collect()
        for name, count in _borrow(ledger, order, work.facts).items():
            tell(f"{count} runs come from {name}: the same trainings on the same data.")
        ledger.save()
        for key, status in ledger.status.items():
            ledger.clear(key, keep or status != "done")
        left = [entry for entry in ledger.left() if order.asks_for(entry)]
        total = len({entry.key for entry in work.entries if order.asks_for(entry)})
        for done, ended in enumerate(perform([*map(work.task, left)], partial(once, job), crew), 1):
            _settle(ledger, ended.task.entry, ended.error, order, tell)
            tick(total - len(left) + done, total)
    return ledger


def reason_of(error: BaseException | None, order: Order) -> str:
    """Why a run failed, in one line without paths of this machine."""
    said = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    for path, word in ((order.out, "OUT"), (order.data, "DATA"), (order.weights, "WEIGHTS")):
        for form in (path.resolve(), path.absolute(), path) if path else ():
            said = said.replace(str(form), word)
    return " ".join(said.split())


def _settle(
    ledger: Ledger, entry: Entry, error: BaseException | None, order: Order, tell: Tell
) -> None:
    """Enter what became of one task, before anything of it is removed."""
    ledger.collect()
    if entry.key not in ledger.status:
        error = error or UserError(
            "the worker's record", "none", "Workers have to see the same folders as this machine."
        )
        reason = reason_of(error, order)
        ledger.fail(entry.key, reason)
        bug = "" if isinstance(error, UserError) else "".join(traceback.format_exception(error))
        tell(f"{entry.label}: failed. {reason}\n{bug}".rstrip())
    else:
        tell(f"{entry.label}: done")
    ledger.save()
    if ledger.status[entry.key] == "done":
        ledger.clear(entry.key, order.keep)


def _opened_ledger(order: Order, entries: Sequence[Entry]) -> Ledger:
    ledger = Ledger(order.out, entries)
    if order.retry:
        ledger.forget("failed")
    return ledger


def _borrow(ledger: Ledger, order: Order, facts: dict[str, Any]) -> dict[str, int]:
    """Enter what studies beside this one have found for runs that are left; how many, by study."""
    borrowed = Counter[str]()
    for entry, study, tables in _lent(ledger.left(), order, facts):
        ledger.enter(entry.key, tables)
        ledger.take_pictures(study.folder / EXAMPLES, f"*__{entry.key}")
        borrowed[study.folder.name] += 1
    return borrowed


def _lent(
    left: Sequence[Entry], order: Order, facts: dict[str, Any]
) -> Iterator[tuple[Entry, Neighbour, Tables]]:
    """The runs that studies beside this one have carried out, each with the first that has it."""
    there = neighbours(order.share or order.out.resolve().parent, order.out, facts)
    for entry in left:
        for study in there:
            if tables := study.has(entry, facts["data"]):
                yield entry, study, tables
                break


def _write_facts(out: Path, facts: dict[str, Any], tell: Tell) -> None:
    """Write study.json, or note in it that another machine or other versions go on."""
    if not (out / "study.json").exists():
        write_facts(out, facts)
        return
    enter_design(out, facts.get("design"))
    before, now = read_facts(out), facts["made_with"]
    known = [before["made_with"], *before.get("continued_with", [])]
    if now not in known:
        changed = ", ".join(name for name in now if now[name] != known[0].get(name))
        tell(f"Continued where {changed} changed: equality to the byte is not promised.")
        write_facts(out, {**before, "continued_with": [*known[1:], now]})


def _said(value: Any) -> str:
    return f" ({value})" if isinstance(value, str) and len(value) < 20 else ""
