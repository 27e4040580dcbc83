"""What is known about one analysed recording, and in which unit its times are told."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ehtseg.measuring.beats import BeatFinding
from ehtseg.measuring.events import Event
from ehtseg.measuring.quality import Flag
from ehtseg.measuring.traces import Choice, Traces
from ehtseg.records import Array


@dataclass(frozen=True, slots=True)
class Clock:
    """In which unit times are told: seconds, or frames where nobody knows the frame rate.

    Inside, time is always in s; without a rate it is frame number / `nominal_fps`, and `tell`
    brings it back to frames.
    """

    is_known: bool
    nominal_fps: float

    def tell(self, name: str, value: float) -> tuple[str, float]:
        """A name with its unit of time and its value, as they are told.

        >>> Clock(True, 30.0).tell("cd50_ms", 300.0), Clock(False, 30.0).tell("cd50_ms", 300.0)
        (('cd50_ms', 300.0), ('cd50_frames', 9.0))
        >>> Clock(False, 30.0).tell("vmax_contraction_um_s", 60.0)
        ('vmax_contraction_um_frame', 2.0)
        """
        if self.is_known:
            return name, value
        fps = self.nominal_fps
        if re.search(r"_(um|px|mm2|pct)_s$", name):
            return f"{name.removesuffix('s')}frame", value / fps
        for suffix, factor in (("_ms", fps / 1000), ("_s", fps)):
            if name.endswith(suffix):
                return f"{name.removesuffix(suffix)}_frames", value * factor
        if name.endswith("_bpm"):
            return f"{name.removesuffix('_bpm')}_per_1000_frames", value * 1000 / (60 * fps)
        return name, value

    def caveat(self, sentences: tuple[str, ...]) -> tuple[str, ...]:
        """The same sentences, and where seconds in them are made up, one more that says so.

        >>> Clock(False, 30.0).caveat(("8 beats in 5.3 s",))
        ('8 beats in 5.3 s', 'seconds counted as if at 30 frames/s')
        """
        if self.is_known or not any(re.search(r"\d s\b", words) for words in sentences):
            return sentences
        return (*sentences, f"seconds counted as if at {self.nominal_fps:g} frames/s")

    @property
    def unit(self) -> str:
        """The unit of long times."""
        return "s" if self.is_known else "frames"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that is told about one recording; tables, figures and the page are made of it."""

    name: str
    recording: dict[str, Any]  # path, n_frames, height, width, fps, um_per_px, their sources
    masks: str  # where they come from, in words
    clock: Clock
    traces: Traces
    choice: Choice | None
    finding: BeatFinding | None
    beats: tuple[dict[str, Any], ...]  # one row a candidate, the columns of beats.csv
    parameters: tuple[dict[str, Any], ...]  # one row a parameter, the columns of kinetics.csv
    windows: tuple[dict[str, Any], ...]  # rows of windows.csv
    changes: tuple[dict[str, Any], ...]  # rows of changes.csv
    effects: tuple[dict[str, Any], ...]  # rows of effects.csv
    flags: tuple[Flag, ...]
    can: tuple[str, ...]  # what can be concluded
    cannot: tuple[str, ...]  # what cannot, and why
    events: tuple[Event, ...]
    notes: tuple[str, ...]
    picture: Array  # uint8 (H, W, 3): one frame with the outline of its mask
    shown: int  # the number of that frame
    made_with: dict[str, Any]  # settings, versions, hashes
    movie: str = ""  # name of the file beside the page, where there is one

    @property
    def verdict(self) -> str:
        """Beating, not beating, or cannot tell."""
        return self.finding.verdict if self.finding else "cannot tell"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why that is the verdict."""
        return self.clock.caveat(self.finding.reasons) if self.finding else ()
