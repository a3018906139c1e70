"""What a user of a packed model sees."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from bitspike.deploy.model import Model
from bitspike.deploy.pack import verify
from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops import native
from bitspike.ops.lif.neuron import Neuron
from bitspike.ops.native import instruction_sets
from bitspike.ops.operators import Dense
from bitspike.packed.contents import Contents
from bitspike.packed.first_spike.layers import FirstSpikePackedLayer
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.lif.layers import LIFPackedLayer
from bitspike.packed.weights import Signs
from packed_nets import assert_equal, random_heaviside, random_images, random_network

RNG = np.random.default_rng(1)
SPIKING = Contents(random_network(RNG, (24, 30, 5), "bb"), (4, 6), tuple("abcde"), 2.0, "test")
BNN = Contents(random_heaviside(RNG, (24, 30, 5)), (4, 6), tuple("abcde"))
IMAGES = random_images(RNG, 40, 24)


@pytest.mark.parametrize("contents", [SPIKING, BNN], ids=["first_spike", "pixel"])
def test_every_way_to_hand_over_images_gives_the_same(contents: Contents) -> None:
    model = Model(contents)
    labels = model.predict(IMAGES)
    assert labels.dtype == np.int64
    nearly = (IMAGES / 255).astype(np.float32) * (1 + np.finfo(np.float32).eps)
    for same in (
        IMAGES.reshape(40, 4, 6), (IMAGES / 255).astype(np.float32), nearly, IMAGES / 255 - 1e-9,
        np.repeat(IMAGES, 2, axis=0)[::2],
    ):  # fmt: skip
        np.testing.assert_array_equal(model.predict(same), labels)
    for one in (IMAGES[7], IMAGES[7].reshape(4, 6), IMAGES[7:8]):
        np.testing.assert_array_equal(model.predict(one), labels[7:8])


def test_probabilities_are_the_softmax_of_margins_over_the_temperature() -> None:
    model = Model(SPIKING)
    margins = model.decide(IMAGES).potentials.astype(np.float64)
    expected = np.exp(margins / 2) / np.exp(margins / 2).sum(axis=1, keepdims=True)
    probabilities = model.predict_proba(IMAGES)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((3, 23), np.uint8), r"\(3, 23\).*\(n, 4, 6\), \(n, 24\) or one image"),
        (np.zeros((6, 4), np.uint8), r"shape \(6, 4\)"),
        (np.zeros((2, 2, 4, 6), np.uint8), "shape"),
        (np.uint8(3), "shape"),
        (np.full((2, 24), np.nan), "NaN"),
        (np.full((2, 24), 1.01), "outside 0..1"),
        (np.full((2, 24), -0.01), "outside 0..1"),
        (np.full((2, 24), 256), "outside 0..255"),
        (np.full((2, 24), -1), "outside 0..255"),
        (np.zeros((2, 24), bool), "bool"),
        (np.full((2, 24), "x"), "give uint8"),
        (np.zeros((2, 24), complex), "give uint8"),
    ],
)
def test_images_that_cannot_be_are_refused(images: np.ndarray, match: str) -> None:
    for contents in (SPIKING, BNN):
        with pytest.raises(DataError, match=match):
            Model(contents).predict(images)


def test_the_back_ends_agree_and_are_named() -> None:
    reference = Model(SPIKING, "reference")
    assert reference.backend == "reference"
    for isa in instruction_sets():
        native = Model(SPIKING, "native", isa)
        assert native.backend == f"native ({isa})"
        assert_equal(native.decide(IMAGES), reference.decide(IMAGES))
        np.testing.assert_array_equal(native.predict(IMAGES, threads=2), reference.predict(IMAGES))


def test_without_the_native_module_auto_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Model(SPIKING).decide(IMAGES)
    monkeypatch.setattr("bitspike.ops.native._module", lambda: None)
    model = Model(SPIKING)
    assert model.backend == "reference"
    assert_equal(model.decide(IMAGES), expected)
    with pytest.raises(BackendError, match="not built"):
        Model(SPIKING, "native")


def test_back_ends_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="fast"):
        Model(SPIKING, "fast")  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="sse9"):
        Model(SPIKING, isa="sse9")
    with pytest.raises(BackendError, match="numpy"):
        Model(SPIKING, "reference", isa="portable")
    with pytest.raises(BackendError, match="pixel"):
        Model(BNN, "native")


@pytest.mark.parametrize("contents", [SPIKING, BNN], ids=["first_spike", "pixel"])
def test_verify_passes_a_true_model_and_names_the_first_difference(contents: Contents) -> None:
    model = Model(contents)
    assert verify(model, None, IMAGES) is None
    assert verify(model, model.decide, IMAGES) is None
    for name in ("labels", "decision_time", "tied", "n_spikes"):

        def wrong(images: np.ndarray, name: str = name) -> object:
            decisions = model.decide(images)
            array = getattr(decisions, name)
            array[11:] = ~array[11:]
            return decisions

        assert verify(model, wrong, IMAGES).startswith(f"sample 11, {name}: the packed model")  # type: ignore[union-attr]


def test_verify_finds_a_flipped_sign() -> None:
    first, last = SPIKING.network.layers  # type: ignore[attr-defined]
    signs = last.weights.bits.copy()
    signs[:, 0] ^= 1
    flipped = FirstSpikePackedLayer(last.operator, Signs(signs, last.weights.shape), last.thresholds)
    other = Model(Contents(FirstSpikePacked((first, flipped), 16), (24,), tuple("abcde")))
    assert "sample" in (verify(Model(SPIKING), other.decide, IMAGES) or "")


def test_numbers_that_float32_does_not_hold_are_refused() -> None:
    for temperature in (0.0, -1.0, float("nan"), float("inf"), 1e-320, 1e-50, 1e39):
        with pytest.raises(UsageError, match="temperature is"):
            Contents(SPIKING.network, (4, 6), tuple("abcde"), temperature)
    with pytest.raises(UsageError, match="threshold is 1e-320; it must be above 0 in float32"):
        LIFPackedLayer(Dense(1, 8), Signs.of(np.ones((1, 8), bool)), Neuron(1e-320))


def test_threads_follow_what_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert native.default_threads() == 3
    for unset in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unset)
        assert native.default_threads() == native.processors()
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {5}, raising=False)
    assert native.processors() == 1
