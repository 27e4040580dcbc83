"""The command line: parse, call, print. Heavy imports stand inside the commands."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from ehtseg.doors.experiments import study
from ehtseg.doors.labelling import adapt, check, frames
from ehtseg.doors.networks import describe, evaluate, export, train
from ehtseg.doors.opponents import export_nnunet, nnunet, prices
from ehtseg.doors.recordings import analyse, segment
from ehtseg.records import UserError

INTERRUPTED, TERMINATED = 130, 143  # the exit codes of shells for Ctrl-C and SIGTERM

app = typer.Typer(
    name="ehtseg",
    help="Segment beating engineered heart tissue in video. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
)


def doctor(
    weights: Annotated[Path | None, typer.Option(help="Look there too: a file or folder.")] = None,
) -> None:
    """Say what this machine has: versions, precision, GPU, encoder weights; with cures."""
    from ehtseg.doors.show import show_findings
    from ehtseg.jobs.doctor import doctor as examine

    if show_findings(examine(weights)):
        raise typer.Exit(2)


VERBS = (
    frames,
    check,
    describe,
    train,
    evaluate,
    export,
    adapt,
    segment,
    analyse,
    study,
    prices,
    export_nnunet,
    nnunet,
    doctor,
)  # as --help lists them
for verb in VERBS:
    app.command()(verb)


@app.callback(invoke_without_command=True)
def version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Segment beating engineered heart tissue in video. Research use only."""
    if version:
        from importlib import metadata

        typer.echo(metadata.version("ehtseg"))
        raise typer.Exit


def main() -> None:
    """Run the command line; what a user can mend is one paragraph and exit code 2."""
    try:
        with _orderly_end():
            app()
    except UserError as error:
        typer.echo(f"ehtseg: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        _interrupted(INTERRUPTED)
    except SystemExit as end:
        if end.code in (INTERRUPTED, TERMINATED):  # the first is what typer makes of Ctrl-C
            _interrupted(end.code)
        raise


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Within the block SIGTERM ends the work as Ctrl-C does: what was begun is cleared away."""

    def end(_number: int, _frame: object) -> NoReturn:
        sys.exit(TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupted(code: str | int | None) -> NoReturn:
    typer.echo("Interrupted. What is complete is kept; the same command continues.", err=True)
    sys.exit(code)
