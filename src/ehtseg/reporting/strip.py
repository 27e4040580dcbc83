"""The trace under a movie: it runs past a line in the middle, which is the frame that is shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from ehtseg.records import Array
from ehtseg.reporting.figures import label, parted, relaxed_level
from ehtseg.reporting.report import Report
from ehtseg.seeing.render import scale_bar_um

Colour = tuple[int, int, int]

INK: Colour = (26, 26, 26)
GREY: Colour = (138, 138, 138)
BLUE: Colour = (0, 114, 178)  # accepted beats; told apart under every colour blindness
VERMILION: Colour = (213, 94, 0)  # rejected candidates
PERIODS, SHORTEST_S, LONGEST_S, USUAL_S = 6.0, 3.0, 20.0, 8.0  # that the strip is wide
OUTLIERS = (0.2, 99.8)  # percentiles of the trace that fit into the strip
TEXT_PX, ROOM_PX = 12, 18  # of the line of words above the trace
FINE = 4  # bits of a pixel's fraction in which OpenCV draws


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """The trace of one recording, ready to be drawn at any moment; times in s, levels above rest.

    `marks` are the candidates, numbered as in beats.csv: 50 % upstroke, peak, level of the peak,
    whether accepted. `range` are the levels at the lower and the upper edge. A level of NaN
    ends the line.
    """

    width: int
    height: int
    span_s: float
    time_s: Array
    level: Array
    marks: Array  # (N, 4)
    range: tuple[float, float]
    words: str
    unit: str  # of the time that is written
    per_s: float  # of these units

    @property
    def bar(self) -> float:
        """A round length, at most 60 % of the range, that is drawn as a scale."""
        return scale_bar_um(4 * 0.6 * (self.range[1] - self.range[0]))

    def at(self, now_s: float) -> Array:
        """The strip at one moment, uint8 (height, width, 3)."""
        canvas = np.full((self.height, self.width, 3), 255, np.uint8)
        middle = self.width // 2
        cv2.line(canvas, (middle, ROOM_PX), (middle, self.height), GREY, 1)
        near_s = self.span_s / 2
        first, stop = np.searchsorted(self.time_s, [now_s - near_s, now_s + near_s])
        shown = slice(max(first - 1, 0), stop + 1)
        self._draw_line(canvas, self.time_s[shown] - now_s, self.level[shown])
        self._draw_marks(canvas, now_s)
        if len(self.time_s):
            foot, top = (round(float(self._y(level))) for level in np.array([0.0, self.bar]))
            cv2.line(canvas, (5, foot), (5, top), GREY, 2)
        return self._with_words(canvas, now_s)

    def _draw_line(self, canvas: Array, since_s: Array, level: Array) -> None:
        points = np.stack([self._x(since_s), self._y(level)], 1)
        for part in np.split(points, np.flatnonzero(np.isnan(level))):
            seen = part[np.isfinite(part[:, 1])]
            fine = np.round(seen * 2**FINE).astype(np.int32)
            cv2.polylines(canvas, [fine[:, None]], False, INK, 1, cv2.LINE_AA, FINE)

    def _draw_marks(self, canvas: Array, now_s: float) -> None:
        near = np.abs(self.marks[:, 1] - now_s) < self.span_s / 2
        for t50_s, peak_s, level, accepted in self.marks[near]:
            x, y = round(float(self._x(peak_s - now_s))), round(float(self._y(level)))
            if not accepted:
                cv2.drawMarker(canvas, (x, y), VERMILION, cv2.MARKER_TILTED_CROSS, 8, 2)
                continue
            cv2.circle(canvas, (x, y), 4, BLUE, -1, cv2.LINE_AA)
            if np.isfinite(t50_s):
                foot = round(float(self._x(t50_s - now_s)))
                cv2.line(canvas, (foot, self.height - 7), (foot, self.height - 1), BLUE, 2)

    def _with_words(self, canvas: Array, now_s: float) -> Array:
        picture = Image.fromarray(canvas)
        draw = ImageDraw.Draw(picture)
        digits = 2 if self.unit == "s" else 0
        time = f"{now_s * self.per_s:.{digits}f} {self.unit}"
        draw.text((4, 2), self.words, INK, _font())
        if len(self.time_s):
            middle = float(self._y(np.array(self.bar / 2)))
            draw.text((10, middle), f"{self.bar:g}", GREY, _font(), "lm")
        draw.text((self.width - 4, 2), f"{time}{self._beat(now_s)}", INK, _font(), "ra")
        return np.asarray(picture)

    def _beat(self, now_s: float) -> str:
        """Which accepted beat began last, by its number in beats.csv."""
        begun = np.flatnonzero((self.marks[:, 3] > 0) & (self.marks[:, 0] <= now_s))
        return f", beat {begun[-1]}" if len(begun) else ""

    def _x(self, since_s: Array) -> Array:
        return np.asarray(self.width / 2 + np.asarray(since_s) * self.width / self.span_s)

    def _y(self, level: Array) -> Array:
        low, high = self.range
        free = self.height - ROOM_PX - 16
        return np.asarray(ROOM_PX + 5 + free * (high - np.asarray(level)) / (high - low))


def make_strip(report: Report, width: int, height: int) -> Strip:
    """The strip of a report, of so many pixels; without a trace it says so."""
    clock, finding = report.clock, report.finding
    told = clock.unit, clock.tell("time_s", 1.0)[1]
    if report.choice is None or finding is None:
        nothing = np.zeros(0)
        empty = np.zeros((0, 4))
        return Strip(width, height, USUAL_S, nothing, nothing, empty, (0.0, 1.0), "no trace", *told)
    level = finding.x - relaxed_level(finding)
    marks = [
        (b.t50_s, b.peak_s, float(np.interp(b.peak_s, finding.time_s, level)), float(b.accepted))
        for b in finding.beats
    ]
    span_s = float(np.clip(PERIODS * finding.period_s, SHORTEST_S, LONGEST_S))
    span_s = span_s if np.isfinite(span_s) else USUAL_S
    array = np.array(marks, float).reshape(-1, 4)
    low, high = (float(value) for value in np.percentile(level, OUTLIERS))
    shown = low, max(high, low + 1e-9)
    words = label(report.choice.name)
    time_s, line = parted(finding.time_s, level, len(level))
    return Strip(width, height, span_s, time_s, line, array, shown, words, *told)


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), TEXT_PX)
