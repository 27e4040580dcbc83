"""The units of doses, and of what else is given to a tissue."""

from __future__ import annotations

from ehtseg.records import UserError

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
