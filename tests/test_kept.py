"""One pass over a recording: kept on disk, gone on with after a break, and not made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehtseg.jobs import material, watch
from ehtseg.jobs.analyse import analyse
from ehtseg.jobs.kept import MADE_OF, Parts, Watched, joined, load, save
from ehtseg.jobs.recording import Facts
from ehtseg.jobs.sight import NOTHING
from ehtseg.recipe import make_recipe
from ehtseg.records import Array, Frame
from heartbeats import beating, phases, write_recording
from test_segment import dark_run

FRAMES, MASKS = beating(phases(130))
QUIET = {"movie": False, "uncertainty": "none"}


def pairs(passed: int = 0, broken_at: int | None = None) -> Iterator[tuple[Frame, Array]]:
    """The frames with their masks; none where they are passed; a power cut at some frame."""
    for k, (image, mask) in enumerate(zip(FRAMES, MASKS, strict=True)):
        if k == broken_at:
            raise KeyboardInterrupt
        yield Frame(k, k / 20, image), NOTHING if k < passed else mask


def watched(parts: Parts, *, broken_at: int | None = None) -> Watched:
    seen = pairs(parts.n_frames, broken_at)
    return watch.watch(seen, 0.5, len(FRAMES), parts, keep_masks=True)


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SEGMENT_FRAMES", 40)


def assert_same(a: Watched, b: Watched) -> None:
    assert a.columns.keys() == b.columns.keys()
    for name, values in a.columns.items():
        if values.dtype.kind == "U":
            assert values.tolist() == b.columns[name].tolist()
            continue
        # sums of single precision depend on where arrays lie in memory
        np.testing.assert_allclose(values, b.columns[name], rtol=1e-7, atol=1e-9, err_msg=name)
    assert (a.shown, a.axis) == (b.shown, b.axis)
    np.testing.assert_array_equal(a.image, b.image)
    np.testing.assert_array_equal(a.mask, b.mask)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Watched, list[Array]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watch, "SEGMENT_FRAMES", 40)
        parts = Parts(tmp_path_factory.mktemp("whole") / "parts", {})
        return watched(parts), list(parts.masks())


@pytest.mark.parametrize("broken_at", [5, 65, 101, 129])
def test_a_pass_that_was_cut_off_ends_as_if_it_had_not_been(
    tmp_path: Path, whole: tuple[Watched, list[Array]], broken_at: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        watched(Parts(tmp_path / "parts", {"film": 1}), broken_at=broken_at)
    parts = Parts(tmp_path / "parts", {"film": 1})
    assert parts.n_frames == 40 * max(0, (broken_at - 20) // 40)
    assert_same(watched(parts), whole[0])
    masks = list(parts.masks())
    assert len(masks) == len(FRAMES)
    assert all(np.array_equal(a, b >= 0.5) for a, b in zip(masks, MASKS, strict=True))


def test_parts_of_anything_else_are_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        watched(Parts(tmp_path / "parts", {"film": 1}), broken_at=101)
    assert Parts(tmp_path / "parts", {"film": 2}).n_frames == 0
    assert not (tmp_path / "parts").exists()


def test_what_is_saved_is_loaded(tmp_path: Path, whole: tuple[Watched, list[Array]]) -> None:
    save(whole[0], tmp_path / "a.npz")
    found = load(tmp_path / "a.npz")
    assert_same(found, whole[0])
    assert found.reference is not None
    assert whole[0].reference is not None
    assert found.reference.window == whole[0].reference.window
    assert found.reference.centre == whole[0].reference.centre
    without = Watched({"time_s": np.full(3, np.nan)}, None, None, 0, FRAMES[0], MASKS[0] > 0.5)
    save(joined([without, without], ("a note",)), tmp_path / "b.npz")
    again = load(tmp_path / "b.npz")
    assert (again.n_frames, again.is_timed, again.notes) == (6, False, ("a note",))
    assert again.axis is again.reference is None
    assert again.traces(None).time_s[3] == pytest.approx(0.1)


def test_an_edit_of_the_beats_is_no_reason_to_watch_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_recording(tmp_path, "film", FRAMES, MASKS)
    told: dict[str, Any] = {
        "run": dark_run(tmp_path / "run"),
        "recipe": make_recipe({"measure": QUIET}),
        "facts": Facts(fps=20),
    }
    (first,) = analyse([source], tmp_path / "out", **told)
    folder = tmp_path / "out" / "film"
    before = (folder / "frames.csv").read_text()
    (folder / "beats_edit.csv").write_text("action,time_s\nremove,2.6\n")

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("watched again")

    monkeypatch.setattr(material, "watch", never)
    (second,) = analyse([source], tmp_path / "out", **told)
    assert second.status == "done"
    assert first.record is not None
    assert second.record is not None
    assert second.record["summary"]["beats"] == first.record["summary"]["beats"] - 1
    assert second.record["notes"] == first.record["notes"]
    assert (folder / "frames.csv").read_text() == before
    assert (folder / "masks.tif").is_file()
    (folder / MADE_OF).unlink()
    with pytest.raises(AssertionError, match="watched again"):
        analyse([source], tmp_path / "out", **told)
