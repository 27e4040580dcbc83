"""The manifest of an experiment: which file shows which well under which drug, dose and pacing."""

from __future__ import annotations

import csv
import difflib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ehtseg.measuring.sheet import Row, Sheet, number, sheet_of
from ehtseg.measuring.units import UNITS, dose_in, known_unit
from ehtseg.reading.stamps import Stamp, read_stamp
from ehtseg.records import UserError

NEEDED = ("file", "well", "drug", "dose", "unit")
OPTIONAL = ("time", "pacing", "start")
WITH_UNIT = {"time_s": "time", "pacing_bpm": "pacing"}  # other names of these columns
NO_DRUG = ("", "none", "baseline", "control", "untreated")
SLOWEST_BPM = 10.0  # of pacing; a smaller number was meant in Hz
MOST_SAID = 6  # problems in one message
NEAR = 0.82  # names of columns so alike (0 to 1) may be meant as one
CURE = (
    "Correct these lines. Without --manifest each recording can still be analysed by itself: its "
    "beats, kinetics and flags need no other; only the comparison of wells and doses does."
)
PLATE_WELL = re.compile(r"([A-Pa-p])0*([1-9]|1\d|2[0-4])")


@dataclass(frozen=True, slots=True)
class Treatment:
    """One line of the manifest: from `time_s` in `file` on, `well` has this drug at this dose.

    Dose 0 without a drug is the well's own baseline; `pacing_bpm` None where the tissue beats by
    itself; `stamp` when the file begins, where the manifest says so.
    """

    line: int
    file: str
    well: str
    drug: str
    dose: float
    unit: str
    time_s: float = 0.0
    pacing_bpm: float | None = None
    stamp: Stamp | None = None

    @property
    def label(self) -> str:
        """Drug and dose in words.

        >>> Treatment(2, "a.avi", "A1", "iso", 0.1, "uM").label
        'iso 0.1 uM'
        """
        return f"{self.drug} {self.dose:g} {self.unit}".strip() if self.drug else "no drug"

    @property
    def is_baseline(self) -> bool:
        """Whether the dose is 0; with a drug that is a control, not the well's own baseline."""
        return self.dose == 0


def well_name(text: str) -> str:
    """A well as a plate names it (A1, without a leading zero), or the name of a chip as it is.

    >>> well_name("b03"), well_name("chip 7")
    ('B3', 'chip 7')
    """
    found = PLATE_WELL.fullmatch(text.strip())
    return f"{found[1].upper()}{found[2]}" if found else text.strip()


def read_manifest(
    path: Path, files: Collection[str] | None = None, wells: Collection[str] | None = None
) -> tuple[Treatment, ...]:
    """The treatments in a manifest, in the order of its lines.

    A CSV table with comma, semicolon or tab, and the columns file, well, drug, dose, unit, and
    where they are needed time (HH:MM:SS in the file, from which the line holds; or time_s),
    pacing (beats a minute; empty or 0: none; or pacing_bpm) and start (when the file begins:
    2026-11-20 09:30:00, or 09:30:00). Other columns are left alone.
    `files` are the recordings at hand, `wells` those of the plate; None: any. A drug is spelt as
    in its first line, and its doses are in the unit of that line.

    Raises: UserError for columns that are missing, repeated or nearly named like one of these;
    and one that names every problem with its line: unknown files and wells, units and numbers
    that cannot be read, two treatments of a file at one time.
    """
    sheet = _sheet(path)
    marks = sheet.decimal_marks(("dose", "pacing", *WITH_UNIT))
    treatments: list[Treatment] = []
    problems: list[str] = []
    for row in sheet.rows:
        try:
            treatments.append(_treatment(row, marks))
        except ValueError as error:
            problems.append(f"line {row.line}: {error}")
    problems += _strange_files(treatments, files)
    problems += _strange_wells(treatments, wells)
    problems += _two_at_once(treatments, files or ())
    problems += _mixed_units(treatments)
    problems += _strange_starts(treatments)
    if problems:
        more = f" and {len(problems) - MOST_SAID} more" if len(problems) > MOST_SAID else ""
        raise UserError(
            f"a manifest that can be read line by line ({path.name})",
            "; ".join(problems[:MOST_SAID]) + more,
            CURE,
        )
    return tuple(_alike(treatments))


def meant(file: str, files: Collection[str]) -> list[str]:
    """Those of `files` (paths) that the manifest's `file` means: its name, or more of its path.

    >>> meant("A1/film.avi", ["/data/A1/film.avi", "/data/A2/film.avi"])
    ['/data/A1/film.avi']
    """
    parts = _composed(file)
    return [one for one in files if _composed(one)[-len(parts) :] == parts]


def _composed(path: str) -> tuple[str, ...]:
    """The parts of a path; macOS may store an ü as u and its dots, which look the same."""
    return Path(unicodedata.normalize("NFC", path)).parts


def _sheet(path: Path) -> Sheet:
    """The table with its names checked."""
    try:
        sheet = sheet_of(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        cure = "Check the path, and save the table as CSV (UTF-8)."
        raise UserError(f"a readable manifest at {path}", str(error), cure) from error
    missing = [name for name in NEEDED if name not in sheet.names]
    if missing:
        raise UserError(
            f"the columns {', '.join(NEEDED)} (and time, pacing where needed) in {path.name}",
            f"{', '.join(sheet.names) or 'an empty file'}: no {', '.join(missing)}",
            "Name the columns in the first line.",
        )
    _refuse_unclear(sheet.names, path)
    if not sheet.rows:
        cure = "Add one line for each recording."
        raise UserError(f"lines of data in {path.name}", "only a header", cure)
    return sheet


def _refuse_unclear(names: Sequence[str], path: Path) -> None:
    """Names of columns of which two mean the same, or of which one may be a slip of the pen."""
    plain = [WITH_UNIT.get(name, name) for name in names]
    known = (*NEEDED, *OPTIONAL)
    repeated = [name for name in known if plain.count(name) > 1]
    if repeated:
        raise UserError(
            f"each column once in {path.name}",
            f"{', '.join(repeated)} more than once",
            "Keep one of each: a line holds one drug at one dose, from one time on.",
        )
    for name in plain:
        near = difflib.get_close_matches(name, [*known, *WITH_UNIT], n=1, cutoff=NEAR)
        near += [one for one in OPTIONAL if one not in plain and name.startswith(f"{one}_")]
        if near and name not in known:
            raise UserError(
                f"columns in {path.name} with the names {', '.join((*known, *WITH_UNIT))}",
                f"“{name}”, which is near to “{near[0]}”",
                "Name it so if that is meant (time as HH:MM:SS, time_s in seconds, pacing in beats "
                "a minute). A column of your own needs a name that is less alike.",
            )


def _treatment(line: Row, marks: Collection[str]) -> Treatment:
    row = dict.fromkeys((*NEEDED, *OPTIONAL, *WITH_UNIT), "") | line.cells
    if line.surplus:
        hint = "a decimal comma? Write a point; else name every column"
        raise ValueError(f"more cells than columns, “{line.surplus}” too much ({hint})")
    if not row["file"] or not row["well"]:
        raise ValueError("no file" if not row["file"] else "no well")
    no_drug = row["drug"].casefold() in NO_DRUG
    dose = 0.0 if no_drug and not row["dose"] else number(row["dose"], "dose", marks)
    unit = known_unit(row["unit"])
    if dose < 0 or (no_drug and dose > 0):
        raise ValueError(f"a dose of {dose:g}" + (" without a drug" if no_drug else ""))
    if unit is None and (row["unit"] or dose > 0):
        raise ValueError(f"the unit {row['unit']!r} is none of {', '.join(UNITS)}")
    return Treatment(
        line.line,
        row["file"],
        well_name(row["well"]),
        "" if no_drug else row["drug"],
        dose,
        unit or "",
        _time_s(row["time"]) if row["time"] else _seconds(row["time_s"], marks),
        _pacing_bpm(row["pacing"] or row["pacing_bpm"], marks),
        _start(row["start"]),
    )


def _pacing_bpm(text: str, marks: Collection[str]) -> float | None:
    pacing = number(text, "pacing", marks) if text else 0.0
    if pacing < 0 or 0 < pacing < SLOWEST_BPM:
        hint = f" (in Hz? write {60 * pacing:g})" if pacing > 0 else ""
        raise ValueError(f"pacing {pacing:g} beats a minute{hint}")
    return pacing or None


def _time_s(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)", text)
    if not found:
        raise ValueError(f"the time {text!r} is not written HH:MM:SS (in seconds: column time_s)")
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])


def _seconds(text: str, marks: Collection[str]) -> float:
    time_s = number(text, "time_s", marks) if text else 0.0
    if time_s < 0:
        raise ValueError(f"a time of {time_s:g} s")
    return time_s


def _start(text: str) -> Stamp | None:
    if not text:
        return None
    dated = bool(re.search(r"\d\D+\d.*[T ]", text))
    whole = re.sub(r"(^|[T ])(\d:)", r"\g<1>0\2", text)  # 9:30:00, as Excel writes it
    found = read_stamp(whole if dated else f"2000-01-01 {whole}", "the manifest")
    if found is None:
        raise ValueError(f"the start {text!r} is no time (2026-11-20 09:30:00 or 09:30:00)")
    return replace(found, dated=dated)


def _strange_files(rows: list[Treatment], files: Collection[str] | None) -> Iterator[str]:
    """Lines whose file is none of those at hand, could be several of them, or is of two wells."""
    if files is None:
        return
    names = [Path(file).name for file in files]
    wells: dict[str, str] = {}
    for row in rows:
        found = meant(row.file, files)
        if not found:
            yield f"line {row.line}: no recording {row.file}{_nearest(row.file, names)}"
        elif len(found) > 1:
            yield f"line {row.line}: {len(found)} recordings are called {row.file}: add its folder"
        elif wells.setdefault(found[0], row.well) != row.well:
            yield f"line {row.line}: {row.file} is of {row.well}, but before of {wells[found[0]]}"


def _strange_wells(rows: list[Treatment], wells: Collection[str] | None) -> Iterator[str]:
    """Wells that the plate has not; without a plate, names that are none among names of wells."""
    named = [row.well for row in rows if PLATE_WELL.fullmatch(row.well)]
    if wells is None and len(named) <= len(rows) / 2:
        return
    known = set(named if wells is None else map(well_name, wells))
    for row in rows:
        if row.well not in known:
            yield f"line {row.line}: unknown well {row.well}{_nearest(row.well, known)}"


def _two_at_once(rows: list[Treatment], files: Collection[str]) -> Iterator[str]:
    """Lines of one file that begin at one time, but are of two treatments."""
    first: dict[tuple[str, float], Treatment] = {}
    for row in rows:
        file = next(iter(meant(row.file, files)), row.file)
        before = first.setdefault((file, row.time_s), row)
        of_both = [(one.drug.casefold(), one.dose, one.pacing_bpm) for one in (before, row)]
        if of_both[0] != of_both[1]:
            yield (
                f"line {row.line}: {row.file} at {row.time_s:g} s shows {_shown(row)}, but in line "
                f"{before.line} {_shown(before)}: write when it begins (column time, HH:MM:SS)"
            )


def _shown(row: Treatment) -> str:
    return row.label + (f" paced at {row.pacing_bpm:g} beats a minute" if row.pacing_bpm else "")


def _mixed_units(rows: list[Treatment]) -> Iterator[str]:
    kinds: dict[str, tuple[str, str]] = {}
    for row in rows:
        if row.dose > 0:
            kind, unit = kinds.setdefault(row.drug.casefold(), (UNITS[row.unit][0], row.unit))
            if UNITS[row.unit][0] != kind:
                yield f"line {row.line}: {row.drug} in {row.unit}, but before in {unit}"


def _strange_starts(rows: list[Treatment]) -> Iterator[str]:
    """Times of day that fall from line to line of a well: midnight, or lines in another order."""
    before: dict[str, Treatment] = {}
    for row in rows:
        if row.stamp is None:
            continue
        last = before.get(row.well)
        if last and last.stamp and last.stamp.dated != row.stamp.dated:
            yield f"line {row.line}: of {row.well} one start has a date and one has none"
        elif last and last.stamp and not row.stamp.dated and row.stamp.at < last.stamp.at:
            early, late = (f"{stamp.at:%H:%M:%S}" for stamp in (row.stamp, last.stamp))
            yield (
                f"line {row.line}: {row.well} at {early}, below a line at {late}: past midnight? "
                f"Write dates (2026-11-20 {late}); else put the lines in order of time"
            )
        before[row.well] = row


def _alike(rows: list[Treatment]) -> Iterator[Treatment]:
    """The lines with one spelling and one unit a drug: those of its first dose, at dose 0 too."""
    first: dict[str, Treatment] = {}
    for row in sorted(rows, key=lambda row: row.dose == 0):
        first.setdefault(row.drug.casefold(), row)
    for row in rows:
        known = first[row.drug.casefold()] if row.drug else row
        dose = dose_in(row.dose, row.unit, known.unit) if row.dose > 0 else row.dose
        yield replace(row, drug=known.drug, dose=dose, unit=known.unit)


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, [str(one) for one in known], n=2, cutoff=0.4)
    return f" (nearest: {', '.join(near)})" if near else ""
