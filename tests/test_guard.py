"""The guard: distances of masks with known answers, and what passes."""

from __future__ import annotations

import numpy as np
import pytest

from ehtseg.learning import guard as room
from ehtseg.learning.guard import LIMITS, Verdict, compare, guard, judge, spread
from ehtseg.nets.build import build
from ehtseg.recipe import NetRecipe
from ehtseg.records import Array
from ehtseg.seeing.ways import Way

WAY = Way("torch", "bf16")


def strip(rows: int, size: int = 100) -> Array:
    """Probability 0.9 in the upper `rows` rows, 0.1 below."""
    found = np.full((size, size), 0.1, np.float32)
    found[:rows] = 0.9
    return found


def shifted(rows: int) -> object:
    """An engine whose tissue ends `rows` lower than that of the reference, at row 50."""
    logits = np.where(strip(50 + rows) > 0.5, 2.0, -2.0).astype(np.float32)
    return lambda images_BCHW: np.repeat(logits[None], len(images_BCHW), 0)


def test_a_shift_of_one_row_is_measured_as_such() -> None:
    verdict = compare(strip(50), strip(51), None, 0.5)
    assert verdict.flipped_share == pytest.approx(0.01)
    assert verdict.dice_change == pytest.approx(1 - 2 * 50 / 101)
    # of the rim of the strip only the lower edge moves: by 1 px; the rest stays
    assert 0.2 < verdict.outline_px < 0.5
    assert verdict.probability_change == pytest.approx(0.8)


def test_against_a_true_mask_the_change_of_its_dice_counts() -> None:
    truth = strip(52) > 0.5
    verdict = compare(strip(50), strip(51), truth, 0.5)
    assert verdict.dice_change == pytest.approx(2 * 51 / 103 - 2 * 50 / 102)


def test_equal_masks_hold_and_a_lost_tissue_does_not() -> None:
    assert compare(strip(50), strip(50), None, 0.5).holds
    assert not compare(strip(50), strip(0), None, 0.5).holds
    assert compare(strip(0), strip(0), None, 0.5).holds


@pytest.mark.parametrize("name", list(LIMITS))
def test_each_limit_alone_stops_a_way(name: str) -> None:
    at_the_limit = dict(LIMITS)
    assert Verdict(3, **at_the_limit, probability_change=1.0).holds
    beyond = at_the_limit | {name: LIMITS[name] * 1.01}
    assert not Verdict(3, **beyond, probability_change=0.0).holds


def test_without_frames_nothing_holds() -> None:
    found = judge(shifted(0), {WAY: shifted(0)}, [], None, 0.5)
    assert not found[WAY].holds
    assert found[WAY].as_dict()["frames"] == 0


def test_means_are_over_frames_and_each_way_has_its_own() -> None:
    frames = [(np.zeros((100, 100), np.uint8), None)] * 3
    other = Way("openvino", "fp32")
    found = judge(shifted(0), {WAY: shifted(2), other: shifted(0)}, frames, None, 0.5)
    assert found[WAY].frames == 3
    assert found[WAY].flipped_share == pytest.approx(0.02)
    assert not found[WAY].holds
    assert found[other].holds


def test_a_network_without_a_graph_is_judged_for_torch_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = [Way("openvino", "bf16"), WAY, Way("torch", "fp32")]
    monkeypatch.setattr(room, "ways_here", lambda _: ways)
    net = build(NetRecipe(name="mednca_16"))
    told = guard(net, [(np.zeros((16, 16), np.uint8), None)], None, 0.5)
    assert list(told["ways"]) == ["torch bf16"]
    assert "draws random numbers" in told["no_graph"]


def test_frames_are_spread_from_the_first_to_the_last() -> None:
    assert spread(range(100), 3) == [0, 50, 99]
    assert spread([7, 9], 16) == [7, 9]
    assert spread([], 16) == []


def test_a_way_without_an_answer_does_not_hold() -> None:
    image = np.full((40, 40), 90, np.uint8)

    def sure(images_BCHW: Array) -> Array:
        return np.full(images_BCHW[:, 0].shape, 9.0, np.float32)

    def smaller(images_BCHW: Array) -> Array:
        return sure(images_BCHW)[:, :2]

    verdicts = judge(sure, {Way("openvino", "fp32"): smaller}, [(image, None)], None, 0.5)
    assert not verdicts[Way("openvino", "fp32")].holds
