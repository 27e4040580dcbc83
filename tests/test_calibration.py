"""Calibration scores against drawn truth with a known temperature, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ehtseg.learning.calibration import (
    Reliability,
    at_temperature,
    brier,
    brier_split,
    ece,
    fit_temperature,
    nll,
    nll_of,
    no_pixels,
    reliability,
    risk,
    scaled,
    tally,
    undecided,
)
from ehtseg.records import UserError

SHAPE = (12, 17)
probabilities = arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32, allow_subnormal=False))


def drawn_pair(temperature: float = 1.0, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities whose logits are `temperature` times too large for the truth drawn."""
    generator = np.random.default_rng(3)
    logits = generator.normal(0, 1.5, (n, n))
    truth = generator.random((n, n)) < 1 / (1 + np.exp(-logits))
    return (1 / (1 + np.exp(-temperature * logits))).astype(np.float32), truth


def test_brier_and_nll_by_hand_and_by_torch():
    probability, truth = drawn_pair(n=30)
    expected = torch.nn.functional.binary_cross_entropy(
        torch.from_numpy(probability), torch.from_numpy(truth).float()
    )
    assert nll(probability, truth) == pytest.approx(float(expected), rel=1e-5)
    assert brier(np.array([[0.8, 0.4]]), np.array([[True, False]])) == pytest.approx(0.1)
    certain_and_wrong = nll(np.array([[1.0]]), np.array([[False]]))
    assert certain_and_wrong == pytest.approx(-np.log(1e-7))


@given(probabilities)
@settings(max_examples=30, deadline=None)
def test_one_bin_error_equals_the_difference_of_means(probability):
    truth = np.indices(SHAPE).sum(0) % 3 == 0
    expected = abs(float(probability.astype(float).mean()) - truth.mean())
    assert ece(tally(probability, truth), bins=1) == pytest.approx(expected, abs=1e-9)


def test_ece_equals_split_of_sorted_pixels():
    probability, truth = drawn_pair(2.0)
    order = np.argsort(probability, axis=None, kind="stable")
    bins = zip(*(np.array_split(a.ravel()[order], 15) for a in (probability, truth)), strict=True)
    expected = np.mean([abs(p.mean(dtype=float) - t.mean()) for p, t in bins])
    assert ece(tally(probability, truth)) == pytest.approx(expected, rel=0.01)


def test_ece_of_known_bins():
    probability = np.repeat(np.float32([0.1, 0.6]), 50).reshape(10, 10)
    truth = np.repeat([False, True], 50).reshape(10, 10)
    diagram = reliability(tally(probability, truth))
    assert diagram.pixels.tolist() == [50, 50]
    assert diagram.predicted == pytest.approx([0.1, 0.6])
    assert diagram.observed == pytest.approx([0, 1])
    assert ece(tally(probability, truth)) == pytest.approx((0.1 + 0.4) / 2)


def test_tallies_add_up_over_images():
    one, two = drawn_pair(2.0, 40), drawn_pair(1.0, 60)
    together = tally(
        np.concatenate([one[0].ravel(), two[0].ravel()])[None],
        np.concatenate([one[1].ravel(), two[1].ravel()])[None],
    )
    added = tally(*one) + tally(*two)
    assert ece(added) == pytest.approx(ece(together), abs=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_is_found_and_mends_the_calibration(temperature):
    probability, truth = drawn_pair(temperature)
    found = fit_temperature(tally(probability, truth))
    assert found == pytest.approx(temperature, rel=0.02)
    mended = at_temperature(probability, found)
    assert ece(tally(mended, truth)) < 0.006
    assert nll(mended, truth) <= nll(probability, truth) + 1e-6
    np.testing.assert_array_equal(mended >= 0.5, probability >= 0.5)


@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_a_scaled_tally_equals_the_tally_of_scaled_pixels(temperature):
    probability, truth = drawn_pair(2.0, 100)
    pixelwise = at_temperature(probability, temperature)
    from_groups = scaled(tally(probability, truth), temperature)
    assert nll_of(from_groups) == pytest.approx(nll(pixelwise, truth), rel=1e-4)
    assert ece(from_groups) == pytest.approx(ece(tally(pixelwise, truth)), abs=1e-3)


def test_nothing_tallied_adds_nothing():
    counted = tally(*drawn_pair(n=20))
    assert ece(no_pixels() + counted) == ece(counted)


def test_temperature_of_one_class_is_refused():
    probability, _ = drawn_pair(n=10)
    with pytest.raises(UserError, match="both tissue and background"):
        fit_temperature(tally(probability, np.zeros((10, 10), bool)))


def test_undecided_share():
    probability = np.array([[0.05, 0.1, 0.11, 0.5, 0.89, 0.9, 1.0, 0.0]])
    assert undecided(probability) == 3 / 8
    assert undecided(probability, probability > 0.4) == 2 / 4
    assert np.isnan(undecided(probability, probability > 2))


def test_parts_of_the_brier_score_add_up_where_bins_are_single_probabilities():
    generator = np.random.default_rng(5)
    probability = np.repeat(np.float32([0.05, 0.2, 0.45, 0.8]), 100).reshape(20, 20)
    truth = generator.random((20, 20)) < 0.7 * probability
    parts = brier_split(reliability(tally(probability, truth)))
    whole = parts.reliability - parts.resolution + parts.uncertainty
    assert whole == pytest.approx(brier(probability, truth), abs=1e-6)
    assert parts.uncertainty == pytest.approx(truth.mean() * (1 - truth.mean()))


def test_calibration_is_mended_by_temperature_and_resolution_is_not_touched():
    probability, truth = drawn_pair(3.0)
    counted = tally(probability, truth)
    before = brier_split(reliability(counted))
    after = brier_split(reliability(scaled(counted, fit_temperature(counted))))
    assert after.reliability < 0.02 * before.reliability
    assert after.resolution == pytest.approx(before.resolution, abs=1e-9)


def test_who_tells_nothing_has_no_resolution():
    truth = np.arange(400).reshape(20, 20) % 4 == 0
    parts = brier_split(reliability(tally(np.full((20, 20), 0.9, np.float32), truth)))
    assert (parts.resolution, parts.reliability) == (0, pytest.approx(0.65**2))


def test_risk_of_known_bins():
    diagram = Reliability(
        *(np.array(each) for each in ([60, 30, 10], [0.01, 0.4, 0.9], [0.05, 0.5, 0.8]))
    )
    assert risk(diagram, 0.6) == pytest.approx(0.05)
    assert risk(diagram, 0.3) == pytest.approx(0.05), "a part of the surest bin"
    assert risk(diagram, 0.7) == pytest.approx((3 + 2) / 70), "then the bin at 0.9"
    assert risk(diagram, 1.0) == pytest.approx((3 + 2 + 15) / 100)


def test_risk_is_the_error_of_the_surest_pixels():
    probability, truth = drawn_pair(2.0)
    sure = np.abs(probability.astype(float) - 0.5)
    surest = sure >= np.quantile(sure, 0.4)
    expected = np.mean((probability >= 0.5)[surest] != truth[surest])
    assert risk(reliability(tally(probability, truth), 100), 0.6) == pytest.approx(
        expected, rel=0.02
    )
