"""Statistics in words: every sentence follows from the numbers by the rules that stand here."""

from __future__ import annotations

import math

from ehtseg.study.intervals import Interval
from ehtseg.study.significance import ALPHA, MARGIN
from ehtseg.study.statistics import Contrast, verdict

DESCRIPTIVE = 10  # units below which a contrast describes these units and decides nothing
MANY = 10_000  # units beyond which no number is worth naming
ONE_TRAINING = "One training of a row decides nothing: another one may differ by as much."


def say_interval(found: Interval, digits: int = 4) -> str:
    """An estimate with its interval; zero has no minus.

    >>> say_interval(Interval(-0.00001, -0.92, 0.91234, 6, "t"))
    '0.0000 (-0.9200 to 0.9123)'
    """
    if math.isnan(found.low):
        return f"{found.estimate:z.{digits}f} ({found.method}: no interval)"
    return f"{found.estimate:z.{digits}f} ({found.low:z.{digits}f} to {found.high:z.{digits}f})"


def say_gap(found: Contrast) -> str:
    """A difference, and its interval where there is one."""
    gap = found.difference
    if math.isnan(gap.low):
        return f"{gap.estimate:+z.4f}"
    return f"{gap.estimate:+z.4f} ({_span(found)})"


def conclude(found: Contrast, first: str, second: str, unit: str = "recording") -> str:
    """What may be said of two rows, with what has to be kept in mind about so few units."""
    said = say_contrast(found, first, second, unit)
    careful = cautions(found.units, found.seeds, unit)
    return said if found.units < 2 else " ".join([said, *careful])


def say_contrast(found: Contrast, first: str, second: str, unit: str = "recording") -> str:
    """What may be said of two rows: which is higher, that they are equal, or that it is open."""
    n = _counted(found.units, unit)
    gap = found.difference.estimate
    if found.units < 2:
        return f"{first} against {second}: {gap:+z.4f} in one {unit}, which says nothing of others."
    seen = f"{gap:+z.4f}, 95 % interval {_span(found)}"
    numbers = f"{seen}; {n}, {_p(found)}"
    over = f"{_span(found)} over {n}"
    return {
        "higher": f"{first} is higher than {second} ({numbers}){_trifle(found)}.",
        "lower": f"{first} is lower than {second} ({numbers}){_trifle(found)}.",
        "equal": f"{first} and {second} are equal to within {MARGIN} ({numbers}).",
        "one training": f"{first} minus {second}: {gap:+z.4f} ({over}), one training each.",
        "open": f"{first} and {second} are not distinguishable with {n} "
        f"({seen}, {_p(found)}){_needed(found)}.",
    }[verdict(found)]


def cautions(units: int, seeds: int, unit: str = "recording") -> list[str]:
    """What has to be kept in mind about contrasts of so few units and trainings.

    >>> cautions(8, seeds=3)
    ['Descriptive: fewer than 10 recordings decide nothing.']
    >>> cautions(100, seeds=1, unit="image")
    ['One training of a row decides nothing: another one may differ by as much.']
    """
    said = []
    if 2 ** (1 - units) >= ALPHA:
        said.append(f"With {_counted(units, unit)} no test can reach p < {ALPHA}.")
    if seeds < 2:
        said.append(ONE_TRAINING)
    if units < DESCRIPTIVE:
        said.append(f"Descriptive: fewer than {DESCRIPTIVE} {unit}s decide nothing.")
    return said


def say_rate(found: Interval, what: str) -> str:
    """A rate as a count, with its interval.

    >>> say_rate(Interval(0.3, 0.1078, 0.6032, 10, "Wilson"), "runs collapsed")
    '3 of 10 runs collapsed (30 %, 95 % interval 11 to 60 %)'
    """
    count = round(found.estimate * found.units)
    return (
        (
            f"{count} of {found.units} {what} ({found.estimate:.0%}, "
            f"95 % interval {100 * found.low:.0f} to {found.high:.0%})"
        )
        .replace("%", " %")
        .replace("  %", " %")
    )


def about(n: int) -> str:
    """A number of units, rounded up to what can be meant by it.

    >>> about(6), about(34), about(128), about(787), about(20_000)
    ('6', 'about 35', 'about 130', 'about 790', 'more than 10,000')
    """
    if n < 10:
        return str(n)
    if n > MANY:
        return f"more than {MANY:,}"
    step = 5 if n < 100 else 10 ** (len(str(n)) - 2)
    return f"about {-(-n // step) * step:,}"


def _needed(found: Contrast) -> str:
    """What would show the difference that was seen, if it were the true one."""
    if found.error_seeds * math.sqrt(found.units) > found.sd_units:
        return "; the trainings differ more than the units do: more of them are needed"
    if found.units_needed is None:
        return ""
    wanted = max(found.units_needed, DESCRIPTIVE, _testable(found.family))
    if wanted <= found.units:
        return ""
    return f"; {about(wanted)} would be needed to show a difference of this size"


def _testable(family: int) -> int:
    """Units from which flips of signs can reach p < 0.05 for the best of a family.

    >>> _testable(1), _testable(21)
    (6, 10)
    """
    return math.floor(math.log2(family / ALPHA)) + 2


def _trifle(found: Contrast) -> str:
    return f", by less than {MARGIN}" if found.p_equal < ALPHA else ""


def _span(found: Contrast) -> str:
    return f"{found.difference.low:z.4f} to {found.difference.high:z.4f}"


def _p(found: Contrast) -> str:
    said = "p < 0.001" if found.p_holm < 0.001 else f"p = {found.p_holm:.2g}"
    return said if found.p_holm == found.p else f"{said} after Holm"


def _counted(n: int, unit: str) -> str:
    return f"{n} {unit}" if n == 1 else f"{n} {unit}s"
