"""Force: the beam formula, its uncertainty, and the traps that other tools fell into."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehtseg.measuring.force import (
    FlatPost,
    Measured,
    Post,
    RoundPost,
    area_moment_flat_mm4,
    area_moment_round_mm4,
    deflection_um,
    force_mN,
    legant_stiffness_mN_mm,
    post_force,
    stiffness,
    stress_round_mN_mm2,
    work_uJ,
)
from ehtseg.records import UserError


def exactly(value: float) -> Measured:
    return Measured(value, 0.0)


def round_post(diameter_mm: float = 1.0, modulus_kPa: float = 1700.0) -> Post:
    """The post of EHT-scope: PDMS of 1.7 MPa, 12 mm long, tissue at the tip."""
    section = RoundPost(exactly(diameter_mm))
    return Post(section, exactly(modulus_kPa), exactly(12.0), exactly(12.0))


def test_pulled_at_the_tip_it_is_the_textbook_cantilever() -> None:
    length = 12.0
    assert legant_stiffness_mN_mm(1700, 0.05, length, length) == pytest.approx(
        3 * 1700 * 0.05 / length**3
    )


def test_the_formula_is_that_of_bending_by_integration() -> None:
    modulus, moment, length, height = 2000.0, 0.02, 10.0, 7.0
    z = np.linspace(0, length, 200_001)
    curvature = np.maximum(height - z, 0) / (modulus * moment)  # of a load of 1 mN
    step = z[1] - z[0]
    slope = np.cumsum(curvature) * step
    tip_mm = float(np.sum(slope) * step)
    assert legant_stiffness_mN_mm(modulus, moment, length, height) == pytest.approx(
        1 / tip_mm, rel=1e-4
    )


def test_area_moments_by_counting_small_squares() -> None:
    x, y = np.meshgrid(*[(np.arange(800) + 0.5) / 400 - 1] * 2)
    cell = (x[0, 1] - x[0, 0]) ** 2
    in_round = x**2 + y**2 <= 0.8**2
    assert area_moment_round_mm4(1.6) == pytest.approx(np.sum(x[in_round] ** 2) * cell, rel=5e-3)
    in_flat = (abs(x) <= 0.25) & (abs(y) <= 0.75)
    assert area_moment_flat_mm4(1.5, 0.5) == pytest.approx(np.sum(x[in_flat] ** 2) * cell, rel=1e-2)


def test_a_post_of_known_numbers() -> None:
    """E 1.7 MPa, D 1 mm, L = a = 12 mm: k = 3 * 1.7e6 * (pi 1e-12 / 64) / 1.728e-6 N/m."""
    k_n_per_m = 3 * 1.7e6 * (np.pi * 1e-3**4 / 64) / (12e-3) ** 3
    assert stiffness(round_post()).value == pytest.approx(k_n_per_m)
    assert force_mN(np.array([500.0]), k_n_per_m)[0] == pytest.approx(k_n_per_m * 0.5)


def test_a_radius_taken_for_a_diameter_makes_16_times_the_force() -> None:
    """EHT-scope's default post radius of 1.0 mm for a post of radius 0.5 mm."""
    right = post_force(np.array([10.0]), 15.0, round_post(diameter_mm=1.0))
    wrong = post_force(np.array([10.0]), 15.0, round_post(diameter_mm=2.0))
    assert wrong.force_mN[0] / right.force_mN[0] == pytest.approx(16)
    radius, modulus, length = 0.5, 1.7, 12.0
    theirs_mN = 1000 * 3 * np.pi * modulus * radius**4 / (2 * length**2 * 2 * length) * 0.075
    assert right.force_mN[0] == pytest.approx(theirs_mN), "their formula with the true radius"


def test_the_modulus_that_the_user_sets_is_the_one_that_is_used() -> None:
    """EHT-scope calls its force function without the settings: always 1.7 MPa."""
    soft = post_force(np.array([10.0]), 15.0, round_post(modulus_kPa=850.0))
    stiff = post_force(np.array([10.0]), 15.0, round_post(modulus_kPa=1700.0))
    assert stiff.force_mN[0] == pytest.approx(2 * soft.force_mN[0])


def test_each_post_bends_by_half_of_what_their_distance_changes() -> None:
    assert deflection_um(np.array([8.0]), 4.0)[0] == 16.0


def test_force_without_a_scale_is_refused() -> None:
    with pytest.raises(UserError, match="um-per-px"):
        post_force(np.array([1.0]), None, round_post())


def test_force_from_geometry_is_labelled_uncalibrated() -> None:
    assert post_force(np.ones(2), 4.0, round_post()).label.startswith("uncalibrated")
    measured = replace(round_post(), stiffness_mN_mm=Measured(0.2, 0.01))
    force = post_force(np.array([100.0]), 4.0, measured)
    assert force.label.startswith("calibrated")
    assert force.force_mN[0] == pytest.approx(0.2 * 0.2)
    assert force.sd_mN[0] / force.force_mN[0] == pytest.approx(0.05)


def test_5_percent_in_the_diameter_are_20_percent_in_the_force() -> None:
    post = replace(round_post(), section=RoundPost(Measured(1.0, 0.05)))
    assert stiffness(post).share == pytest.approx(0.20)
    force = post_force(np.array([-10.0, 10.0]), 15.0, replace(post, um_per_px_share_sd=0.1))
    assert np.allclose(force.sd_mN, np.abs(force.force_mN) * np.hypot(0.2, 0.1))


@pytest.mark.parametrize(
    "section",
    [RoundPost(Measured(1.0, 0.02)), FlatPost(Measured(1.0, 0.03), Measured(0.4, 0.01))],
    ids=["round", "flat"],
)
def test_the_error_is_that_of_a_simulation(section: RoundPost | FlatPost) -> None:
    post = Post(section, Measured(1700, 85), Measured(12, 0.2), Measured(9, 0.3))
    draw = np.random.default_rng(1)

    def drawn(size: Measured) -> np.ndarray:
        return draw.normal(size.value, size.sd, 200_000)

    if isinstance(section, RoundPost):
        moment = np.pi * drawn(section.diameter_mm) ** 4 / 64
    else:
        moment = drawn(section.width_mm) * drawn(section.thickness_mm) ** 3 / 12
    length, height = drawn(post.length_mm), drawn(post.height_mm)
    k = 6 * drawn(post.modulus_kPa) * moment / (height**2 * (3 * length - height))
    assert stiffness(post).value == pytest.approx(k.mean(), rel=0.03)
    assert stiffness(post).sd == pytest.approx(k.std(), rel=0.05)


def test_doubts_are_told() -> None:
    stout = replace(round_post(), section=RoundPost(exactly(3.0)))
    (note,) = post_force(np.array([1.0]), 4.0, stout).notes
    assert "4.0 times as long as thick" in note
    (note,) = post_force(np.array([1000.0, np.nan]), 4.0, round_post()).notes
    assert "small bending" in note
    assert post_force(np.empty(0), 4.0, round_post()).notes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"length_mm": exactly(0.0)},
        {"modulus_kPa": exactly(-1.0)},
        {"height_mm": exactly(13.0)},
        {"section": RoundPost(Measured(1.0, float("nan")))},
        {"stiffness_mN_mm": exactly(0.0)},
    ],
    ids=str,
)
def test_a_post_that_cannot_be_is_refused(wrong: dict[str, Measured]) -> None:
    with pytest.raises(UserError, match=r"mm|kPa"):
        stiffness(replace(round_post(), **wrong))  # type: ignore[arg-type]


def test_work_and_stress() -> None:
    assert work_uJ(np.array([300.0]), np.array([100.0]), 0.2)[0] == pytest.approx(0.1 * 0.08)
    assert stress_round_mN_mm2(np.array([np.pi]), 2.0)[0] == pytest.approx(1.0)
