"""Lyon's ear against the equations in plain loops and the Auditory Toolbox's numbers; BSA against its definition."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitspike.coding import Cochlea
from bitspike.coding.bsa import KERNEL, bsa
from bitspike.coding.lyon import STATE_LIMIT, TARGETS, TIME_CONSTANTS, cochleagrams, ear_filters
from bitspike.data.recordings import Audio
from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops.backend import native_available

BACKENDS = ["reference", "native"] if native_available() else ["reference"]
SMALL = Cochlea(n_steps=60, rate=4000, step=2.0, decimation=40, repeat=3)


def sounds(n: int, rate: int = 8000, seed: int = 0, loudness: float = 3000) -> Audio:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(200, 1500, n)
    return Audio.join([(rng.normal(size=k) * loudness).astype(np.int16) for k in lengths], rate)


def test_filters() -> None:
    sections, centres = ear_filters(12_500, 8.0, 0.25)
    assert sections.shape == (80, 6)
    assert len(centres) == Cochlea().n_channels == 78
    assert (np.diff(centres) < 0).all()
    assert 62 < centres[-1] < centres[0] < 6250
    z = np.exp(2j * np.pi * np.arange(1, 6250, 5)[:, None] / 12_500)
    response = np.ones(len(z), complex)
    for c, row in enumerate(sections):
        response *= ((row[:3] / z ** np.arange(3)).sum(axis=1)) / ((row[3:] / z ** np.arange(3)).sum(axis=1))
        assert (abs(np.roots(row[3:])) < 1).all()  # stable
        if c >= 2:
            frequency = centres[c - 2]
            gain = centres[max(c - 3, 0)] / centres[max(c - 2, 1)]
            assert row[:3].sum() / row[3:].sum() == pytest.approx(gain)
            if 5 < c < 75:
                assert 1 + 5 * abs(response).argmax() == pytest.approx(frequency, rel=0.25)


@pytest.mark.parametrize("backend", BACKENDS)
def test_agrees_with_the_auditory_toolbox(backend: str) -> None:
    """Values of LyonPassiveEar(x, 12500, 200), in millionths, every seventh channel of four of its 20 frames."""
    t = np.arange(4000) / 12_500
    chirp = 0.2 * np.sin(2 * np.pi * (200 * t + 6000 * t * t)) * np.hanning(4000)
    (frames,) = cochleagrams([chirp], 12_500, 8.0, 0.25, 200, 3.0, backend)
    assert frames.shape == (20, 78)
    expected = [
        [0.219, 1.068, 1.67, 2.275, 3.198, 4.705, 8.205, 34.526, 53.328, 50.035, 11.152, 0.167],
        [1.755, 4.365, 6.267, 8.073, 15.123, 69.888, 62.831, 44.425, 32.288, 23.115, 4.965, 0.28],
        [5.613, 8.506, 12.904, 69.945, 87.107, 48.685, 27.247, 16.275, 10.884, 7.437, 1.804, 0.21],
        [7.914, 10.994, 53.275, 94.923, 45.312, 20.618, 10.618, 6.105, 4.001, 2.702, 0.717, 0.108],
    ]
    assert np.allclose(frames[[5, 10, 15, 19], ::7] * 1e6, expected, rtol=5e-4, atol=1e-3)


def slow_ear(
    sound: np.ndarray, rate: int, ear_q: float, step: float, decimation: int, smoothing: float
) -> np.ndarray:
    """The same in float64, sample by sample and channel by channel."""
    sections, _ = ear_filters(rate, ear_q, step)
    n = len(sections)
    past = np.zeros((n, 4))  # x1 x2 y1 y2
    state = np.zeros((4, n))
    eps = [1 - np.exp(-1 / (rate * tau)) for tau in TIME_CONSTANTS]
    keep = np.exp(-1 / (smoothing * decimation))
    once, twice = np.zeros(n), np.zeros(n)
    line: list[np.ndarray] = [np.zeros(n), np.zeros(n)]
    frames = []
    for t, x in enumerate(sound):
        heard = np.zeros(n)
        for c, (b0, b1, b2, _, a1, a2) in enumerate(sections):
            x1, x2, y1, y2 = past[c]
            y = b0 * x + b1 * x1 + b2 * x2 - a1 * y1 - a2 * y2
            past[c] = x, x1, y, y1
            x = y
            heard[c] = max(y, 0)
        if t % decimation == 0:
            heard[:2] = 0
        for k in range(4):
            before = state[k].copy()
            for c in range(n):
                heard[c] *= 1 - before[c]
                around = before[max(c - 1, 0)] + before[c] + before[min(c + 1, n - 1)]
                state[k, c] = min(eps[k] / TARGETS[k] * heard[c] + (1 - eps[k]) / 3 * around, STATE_LIMIT)
        once = keep * once + np.maximum(np.append(0, heard[:-1] - heard[1:]), 0)
        twice = keep * twice + once
        line.append(twice * (1 - keep) ** 2)
        if t % decimation == decimation - 1:
            frames.append(line[-3][2:])
    return np.array(frames)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("rate", "ear_q", "step", "decimation", "smoothing", "loudness"),
    [(4000, 8.0, 1.0, 50, 3.0, 0.1), (12_500, 4.0, 0.7, 33, 1.0, 3.0), (8000, 8.0, 2.5, 4, 0.5, 0.001)],
)
def test_ear_is_the_slow_truth(
    rate: int, ear_q: float, step: float, decimation: int, smoothing: float, loudness: float, backend: str
) -> None:
    rng = np.random.default_rng(3)
    sound = rng.normal(size=403) * loudness
    (frames,) = cochleagrams([sound], rate, ear_q, step, decimation, smoothing, backend)
    truth = slow_ear(sound, rate, ear_q, step, decimation, smoothing)
    assert frames.shape == truth.shape
    assert truth.max() > 0
    assert np.allclose(frames, truth, rtol=1e-3, atol=1e-4 * truth.max())


@pytest.mark.skipif(not native_available(), reason="the native module was not built")
@pytest.mark.parametrize("n", [1, 7, 8, 19])
def test_native_ear_equals_the_reference(n: int) -> None:
    rng = np.random.default_rng(n)
    sounds = [rng.normal(size=k) * 10.0 ** rng.uniform(-5, 1) for k in rng.integers(0, 900, n)]
    sounds[0] = np.concatenate([rng.normal(size=300), np.zeros(900)])  # into silence
    reference, native = (
        cochleagrams(sounds, 8000, 8.0, 0.9, 37, 2.0, backend) for backend in ("reference", "native")
    )
    for one, other in zip(reference, native, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-5, atol=1e-12)


def test_a_named_back_end_runs_or_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="'fast' is not there"):
        cochleagrams([np.zeros(90)], 8000, 8.0, 0.9, 37, 2.0, "fast")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendError, match="'native' is not there"):
        cochleagrams([np.zeros(90)], 8000, 8.0, 0.9, 37, 2.0, "native")
    assert len(cochleagrams([np.zeros(90)], 8000, 8.0, 0.9, 37, 2.0)[0]) == 2


def slow_bsa(signal: np.ndarray, threshold: float, n_steps: int) -> list[int]:
    """Specification, section 7.3, to the letter, on a signal with its 24 zeros."""
    signal, times = signal.copy(), []
    for n in range(len(signal) - 24):
        z = signal[n : n + 24]
        if np.abs(z - KERNEL).sum() < np.abs(z).sum() - threshold:
            signal[n : n + 24] = z - KERNEL
            if n + 1 < n_steps:
                times.append(n + 1)
    return times


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    channels=st.integers(2, 5),
    repeat=st.integers(1, 12),
    threshold=st.sampled_from([0.0, 0.3, 0.6, 0.95]),
    n_steps=st.sampled_from([20, 90, 400]),
)
def test_bsa_is_its_definition(seed: int, channels: int, repeat: int, threshold: float, n_steps: int) -> None:
    rng = np.random.default_rng(seed)
    signals = [
        rng.gamma(0.6, 5e-4, (k, channels)).astype(np.float32) for k in rng.integers(0, 9, rng.integers(1, 4))
    ]
    found = bsa(signals, 2000.0, repeat, threshold, n_steps)
    assert len(found) == len(signals)
    for signal, spikes in zip(signals, found, strict=True):
        assert spikes.shape == (n_steps, channels)
        whole = np.concatenate(
            [np.repeat(signal.astype(np.float64) * 2000, repeat, axis=0), np.zeros((24, channels))]
        )
        for c in range(channels):
            assert np.nonzero(spikes[:, c])[0].tolist() == slow_bsa(whole[:, c], threshold, n_steps)


def test_bsa_rate_follows_the_signal() -> None:
    assert KERNEL.sum() == pytest.approx(1)
    levels = np.array([0.0, 0.1, 0.25, 0.5, 1.0])
    spikes = bsa([np.tile(levels / 2000, (100, 1))], 2000.0, 10, 0.6, 1024)[0]
    assert spikes[24:900].mean(axis=0) == pytest.approx(levels, rel=0.2)  # more by a sixth at this threshold


def test_encode_is_the_same_in_any_company() -> None:
    heard = sounds(40)
    together = SMALL.encode(heard)
    assert (together.n_steps, together.n_channels, len(together)) == (60, SMALL.n_channels, 40)
    assert together.steps.min() >= 1
    assert len(together.steps) > 200
    spikes = together.dense()
    assert spikes.sum() == len(together.steps)  # none twice
    again = SMALL.encode(heard[::-1])
    assert np.array_equal(again.dense()[::-1], spikes)
    for k in (0, 17, 39):
        alone = SMALL.encode(heard[k : k + 1])
        assert np.array_equal(alone.dense()[0], spikes[k])
        order = np.lexsort((alone.channels, alone.steps))
        assert np.array_equal(order, np.arange(len(order)))


def test_window_only_cuts() -> None:
    heard = sounds(3)
    long, short = (replace(SMALL, n_steps=n).encode(heard).dense() for n in (400, 20))
    assert np.array_equal(short, long[:, :20])
    assert long[:, 20:].any()


def test_stretch_fills_the_window() -> None:
    coding = replace(SMALL, stretch=True)
    heard = sounds(8)
    for spikes in coding.encode(heard).dense():
        assert 36 <= np.nonzero(spikes.any(axis=1))[0].max() < 60
    plain, stretched = SMALL.frames(heard), coding.frames(heard)
    assert {len(frames) for frames in stretched} == {20}
    for before, after in zip(plain, stretched, strict=True):
        assert after.mean() == pytest.approx(before.mean(), rel=0.2)
        assert before.min() <= after.min() <= after.max() <= before.max()
    same = replace(coding, n_steps=3 * len(plain[0]), repeat=3).frames(heard)[0]
    assert np.array_equal(same, plain[0])


def test_normalise_makes_loudness_irrelevant() -> None:
    heard = sounds(4, loudness=200)
    louder = Audio((heard.values * 16).astype(np.int16), heard.offsets, heard.rate)
    even = replace(SMALL, normalise=True)
    assert np.array_equal(even.encode(heard).dense(), even.encode(louder).dense())
    assert SMALL.encode(heard).steps.size != SMALL.encode(louder).steps.size


def test_resampling_keeps_the_tone_in_its_channel() -> None:
    coding = Cochlea(step=0.5)
    frames = []
    for rate in (8000, 12_500, 16_000):
        tone = np.sin(2 * np.pi * 1000 * np.arange(rate // 4) / rate) * 8000
        frames.append(coding.frames(Audio.join([tone.astype(np.int16)], rate))[0])
    centres = ear_filters(12_500, 8.0, 0.5)[1]
    for one in frames:
        assert centres[one[-1].argmax()] == pytest.approx(1000, rel=0.15)
        assert np.allclose(one[5:], frames[1][5:], atol=0.05 * frames[1].max())


def test_silence_and_the_shortest_sounds_have_no_spikes() -> None:
    quiet = Audio.join([np.zeros(900, np.int16), np.zeros(0, np.int16), np.ones(3, np.int16)], 8000)
    for coding in (SMALL, replace(SMALL, stretch=True, normalise=True)):
        spikes = coding.encode(quiet)
        assert (len(spikes), spikes.steps.size) == (3, 0)
    assert len(SMALL.encode(quiet[:0])) == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_steps": 1}, "n_steps"),
        ({"rate": 100}, "rate is 100; choose 2000 to 200000"),
        ({"decimation": 2}, "decimation"),
        ({"gain": float("nan")}, "gain is nan"),
        ({"threshold": 1.5}, "threshold"),
        ({"repeat": 0}, "repeat"),
        ({"step": 10.0, "ear_q": 1.0}, "channels"),
        ({"stretch": True, "repeat": 61}, "above the 60 steps"),
    ],
)
def test_refuses_settings(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_refuses_what_is_no_sound() -> None:
    with pytest.raises(DataError, match="hears sound; ndarray"):
        SMALL.encode(np.zeros((3, 4)))  # type: ignore[arg-type]


def test_rates_with_little_in_common_are_refused_before_a_filter_is_made() -> None:
    one = np.ones(4, np.int16)
    with pytest.raises(DataError, match="1048573 samples per second takes too much to resample to 4000"):
        SMALL.encode(Audio.join([one], 1_048_573))
    assert len(SMALL.encode(Audio.join([one], 44_099))) == 1
