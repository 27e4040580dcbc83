"""A study of made-up runs on a real Dask cluster, one worker of which is killed: run by a test.

Usage: clustered_study.py FOLDER; prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import dask
from distributed import LocalCluster

from ehtseg.study.crew import Crew, workers_of
from ehtseg.study.run import run_study
from killable_study import finish, patient, tables, work_in


def kill_the_first(log: Path, killed: list[int]) -> None:
    """Kill the worker that began the first run, as soon as it has."""
    while not log.exists() or not log.read_text().strip():
        time.sleep(0.01)
    killed.append(int(log.read_text().split()[0]))
    os.kill(killed[0], signal.SIGKILL)


def main(folder: Path) -> None:
    whole, out = folder / "whole" / "out", folder / "cluster" / "out"
    finish(whole)
    out.parent.mkdir()
    log, killed = out.parent / "out.log", list[int]()
    threading.Thread(target=kill_the_first, args=(log, killed), daemon=True).start()
    dask.config.set({"distributed.comm.timeouts.connect": "120s"})
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = Crew(scheduler=cluster.scheduler_address)
        workers = workers_of(None, there.scheduler)
        run_study(work_in(out), there, job=patient)
        begun = [line.split() for line in log.read_text().splitlines()]
        found = {
            "equal": tables(out) == tables(whole),
            "workers": workers,
            "begun": len(begun),
            "runs": len({key for _, key in begun}),
            "here": str(os.getpid()) in {pid for pid, _ in begun},
            "killed": len(killed),
        }
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
