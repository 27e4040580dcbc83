"""A small table as a user or a spreadsheet writes it: its names, its lines, its numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

BLANK = " \t\r\n;,"  # what a line without a value may hold
SAID_MARK = re.compile(r'"?sep=([;,\t|])"?[\s;,]*', re.IGNORECASE)  # Excel's own first line
THOUSANDS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")  # 1,000 may be a thousand or one


@dataclass(frozen=True, slots=True)
class Row:
    """One line that holds a value: its number in the text, its cells by name, what is too much."""

    line: int
    cells: dict[str, str]
    surplus: str  # the cells beyond the last name, as they are written; "" where there is none


@dataclass(frozen=True, slots=True)
class Sheet:
    """The names of the columns in small letters, and the lines below them that hold a value."""

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    mark: str  # between two cells

    def decimal_marks(self, columns: Collection[str]) -> set[str]:
        """The marks, point or comma, that surely stand before decimals in these columns."""
        numbers = [row.cells.get(name, "") for row in self.rows for name in columns]
        proof = [one for one in numbers if not THOUSANDS.fullmatch(one)]
        marks = {m for m in ".," if any(re.fullmatch(rf"\d+\{m}\d+", one) for one in proof)}
        return marks | ({"."} if self.mark == "," else set())


def sheet_of(text: str) -> Sheet:
    """A table with comma, semicolon or tab; lines without a value are left out, above it as well.

    Raises: csv.Error.

    >>> sheet_of("sep=;\\nAction;Time (s)\\n;\\nadd;3,6\\n").rows
    (Row(line=4, cells={'action': 'add', 'time_s': '3,6'}, surplus=''),)
    """
    lines = io.StringIO(text).readlines()
    first = next((k for k, line in enumerate(lines) if line.strip(BLANK)), 0)
    said = SAID_MARK.fullmatch(lines[first]) if lines else None
    if said:
        lines[first] = "\n"
    header = next((line for line in lines if line.strip(BLANK)), "")
    mark = said[1] if said else max(";\t,", key=header.count)
    reader = csv.reader(lines, delimiter=mark)
    read = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    filled = [(line, row) for line, row in read if any(row)]
    if not filled:
        return Sheet((), (), mark)
    names = _names(filled[0][1])
    return Sheet(names, tuple(_row(line, row, names, mark) for line, row in filled[1:]), mark)


def number(text: str, what: str, marks: Collection[str]) -> float:
    """A number with a point or a comma; `marks` are those that surely stand before decimals.

    Raises: ValueError for anything else, and where a comma may be one of thousands.

    >>> number("0,3", "dose", ()), number("1,000", "dose", {","})
    (0.3, 1.0)
    """
    plain = text.replace(",", ".")
    if not re.fullmatch(r"-?\d+(\.\d*)?([eE][+-]?\d+)?", plain):
        raise ValueError(f"the {what} {text!r} is no number")
    if THOUSANDS.fullmatch(text) and not any(mark in text for mark in marks):
        small = f"{float(plain):g}" if plain.endswith("000") else f"{plain}0"
        raise ValueError(f"the {what} {text!r}: write {plain.replace('.', '')} or {small}")
    return float(plain)


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    """Names up to the last one that is written, in small letters: Time (s) is time_s."""
    plain = [re.sub(r"[\W_]+", "_", cell.casefold()).strip("_") or cell for cell in cells]
    last = max(k for k, name in enumerate(plain) if name)
    return tuple(plain[: last + 1])


def _row(line: int, cells: Sequence[str], names: Sequence[str], mark: str) -> Row:
    surplus = mark.join(cells[len(names) :]).strip(BLANK)
    return Row(line, dict(zip(names, cells, strict=False)), surplus)
