"""What a user of a packed model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import bitspike
from bitspike.deploy import load as engine_module
from bitspike.deploy.load import PackedModel
from bitspike.deploy.pack import save, verify
from bitspike.errors import BackendError, DataError, UsageError
from bitspike.ops.native import instruction_sets
from bitspike.packed.file import Contents
from bitspike.packed.first_spike.network import FirstSpikePacked, FirstSpikePackedLayer
from packed_nets import assert_equal, random_images, random_network

RNG = np.random.default_rng(1)
SPIKING = Contents(random_network(RNG, (24, 30, 5), "bb"), "first_spike", (4, 6), tuple("abcde"), 2.0, "test")
BNN = Contents(
    FirstSpikePacked(
        (
            FirstSpikePackedLayer.binary(RNG.random((24, 30)) < 0.5, RNG.normal(0, 500, 30)),
            FirstSpikePackedLayer.binary(RNG.random((30, 5)) < 0.5, np.zeros(5)),
        ),
        1,
    ),
    "pixel",
    (4, 6),
    tuple("abcde"),
)
IMAGES = random_images(RNG, 40, 24)


@pytest.mark.parametrize("contents", [SPIKING, BNN], ids=["first_spike", "pixel"])
def test_every_way_to_hand_over_images_gives_the_same(contents: Contents) -> None:
    model = PackedModel(contents)
    labels = model.predict(IMAGES)
    assert labels.dtype == np.int64
    for same in (
        IMAGES.reshape(40, 4, 6), IMAGES / 255, (IMAGES / 255).astype(np.float32), IMAGES.astype(np.int64),
        IMAGES.tolist(), np.asfortranarray(IMAGES), np.repeat(IMAGES, 2, axis=0)[::2],
    ):  # fmt: skip
        np.testing.assert_array_equal(model.predict(same), labels)
    for one in (IMAGES[7], IMAGES[7].reshape(4, 6), IMAGES[7:8]):
        np.testing.assert_array_equal(model.predict(one), labels[7:8])
    np.testing.assert_array_equal(model.decide(IMAGES).labels, labels)
    assert model.predict(IMAGES[:0]).shape == (0,)


def test_probabilities_are_the_softmax_of_margins_over_the_temperature() -> None:
    model = PackedModel(SPIKING)
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
            PackedModel(contents).predict(images)


def test_the_back_ends_agree_and_are_named() -> None:
    reference = PackedModel(SPIKING, "reference")
    assert reference.backend == "reference"
    for isa in instruction_sets():
        native = PackedModel(SPIKING, "native", isa)
        assert native.backend == f"native ({isa})"
        assert_equal(native.decide(IMAGES), reference.decide(IMAGES))
        np.testing.assert_array_equal(native.predict(IMAGES, threads=2), reference.predict(IMAGES))


def test_without_the_native_module_auto_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = PackedModel(SPIKING).decide(IMAGES)
    monkeypatch.setattr(engine_module, "instruction_sets", list)
    monkeypatch.setattr("bitspike.packed.first_spike.native._module", lambda: None)
    model = PackedModel(SPIKING)
    assert model.backend == "reference"
    assert_equal(model.decide(IMAGES), expected)
    with pytest.raises(BackendError, match="not built"):
        PackedModel(SPIKING, "native")


def test_back_ends_that_do_not_exist_are_refused() -> None:
    with pytest.raises(UsageError, match="fast"):
        PackedModel(SPIKING, "fast")  # type: ignore[arg-type]
    with pytest.raises(BackendError, match="sse9"):
        PackedModel(SPIKING, isa="sse9")
    with pytest.raises(BackendError, match="numpy"):
        PackedModel(SPIKING, "reference", isa="portable")
    with pytest.raises(BackendError, match="pixel"):
        PackedModel(BNN, "native")


@pytest.mark.parametrize("contents", [SPIKING, BNN], ids=["first_spike", "pixel"])
def test_a_saved_model_is_the_same_model(contents: Contents, tmp_path: Path) -> None:
    model = PackedModel(contents)
    size = save(model, tmp_path / "model.bitspike")
    assert [path.name for path in tmp_path.iterdir()] == ["model.bitspike"]
    loaded = bitspike.load(tmp_path / "model.bitspike")
    assert loaded.footprint() == model.footprint()
    assert loaded.footprint()["file_bytes"] == size == (tmp_path / "model.bitspike").stat().st_size
    assert loaded.footprint()["synapse_bits"] == 24 * 30 + 30 * 5
    assert_equal(loaded.decide(IMAGES), model.decide(IMAGES))
    np.testing.assert_array_equal(loaded.predict_proba(IMAGES), model.predict_proba(IMAGES))


@pytest.mark.parametrize("contents", [SPIKING, BNN], ids=["first_spike", "pixel"])
def test_verify_passes_a_true_model_and_names_the_first_difference(contents: Contents) -> None:
    model = PackedModel(contents)
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
    model = PackedModel(SPIKING)
    first, last = SPIKING.network.layers
    signs = last.signs.copy()  # type: ignore[union-attr]
    signs[:, 0] ^= 1
    flipped = FirstSpikePackedLayer("binary", last.n_in, last.n_out, last.thresholds, signs=signs)
    other = PackedModel(
        Contents(FirstSpikePacked((first, flipped), 16), "first_spike", (24,), tuple("abcde"))
    )
    assert "sample" in (verify(model, other.decide, IMAGES) or "")
