"""Analytic twitch trains with known beats and known kinetics: the truth of the tests of measuring.

One beat of a train, contraction up, starts at its onset at the level x_on that the beat before
left behind, and follows (s = time since onset, R = rise time, P = peak value, B = resting level)

    raised cosine upstroke   x = x_on + (P - x_on) (1 - cos(pi s / R)) / 2             s <= R
    exponential upstroke     x = x_on + (P - x_on) (1 - exp(-k s / R)) / (1 - exp(-k)), k = 3
    relaxation               x = B + (P - B) exp(-(s - R) / tau)                       s > R

until the onset of the next beat. The relaxed level of a beat is x_on, its amplitude P - x_on, and
every crossing time follows from the inverse of these formulas. The first beat starts from B.
The peak has a corner (the upstroke ends flat or rising, the relaxation starts at full slope), the
exponential upstroke starts with a corner: harder for a camera than the rounded twitch of a tissue.

`errors` runs the package on a train and subtracts the truth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ehtseg.measuring.beats import find_beats
from ehtseg.measuring.kinetics import table_of_beats
from ehtseg.measuring.rhythm import intervals_s, rmssd_s

Array = np.ndarray[Any, np.dtype[Any]]
STEEPNESS = 3.0  # k of the exponential upstroke


@dataclass(frozen=True)
class Train:
    """A sampled train and everything that is true about it (times in s, one entry a beat)."""

    time_s: Array
    x: Array
    upstroke: Literal["cosine", "exponential"]
    rise_s: float
    tau_s: float
    onset_s: Array
    start: Array  # x_on of each beat
    top: Array  # P of each beat
    rest: float = 0.0

    @property
    def t50_s(self) -> Array:
        """Time of the 50 % upstroke of each beat."""
        return self.onset_s + self.up_s(0.5)

    @property
    def peak_s(self) -> Array:
        """Time of each peak."""
        return self.onset_s + self.rise_s

    def up_s(self, share: float) -> float:
        """Time from onset to `share` of the amplitude on the upstroke."""
        if self.upstroke == "cosine":
            return float(self.rise_s * np.arccos(1 - 2 * share) / np.pi)
        return float(-self.rise_s / STEEPNESS * np.log1p(-share * -np.expm1(-STEEPNESS)))

    def down_s(self, share: float) -> Array:
        """Time from peak back to `share` of the amplitude, of each beat."""
        level = self.start + share * (self.top - self.start) - self.rest
        return np.asarray(self.tau_s * np.log((self.top - self.rest) / level))

    def kinetics_ms(self) -> dict[str, float]:
        """The true kinetics of the median beat, in ms, named as in the table of beats."""
        down = {share: float(np.median(self.down_s(share))) for share in (0.1, 0.2, 0.5, 0.9)}
        up = {share: self.rise_s - self.up_s(share) for share in (0.1, 0.2, 0.5, 0.9)}
        truth = {
            "ttp10": up[0.1],
            "c50": up[0.5],
            "upstroke": up[0.1] - up[0.9],
            "rt50": down[0.5],
            "rt90": down[0.1],
            "cd10": up[0.9] + down[0.9],
            "cd50": up[0.5] + down[0.5],
            "cd80": up[0.2] + down[0.2],
            "cd90": up[0.1] + down[0.1],
        }
        return {f"{name}_ms": 1000 * value for name, value in truth.items()}


def make_train(
    onset_s: Array,
    time_s: Array,
    *,
    upstroke: Literal["cosine", "exponential"] = "cosine",
    rise_s: float = 0.15,
    tau_s: float = 0.12,
    amplitude: float | Array = 1.0,
    rest: float = 0.0,
) -> Train:
    """A noise-free train with beats that start at `onset_s`, sampled at `time_s`."""
    top = rest + np.broadcast_to(np.asarray(amplitude, float), onset_s.shape)
    start = np.full(onset_s.shape, float(rest))
    gap_s = np.diff(onset_s) - rise_s
    start[1:] = rest + (top[:-1] - rest) * np.exp(-gap_s / tau_s)
    empty = np.zeros_like(time_s, dtype=float)
    train = Train(time_s, empty, upstroke, rise_s, tau_s, onset_s, start, top, rest)
    return replace(train, x=_sample(train))


def regular_train(
    rate_hz: float, fps: float, n_beats: int = 60, *, phase: float = 0.5, **shape: Any
) -> Train:
    """A perfectly regular train; the recording starts `phase` periods before the first onset."""
    onset_s = (phase + np.arange(n_beats)) / rate_hz
    time_s = np.arange(round((n_beats + phase + 0.25) / rate_hz * fps)) / fps
    return make_train(onset_s, time_s, **shape)


def random_train(seed: int, fps: float, n_beats: int = 60, noise: float = 0.02) -> Train:
    """A regular train of random rate (0.5 to 3 Hz), phase and shape, with white noise.

    Rise time is 15 to 40 % of the period but 60 to 250 ms, tau such that 5 to 14 % of the
    amplitude is left at most when the next beat starts (or 200 ms, if that is shorter).
    """
    draw = np.random.default_rng(seed)
    rate_hz = draw.uniform(0.5, 3.0)
    rise_s = float(np.clip(draw.uniform(0.15, 0.4) / rate_hz, 0.06, 0.25))
    tau_s = min((1 / rate_hz - rise_s) / draw.uniform(2, 3), draw.uniform(0.06, 0.2))
    train = regular_train(
        rate_hz,
        fps,
        n_beats,
        phase=draw.uniform(0.3, 1.0),
        upstroke=draw.choice(["cosine", "exponential"]),
        rise_s=rise_s,
        tau_s=tau_s,
    )
    return with_noise(train, noise, seed)


def with_noise(train: Train, noise: float, seed: int) -> Train:
    """The same train with white noise of `noise` times the largest amplitude."""
    draw = np.random.default_rng([seed, 1])
    size = noise * float(np.max(train.top) - train.rest)
    return replace(train, x=train.x + draw.normal(0, size, train.x.shape))


def without_frames(train: Train, share: float, seed: int) -> Train:
    """The same train with a random `share` of its frames dropped."""
    keep = np.random.default_rng([seed, 2]).random(train.time_s.shape) >= share
    return replace(train, time_s=train.time_s[keep], x=train.x[keep])


def with_drift(train: Train, amplitudes: float) -> Train:
    """The same train on a slow drift: up by `amplitudes` amplitudes, in half a sine wave."""
    time = (train.time_s - train.time_s[0]) / np.ptp(train.time_s)
    size = amplitudes * float(np.median(train.top - train.start))
    return replace(train, x=train.x + size * np.sin(np.pi * time))


def fea_activation(noisy: bool = True, n_beats: int = 8, n_frames: int = 200) -> Array:
    """Activation of the finite-element tissue: max(-0.08 cos(8 x), 0 below 0.008) + AR(1) noise.

    x runs from 0 to 2 pi over the frames, so the maxima are at frames 12.44 + 24.875 n.
    Source: FEA_Synthetic_Microbundle.py of HibaKob/SyntheticMicroBundle (seed 100, r = 0.95).
    """
    phase = np.linspace(0, 2 * np.pi, n_frames)
    activation = -0.08 * np.cos(n_beats * phase)
    activation[activation < 0.008] = 0
    if not noisy:
        return activation
    white = np.random.default_rng(100).normal(0, 0.001, n_frames)
    walk = np.zeros(n_frames)
    walk[0] = white[0]
    for k in range(1, n_frames):
        walk[k] = 0.95 * walk[k - 1] + np.sqrt(1 - 0.95**2) * white[k]
    return activation + walk


def _sample(train: Train) -> Array:
    beat = np.searchsorted(train.onset_s, train.time_s, side="right") - 1
    known = np.maximum(beat, 0)
    since = train.time_s - train.onset_s[known]
    start, top = train.start[known], train.top[known]
    with np.errstate(over="ignore"):
        rising = start + (top - start) * _rise(train.upstroke, since / train.rise_s)
        falling = train.rest + (top - train.rest) * np.exp(-(since - train.rise_s) / train.tau_s)
    x = np.where(since <= train.rise_s, rising, falling)
    return np.where(beat < 0, train.rest, x)


def _rise(upstroke: str, share: Array) -> Array:
    if upstroke == "cosine":
        return (1 - np.cos(np.pi * share)) / 2
    return np.asarray(np.expm1(-STEEPNESS * share) / np.expm1(-STEEPNESS))


def compare(found_s: Array, true_s: Array, reach_s: float) -> tuple[int, int]:
    """Number of true beat times with no found one within `reach_s`, and of found with no true."""
    apart = np.abs(np.asarray(found_s)[:, None] - np.asarray(true_s)[None])
    if apart.size == 0:
        return len(true_s), len(found_s)
    missed = int(np.sum(np.min(apart, axis=0) > reach_s))
    return missed, len(found_s) - (len(true_s) - missed)


def errors(train: Train) -> dict[str, float]:
    """Measured minus true for a regular train: times in ms, amplitude in %, RMSSD in ms, beats.

    Of each column the median over the train's beats.
    """
    finding = find_beats(train.time_s, train.x)
    beats = finding.accepted
    rows = table_of_beats(finding.time_s, finding.x, beats)
    result = {
        name: float(np.nanmedian([row[name] for row in rows])) - true
        for name, true in train.kinetics_ms().items()
    }
    t50_s = np.array([beat.t50_s for beat in beats])
    size = float(np.median(train.top - train.start))
    result["amplitude_pct"] = 100 * (float(np.median([b.amplitude for b in beats])) / size - 1)
    result["rmssd_ms"] = 1000 * rmssd_s(intervals_s(t50_s))
    missed, extra = compare(t50_s, train.t50_s, 0.1)
    return {**result, "missed": missed, "extra": extra}
