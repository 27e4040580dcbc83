"""A study of made-up runs that is killed at random moments: run by test_study_run.py.

Usage: killable_study.py FOLDER KILLS; prints one line of JSON. Every study is a process forked
from this one, which has imported everything; its workers are forked likewise, so that a hundred
kills take seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import ehtseg.study.crew as crew
from ehtseg.study.crew import Crew
from ehtseg.study.designs import table1
from ehtseg.study.entries import Entry
from ehtseg.study.ledger import Record, record_folder, run_folder, write_record
from ehtseg.study.results import COLUMNS, Tables, as_text
from ehtseg.study.run import Order, Work, run_study
from ehtseg.study.task import Task

WORKERS = 2


def made_up(task: Task) -> None:
    """What a training leaves, without one: a run folder that grows, then a record."""
    if task.entry.row == "bad":
        raise ValueError("a bug")
    folder = run_folder(task.out, task.entry.key)
    with open(task.out.parent / f"{task.out.name}.log", "a") as log:
        log.write(f"{os.getpid()} {task.entry.key}\n")
    folder.mkdir(exist_ok=True)
    for epoch in range(3):
        time.sleep(0.01)
        (folder / "epoch").write_text(str(epoch))
    write_record(Record(tables_of(task.entry)), record_folder(task.out, task.entry.key))


def patient(task: Task) -> None:
    """A made-up run that lasts long enough to be killed."""
    with open(task.out.parent / f"{task.out.name}.log", "a") as log:
        log.write(f"{os.getpid()} {task.entry.key}\n")
    time.sleep(0.5)
    write_record(Record(tables_of(task.entry)), record_folder(task.out, task.entry.key))


def tables_of(entry: Entry) -> Tables:
    """Rows that depend on the key alone."""
    dice = int(entry.key[:6], 16) / 16**6
    score = {"place": "film test", "recording": "film", "model": "net", "dice": dice}
    return as_text(
        {
            **{name: [] for name in COLUMNS},
            "results.csv": [{**score, "image": f"{i}.png"} for i in range(3)],
            "curves.csv": [{"epoch": 1, "steps": 8, "loss": 1 - dice}],
            "runs.csv": [{"status": "done", "steps": 8}],
        }
    )


def work_in(out: Path) -> Work:
    """The order of a study whose rows are those of table1."""
    entries = tuple(Entry(run.row, run.key[:16], run) for run in table1.plan("cpu")[:11])
    facts = {"study": "table1", "scale": "cpu", "data": {}, "weights": {},
             "made_with": {"torch": "2"}}  # fmt: skip
    return Work(Order(table1, "cpu", out, out), facts, entries, entries)


def begin(out: Path) -> int:
    """Start a study in a process of its own; its id."""
    out.parent.mkdir(exist_ok=True)
    child = os.fork()
    if child == 0:
        run_study(work_in(out), Crew(WORKERS), job=made_up)
        os._exit(0)
    return child


def ended(child: int) -> int | None:
    """The exit code of a process, or None while it runs."""
    found, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def workers_of(child: int) -> list[int]:
    """The processes that a study has started."""
    text = Path(f"/proc/{child}/task/{child}/children").read_text()
    return [int(pid) for pid in text.split()]


def kill_once(out: Path, wait_s: float, victim: str) -> bool:
    """Carry on with a study and kill it or one of its workers; whether it was alive by then."""
    child = begin(out)
    time.sleep(wait_s)
    if ended(child) is not None:
        return False
    if victim == "study":
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        return True
    for pid in workers_of(child)[:1]:
        os.kill(pid, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a lost worker ends no study"
    return True


def finish(out: Path) -> float:
    """Run a study to its end; seconds."""
    began = time.perf_counter()
    assert os.waitstatus_to_exitcode(os.waitpid(begin(out), 0)[1]) == 0
    return time.perf_counter() - began


def tables(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.glob("*.*"))}


def chain(folder: Path, kills: int, lasts_s: float, draw: random.Random) -> int:
    """One study, killed up to so many times and then run to its end; how often it was killed."""
    out, killed = folder / "out", 0
    while killed < kills:
        victim = draw.choice(["study", "study", "worker"])
        if not kill_once(out, draw.uniform(0, 0.6 * lasts_s), victim):
            break
        killed += 1
    finish(out)
    finish(out)  # and once more: nothing is left to do
    return killed


def main(folder: Path, kills: int) -> None:
    crew.START = "fork"
    draw = random.Random(20261123)
    lasts_s = finish(folder / "whole" / "out")
    wanted = tables(folder / "whole" / "out")
    done = studies = again = 0
    while done < kills:
        here = folder / f"study-{studies}"
        killed = chain(here, min(10, kills - done), lasts_s, draw)
        assert tables(here / "out") == wanted, f"{here} differs"
        assert {p.name for p in (here / "out" / "runs").iterdir()} == {".gitignore", ".lock"}
        begun = [line.split()[1] for line in (here / "out.log").read_text().splitlines()]
        repeated = len(begun) - len(set(begun))
        assert repeated <= WORKERS * killed, "only what was under way is begun again"
        done, studies, again = done + killed, studies + 1, again + repeated
    print(json.dumps({"kills": done, "studies": studies, "begun again": again}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
