"""Tables, figures and pages of a report made by hand, whose every value is known."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from ehtseg.measuring.beats import find_beats
from ehtseg.measuring.events import Event
from ehtseg.measuring.quality import Flag
from ehtseg.measuring.traces import Agreement, Choice, Traces
from ehtseg.reporting.batch import write_batch
from ehtseg.reporting.conclusions import can_conclude, cannot_conclude
from ehtseg.reporting.figures import thinned, trace_figure, write_figures
from ehtseg.reporting.how import HOW, how
from ehtseg.reporting.page import (
    EFFECT_COLUMNS,
    as_data_url,
    inline_json,
    shown,
    trace_data,
    write_page,
)
from ehtseg.reporting.report import Clock, Report
from ehtseg.reporting.strip import make_strip
from ehtseg.reporting.tables import (
    quality,
    summary_row,
    write_json,
    write_rows,
    write_tables,
)
from twitches import regular_train

SECONDS, FRAMES = Clock(True, 30.0), Clock(False, 30.0)
EVIL = "</script><script>alert('α & β')</script>"


@pytest.fixture
def report() -> Report:
    """Eight beats or so at 30 frames/s, as a report; its name would break a careless page."""
    train = regular_train(1.0, 30, 8)
    x = train.x + np.random.default_rng(5).normal(0, 0.02, len(train.x))
    finding = find_beats(train.time_s, x)
    columns = {"contraction_px": x, "area_px": np.full(len(x), math.nan)}
    traces = Traces(train.time_s, columns, {"contraction_px": 0.02}, {}, None)
    beats = tuple(
        {"beat": n, "t50_s": beat.t50_s, "accepted": beat.accepted, "reason": beat.reason}
        for n, beat in enumerate(finding.beats)
    )
    number = {"parameter": "cd50_ms", "n": 8, "median": 300.0, "mean": 301.0, "sd": 2.0}
    number |= {
        "low95": 299.0,
        "high95": 303.0,
        "sd_masks": 1.5,
        "bias": 0.1,
        "resolution": math.nan,
        "how": "width",
    }
    return Report(
        name=EVIL,
        recording={
            "path": "a.avi", "n_frames": len(x), "height": 4, "width": 6, "fps": 30.0,
            "fps_source": "the file", "um_per_px": None, "um_per_px_source": "",
        },
        masks="somewhere",
        clock=SECONDS,
        traces=traces,
        choice=Choice("contraction_px", "it is the only one.", x, ()),
        finding=finding,
        beats=beats,
        parameters=(number,),
        windows=(),
        changes=({"name": "rr_s", "time_s": 4.5},),
        effects=(dict.fromkeys(EFFECT_COLUMNS, "Only 3 beats have a value."),),
        flags=(Flag("drift", "warning", "The trace drifts."),),
        can=("8 beats.",),
        cannot=("Lengths in um.",),
        events=(Event(3.0, "1 µM isoprenaline"), Event(99.0, "too late")),
        notes=("a note",),
        picture=np.full((4, 6, 3), 200, np.uint8),
        shown=0,
        made_with={
            "settings": {"threshold": 0.5, "measure": {"max_bpm": 360, "flow": True}},
            "versions": {"python": "3"},
        },
    )  # fmt: skip


class Page(HTMLParser):
    """Which elements a page has, what they point to, and whether every one is closed."""

    VOID = frozenset({"meta", "img", "link", "br", "wbr", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.addresses += [v or "" for k, v in attributes if k in ("src", "href", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_tables_hold_every_frame_beat_and_parameter(report: Report, tmp_path: Path) -> None:
    write_tables(report, tmp_path)
    frames = read(tmp_path / "frames.csv")
    assert len(frames) == len(report.traces.time_s)
    assert float(frames[30]["time_s"]) == pytest.approx(1.0)
    assert frames[0]["area_px"] == ""
    assert float(frames[7]["contraction_px"]) == pytest.approx(
        report.traces.columns["contraction_px"][7], rel=1e-6
    )
    beats = read(tmp_path / "beats.csv")
    assert len(beats) == len(report.beats)
    assert list(beats[0])[-2:] == ["accepted", "reason"]
    (row,) = read(tmp_path / "summary.csv")
    assert row["recording"] == EVIL
    assert (row["cd50_ms"], row["cd50_ms_low95"], row["cd50_ms_resolution"]) == ("300", "299", "")
    quality_record = json.loads((tmp_path / "qc.json").read_text())
    assert quality_record["flags"][0]["code"] == "drift"
    assert quality_record["cannot_be_concluded"] == ["Lengths in um."]


def test_no_line_is_drawn_through_a_gap(report: Report) -> None:
    assert report.finding is not None
    time_s = report.finding.time_s.copy()
    half = len(time_s) // 2
    time_s[half:] += 3600
    with_gap = replace(report, finding=replace(report.finding, time_s=time_s))
    data = trace_data(with_gap)
    assert len(data["time"]) == len(data["x"]) == len(data["rest"]) == len(time_s) + 1
    assert [k for k, level in enumerate(data["x"]) if level is None] == [half]
    assert data["time"] == sorted(data["time"])
    left = trace_figure(with_gap).axes[0]
    assert np.isnan(np.asarray(left.lines[0].get_ydata(), float)).sum() == 1
    strip = make_strip(with_gap, 400, 100).at(float(time_s[half]) - 1800)
    assert (strip[20:, 210:] == 255).all()


def test_an_event_is_written_inside_the_axes(report: Report) -> None:
    page = trace_figure(report)
    page.canvas.draw()
    left = page.axes[0]
    (words,) = left.texts
    box, legend = words.get_window_extent(), left.get_legend().get_window_extent()
    assert words.get_text() == " 1 µM isoprenaline "
    assert not box.overlaps(legend)
    assert box.y1 <= left.get_window_extent().y1 + 1
    highest = left.transData.transform((0, np.nanmax(left.lines[0].get_ydata())))
    assert box.y0 >= highest[1]


def test_a_long_event_costs_no_room(report: Report) -> None:
    label = "what was done, " * 9
    events = tuple(Event(at_s, label) for at_s in (0.1, 0.2, 8.0))
    page = trace_figure(replace(report, events=events))
    page.canvas.draw()
    left = page.axes[0]
    assert left.get_window_extent().height > 0.6 * page.bbox.height
    boxes = [words.get_window_extent() for words in left.texts]
    assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    assert boxes[2].x1 < left.get_window_extent().x1


@pytest.fixture
def late(report: Report) -> Report:
    """The same, three days later, as the last part of a joined recording."""
    assert report.finding is not None
    time_s = report.traces.time_s + 262800
    beats = tuple(
        replace(one, t50_s=one.t50_s + 262800, peak_s=one.peak_s + 262800)
        for one in report.finding.beats
    )
    finding = replace(report.finding, time_s=time_s, beats=beats)
    rows = tuple(
        {**row, "t50_s": one.t50_s, "peak_s": one.peak_s}
        for row, one in zip(report.beats, beats, strict=True)
    )
    traces = replace(report.traces, time_s=time_s)
    return replace(report, traces=traces, finding=finding, beats=rows)


def test_times_stay_exact_however_late_they_are(late: Report, tmp_path: Path) -> None:
    write_tables(late, tmp_path)
    times_s = [float(row["time_s"]) for row in read(tmp_path / "frames.csv")]
    assert times_s == pytest.approx(late.traces.time_s, abs=6e-4, rel=0)
    data = trace_data(late)
    assert data["time"] == pytest.approx(late.traces.time_s, abs=6e-5, rel=0)
    assert late.finding is not None
    write_page(late, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    for beat, row, drawn in zip(
        late.finding.beats, read(tmp_path / "beats.csv"), data["beats"], strict=True
    ):
        assert float(row["peak_s"]) == pytest.approx(beat.peak_s, abs=6e-4, rel=0)
        assert drawn[1] == pytest.approx(beat.peak_s, abs=6e-5, rel=0)
        assert f"<td>{beat.peak_s:.2f}</td>" in page, "what beats_edit.csv is told to hold"


def test_without_a_frame_rate_there_is_no_column_of_seconds(report: Report, tmp_path: Path) -> None:
    write_tables(replace(report, clock=FRAMES), tmp_path)
    assert "time_s" not in read(tmp_path / "frames.csv")[0]


def test_seconds_that_nobody_knows_are_told_to_be_made_up(report: Report, tmp_path: Path) -> None:
    other = Agreement("area_px", 9.0, 0.1, 90.0, 0.9, 0.1, 0.0)
    assert report.choice is not None
    choice = replace(report.choice, agreement=(other,))
    unknown = replace(report, clock=FRAMES, choice=choice)
    write_page(unknown, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "seconds counted as if at 30 frames/s" in page
    assert "<th>lag (frames)</th>" in page
    assert "<td>3</td>" in page
    told = quality(unknown)
    assert told["traces"][0]["lag_frames"] == pytest.approx(3)
    assert told["reasons"][-1] == "seconds counted as if at 30 frames/s"
    known = quality(replace(report, choice=choice))
    assert (known["traces"][0]["lag_s"], len(known["reasons"])) == (0.1, 1)


def test_json_has_no_nan_and_a_table_keeps_its_head_without_rows(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": [math.nan, {"b": math.inf}], "c": (1, "µ")})
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "a": [None, {"b": None}],
        "c": [1, "µ"],
    }
    write_rows(tmp_path / "a.csv", [], ("beat", "reason"))
    assert (tmp_path / "a.csv").read_text() == "beat,reason\n"


def test_rows_of_a_batch_with_other_columns_share_one_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [{"a": 1.0, "b": "x,y"}, {"a": 2.5, "c": True}])
    assert (tmp_path / "a.csv").read_text() == 'a,b,c\n1,"x,y",\n2.5,,yes\n'


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("rr_s", 1.0, ("rr_frames", 30.0)),
        ("cd50_ms", 100.0, ("cd50_frames", 3.0)),
        ("beat_rate_bpm", 60.0, ("beat_rate_per_1000_frames", 1000 / 30)),
        ("vmax_contraction_um_s", 30.0, ("vmax_contraction_um_frame", 1.0)),
        ("amplitude_um", 5.0, ("amplitude_um", 5.0)),
        ("cv_rr", 0.1, ("cv_rr", 0.1)),
    ],
)
def test_times_are_told_in_frames(name: str, value: float, told: tuple[str, float]) -> None:
    assert FRAMES.tell(name, value)[0] == told[0]
    assert FRAMES.tell(name, value)[1] == pytest.approx(told[1])
    assert SECONDS.tell(name, value) == (name, value)


def test_the_page_is_one_sound_document_that_needs_nothing_else(
    report: Report, tmp_path: Path
) -> None:
    write_page(report, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.elements.count("script") == 2
    assert [a for a in page.addresses if not a.startswith("data:")] == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert "alert('α" not in text
    for words in (
        "8 beats.",
        "Lengths in um.",
        "The trace drifts.",
        "a note",
        "threshold: 0.5; measure (max_bpm: 360; flow: True)",
        "cd50_ms",
        "width",
        "Only 3 beats",
    ):
        assert words in text


def test_the_page_says_how_to_read_beats_from_another_trace(report: Report, tmp_path: Path) -> None:
    write_page(report, tmp_path / "report.html")
    assert "--set measure.trace=" in (tmp_path / "report.html").read_text()


def test_the_data_in_the_page_are_those_of_the_trace(report: Report, tmp_path: Path) -> None:
    write_page(report, tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    assert found
    data = json.loads(found[1])
    assert len(data["time"]) == len(data["x"]) == len(report.traces.time_s)
    assert len(data["beats"]) == len(report.beats)
    assert data["events"][0] == [3.0, "1 µM isoprenaline"]


def test_a_report_without_a_trace_still_has_a_page_and_a_figure(
    report: Report, tmp_path: Path
) -> None:
    nothing = replace(report, choice=None, finding=None, beats=(), parameters=())
    write_page(nothing, tmp_path / "a.html")
    write_figures(nothing, tmp_path)
    assert Page((tmp_path / "a.html").read_text()).open == []
    assert trace_data(nothing) == {}
    assert quality(nothing)["verdict"] == summary_row(nothing)["verdict"] == "cannot tell"


def test_the_figures_open_and_show_beats(report: Report, tmp_path: Path) -> None:
    write_figures(report, tmp_path)
    ElementTree.parse(tmp_path / "trace.svg")
    svg = (tmp_path / "trace.svg").read_text()
    assert "accepted (" in svg
    assert "1 µM isoprenaline" in svg
    assert "too late" not in svg
    with Image.open(io.BytesIO((tmp_path / "trace.png").read_bytes())) as picture:
        assert picture.size == (2160, 750)
    left, right = trace_figure(report).axes
    assert left.get_ylabel() == "shortening (optical flow) (px)"
    assert len(right.lines) == len([b for b in report.beats if b["accepted"]]) + 1


def test_the_same_report_gives_the_same_svg(report: Report, tmp_path: Path) -> None:
    first = []
    for _ in range(2):
        write_figures(report, tmp_path)
        first.append((tmp_path / "trace.svg").read_bytes())
    assert first[0] == first[1]


def test_a_thinned_line_keeps_its_extremes() -> None:
    x = np.random.default_rng(0).normal(size=10_000)
    time_s, y = thinned(np.arange(10_000.0), x, 200)
    assert len(y) <= 200
    assert (y.min(), y.max()) == (x.min(), x.max())
    assert np.all(np.diff(time_s) > 0)


def test_the_batch_page_links_every_recording(tmp_path: Path) -> None:
    row = {"recording": EVIL, "verdict": "beating", "beats": 3, "rejected": 0}
    row |= {"trace": EVIL, "errors": 0, "warnings": 1, "beat_rate_bpm": 61.5}
    record = {"summary": row, "cannot_be_concluded": ["a", "b"]}
    write_batch([("a b#c", record)], tmp_path)
    page = Page((tmp_path / "index.html").read_text())
    assert page.open == []
    assert page.addresses == ["a%20b%23c/report.html"]
    assert "<title>1 recording</title>" in (tmp_path / "index.html").read_text()
    assert "61.5" in (tmp_path / "index.html").read_text()
    assert read(tmp_path / "summary.csv")[0]["beat_rate_bpm"] == "61.5"


@pytest.mark.parametrize(
    ("traces", "differ"),
    [
        (("contraction_um", "area_mm2"), True),
        (("contraction_um", "contraction_px"), False),
        (("extent_px", ""), False),
    ],
)
def test_the_batch_page_says_where_amplitudes_are_of_different_traces(
    tmp_path: Path, traces: tuple[str, ...], differ: bool
) -> None:
    rest = {"verdict": "beating", "beats": 3, "rejected": 0, "errors": 0, "warnings": 0}
    rows = [{"recording": str(n), "trace": trace, **rest} for n, trace in enumerate(traces)]
    records = [(row["recording"], {"summary": row, "cannot_be_concluded": []}) for row in rows]
    write_batch(records, tmp_path)
    page = (tmp_path / "index.html").read_text().replace("<wbr>", "")
    assert all(f"<td>{trace}</td>" in page for trace in traces)
    assert ("different traces" in page) == differ
    assert ("(area, contraction)" in page) == differ


def test_a_small_picture_is_enlarged_and_a_large_one_shrunk() -> None:
    for shape, seen in (
        ((16, 20), (400, 320)),
        ((300, 250), (250, 300)),
        ((3000, 1500), (450, 900)),
    ):
        address = as_data_url(np.zeros((*shape, 3), np.uint8)).removeprefix(
            "data:image/png;base64,"
        )
        with Image.open(io.BytesIO(base64.b64decode(address))) as picture:
            assert picture.size == seen


def test_inline_json_cannot_end_its_element() -> None:
    assert "</" not in inline_json({"a": EVIL})
    assert json.loads(inline_json({"a": EVIL})) == {"a": EVIL}


def test_every_phrase_is_found_under_its_own_name() -> None:
    assert [name for name in HOW if how(name) != HOW[name]] == []
    assert shown(None) == ""


def test_conclusions_name_what_is_missing(report: Report) -> None:
    unknown = cannot_conclude(report.traces, FRAMES, report.finding, (), report.events, False)
    assert "--fps" in " ".join(unknown)
    assert "--um-per-px" in " ".join(unknown)
    known = cannot_conclude(report.traces, SECONDS, report.finding, (), report.events, False)
    assert "“too late” at 99 s" in " ".join(known)
    assert "isoprenaline" not in " ".join(known)
    packed = Flag("compression", "warning", "The film looks strongly compressed.")
    told = cannot_conclude(report.traces, SECONDS, report.finding, [packed], report.events, False)
    assert packed.reason in told
    assert "nothing follows" in " ".join(can_conclude(SECONDS, None, None, None))
