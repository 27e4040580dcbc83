"""Every flag both ways: it is raised where it should be, and not where all is well."""

from __future__ import annotations

import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest

from ehtseg.measuring import quality
from ehtseg.measuring.looks import look
from ehtseg.measuring.quality import Flag
from ehtseg.measuring.traces import Agreement, Choice, Traces
from ehtseg.records import Array

RNG = np.random.default_rng(0)
TIME_S = np.arange(600) / 30
AREA = 5e4 * (1 - 0.04 * np.clip(np.sin(TIME_S * 6), 0, 1)) + RNG.normal(0, 100, 600)

ODD = 0.2 * (np.arange(600) % 5 == 0)


def altered(values: Array, where: object, new: float) -> Array:
    copy = np.array(values, float)
    copy[where] = new
    return copy


def choice(snr: float = 30, other: str = "major_axis_px", corr: float = 0.97, lag_s: float = 0.0):
    rows = (
        Agreement("contraction_px", 10, 10 / snr, snr, 1.0, 0.0, 0.0),
        Agreement(other, 10, 1, 10.0, corr, lag_s, 0.0),
    )
    return Choice("contraction_px", "", np.sin(TIME_S * 6), rows)


# what is wrong, its code, the severity, the frames or beats that it names; and the same when well
CASES = {
    "empty": (
        quality.empty_mask(altered(AREA, np.s_[10:13], 0)),
        ("empty_mask", "warning", ((10, 12),), ()),
        quality.empty_mask(AREA),
    ),
    "mostly empty": (
        quality.empty_mask(altered(AREA, np.s_[100:], np.nan)),
        ("empty_mask", "error", ((100, 599),), ()),
        quality.empty_mask(AREA),
    ),
    "torn": (
        quality.several_parts(altered(np.ones(600), [4, 9], 2)),
        ("several_parts", "warning", ((4, 4), (9, 9)), ()),
        quality.several_parts(altered(np.ones(600), [4], 0)),
    ),
    "at the border": (
        quality.border(["", "left", "left top", ""]),
        ("border", "warning", ((1, 2),), ()),
        quality.border([""] * 4),
    ),
    "jump": (
        quality.area_jump(altered(AREA, np.s_[50:], 4e4)),
        ("area_jump", "warning", ((50, 50),), ()),
        quality.area_jump(altered(AREA, [7], 0)),  # that is an empty mask, told elsewhere
    ),
    "out of focus": (
        quality.focus_change(np.where(TIME_S < 18, 1.0, 0.5) + RNG.normal(0, 0.03, 600)),
        ("focus_change", "warning", ((540, 599),), ()),
        quality.focus_change(1 + 0.3 * np.sin(TIME_S * 9) + RNG.normal(0, 0.05, 600)),
    ),
    "darker": (
        quality.brightness_change(np.where(TIME_S < 15, 120.0, 90.0)),
        ("brightness_change", "warning", ((450, 599),), ()),
        quality.brightness_change(120 + 5 * np.sin(TIME_S)),
    ),
    "gap": (
        quality.dropped_frames(np.delete(TIME_S, [20, 21])),
        ("dropped_frames", "warning", ((20, 20),), ()),
        quality.dropped_frames(TIME_S + RNG.uniform(-0.003, 0.003, 600)),
    ),
    "repeats": (
        quality.doubled_frames(altered(np.zeros(600), [5, 6], 1), TIME_S),
        ("doubled_frames", "warning", ((5, 6),), ()),
        quality.doubled_frames(np.zeros(600), TIME_S),
    ),
    "repeated time stamp": (
        quality.doubled_frames(np.zeros(600), altered(TIME_S, [8], TIME_S[7])),
        ("doubled_frames", "warning", ((8, 8),), ()),
        quality.doubled_frames(np.zeros(600), TIME_S),
    ),
    "frozen but where it moves": (
        quality.compression(ODD + 0.79, np.ones(600), np.zeros(600)),
        ("compression", "warning", (), ()),
        quality.compression(ODD + 0.8, np.ones(600), ODD > 0),  # whole pictures, told elsewhere
    ),
    "blocks": (
        quality.compression(np.full(600, 0.6), np.full(600, 3.0), np.zeros(600)),
        ("compression", "warning", (), ()),
        quality.compression(np.full(600, 0.6), np.full(600, 2.0), np.zeros(600)),
    ),
    "strange picture": (
        quality.unfamiliar(np.array([np.nan, 1.4, 1.2, 0.4])),
        ("unfamiliar", "warning", ((1, 2),), ()),
        quality.unfamiliar(np.array([np.nan, 0.7, 1.0, 0.4])),
    ),
    "noise": (
        quality.weak_signal(choice(snr=3)),
        ("weak_signal", "error", (), ()),
        quality.weak_signal(choice(snr=6)),
    ),
    "different story": (
        quality.disagreement(choice(corr=0.3), 1 / 30),
        ("disagreement", "warning", (), ()),
        quality.disagreement(choice(corr=0.9), 1 / 30),
    ),
    "late": (
        quality.disagreement(choice(lag_s=-0.2), 1 / 30),
        ("disagreement", "warning", (), ()),
        quality.disagreement(choice(corr=0.1, other="post_shortening_px"), 1 / 30),  # not a mask
    ),
    "drift": (
        quality.drift(10 * np.sin(TIME_S * 6) + 2 * TIME_S, TIME_S),
        ("drift", "warning", (), ()),
        quality.drift(10 * np.sin(TIME_S * 6) + 0.1 * TIME_S, TIME_S),
    ),
    "slow camera": (
        quality.few_frames_in_upstroke(np.array([3.0, 6.0, 4.0, np.nan])),
        ("few_frames_in_upstroke", "warning", (), (0, 2)),
        quality.few_frames_in_upstroke(np.array([6.0, 7.0, 4.0, np.nan])),
    ),
    "few beats": (
        quality.few_beats(3),
        ("few_beats", "warning", (), ()),
        quality.few_beats(5),
    ),
    "no beats": (
        quality.few_beats(0),
        ("few_beats", "error", (), ()),
        quality.few_beats(9),
    ),
    "cut beats": (
        quality.clipped_beats(["start", "", "", "end"]),
        ("clipped_beats", "note", (), (0, 3)),
        quality.clipped_beats(["", ""]),
    ),
    "lost": (
        quality.lost_flow(altered(np.full(600, 0.95), np.s_[300:400], 0.1)),
        ("lost_flow", "error", ((300, 399),), ()),
        quality.lost_flow(np.full(600, 0.7)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_flag_is_raised_where_it_should_be_and_only_there(name):
    flag, expected, well = CASES[name]
    assert isinstance(flag, Flag)
    assert (flag.code, flag.severity, flag.frames, flag.beats) == expected
    assert flag.reason[0].isupper() or flag.reason.startswith(("contraction_px", "2 of"))
    assert flag.reason.endswith(".")
    assert well is None
    json.dumps(asdict(flag))  # machine-readable as it is


def test_reasons_name_what_was_found():
    assert "(left, top)" in CASES["at the border"][0].reason
    assert "3 of 600 frames (0.5%), first in frame 10" in CASES["empty"][0].reason
    assert "0.1 s where 0.0333 s is usual, about 2 frames lost in all" in CASES["gap"][0].reason
    assert "start and end" in CASES["cut beats"][0].reason
    assert "2 of 3 frames" in CASES["strange picture"][0].reason
    assert "up to 1.4 times the limit" in CASES["strange picture"][0].reason


def test_frames_count_as_lost_only_where_some_are():
    steps = RNG.choice([0.025, 0.033, 0.055], 900, p=[0.3, 0.45, 0.25])
    mixed = quality.dropped_frames(np.cumsum(steps))
    assert "of up to 0.055 s where 0.033 s is usual" in mixed.reason
    assert "lost" not in mixed.reason, "a film of mixed steps lost none"
    apart = quality.dropped_frames(np.concatenate([TIME_S, TIME_S + 3600]))
    assert "(a pause of up to 3580 s)" in apart.reason
    assert "lost" not in apart.reason, "clips an hour apart lost none"
    both = quality.dropped_frames(np.concatenate([np.delete(TIME_S, [20, 21]), TIME_S + 3600]))
    assert "about 2 frames lost in all, a pause of up to 3580 s" in both.reason


@pytest.mark.parametrize("level", [2000.8, -2000.8, 1e5 / 3])
def test_rounding_is_no_drift(level):
    assert quality.drift(np.full(600, level), TIME_S) is None
    assert quality.drift(level + 1e-4 * TIME_S, TIME_S) is not None


def test_area_of_a_beating_tissue_is_no_jump_even_at_five_frames_a_second():
    beating = 5e4 * (1 - 0.08 * (np.arange(200) % 5 == 0))
    assert quality.area_jump(beating) is None
    assert quality.area_jump(np.zeros(5)) is None


def test_a_look_follows_blur_and_lamp_apart():
    texture = cv2.GaussianBlur(RNG.normal(120, 60, (80, 90)), (0, 0), 1)
    image = np.clip(texture, 0, 255).astype("u1")
    mask = np.ones((80, 90), bool)
    here = look(image, mask)
    blurred = look(cv2.GaussianBlur(image, (0, 0), 2), mask, image)
    darker = look(np.round(image * 0.7).astype("u1"), mask, image)
    assert blurred.sharpness < here.sharpness / 2
    assert blurred.brightness_grey == pytest.approx(here.brightness_grey, rel=0.02)
    assert darker.sharpness == pytest.approx(here.sharpness, rel=0.05)
    assert darker.brightness_grey == pytest.approx(0.7 * here.brightness_grey, rel=0.01)
    assert here.repeats is darker.repeats is False
    assert look(image, mask, image.copy()).repeats
    colour = look(np.repeat(image[..., None], 3, 2), mask)
    assert colour.brightness_grey == pytest.approx(here.brightness_grey, abs=0.5)
    nowhere = look(image, ~mask)
    assert np.isnan([nowhere.brightness_grey, nowhere.sharpness]).all()


def test_frames_without_tissue_are_neither_dark_nor_blurred():
    level = np.full(160, 100.0)
    level[20:60] = np.nan
    for flag in (quality.brightness_change, quality.focus_change):
        assert flag(level) is None
        assert flag(np.full(160, np.nan)) is None
        assert flag(np.where(np.arange(160) < 100, level, 200.0)) is not None


def noisy(size: int = 128) -> Array:
    grain = cv2.GaussianBlur(RNG.normal(0, 60, (size, size)), (0, 0), 1.5)
    return np.clip(120 + 4 * grain + RNG.normal(0, 2, grain.shape), 0, 255).astype("u1")


def test_a_look_sees_the_blocks_of_a_strong_compression():
    image, mask = noisy(), np.ones((128, 128), bool)
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 3])
    assert look(image, mask).blockiness == pytest.approx(1, abs=0.15)
    assert look(cv2.imdecode(packed, 0), mask).blockiness > 2.5
    assert np.isnan(look(np.full_like(image, 9), mask).blockiness)


def test_a_look_counts_the_tissue_that_does_not_change():
    before, mask = noisy(), np.zeros((128, 128), bool)
    image, mask[:, 28:] = before.copy(), True
    image[:, 103:] += 1
    assert look(image, mask, before).unchanged == pytest.approx(0.75)
    colours = [np.repeat(one[..., None], 3, 2) for one in (image, before)]
    assert look(colours[0], mask, colours[1]).unchanged == pytest.approx(0.75)
    assert np.isnan(look(image, mask).unchanged)
    assert np.isnan(look(image, ~(mask | True), before).unchanged)


def test_flags_of_a_recording_come_from_its_columns():
    columns = {
        "area_mm2": altered(AREA / 1e6, [3], 0),
        "parts": np.ones(600),
        "match": np.full(600, 0.2),
        "brightness_grey": np.full(600, 100.0),
        "sharpness": np.ones(600),
        "repeats": np.zeros(600),
        "unchanged": np.full(600, 0.99),
        "blockiness": np.ones(600),
    }
    found = Traces(TIME_S, columns, {}, {"touches": ("left",) * 600}, 4.0)
    codes = {flag.code for flag in quality.flags_of(found, choice())}
    assert codes == {"empty_mask", "border", "lost_flow", "compression"}
    assert {f.code for f in quality.flags_of(found, None)} == codes | {"no_trace"}
    fine = Traces(TIME_S, {"area_px": AREA}, {}, {"touches": ("",) * 600}, None)
    assert quality.flags_of(fine, choice()) == []


def test_frames_that_nobody_looked_at_are_not_strange():
    assert quality.unfamiliar(np.full(5, np.nan)) is None
