"""Commands around experiments: carry out a study."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ehtseg.records import UserError

if TYPE_CHECKING:
    from ehtseg.study.crew import Crew
    from ehtseg.study.run import Order


def study(
    name: Annotated[
        str | None, typer.Argument(help="Such as table1, or a YAML file; without: what there is.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where the results go.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="The folder that holds the labelled folders.")
    ] = None,
    scale: Annotated[str, typer.Option(help="smoke, cpu or paper.")] = "cpu",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; else one a core.")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Of Dask: tcp://HOST:PORT.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Show the runs and the time only.")] = False,
    weights_folder: Annotated[Path | None, typer.Option(help="With ImageNet weights.")] = None,
    share: Annotated[
        Path | None, typer.Option(help="A folder of studies whose runs count; else that of --out.")
    ] = None,
    rows: Annotated[
        list[str] | None, typer.Option(help="Now only rows with this in their names; repeatable.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the run folders.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Only write the report again.")] = False,
) -> None:
    """Carry out a study, named or written in a file. The same command continues it."""
    from ehtseg.doors.show import say, show_studies
    from ehtseg.study.crew import Crew, workers_of
    from ehtseg.study.report import rewrite_report
    from ehtseg.study.run import Order
    from ehtseg.study.written import find_study

    if name is None:
        show_studies()
        return
    if out is None:
        raise UserError("--out", "none", "Give the folder where the results go, such as runs/mine.")
    if report:
        say(f"The report: {rewrite_report(find_study(name), out)}")
        return
    if data is None:
        raise UserError("--data", "none", "Give the folder that holds the labelled folders.")
    order = Order(
        find_study(name), scale, data, out, weights_folder, share, retry, keep, tuple(rows or ())
    )
    _carry_out(order, Crew(workers_of(workers, scheduler), scheduler), plan)


def _carry_out(order: Order, crew: Crew, only_plan: bool) -> None:
    from ehtseg.doors.show import bar, lasting, say, show_plan, show_study
    from ehtseg.study.report import write_report
    from ehtseg.study.results import read_results
    from ehtseg.study.run import look_at, predict, predicted_s, run_study

    work = look_at(order)
    with bar("kinds of training timed") as tick:
        seconds = predict(work, crew, say, tick)
    total_s = predicted_s(work, seconds, crew)
    show_plan(work, seconds, crew.workers, total_s)
    if only_plan:
        return
    began = time.perf_counter()
    with bar("tasks") as tick:
        run_study(work, crew, tell=say, tick=tick)
    foreseen = f" ({lasting(total_s)} were predicted)" if seconds else ""
    say(f"It took {lasting(time.perf_counter() - began)}{foreseen}.")
    failed = show_study(read_results(order.out))
    say(f"The tables stand in {order.out}; the report: {write_report(order.out)}")
    if failed:
        raise typer.Exit(2)
