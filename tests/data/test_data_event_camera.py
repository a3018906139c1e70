from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bitspike import data
from bitspike.coding import EventBins
from bitspike.data.event_camera import TRIANGLE, UNIT, EventCamera
from bitspike.data.recordings import EVENT, Events
from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops.counter import mix64

IDEAL = EventCamera(mismatch=0.0, refractory_us=0, noise=0.0)
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 9, 7), dtype=np.uint8)


@pytest.fixture(scope="module", params=["reference", "native"])
def backend(request: Any) -> str:
    if request.param == "native":
        pytest.importorskip("bitspike._native", reason="the native module was not built")
    return str(request.param)


def recording(events: Events, k: int = 0) -> np.ndarray:
    return events.values[events.offsets[k] : events.offsets[k + 1]]


def counts(events: Events, k: int = 0) -> np.ndarray:
    """OFF and ON events of every pixel, `(2, h, w)`."""
    found = np.zeros((2, *events.sensor), np.int64)
    one = recording(events, k)
    np.add.at(found, (one["p"].astype(int), one["y"], one["x"]), 1)
    return found


def test_one_pixel_by_hand(backend: str) -> None:
    """The gaze moves one pixel to the left, so what is seen moves to the right; log intensity against thresholds."""
    camera = replace(IDEAL, path=((0, 0), (-1, 0)), saccade_us=1000, samples=1, threshold=0.5, offset=100.0)
    events = camera.record(np.array([[[255, 0, 0]]], np.uint8), backend=backend)
    change = np.log(355 / 100)  # 1.267, over 1000 us: two events at the pixel that brightens
    first, second = 1000 * 0.5 / change, 1000 * 1.0 / change
    assert recording(events).tolist() == [
        (int(np.ceil(first)), 0, 0, False), (int(np.ceil(first)), 1, 0, True),
        (int(np.ceil(second)), 0, 0, False), (int(np.ceil(second)), 1, 0, True),
    ]  # fmt: skip


def test_nothing_moves_nothing_happens(backend: str) -> None:
    still = replace(IDEAL, path=((1.5, -2), (1.5, -2)))
    assert len(still.record(IMAGES, backend=backend).values) == 0
    black = np.zeros((3, 9, 7), np.uint8)
    assert len(IDEAL.record(black, backend=backend).values) == 0
    assert len(IDEAL.record(IMAGES, backend=backend).values) > 100


def test_events_follow_the_brightness(backend: str) -> None:
    """Threshold times (ON - OFF) is within a threshold of the change of log intensity, pixel by pixel."""
    camera = replace(IDEAL, path=((0, 0), (2, 3), (-1, 2)), threshold=0.2)
    events = camera.record(IMAGES, backend=backend)
    log = np.log(IMAGES + camera.offset)
    seen = np.full(IMAGES.shape, np.log(camera.offset))
    seen[:, :-2, 1:] = log[:, 2:, :-1]  # at the end, gaze (-1, 2)
    for k in range(len(IMAGES)):
        off, on = counts(events, k)
        assert np.abs(camera.threshold * (on - off) - (seen[k] - log[k])).max() < camera.threshold + 1e-3


def test_inverted_motion_inverts_polarity(backend: str) -> None:
    """Where brightness only rises or only falls, the way back reports as many changes, of the other kind."""
    ramp = np.tile(np.arange(0, 250, 25, dtype=np.uint8), (1, 4, 1))
    there = replace(IDEAL, path=((0, 0), (3, 0)), threshold=0.1)
    back = replace(there, path=there.path[::-1])
    one, two = (counts(camera.record(ramp, backend=backend)) for camera in (there, back))
    assert one[:, :, :-3].sum() > 100
    assert np.array_equal(one[:, :, :-3], two[::-1, :, :-3])
    assert one[0, :, :-4].sum() == 0


def test_mirrored_image_and_path_mirror_the_events(backend: str) -> None:
    mirrored = replace(IDEAL, path=tuple((-x, y) for x, y in TRIANGLE))
    one = IDEAL.record(IMAGES, backend=backend)
    two = mirrored.record(np.ascontiguousarray(IMAGES[:, :, ::-1]), backend=backend)
    for k in range(len(IMAGES)):
        back = recording(two, k).copy()
        back["x"] = IMAGES.shape[2] - 1 - back["x"]
        assert np.array_equal(np.sort(back, order=["t", "y", "x", "p"]), recording(one, k))


def test_refractory_period(backend: str) -> None:
    camera = EventCamera(threshold=0.05, refractory_us=3000, noise=20.0)
    for k, events in [(k, camera.record(IMAGES, backend=backend)) for k in range(len(IMAGES))]:
        one = np.sort(recording(events, k), order=["y", "x", "t"])
        same = (np.diff(one["y"]) == 0) & (np.diff(one["x"]) == 0)
        assert same.sum() > 100
        assert np.diff(one["t"])[same].min() >= 3000
    free = replace(camera, refractory_us=0).record(IMAGES, backend=backend)
    assert len(free.values) > 1.5 * len(events.values)


def test_background_noise(backend: str) -> None:
    camera = replace(IDEAL, noise=5.0)
    events = camera.record(np.zeros((200, 10, 20), np.uint8), backend=backend)
    expected = 5.0 * 0.3 * 200  # of a recording
    lengths = np.diff(events.offsets)
    assert abs(lengths.mean() - expected) < 5 * np.sqrt(expected / 200)
    assert 0.7 < lengths.var() / expected < 1.4  # Poisson
    assert abs(events.values["p"].mean() - 0.5) < 0.02
    assert abs(events.values["t"].mean() / 300_000 - 0.5) < 0.02
    assert (events.values["t"].min(), events.values["t"].max()) > (0, 299_000)
    places = np.bincount(events.values["y"].astype(int) * 20 + events.values["x"], minlength=200)
    assert 0.7 < places.var() / places.mean() < 1.4
    assert len({recording(events, k)[:5].tobytes() for k in range(200)}) == 200


def test_thresholds_differ_by_the_mismatch() -> None:
    key = mix64(np.array([7], np.uint64))
    found = EventCamera(threshold=0.5, mismatch=0.2)._thresholds(key, 20_000) / UNIT
    assert found.shape == (2, 20_000)
    assert abs(found.mean() - 0.5) < 0.002
    assert abs(found.std() - 0.1) < 0.002
    assert abs(np.corrcoef(found)[0, 1]) < 0.03
    wild = EventCamera(threshold=0.5, mismatch=1.0)._thresholds(key, 20_000) / UNIT
    assert wild.min() >= 0.0499


def test_same_number_same_recording(backend: str) -> None:
    camera = EventCamera(noise=1.0)
    everything = camera.record(IMAGES, first=3, backend=backend)
    for k in range(len(IMAGES)):
        alone = camera.record(IMAGES[k : k + 1], first=3 + k, backend=backend)
        assert np.array_equal(alone.values, recording(everything, k))
    other = camera.record(IMAGES, first=4, backend=backend)
    assert not np.array_equal(other.values, everything.values)
    reseeded = replace(camera, seed=1).record(IMAGES, first=3, backend=backend)
    assert not np.array_equal(reseeded.values, everything.values)


SETTINGS = st.builds(
    EventCamera,
    path=st.lists(st.tuples(st.floats(-6, 6), st.floats(-6, 6)), min_size=2, max_size=4).map(tuple),
    saccade_us=st.integers(9, 200_000), samples=st.integers(1, 9), threshold=st.floats(0.03, 2),
    mismatch=st.floats(0, 1), offset=st.floats(1, 300), refractory_us=st.integers(0, 20_000),
    noise=st.floats(0, 100), seed=st.integers(0, 2**63 - 1),
)  # fmt: skip
PICTURES = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 20)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 3, 120, 255]))
)


@settings(max_examples=150)
@given(camera=SETTINGS, images=PICTURES, first=st.integers(0, 10**6))
def test_fuzz_native_equals_reference(camera: EventCamera, images: np.ndarray, first: int) -> None:
    """The same events, sorted, in the recording's time and on the sensor."""
    events = camera.record(images, first, "reference")
    assert events.sensor == images.shape[1:]
    assert events.values.dtype == EVENT
    for k in range(len(images)):
        one = recording(events, k)
        keys = [tuple(row) for row in one[["t", "y", "x", "p"]].tolist()]
        assert all(a <= b for a, b in pairwise(keys))
        assert (one["t"] > 0).all()
        assert (one["t"] <= camera.duration_us).all()
        assert (one["x"] >= 0).all()
        assert (one["x"] < images.shape[2]).all()
        assert (one["y"] >= 0).all()
        assert (one["y"] < images.shape[1]).all()
    pytest.importorskip("bitspike._native", reason="the native module was not built")
    native = camera.record(images, first, "native")
    assert np.array_equal(native.values, events.values)
    assert np.array_equal(native.offsets, events.offsets)


def test_every_instruction_set_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    native = pytest.importorskip("bitspike._native", reason="the native module was not built")
    camera = EventCamera(threshold=0.1, noise=10.0)
    expected = camera.record(IMAGES, backend="reference")
    kernel = native.event_camera
    for isa in native.instruction_sets():
        monkeypatch.setattr(native, "event_camera", partial(kernel, isa=isa))
        assert np.array_equal(camera.record(IMAGES, backend="native").values, expected.values)


@settings(max_examples=300)
@given(
    wrong=st.dictionaries(
        st.sampled_from(["saccade_us", "samples", "threshold", "mismatch", "offset", "refractory_us", "noise", "seed"]),
        st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.booleans()), min_size=1,
    )
)  # fmt: skip
def test_fuzz_settings(wrong: dict[str, Any]) -> None:
    """Settings are refused in words, or they record."""
    refusal = ""
    try:
        EventCamera(**wrong).record(np.full((1, 2, 2), 200, np.uint8), backend="reference")
    except UsageError as error:
        refusal = str(error)
    assert not refusal or refusal.startswith("event camera: ")


@pytest.mark.parametrize(
    "path",
    [
        ((0, 0),),
        ((0, 0),) * 17,
        ((0, 0), (0,)),
        ((0, 0), (65, 0)),
        ((0, 0), (float("nan"), 0)),
        ((0, 0, 0), (0,)),
    ],
)
def test_refuses_paths(path: Any) -> None:
    with pytest.raises(UsageError, match="event camera: path"):
        EventCamera(path=path)


def test_refuses_images_and_back_ends() -> None:
    for images in (IMAGES.astype(np.int16), IMAGES[0], IMAGES[:0]):
        with pytest.raises(DataError, match="give uint8"):
            EventCamera().record(images)
    with pytest.raises(DataError, match="less than 32768"):
        EventCamera().record(np.zeros((1, 1, 1 << 15), np.uint8))
    with pytest.raises(BackendError, match="fast"):
        EventCamera().record(IMAGES, backend="fast")


def test_load() -> None:
    dataset, still = data.load("events:digits"), data.load("digits")
    assert dataset.name == "events:digits"
    assert dataset.note == "simulated events"
    assert dataset.shape == (2, 8, 8)
    assert dataset.hashes.keys() - still.hashes.keys() == {"train_events", "test_events"}
    assert dataset.classes == still.classes
    assert np.array_equal(dataset.train_labels, still.train_labels)
    assert len(dataset.test_inputs) == len(still.test_inputs) == 355
    again = EventCamera().record(still.test_inputs[:2], first=1442)
    assert np.array_equal(again.values, dataset.test_inputs[:2].values)
    spikes = EventBins(n_steps=62, bin_us=5000, stabilise=False, height=8, width=8).encode(
        dataset.test_inputs
    )
    assert len(spikes.steps) > 50 * 355
    assert data.get("events:digits") == {}
    parts = data.split(dataset, 1 / 6, seed=1)
    assert len(parts.validation_inputs) == 240


@pytest.mark.parametrize("name", ["events:regression", "events:nothing", "events:"])
def test_load_refuses(name: str) -> None:
    with pytest.raises(DataError, match=r"no images to film|is unknown"):
        data.load(name)


def test_real_images(data_dir: Any) -> None:
    still = data.load("mnist", data_dir, download=False)
    events = EventCamera().record(still.train_inputs[:300])
    assert 600 < len(events.values) / 300 < 1200
    assert 0.45 < events.values["p"].mean() < 0.55
