"""Splits: published and hand-made counts, guards, what is refused, what is warned of."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import shared, write_labelled
from ehtseg.reading.blocks import counts_by_share, cut_in_time
from ehtseg.reading.dataset import Dataset, open_dataset
from ehtseg.reading.leakage import distance_between, nearest
from ehtseg.reading.pairs import LabelledFrame
from ehtseg.reading.pixels import EIGHT_BIT
from ehtseg.reading.splits import Split, split_dataset, split_from_json, whole
from ehtseg.recipe import DataRecipe
from ehtseg.records import UserError

DEFAULT = (0.72, 0.12, 0.16)


def made_up(recordings: dict[str, int], fps: float | None = 30) -> Dataset:
    """A dataset of names alone: splitting reads no file."""
    frames = tuple(
        LabelledFrame(
            Path(f"d/images/{name}_{i}.png"),
            Path(f"d/masks/{name}_{i}.png"),
            name,
            i,
            i / fps if fps else None,
            image_sha256=f"{name}{i}",
            mask_sha256=f"mask of {name}{i}",
        )
        for name, count in recordings.items()
        for i in range(count)
    )
    scalings = dict.fromkeys(recordings, EIGHT_BIT)
    return Dataset((Path("d"),), frames, (), "0" * 64, scalings, {})


def split(dataset: Dataset, how: str, seed: int = 0, **decisions: Any) -> Split:
    return split_dataset(dataset, DataRecipe.model_validate({"split": how, **decisions}), seed)


def names(dataset: Dataset, indices: Iterable[int]) -> set[str]:
    return {dataset.frames[i].recording for i in indices}


def sizes(found: Split) -> tuple[int, int, int, int]:
    return len(found.train), len(found.validation), len(found.test), len(found.unused)


def assert_partition(dataset: Dataset, found: Split) -> None:
    everything = [*found.train, *found.validation, *found.test, *found.unused]
    assert sorted(everything) == list(range(len(dataset)))


def test_the_blocks_of_200_frames_are_the_documented_ones() -> None:
    found = split(made_up({"a": 200}), "blocks", guard_frames=0)
    assert found.train == tuple(range(144))
    assert found.validation == tuple(range(144, 168))
    assert found.test == tuple(range(168, 200))


def test_a_guard_keeps_blocks_apart() -> None:
    dataset = made_up({"a": 200})
    found = split(dataset, "blocks", guard_frames=10)
    assert (found.train, found.validation) == (tuple(range(134)), tuple(range(144, 158)))
    assert found.unused == (*range(134, 144), *range(158, 168))
    assert_partition(dataset, found)
    assert any("35 frames (1.17 s)" in line for line in found.report)
    assert not any("instead of" in line for line in found.report)


def test_a_guard_that_eats_over_half_is_shortened_and_said() -> None:
    found = split(made_up({"a": 50}), "blocks", guard_frames=10)
    assert sizes(found) == (26, 3, 8, 13)  # 36 - 10, 6 - 3, 8
    said = [line for line in found.report if "instead of 10" in line]
    assert len(said) == 1
    assert "the guard before test is 3 frames" in said[0]


@given(
    numbers=st.lists(st.integers(0, 80), min_size=1, max_size=60),
    guard=st.integers(0, 20),
    shares=st.tuples(st.floats(0.1, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_blocks_are_ordered_apart_and_never_share_a_frame(
    numbers: list[int], guard: int, shares: tuple[float, float, float]
) -> None:
    sets, guards = cut_in_time(numbers, shares, guard)
    train, validation, test = ({numbers[i] for i in part} for part in sets)
    for early, late, kept in ((train, validation | test, guards[0]), (validation, test, guards[1])):
        assert kept <= guard
        if early and late:
            assert max(early) + kept < min(late)
    order = sorted(set(numbers))
    count = counts_by_share(len(order), shares)[0]
    assert 2 * sum(n in train for n in numbers) >= sum(n in order[:count] for n in numbers)


@given(n=st.integers(3, 2000), shares=st.tuples(*[st.floats(0.01, 1)] * 3))
def test_counts_follow_the_shares(n: int, shares: tuple[float, float, float]) -> None:
    counts = counts_by_share(n, shares)
    assert sum(counts) == n
    assert min(counts) >= 1
    ideal = n * np.array(shares) / sum(shares)
    if ideal.min() >= 1:
        assert np.abs(np.array(counts) - ideal).max() < 1


def test_whole_recordings_never_cross() -> None:
    dataset = made_up({f"r{i}": 5 + i for i in range(10)})
    for seed in range(5):
        found = split(dataset, "recording", seed)
        sets = [names(dataset, part) for part in (found.train, found.validation, found.test)]
        assert [len(each) for each in sets] == [7, 1, 2]
        assert not sets[0] & sets[1] | sets[0] & sets[2] | sets[1] & sets[2]
        assert_partition(dataset, found)
        assert found.warnings == ()
        assert "No recording is in training and in test." in found.report
    tests = {split(dataset, "recording", seed).test for seed in range(5)}
    assert len(tests) > 1, "the seed decides"


def test_training_gets_half_of_its_share_of_unequal_recordings() -> None:
    dataset = made_up({"long": 200, "b": 2, "c": 1, "d": 1})
    assert all("long" in names(dataset, split(dataset, "recording", s).train) for s in range(8))


def test_one_recording_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match="--split blocks") as caught:
        split(made_up({"only": 40}), "recording")
    assert "“only” (40 frames)" in caught.value.got


def test_two_recordings_leave_validation_to_the_training_film_and_say_so() -> None:
    dataset = made_up({"short": 20, "long": 70})
    found = split(dataset, "recording", guard_frames=3)
    assert names(dataset, found.train) == names(dataset, found.validation) == {"long"}
    assert names(dataset, found.test) == {"short"}
    assert sizes(found) == (57, 10, 20, 3)  # 60 - 3 by 0.72 to 0.12 of 70
    assert any("two recordings" in line for line in found.report)
    assert "in training and in validation: long" in found.warnings[0]
    without = split(dataset, "recording", shares=(0.8, 0.0, 0.2))
    assert (without.validation, without.warnings) == ((), ())


def test_random_counts_are_exact_as_in_the_paper() -> None:
    dataset = made_up({"film": 1500})
    found = split(dataset, "random", counts=(1240, 140, 100))
    assert sizes(found) == (1240, 140, 100, 20)
    assert_partition(dataset, found)
    assert "1 recording is in training and in test: film" in found.warnings[0]
    assert "near copies" in found.warnings[0]
    assert "measure memory" in found.warnings[0]
    assert any("training frame: 1 frame (0.0333 s)" in line for line in found.report)
    with pytest.raises(UserError, match=r"1240 \+ 140 \+ 100 = 1480 .* got 200 in d"):
        split(made_up({"film": 200}), "random", counts=(1240, 140, 100))


def test_counts_belong_to_the_random_split() -> None:
    with pytest.raises(UserError, match="--split random"):
        split(made_up({"a": 9, "b": 9, "c": 9}), "recording", counts=(9, 9, 9))


@pytest.mark.parametrize("decisions", [{"shares": (0.0, 0.5, 0.5)}, {"counts": (0, 2, 2)}])
def test_training_must_have_frames(decisions: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="frames for training"):
        split(made_up({"a": 9}), "random", **decisions)


def test_random_by_shares_of_independent_images_warns_of_nothing() -> None:
    dataset = made_up({f"r{i}": 1 for i in range(100)}, fps=None)
    found = split(dataset, "random")
    assert sizes(found) == (72, 12, 16, 0)
    assert found.warnings == ()
    assert sizes(split(dataset, "recording")) == (72, 12, 16, 0)
    with pytest.raises(UserError, match="--split recording"):
        split(dataset, "blocks")


def test_recordings_too_short_for_blocks_train() -> None:
    dataset = made_up({"a": 100, "still": 1})
    found = split(dataset, "blocks")
    assert 100 in found.train
    assert any("all for training: still" in line for line in found.report)


def test_a_draw_depends_on_names_and_seed_alone() -> None:
    dataset = made_up({"a": 30, "b": 30})
    turned = replace(dataset, frames=dataset.frames[::-1])
    for how in ("random", "recording", "blocks"):
        one, other = split(dataset, how), split(turned, how)
        assert {59 - i for i in one.test} == set(other.test)
        assert one.sha256 == other.sha256
    assert split(dataset, "random", 1).sha256 != split(dataset, "random", 2).sha256
    assert split(dataset, "random").test[:6] == (2, 9, 11, 14, 15, 21), "the same for all time"


def test_distances_are_the_smallest_of_each_recording() -> None:
    dataset = made_up({"a": 30, "b": 30}, fps=10)
    frames = dataset.frames
    assert distance_between(frames[:5], [frames[9], frames[40]]) == (5, pytest.approx(0.5))
    assert distance_between(frames[:5], frames[30:]) == (None, None)
    unknown = made_up({"a": 30}, fps=None).frames
    assert distance_between(unknown[:3], unknown[7:]) == (5, None)


@given(st.lists(st.integers(-50, 50), min_size=1), st.lists(st.integers(-50, 50), min_size=1))
def test_nearest_is_the_brute_force_minimum(these: list[int], those: list[int]) -> None:
    a, b = np.array(these), np.array(those)
    expected = np.abs(a[:, None] - b[None]).min(axis=1)
    np.testing.assert_array_equal(nearest(a, b), expected)


def test_the_same_image_under_two_names_is_warned_of() -> None:
    dataset = made_up({"a": 4, "b": 4, "copy": 4})
    frames = tuple(replace(f, image_sha256=f"{f.frame}") for f in dataset.frames)
    found = split(replace(dataset, frames=frames), "recording")
    assert "4 test images are the same files" in found.warnings[-1]


def test_whole_tests_every_frame() -> None:
    found = whole(made_up({"a": 4, "b": 2}))
    assert (found.test, found.train, found.warnings) == (tuple(range(6)), (), ())
    assert "No split" in found.report[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "data", {"a": 12, "b": 6, "c": 6}, size=16)


def stored(folder: Path) -> dict[str, Any]:
    text = json.dumps(split(open_dataset([folder]), "blocks", guard_frames=1).to_json())
    return json.loads(text)


def test_a_stored_split_comes_back_next_year(folder: Path, tmp_path: Path) -> None:
    before = split(open_dataset([folder]), "blocks", guard_frames=1)
    assert split_from_json(stored(folder), open_dataset([folder])) == before
    shutil.move(folder, tmp_path / "renamed")
    again = split_from_json(stored(tmp_path / "renamed"), open_dataset([tmp_path / "renamed"]))
    assert (again.train, again.test, again.sha256) == (before.train, before.test, before.sha256)


def test_other_data_than_stored_are_refused(folder: Path) -> None:
    found = stored(folder)
    shutil.copy(folder / "masks/a_0001.png", folder / "masks/a_0000.png")
    with pytest.raises(
        UserError, match=r"1 frame\(s\) \(a 0 a_0000.png\) missing or changed"
    ) as caught:
        split_from_json(found, open_dataset([folder]))
    assert "--split all" in caught.value.cure


def test_more_data_than_stored_are_refused(folder: Path, tmp_path: Path) -> None:
    found = stored(folder)
    more = write_labelled(tmp_path / "more", {"d": 2}, size=16)
    with pytest.raises(UserError, match=r"0 frame\(s\) missing or changed and 2 frame\(s\) \(d 0"):
        split_from_json(found, open_dataset([folder, more]))


def test_an_edited_split_is_refused(folder: Path) -> None:
    found = stored(folder)
    found["train"].append(found["test"].pop())
    with pytest.raises(UserError, match="edited"):
        split_from_json(found, open_dataset([folder]))


def test_the_real_recording_splits_as_its_readme_says() -> None:
    dataset = open_dataset([shared("data/eht_d1t3"), shared("data/demo_d1t3_256")])
    found = split(dataset, "blocks", guard_frames=0)
    blocks = found.train, found.validation, found.test
    cut = [{dataset.frames[i].frame for i in block} for block in blocks]
    assert cut == [set(range(144)), set(range(144, 168)), set(range(168, 200))]
    assert len(found.train) == 144 + 50, "the copies at half size stay with their originals"
