"""Force from the bending of the posts that hold a tissue: beam formula, with its uncertainty.

Units fit without factors: kPa = mN/mm^2, so that stiffness is in mN/mm and force in mN. Geometry
and modulus are facts of the user's device and have no defaults. Force goes with the 4th power of a
round post's diameter: 5 % in the diameter is 20 % in the force.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from ehtseg.records import Array, UserError

SLENDER = 5.0  # length / thickness; a stouter post also shears, and the formula is too stiff
SMALL_BENDING = 0.1  # deflection / height of the tissue, up to which the formula is linear
STIFFNESS = "stiffness_mN_mm"
EXAMPLE = (
    "Write one line a size with its SD, for example  diameter_mm: [1.0, 0.05]  modulus_kPa: "
    "[1700, 170]  length_mm: [12, 0.1]  height_mm: [11, 0.3]."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """A positive number with its standard deviation, in the unit of the field it stands in."""

    value: float
    sd: float

    @property
    def share(self) -> float:
        """SD as a share of the value."""
        return self.sd / self.value


@dataclass(frozen=True, slots=True)
class RoundPost:
    """Cross-section of a round post: its DIAMETER, not its radius."""

    diameter_mm: Measured


@dataclass(frozen=True, slots=True)
class FlatPost:
    """Cross-section of a flat post: thickness along the bending, width across it."""

    width_mm: Measured
    thickness_mm: Measured


@dataclass(frozen=True, slots=True)
class Post:
    """A post, fixed at its foot; the tissue pulls at `height_mm` above it.

    `stiffness_mN_mm` where it was measured (mN/mm at the height of the tissue): then it is used,
    and the force is calibrated.
    """

    section: RoundPost | FlatPost
    modulus_kPa: Measured
    length_mm: Measured
    height_mm: Measured
    stiffness_mN_mm: Measured | None = None
    um_per_px_share_sd: float = 0.0  # SD of the scale, as a share of it


@dataclass(frozen=True, eq=False)
class PostForce:
    """Force on one post, with the SD from geometry, modulus and scale that all values share."""

    force_mN: Array
    sd_mN: Array
    stiffness_mN_mm: Measured
    calibrated: bool
    notes: tuple[str, ...]

    @property
    def label(self) -> str:
        """What stands beside every force that is shown."""
        if self.calibrated:
            return "calibrated: by the measured stiffness of the post"
        return "uncalibrated: from the post's geometry and modulus, no stiffness was measured"


def read_post(path: Path) -> Post:
    """A post from a YAML file: each size with its SD, in the units of the names.

    modulus_kPa, length_mm, height_mm; diameter_mm, or width_mm and thickness_mm; where it was
    measured stiffness_mN_mm; where it is known um_per_px_sd_pct. A size is written `[value, SD]`.

    Raises: UserError for a file that cannot be read, and for sizes that are missing, unknown or
    without an SD.
    """
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"a readable YAML file of a post at {path}", reason, EXAMPLE) from error
    said = dict(said) if isinstance(said, dict) else {}
    share = said.pop("um_per_px_sd_pct", 0)
    needed = {"modulus_kPa", "length_mm", "height_mm"}
    section = {"diameter_mm"} if "diameter_mm" in said else {"width_mm", "thickness_mm"}
    missing, strange = (needed | section) - set(said), set(said) - needed - section - {STIFFNESS}
    wrong = [f"no {name}" for name in sorted(missing)] + [f"{name}?" for name in sorted(strange)]
    wrong += [f"{name}: {value}" for name, value in said.items() if not _is_measured(value)]
    if wrong or isinstance(share, bool) or not isinstance(share, int | float) or share < 0:
        got = ", ".join(wrong) or f"um_per_px_sd_pct: {share}"
        raise UserError(f"the sizes of a post with their SD in {path.name}", got, EXAMPLE)
    sizes = {name: Measured(*map(float, value)) for name, value in said.items()}
    post = Post(
        _section(sizes),
        sizes["modulus_kPa"],
        sizes["length_mm"],
        sizes["height_mm"],
        sizes.get(STIFFNESS),
        share / 100,
    )
    stiffness(post)  # checks the sizes
    return post


def _section(sizes: dict[str, Measured]) -> RoundPost | FlatPost:
    if "diameter_mm" in sizes:
        return RoundPost(sizes["diameter_mm"])
    return FlatPost(sizes["width_mm"], sizes["thickness_mm"])


def _is_measured(value: Any) -> bool:
    numbers = isinstance(value, list) and len(value) == 2
    return numbers and all(isinstance(x, int | float) and not isinstance(x, bool) for x in value)


def area_moment_round_mm4(diameter_mm: float) -> float:
    """Second moment of area of a round post, mm^4: pi D^4 / 64."""
    return math.pi * diameter_mm**4 / 64


def area_moment_flat_mm4(width_mm: float, thickness_mm: float) -> float:
    """Second moment of area of a flat post, mm^4: w t^3 / 12, t along the bending."""
    return width_mm * thickness_mm**3 / 12


def legant_stiffness_mN_mm(
    modulus_kPa: float, area_moment_mm4: float, length_mm: float, height_mm: float
) -> float:
    """Stiffness of a post whose tip is watched while tissue pulls at `height_mm`, mN/mm.

    k = 6 E I / (a^2 (3 L - a)), a the height of the tissue and L the length of the post; at the
    tip (a = L) it is 3 E I / L^3.
    Source: Legant et al. 2009, PNAS 106:10097.

    >>> round(legant_stiffness_mN_mm(1700, area_moment_round_mm4(1.0), 12.0, 12.0), 4)
    0.1449
    """
    return 6 * modulus_kPa * area_moment_mm4 / (height_mm**2 * (3 * length_mm - height_mm))


def stiffness(post: Post) -> Measured:
    """Stiffness of a post in mN/mm with its SD: the measured one, else by Legant's formula.

    The SD follows from those of modulus and geometry, taken as independent, to first order.

    Raises: UserError for sizes that no post has.
    """
    _check(post)
    if post.stiffness_mN_mm is not None:
        return post.stiffness_mN_mm
    if isinstance(post.section, RoundPost):
        moment_mm4 = area_moment_round_mm4(post.section.diameter_mm.value)
        shares = [4 * post.section.diameter_mm.share]
    else:
        width, thickness = post.section.width_mm, post.section.thickness_mm
        moment_mm4 = area_moment_flat_mm4(width.value, thickness.value)
        shares = [width.share, 3 * thickness.share]
    length, height = post.length_mm.value, post.height_mm.value
    lever = 3 * length - height
    shares += [
        post.modulus_kPa.share,
        post.length_mm.share * 3 * length / lever,
        post.height_mm.share * (2 - height / lever),
    ]
    value = legant_stiffness_mN_mm(post.modulus_kPa.value, moment_mm4, length, height)
    return Measured(value, value * math.hypot(*shares))


def deflection_um(shortening_px: Array, um_per_px: float | None) -> Array:
    """Deflection of each of two like posts, um: half of what their distance is reduced by.

    Raises: UserError without a scale.
    """
    if um_per_px is None:
        raise UserError(
            "a scale, because force is stiffness times deflection in micrometres",
            "a recording of unknown um/px",
            "Give --um-per-px, from a stage micrometer or the known distance of the posts.",
        )
    return np.asarray(shortening_px, float) * um_per_px / 2


def force_mN(deflection_um: Array, stiffness_mN_mm: float) -> Array:
    """Force on a post, mN: stiffness x deflection."""
    return np.asarray(deflection_um, float) / 1000 * stiffness_mN_mm


def work_uJ(deflection_um: Array, rest_um: Array, stiffness_mN_mm: float) -> Array:
    """Work of a beat on one post, uJ: k / 2 (d^2 - d_rest^2), d from the unloaded post.

    mN mm = uJ.
    """
    tension, rest = np.asarray(deflection_um, float) / 1000, np.asarray(rest_um, float) / 1000
    return stiffness_mN_mm / 2 * (tension**2 - rest**2)


def stress_round_mN_mm2(force_mN: Array, width_mm: float) -> Array:
    """Stress in a tissue of round cross-section of this width, mN/mm^2: F / (pi (w / 2)^2)."""
    return np.asarray(force_mN, float) / (math.pi * (width_mm / 2) ** 2)


def post_force(shortening_px: Array, um_per_px: float | None, post: Post) -> PostForce:
    """Force on each post from how much nearer the two posts come, (N,) px, with its SD.

    `shortening_px` against the relaxed posts gives the active force, against the unloaded posts
    the whole one.

    Raises: UserError without a scale, and for sizes that no post has.
    """
    bent_um = deflection_um(shortening_px, um_per_px)
    known = stiffness(post)
    force = force_mN(bent_um, known.value)
    share = math.hypot(known.share, post.um_per_px_share_sd)
    calibrated = post.stiffness_mN_mm is not None
    notes = _doubts(post, bent_um, calibrated)
    return PostForce(force, np.abs(force) * share, known, calibrated, notes)


def _doubts(post: Post, bent_um: Array, calibrated: bool) -> tuple[str, ...]:
    said = []
    section = post.section
    thick = section.diameter_mm if isinstance(section, RoundPost) else section.thickness_mm
    slender = post.length_mm.value / thick.value
    if slender < SLENDER and not calibrated:
        said.append(
            f"The post is only {slender:.1f} times as long as thick: the beam formula gives too "
            "much force. Is the diameter perhaps a radius, or the other way round?"
        )
    most_mm = float(np.nanmax(np.abs(bent_um), initial=0.0)) / 1000
    if most_mm > SMALL_BENDING * post.height_mm.value:
        said.append(
            f"The post bends by {most_mm:.2g} mm, more than a tenth of the height at which the "
            "tissue pulls: the formula for small bending is no longer exact."
        )
    return tuple(said)


def _check(post: Post) -> None:
    section = post.section
    sizes = {"modulus_kPa": post.modulus_kPa, "length_mm": post.length_mm}
    sizes["height_mm"] = post.height_mm
    if isinstance(section, RoundPost):
        sizes["diameter_mm"] = section.diameter_mm
    else:
        sizes |= {"width_mm": section.width_mm, "thickness_mm": section.thickness_mm}
    if post.stiffness_mN_mm is not None:
        sizes["stiffness_mN_mm"] = post.stiffness_mN_mm
    for name, size in sizes.items():
        if not (0 < size.value < math.inf and 0 <= size.sd < math.inf):
            got = f"{size.value:g} ± {size.sd:g}"
            raise UserError(f"{name} above 0, with its SD", got, "Correct the post's geometry.")
    if post.height_mm.value > post.length_mm.value:
        raise UserError(
            f"tissue on the post, at most {post.length_mm.value:g} mm above its foot (length_mm)",
            f"height_mm {post.height_mm.value:g}",
            "Give both in mm from the foot of the post.",
        )
