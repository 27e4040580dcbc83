"""Clean and steady masks, against pictures whose answer can be counted by hand."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from ehtseg.records import Array, Frame
from ehtseg.seeing.clean import (
    GAP,
    MAX_HOLE,
    MIN_TISSUE,
    Cleaned,
    Tidied,
    as_it_is,
    clean,
    is_solid,
)
from ehtseg.seeing.steady import steadied, weights

SIDE = 100


def haze() -> Array:
    """A picture of a network that is never quite sure: 0.1 everywhere."""
    return np.full((SIDE, SIDE), 0.1, np.float32)


def with_tissue(rows: slice = np.s_[30:70], columns: slice = np.s_[10:90]) -> Array:
    """One tissue of 40 x 80 px."""
    picture = haze()
    picture[rows, columns] = 0.9
    return picture


def test_a_clean_mask_is_left_to_the_bit() -> None:
    picture = with_tissue()
    cleaned = clean(picture, 0.5)
    assert cleaned.probability is picture
    assert (cleaned.filled_px, cleaned.dropped_px, cleaned.open_px, cleaned.tissues) == (0, 0, 0, 1)


@given(arrays.arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 2), elements=st.integers(0, 1)))
def test_one_piece_without_a_hole_is_what_scipy_calls_so(mask: Array) -> None:
    pieces = ndimage.label(mask, np.ones((3, 3)))[1]
    is_filled = (ndimage.binary_fill_holes(mask) == mask).all()
    assert is_solid(mask) == (pieces == 1 and is_filled)


def test_nothing_stays_nothing() -> None:
    cleaned = clean(haze(), 0.5)
    assert cleaned.tissues == 0
    assert not (cleaned.probability >= 0.5).any()


def test_small_holes_are_filled_and_counted() -> None:
    picture = with_tissue()
    picture[40:50, 20:30] = 0.2
    picture[50, 60] = 0.4
    cleaned = clean(picture, 0.5)
    assert cleaned.filled_px == 101
    assert ((cleaned.probability >= 0.5) == (with_tissue() >= 0.5)).all()
    assert (cleaned.probability[40:50, 20:30] == 1).all()
    assert cleaned.raw is picture


@pytest.mark.parametrize(("side", "is_filled"), [(22, True), (25, False)])
def test_a_hole_as_large_as_a_share_of_the_tissue_stays_open(side: int, is_filled: bool) -> None:
    picture = with_tissue()
    picture[40 : 40 + side, 20 : 20 + side] = 0.2
    share = side**2 / (3200 - side**2)
    assert (share <= MAX_HOLE) == is_filled, "the test itself"
    cleaned = clean(picture, 0.5)
    assert (cleaned.filled_px, cleaned.open_px) == ((side**2, 0) if is_filled else (0, side**2))


def test_a_bay_and_what_the_edge_of_the_picture_cuts_are_no_holes() -> None:
    picture = with_tissue(columns=np.s_[0:90])
    picture[40:44, 0:6] = 0.2  # at the edge
    picture[60:70, 50:54] = 0.2  # open below
    assert clean(picture, 0.5).filled_px == 0


def test_specks_and_debris_are_dropped_and_counted() -> None:
    picture = with_tissue()
    picture[2, 2] = 0.8
    picture[10:20, 40:60] = 0.8  # 200 px: 6 % of the tissue
    cleaned = clean(picture, 0.5)
    assert (cleaned.dropped_px, cleaned.tissues) == (201, 1)
    assert ((cleaned.probability >= 0.5) == (with_tissue() >= 0.5)).all()


@pytest.mark.parametrize(("height", "tissues"), [(14, 2), (10, 1)])
def test_two_tissues_of_similar_size_are_kept(height: int, tissues: int) -> None:
    picture = with_tissue()
    picture[2 : 2 + height, 10:90] = 0.9
    assert (height / 40 >= MIN_TISSUE) == (tissues == 2), "the test itself"
    cleaned = clean(picture, 0.5)
    assert cleaned.tissues == tissues
    assert cleaned.dropped_px == (0 if tissues == 2 else 80 * height)


@pytest.mark.parametrize(("gap_px", "dropped_px"), [(1, 0), (8, 40 * 12)])
def test_a_thin_line_through_a_tissue_costs_nothing_of_it(gap_px: int, dropped_px: int) -> None:
    picture = with_tissue()
    picture[:, 78 - gap_px : 78] = 0.1  # the smaller piece has 480 px, a fifth of the other
    assert (gap_px <= GAP * SIDE) == (dropped_px == 0), "the test itself"
    cleaned = clean(picture, 0.5)
    assert (cleaned.tissues, cleaned.dropped_px) == (1, dropped_px)


def test_a_speck_inside_a_hole_goes_with_the_hole() -> None:
    picture = with_tissue()
    picture[40:50, 20:30] = 0.2
    picture[44:46, 24:26] = 0.9
    cleaned = clean(picture, 0.5)
    assert (cleaned.filled_px, cleaned.dropped_px) == (96, 0)
    assert (cleaned.probability[40:50, 20:30] == 1).all()


def test_notes_after_an_interruption_say_which_frames_they_count() -> None:
    tidied = Tidied(passed=300)
    tidied.add(Cleaned(haze(), haze(), filled_px=5))
    assert "1 of 1 frames after the interruption" in " ".join(tidied.notes())


def test_raw_masks_are_left_but_tissues_are_counted() -> None:
    picture = with_tissue()
    picture[40:50, 20:30] = 0.2
    picture[2:20, 10:90] = 0.9
    raw = as_it_is(picture, 0.5)
    assert raw.probability is picture
    assert (raw.filled_px, raw.dropped_px, raw.tissues) == (0, 0, 2)


@given(arrays.arrays(np.float32, (12, 17), elements=st.sampled_from([0.1, 0.5, 0.9])))
def test_any_picture_cleaned_twice_is_cleaned_once(picture: Array) -> None:
    once = clean(picture, 0.5)
    before, after = picture >= 0.5, once.probability >= 0.5
    assert int(after.sum()) == int(before.sum()) + once.filled_px - once.dropped_px
    assert after.any() == before.any(), "a tissue never vanishes"
    again = clean(once.probability, 0.5)
    assert (again.filled_px, again.dropped_px) == (0, 0)


# --- steady -----------------------------------------------------------------------------------


def recorded(levels: list[float]) -> Generator[tuple[Frame, Array], None, None]:
    image = np.zeros((2, 3), np.uint8)
    for index, level in enumerate(levels):
        yield Frame(index, index / 10, image), np.full((2, 3), level, np.float32)


@pytest.mark.parametrize("reach", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 3, 12])
def test_frames_keep_their_order_and_their_level(reach: int, count: int) -> None:
    out = list(steadied(recorded([0.7] * count), reach))
    assert [frame.index for frame, _ in out] == list(range(count))
    assert np.allclose([p for _, p in out], 0.7)


def test_the_mean_is_the_binomial_one_and_shifts_nothing() -> None:
    levels = [0.0] * 5 + [1.0] + [0.0] * 5
    found = [float(p[0, 0]) for _, p in steadied(recorded(levels), 2)]
    assert found[3:8] == pytest.approx([1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16])
    assert found == pytest.approx(found[::-1]), "symmetric in time"
    assert weights(2).sum() == 1


def test_at_the_ends_the_frames_that_are_there_share_the_weight() -> None:
    found = [float(p[0, 0]) for _, p in steadied(recorded([1.0, 0.0, 0.0]), 1)]
    assert found == pytest.approx([2 / 3, 1 / 4, 0])


def test_flicker_gets_less_by_the_expected_factor() -> None:
    rng = np.random.default_rng(3)
    levels = (0.5 + 0.01 * rng.standard_normal(400)).tolist()
    found = np.array([p[0, 0] for _, p in steadied(recorded(levels), 1)])
    expected = float(np.sqrt((weights(1) ** 2).sum()))
    assert found.std() / np.std(levels) == pytest.approx(expected, rel=0.1)


def test_what_is_not_asked_for_is_not_decoded() -> None:
    closed = []

    def frames() -> Generator[tuple[Frame, Array], None, None]:
        try:
            yield from recorded([0.1] * 50)
        finally:
            closed.append(True)

    stream = steadied(frames(), 2)
    next(stream)
    stream.close()
    assert closed == [True]
