"""The HTML page of one recording: complete in itself, offline, printable.

Pictures, data and script stand inside the page. Everything that comes from a user is escaped by
the template engine; the data block escapes `<` as JSON allows.
"""

from __future__ import annotations

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape
from PIL import Image

from ehtseg.measuring.quality import why_no_trace
from ehtseg.records import Array, in_words
from ehtseg.reporting.conclusions import measured_by
from ehtseg.reporting.embedded import as_address
from ehtseg.reporting.figures import label, parted, relaxed_level
from ehtseg.reporting.pauses import time_axis
from ehtseg.reporting.report import Report
from ehtseg.reporting.tables import cell

MOST_POINTS = 60_000  # of the zoomable trace; longer ones keep lowest and highest of each bin
MOMENTS = re.compile("(time|onset|t50|peak|end|event|low|high)_(s|frames)")  # in a recording
LARGEST_PX = 900  # longer side of the picture in the page
SMALL_PX = 400  # pictures are enlarged to about so much
BEAT_COLUMNS = (  # beginnings of the columns of beats.csv that stand in the page
    "beat", "onset", "t50", "peak", "end", "rr", "amplitude", "fs_pct", "fac_pct", "ttp10",
    "cd50_ms", "cd50_frames", "cd90_ms", "cd90_frames", "rt50", "accepted", "reason",
)  # fmt: skip
EFFECT_COLUMNS = (
    "event", "quantity", "verdict", "before", "after", "change_pct", "low_pct", "high_pct",
    "half_time_s", "recovered_pct", "reason",
)  # fmt: skip


def write_page(report: Report, path: Path, course: str = "") -> None:
    """The page of one recording; `course` is its figure as SVG (course.py), if it has one."""
    page = templates().get_template("recording.html.j2")
    context = {
        "report": report,
        "picture": as_data_url(report.picture),
        "data": inline_json(trace_data(report)),
        "beat_columns": beat_columns(report),
        "effect_columns": EFFECT_COLUMNS,
        "parameter_columns": list(report.parameters[0]) if report.parameters else [],
        "measured_by": measured_by(report.choice.name) if report.choice else "",
        "label": label(report.choice.name) if report.choice else "",
        "why_no_trace": why_no_trace(len(report.traces.time_s)),
        "movie": report.movie,
        "course": as_address(course) if course else "",
    }
    path.write_text(page.render(context), encoding="utf-8")


def beat_columns(report: Report) -> list[str]:
    """The columns of beats.csv that a page is wide enough for."""
    present = list(report.beats[0]) if report.beats else []
    return [name for name in present if name.startswith(BEAT_COLUMNS)]


def trace_data(report: Report) -> dict[str, Any]:
    """What the script draws: the trace, its relaxed line, beats, events and pauses."""
    finding, clock = report.finding, report.clock
    if finding is None or report.choice is None:
        return {}
    zero, scale = relaxed_level(finding), clock.tell("time_s", 1.0)[1]
    time_s, x = parted(finding.time_s, finding.x, MOST_POINTS)
    line = np.interp(time_s, finding.time_s, finding.baseline) - zero
    events = [[event.time_s, event.label] for event in report.events] if clock.is_known else []
    axis = time_axis(finding.time_s)
    return {
        "knots": [[_moment(at * scale) for at in knots] for knots in (axis.true_s, axis.drawn_s)],
        "pauses": [
            [_moment(start * scale), _moment(end * scale), in_words(lasted_s)]
            for start, end, lasted_s in axis.pauses()
        ],
        "time": [_moment(at) for at in time_s * scale],
        "x": [_number(level) for level in x - zero],  # null where the line ends
        "rest": [] if np.isnan(line).any() else _rounded(line),
        "beats": [
            [
                _moment(beat.t50_s * scale),
                _moment(beat.peak_s * scale),
                _number(float(np.interp(beat.peak_s, finding.time_s, finding.x)) - zero),
                beat.accepted,
                beat.reason,
            ]
            for beat in finding.beats
        ],
        "events": events,
        "xLabel": axis.label(clock.unit),
        "yLabel": label(report.choice.name),
    }


def as_data_url(picture: Array) -> str:
    """A picture, uint8 (H, W, 3), as the address of itself; a small one with larger pixels."""
    image = Image.fromarray(picture)
    times = max(1, SMALL_PX // max(image.size))
    image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
    image.thumbnail((LARGEST_PX, LARGEST_PX))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return as_address(file.getvalue(), "png")


def inline_json(content: dict[str, Any]) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element.

    >>> inline_json({"a": "</script>"})
    '{"a": "\\\\u003c/script>"}'
    """
    return json.dumps(content, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def shown(value: Any, name: str = "") -> str:
    """A value as a page shows it: four significant digits, words as they are.

    A moment, by the `name` of its column, has hundredths however late it is.

    >>> shown(0.123456), shown(float("nan")), shown(12345.6), shown(True)
    ('0.1235', '', '12346', 'yes')
    >>> shown(3600.599, "peak_s"), shown(3600.599, "amplitude_um")
    ('3600.60', '3601')
    """
    if isinstance(value, float) and math.isfinite(value):
        if abs(value) >= 100 and MOMENTS.fullmatch(name):
            return f"{value:.2f}"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(cell(value))


def templates() -> Environment:
    """The templates of this room, which escape all that they are given."""
    known = Environment(
        loader=PackageLoader("ehtseg.reporting", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html", "j2")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known.filters["shown"] = shown
    known.filters["breakable"] = breakable
    return known


def breakable(name: str) -> Markup:
    """A column's name that may go on in the next line after each underscore.

    >>> str(breakable("ttp10_ms"))
    'ttp10_<wbr>ms'
    """
    return escape(name).replace("_", Markup("_<wbr>"))


def _rounded(values: Array) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _moment(value: float) -> float | None:
    """A time to a tenth of a ms, however late it is."""
    return round(float(value), 4) if math.isfinite(value) else None


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
