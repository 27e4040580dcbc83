"""How the command line shows things: sentences, progress bars, tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from ehtseg.jobs.doctor import Finding

console = Console(highlight=False, soft_wrap=True)


def say(text: str, style: str = "") -> None:
    """Print one sentence; square brackets are text, not markup."""
    console.print(text, style=style or None, markup=False)


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar with the time left; yields what to call with (done, total)."""
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a table; numbers stand right, floats with four digits."""
    shown = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    first = rows[0] if rows else [""] * len(columns)
    for name, value in zip(columns, first, strict=True):
        shown.add_column(name, justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        shown.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row))
    console.print(shown)


def show_findings(findings: Sequence[Finding]) -> int:
    """Print what the doctor found; returns how many findings need a cure of what is installed."""
    table("", ("", "found"), [(f.what, f.found) for f in findings])
    ill = [f for f in findings if f.cure and not f.what.startswith("weights")]
    for finding in ill:
        say(f"{finding.what}: {finding.found}. {finding.cure}", style="red")
    return len(ill)
