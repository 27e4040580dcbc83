"""A document as data: sections of sentences, lists, tables and figures.

One value is written as an HTML page and as Markdown (study_page.py), so that the two say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.figure import Figure

Tone = Literal["", "opponent", "apart"]  # how a line stands out: not at all, grey, in italics


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table: as the page shows it, and as its CSV file holds it."""

    shown: tuple[str, ...]
    values: dict[str, Any]
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its files are tables/NAME.csv and tables/NAME.md."""

    name: str
    title: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    note: str = ""
    words: tuple[str, ...] = ()  # columns of sentences, beside the first one: set to the left


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A drawn figure; its file is figures/NAME.svg."""

    name: str
    title: str
    figure: Figure
    note: str = ""


@dataclass(frozen=True, slots=True)
class Points:
    """Sentences, each of which stands for itself."""

    sentences: tuple[str, ...]


Block = str | Points | Table | Picture


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A title, a sentence under it, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]

    def each(self, kind: type[Table] | type[Picture]) -> list[Any]:
        """Every block of one kind, in order."""
        return [b for section in self.sections for b in section.blocks if isinstance(b, kind)]


def table(
    name: str,
    title: str,
    columns: Sequence[str],
    lines: Sequence[Line],
    note: str = "",
    words: Sequence[str] = (),
) -> tuple[Table, ...]:
    """A table as blocks of a section: none where it has no lines.

    Raises: ValueError for a line of another width than the head.

    >>> table("a", "A", ["row"], [])
    ()
    """
    wrong = [line.shown for line in lines if len(line.shown) != len(columns)]
    if wrong:
        raise ValueError(f"{len(columns)} columns, but a line {wrong[0]}")
    known = Table(name, title, tuple(columns), tuple(lines), note, tuple(words))
    return (known,) if lines else ()
