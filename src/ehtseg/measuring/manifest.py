"""The manifest of an experiment: which file shows which well under which drug, dose and pacing."""

from __future__ import annotations

import csv
import difflib
import io
import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ehtseg.reading.stamps import Stamp, read_stamp
from ehtseg.records import UserError

NEEDED = ("file", "well", "drug", "dose", "unit")
OPTIONAL = ("time", "pacing", "start")
UNITS = {  # unit -> (kind, size)
    "pM": ("molar", 1e-12),
    "nM": ("molar", 1e-9),
    "uM": ("molar", 1e-6),
    "mM": ("molar", 1e-3),
    "M": ("molar", 1.0),
    "pg/mL": ("mass", 1e-12),
    "ng/mL": ("mass", 1e-9),
    "ug/mL": ("mass", 1e-6),
    "mg/mL": ("mass", 1e-3),
    "%": ("share", 0.01),
}
OTHER_UNITS = ("Hz", "bpm", "V", "mV", "°C")  # of events that are no drug
NO_DRUG = ("", "none", "baseline", "control", "untreated")
SLOWEST_BPM = 10.0  # of pacing; a smaller number was meant in Hz
MOST_SAID = 6  # problems in one message
CURE = (
    "Correct these lines. Without --manifest each recording can still be analysed by itself: its "
    "beats, kinetics and flags need no other; only the comparison of wells and doses does."
)
THOUSANDS = re.compile(r"[1-9]\d{0,2}[.,]\d{3}")  # 1,000 may be a thousand or one
PLATE_WELL = re.compile(r"([A-Pa-p])0*([1-9]|1\d|2[0-4])")


@dataclass(frozen=True, slots=True)
class Treatment:
    """One line of the manifest: from `time_s` in `file` on, `well` has this drug at this dose.

    Dose 0 is the well's own baseline; `pacing_bpm` None where the tissue beats by itself; `stamp`
    when the file begins, where the manifest says so.
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
        """Whether nothing has been given yet."""
        return self.dose == 0


def known_unit(text: str) -> str | None:
    """A concentration unit as the manifest writes it, None for an unknown one.

    >>> known_unit("µM"), known_unit("ng/ml"), known_unit("mol")
    ('uM', 'ng/mL', None)
    """
    plain = text.strip().replace("µ", "u").replace("μ", "u")
    return next((unit for unit in UNITS if unit.casefold() == plain.casefold()), None)


def dose_in(dose: float, unit: str, target: str) -> float:
    """A dose in another unit of the same kind (moles, mass, share).

    Raises: UserError between kinds, for which the molar mass would be needed.

    >>> dose_in(300.0, "nM", "uM")
    0.3
    """
    (kind, size), (wanted, wanted_size) = UNITS[unit], UNITS[target]
    if kind != wanted:
        raise UserError(
            f"doses of one drug in units of one kind, such as {target}",
            unit,
            "Write all doses of a drug in moles or all in mass.",
        )
    return float(f"{dose * size / wanted_size:.12g}")


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
    where they are needed time (HH:MM:SS in the file, from which the line holds), pacing (beats a
    minute; empty or 0: none) and start (when the file begins: 2026-11-20 09:30:00, or 09:30:00).
    `files` are the recordings at hand, `wells` those of the plate; None: any. A drug is spelt as
    in its first line, and its doses are in the unit of that line.

    Raises: UserError that names every problem with its line: missing columns, unknown files and
    wells, units and numbers that cannot be read.
    """
    rows, marks = _rows(path)
    treatments: list[Treatment] = []
    problems: list[str] = []
    for line, row in rows:
        try:
            treatments.append(_treatment(line, row, marks))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
    problems += _strange_files(treatments, files)
    problems += _strange_wells(treatments, wells)
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


def _rows(path: Path) -> tuple[list[tuple[int, dict[str, str]]], set[str]]:
    """The lines with their numbers, and the marks that surely stand before decimals in them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        cure = "Check the path, and save the table as CSV (UTF-8)."
        raise UserError(f"a readable manifest at {path}", str(error), cure) from error
    header = text.partition("\n")[0]
    mark = max(";\t,", key=header.count)
    reader = csv.reader(io.StringIO(text), delimiter=mark)
    names = [name.strip().casefold() for name in next(reader, [])]
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise UserError(
            f"the columns {', '.join(NEEDED)} (and time, pacing where needed) in {path.name}",
            f"{', '.join(names) or 'an empty file'}: no {', '.join(missing)}",
            "Name the columns in the first line.",
        )
    rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    filled = [(line, dict(zip(names, row, strict=False))) for line, row in rows if any(row)]
    if not filled:
        cure = "Add one line for each recording."
        raise UserError(f"lines of data in {path.name}", "only a header", cure)
    blank = dict.fromkeys((*NEEDED, *OPTIONAL), "")
    numbers = [row.get(name, "") for _, row in filled for name in ("dose", "pacing")]
    proof = [one for one in numbers if not THOUSANDS.fullmatch(one)]
    marks = {point for point in ".," if any(re.fullmatch(rf"\d+\{point}\d+", one) for one in proof)}
    marks |= {"."} if mark == "," else set()
    return [(line, {**blank, **row}) for line, row in filled], marks


def _treatment(line: int, row: dict[str, str], marks: Collection[str]) -> Treatment:
    if not row["file"] or not row["well"]:
        raise ValueError("no file" if not row["file"] else "no well")
    no_drug = row["drug"].casefold() in NO_DRUG
    dose = 0.0 if no_drug and not row["dose"] else _number(row["dose"], "dose", marks)
    unit = known_unit(row["unit"])
    if dose < 0 or (no_drug and dose > 0):
        raise ValueError(f"a dose of {dose:g}" + (" without a drug" if no_drug else ""))
    if unit is None and (row["unit"] or dose > 0):
        raise ValueError(f"the unit {row['unit']!r} is none of {', '.join(UNITS)}")
    pacing = _number(row["pacing"], "pacing", marks) if row["pacing"] else 0.0
    if pacing < 0 or 0 < pacing < SLOWEST_BPM:
        hint = f" (in Hz? write {60 * pacing:g})" if pacing > 0 else ""
        raise ValueError(f"pacing {pacing:g} beats a minute{hint}")
    return Treatment(
        line,
        row["file"],
        well_name(row["well"]),
        "" if no_drug else row["drug"],
        dose,
        unit or "",
        _time_s(row["time"]),
        pacing or None,
        _start(row["start"]),
    )


def _number(text: str, what: str, marks: Collection[str]) -> float:
    plain = text.replace(",", ".")
    if not re.fullmatch(r"-?\d+(\.\d*)?([eE][+-]?\d+)?", plain):
        raise ValueError(f"the {what} {text!r} is no number")
    if THOUSANDS.fullmatch(text) and not any(mark in text for mark in marks):
        small = f"{float(plain):g}" if plain.endswith("000") else f"{plain}0"
        raise ValueError(f"the {what} {text!r}: write {plain.replace('.', '')} or {small}")
    return float(plain)


def _time_s(text: str) -> float:
    found = re.fullmatch(r"(?:(\d+):)?([0-5]?\d):([0-5]?\d(?:\.\d+)?)", text)
    if text and not found:
        raise ValueError(f"the time {text!r} is not written HH:MM:SS")
    if not found:
        return 0.0
    return int(found[1] or 0) * 3600 + int(found[2]) * 60 + float(found[3])


def _start(text: str) -> Stamp | None:
    if not text:
        return None
    dated = bool(re.search(r"\d\D+\d.*[T ]", text))
    found = read_stamp(text if dated else f"2000-01-01 {text}", "the manifest")
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
    """The lines with one spelling and one unit a drug."""
    first: dict[str, Treatment] = {}
    for row in rows:
        known = first.setdefault(row.drug.casefold(), row) if row.dose > 0 else row
        dose = dose_in(row.dose, row.unit, known.unit) if row.dose > 0 else row.dose
        yield replace(row, drug=known.drug, dose=dose, unit=known.unit)


def _nearest(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, [str(one) for one in known], n=2, cutoff=0.4)
    return f" (nearest: {', '.join(near)})" if near else ""
