"""Lyon's passive model of the ear: sound to the firing probability of the auditory nerve, channel by channel.

M. Slaney, "Lyon's Cochlear Model", Apple Technical Report 13, 1988; constants as in the Auditory Toolbox (Interval
Research TR 1998-010). Stages: outer and middle ear, a cascade of second-order sections from high to low frequency,
half-wave rectification, four stages of coupled gain control, difference of neighbours, smoothing, decimation.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import BackendError, UsageError

BREAK = 1000.0  # Hz; below it bandwidths stop shrinking with frequency
ZERO_OFFSET, SHARPNESS = 1.5, 5.0  # of a section's zeros against its poles
PREEMPHASIS = 300.0  # Hz
TARGETS = (0.0032, 0.0016, 0.0008, 0.0004)  # of the gain control's stages
TIME_CONSTANTS = (0.64, 0.16, 0.04, 0.01)  # s
STATE_LIMIT = 0.9  # of the gain control; the gain is one minus the state
FRONT = 2  # sections before the cascade; their outputs are dropped
DELAY = 2  # samples, of the smoothing

Floats = NDArray[np.float64]


def ear_filters(rate: int, ear_q: float, step: float) -> tuple[Floats, Floats]:
    """Second-order sections `(FRONT + channels, 6)`, rows b0 b1 b2 1 a1 a2, and the channels' frequencies in Hz.

    Channel c = 1, 2, … has frequency f(c) = (s e^(-c step / Q) - B^2 e^(c step / Q) / s) / 2 with s = f0 + sqrt(f0^2 +
    B^2), B = 1000 Hz, and bandwidth w(f) = sqrt(f^2 + B^2) / Q; f0 is rate / 2 less 0.5 step w(rate / 2). Poles:
    frequency f, quality f / w. Zeros: frequency g = f + 1.5 step w, quality 5 g / w. Gain at 0 Hz: f(c - 1) / f(c).
    Two sections stand before them, 1 - e^(-2 pi 300 / rate) / z, and zeros at +-1 with poles at f0 of the first
    channel's quality; both have gain 1 at rate / 4. Fewer than two channels raise `UsageError`.
    """

    def bandwidth(frequency: Floats | float) -> Floats:
        return np.asarray(np.sqrt(np.square(frequency) + BREAK**2) / ear_q)

    nyquist = rate / 2
    top = nyquist - float(bandwidth(nyquist)) * step * (ZERO_OFFSET - 1)
    low = BREAK / math.sqrt(4 * ear_q**2 - 1)
    start = top + math.hypot(top, BREAK)
    channels = int((math.log(start) - math.log(low + math.hypot(low, BREAK))) * ear_q / step)
    if channels < 2:
        raise UsageError(
            f"an ear at {rate} Hz, ear_q {ear_q}, step {step} has {channels} channels; make step smaller"
        )
    fall = np.exp(np.arange(1, channels + 1) * step / ear_q)
    centres = (start / fall - BREAK**2 * fall / start) / 2
    widths = bandwidth(centres)
    zeros = centres + widths * step * ZERO_OFFSET
    sections = np.zeros((FRONT + channels, 6))
    sections[:, 3] = 1
    sections[FRONT:, :3] = _resonance(zeros, SHARPNESS * zeros / widths, rate)
    sections[FRONT:, 3:] = _resonance(centres, centres / widths, rate)
    gains = np.append(centres[0] / centres[1], centres[:-1] / centres[1:])
    sections[FRONT:, :3] *= (gains / _response(sections[FRONT:], 1.0).real)[:, None]
    sections[0, 1:3] = 1, -math.exp(-2 * math.pi * PREEMPHASIS / rate)
    sections[1, :3] = 1, 0, -1
    sections[1, 3:] = _resonance(np.array([top]), centres[:1] / widths[:1], rate)
    sections[:FRONT, :3] /= abs(_response(sections[:FRONT], 1j))[:, None]
    return sections, centres


def _resonance(frequency: Floats, quality: Floats, rate: int) -> Floats:
    """Rows 1, -2 rho cos(theta), rho^2 of a conjugate pair of roots."""
    turn = 2 * math.pi * frequency / rate
    radius = np.exp(-turn / (2 * quality))
    angle = turn * np.sqrt(1 - 1 / (4 * quality**2))
    return np.stack([np.ones_like(radius), -2 * radius * np.cos(angle), radius**2], axis=1)


def _response(sections: Floats, z: complex) -> NDArray[np.complex128]:
    powers = np.array([1, 1 / z, 1 / z**2])
    return np.asarray((sections[:, :3] @ powers) / (sections[:, 3:] @ powers))


def cochleagrams(
    sounds: Sequence[Floats],
    rate: int,
    ear_q: float,
    step: float,
    decimation: int,
    smoothing: float,
    backend: str = "auto",
) -> list[NDArray[np.float32]]:
    """Nerve activity of each sound, `(floor(samples / decimation), channels)`, a frame every `decimation` samples.

    Sounds are amplitudes, full scale -1 to 1, at `rate` samples per second; all are held at once, as long as the
    longest. Smoothing is twice a low-pass of time constant smoothing * decimation samples, and two samples late.
    A sound's frames do not depend on the others. `backend`: "native", "reference", or "auto", native if it was built.
    """
    sections, _ = ear_filters(rate, ear_q, step)
    padded = np.zeros((len(sounds), max(len(sound) for sound in sounds)))
    for row, sound in enumerate(sounds):
        padded[row, : len(sound)] = sound
    eps = 1 - np.exp(-1 / (rate * np.array(TIME_CONSTANTS)))
    charge, spread = (eps / TARGETS).astype(np.float32), ((1 - eps) / 3).astype(np.float32)
    keep = math.exp(-1 / (smoothing * decimation))
    if _native_runs(backend):
        from bitspike import _native
        from bitspike.ops.native import default_threads

        threads, scale = default_threads(), (1 - keep) ** 2
        frames = _native.cochlea_nerve(
            padded, sections, charge, spread, STATE_LIMIT, keep, scale, FRONT, decimation, DELAY, threads
        )
    else:
        membrane = _membrane(padded, sections)
        membrane[::decimation, :FRONT] = 0  # as the Toolbox does: in the first sample of every frame only
        frames = _nerve(membrane, charge, spread, decimation, keep).transpose(2, 0, 1)
    return [one[: len(sound) // decimation] for one, sound in zip(frames, sounds, strict=True)]


def _native_runs(backend: str) -> bool:
    """Whether the native kernels run; a back end named but not there raises `BackendError`."""
    built = importlib.util.find_spec("bitspike._native") is not None
    if backend not in ("auto", "native", "reference") or (backend == "native" and not built):
        raise BackendError(f"backend {backend!r} is not there; use auto or reference")
    return built and backend != "reference"


def _membrane(sounds: Floats, sections: Floats) -> NDArray[np.float32]:
    """Half-wave rectified output of every section, `(samples, sections, sounds)`."""
    from scipy.signal import lfilter

    output = np.empty((sounds.shape[1], len(sections), len(sounds)), np.float32)
    for c, section in enumerate(sections):
        sounds = lfilter(section[:3], section[3:], sounds)
        np.maximum(sounds.T, 0, out=output[:, c], casting="same_kind")
    return output


def _nerve(
    membrane: NDArray[np.float32],
    charge: NDArray[np.float32],
    spread: NDArray[np.float32],
    decimation: int,
    keep: float,
) -> NDArray[np.float32]:
    """Gain control, difference and smoothing: `(frames, channels, sounds)`.

    Stage k with state s: y = x (1 - s), then s <- min(eps y / target + (1 - eps) (left + s + right) / 3, limit); the
    outer neighbours of the outer channels are themselves. Stage k works k samples behind, so that all four go at once.
    """
    _, channels, n = membrane.shape
    samples = len(membrane) // decimation * decimation
    stages = len(TARGETS)
    charge, spread = charge[:, None, None], spread[:, None, None]
    limit, unit, kept = np.float32(STATE_LIMIT), np.float32(1), np.float32(keep)
    state = np.zeros((stages, channels + 2, n), np.float32)  # a copy of the outer channel at either end
    inner = state[:, 1:-1]
    work, sums = np.zeros_like(inner), np.zeros_like(inner)
    now, after = (
        np.zeros((stages + 1, channels, n), np.float32),
        np.zeros((stages + 1, channels, n), np.float32),
    )
    rise = np.zeros((channels - FRONT, n), np.float32)
    once, twice = np.zeros_like(rise), np.zeros_like(rise)
    frames = np.zeros((len(membrane) // decimation, channels - FRONT, n), np.float32)
    for t in range(samples + stages - 1):
        if t < samples:
            now[0] = membrane[t]
        np.subtract(unit, inner, out=work)
        np.multiply(now[:-1], work, out=after[1:])
        np.add(state[:, :-2], inner, out=sums)
        np.add(sums, state[:, 2:], out=sums)
        np.multiply(sums, spread, out=sums)
        np.multiply(after[1:], charge, out=work)
        np.add(sums, work, out=sums)
        np.minimum(sums, limit, out=inner)
        state[:, 0], state[:, -1] = state[:, 1], state[:, -2]
        now, after = after, now
        done = t - stages + 1
        if done < 0:
            continue
        np.subtract(now[-1, FRONT - 1 : -1], now[-1, FRONT:], out=rise)
        np.maximum(rise, 0, out=rise)
        np.multiply(once, kept, out=once)
        np.add(once, rise, out=once)
        np.multiply(twice, kept, out=twice)
        np.add(twice, once, out=twice)
        if done % decimation == decimation - 1 - DELAY:
            np.multiply(twice, np.float32((1 - keep) ** 2), out=frames[done // decimation])
    return frames
