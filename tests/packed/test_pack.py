"""Packing: real weights on an exact grid, signs as trained, and models that cannot be packed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitspike.coding import FirstSpike, Pixel, Poisson, time_table
from bitspike.deploy.pack import difference, pack, snapped, verify
from bitspike.errors import UsageError
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.heaviside import HeavisideNetwork
from bitspike.networks.posterior import draw
from bitspike.networks.srm import SRMNetwork
from bitspike.packed.weights import snap
from bitspike.settings import IF, SRM, Weights
from packed_nets import random_images


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.floats(1e-20, 1e20))
def test_sums_of_snapped_weights_are_exact_in_every_order(seed: int, n_in: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=(n_in, 3)) * scale).astype(np.float32)
    thresholds = (rng.normal(size=3) * scale).astype(np.float32)
    on_grid, levels = snap(weights, thresholds)
    assert on_grid.dtype == levels.dtype == np.float32
    exact = on_grid.astype(np.float64).sum(axis=0)
    for order in (np.arange(n_in), np.arange(n_in)[::-1], rng.permutation(n_in)):
        total = np.zeros(3, np.float32)
        for i in order:
            total += on_grid[i]
        np.testing.assert_array_equal(total, exact)
    np.testing.assert_allclose(on_grid, weights, atol=n_in * scale * 1e-6)
    np.testing.assert_array_equal(snap(on_grid, levels)[0], on_grid)


def test_a_finer_grid_would_not_do() -> None:
    weights = np.full((3, 1), 1 + 2**-23, np.float32)
    on_grid, _ = snap(weights, np.zeros(1, np.float32))
    assert on_grid.tolist() == [[1.0]] * 3
    assert snap(np.zeros((2, 2), np.float32), np.ones(2, np.float32))[1].tolist() == [1, 1]
    with pytest.raises(UsageError, match="NaN"):
        snap(np.array([[np.nan]], np.float32), np.zeros(1, np.float32))


class Named:
    """All that `pack` reads of an experiment."""

    name = "a recipe"


def trained(kind: str, delay: int = 0) -> FirstSpikeNetwork:
    generator = torch.Generator().manual_seed(1)
    weights = Weights(kind=kind, hidden=(-1.0, 1.0), output=(-1.0, 1.0))  # type: ignore[arg-type]
    model = FirstSpikeNetwork(36, 4, FirstSpike(16), IF(hidden=(20, 7), delay=delay), weights, generator)  # type: ignore[arg-type]
    with torch.no_grad():
        for thresholds in model.thresholds:
            thresholds.uniform_(0.1, 2.0, generator=generator)
        model.temperature.fill_(0.7)
        model.latents[0][0, 0] = 0.0
    return model


@pytest.mark.parametrize("kind", ["binary", "real"])
@pytest.mark.parametrize("delay", [0, 1])
def test_a_packed_network_holds_what_was_trained(kind: str, delay: int) -> None:
    model = trained(kind, delay)
    packed = pack(model, Named(), ["a", "b", "c", "d"], (6, 6))  # type: ignore[arg-type]
    network: Any = packed.network
    assert (network.n_steps, network.delay) == (16, delay)
    assert packed.contents.recipe == "a recipe"
    assert packed.temperature == pytest.approx(0.7)
    for index, layer in enumerate(network.layers):
        weight, threshold = model.weight(index).detach().numpy(), model.thresholds[index].detach().numpy()
        if kind == "binary":
            np.testing.assert_array_equal(layer.weights.dense(), weight)
            np.testing.assert_array_equal(layer.thresholds, threshold)
        else:
            np.testing.assert_allclose(layer.weights.dense(), weight, atol=1e-5)
    plain = snapped(model)

    def predict(x: np.ndarray) -> Any:
        return plain.decide(torch.from_numpy(time_table(16)[x])).decisions()

    assert verify(packed, predict, random_images(np.random.default_rng(0), 50, 36)) is None


def test_snapped_leaves_the_model_alone_and_is_what_gets_packed() -> None:
    model = trained("real")
    before = model.latents[0].detach().clone()
    copy = snapped(model)
    assert isinstance(copy, FirstSpikeNetwork)
    assert torch.equal(model.latents[0], before)
    assert not torch.equal(copy.latents[0], before)
    again = snapped(copy)
    assert isinstance(again, FirstSpikeNetwork)
    assert torch.equal(again.latents[0], copy.latents[0])
    binary = trained("binary")
    assert torch.equal(snapped(binary).latents[0], binary.latents[0])  # type: ignore[union-attr, index]


@pytest.mark.parametrize("binarise", [False, True])
def test_a_packed_binary_network_without_time_decides_as_its_rule(binarise: bool) -> None:
    generator = torch.Generator().manual_seed(2)
    model = HeavisideNetwork((36, 20, 15, 4), Pixel(), Weights(), binarise, generator)
    with torch.no_grad():
        for theta in model.thetas:
            theta.fill_(0.1)
        model.temperature.fill_(0.5)
    packed = pack(model, Named(), ["a", "b", "c", "d"], (36,))  # type: ignore[arg-type]
    images = random_images(np.random.default_rng(0), 200, 36)

    def predict(x: np.ndarray) -> Any:
        return model.decide(torch.from_numpy(x).float())

    assert verify(packed, lambda x: predict(x).decisions(), images) is None
    np.testing.assert_allclose(
        packed.predict_proba(images), predict(images).probabilities, rtol=1e-4, atol=1e-6
    )


def test_the_first_sample_that_differs_is_named_whatever_its_quantity() -> None:
    decided = pack(bisnn("binary", 3), Named(), "abc", (6, 6)).decide(  # type: ignore[arg-type]
        random_images(np.random.default_rng(0), 5, 36)
    )
    labels, n_synops = decided.labels.copy(), decided.n_synops.copy()
    labels[3] += 1
    n_synops[1] += 1
    assert difference(decided, decided, "a and b") is None
    other = dataclasses.replace(decided, labels=labels, n_synops=n_synops)
    said = difference(decided, other, "a and b")
    assert said == f"sample 1, n_synops: a and b give {decided.n_synops[1]} and {n_synops[1]}"
    skipped = difference(decided, other, "a and b", frozenset({"n_synops"}))
    assert skipped == f"sample 3, labels: a and b give {decided.labels[3]} and {labels[3]}"


def bisnn(kind: str, n_classes: int, seed: int = 1, bias: bool = True) -> SRMNetwork:
    generator = torch.Generator().manual_seed(seed)
    settings = SRM(hidden=("6C3p1", "P2", "20"), bias=bias, burn_in=3)
    ends = Weights(kind=kind, hidden=(-1.0, 1.0), output=(-1.0, 1.0))  # type: ignore[arg-type]
    model = SRMNetwork((6, 6, 1), n_classes, Poisson(15, 0.8), settings, ends, generator)
    model.temperature.fill_(0.7)
    return model


@pytest.mark.parametrize("n_classes", [1, 2, 5])
@pytest.mark.parametrize("kind", ["binary", "real", "bernoulli"])
def test_a_bisnn_network_decides_alike_in_plain_torch_and_packed(kind: str, n_classes: int) -> None:
    model = bisnn(kind, n_classes, bias=n_classes > 1)
    names = tuple("abcde"[:n_classes]) if n_classes > 1 else ()
    packed = pack(model, Named(), names, (6, 6))  # type: ignore[arg-type]
    assert packed.one_bit == (kind != "real")
    plain = snapped(model)
    plain.backend = "reference"  # type: ignore[assignment]
    images = random_images(np.random.default_rng(0), 30, 36)
    assert verify(packed, lambda x: plain.decide(torch.from_numpy(x)).decisions(), images) is None  # type: ignore[operator]
    assert packed.temperature == 0.7


@pytest.mark.parametrize("average", ["probability", "potential"])
def test_a_committee_is_packed_with_all_its_members(average: Any) -> None:
    members = [
        bisnn("binary", 4),
        draw(bisnn("bernoulli", 4, 2), torch.Generator().manual_seed(3)),
        trained("real"),
    ]
    model = Committee(members, average)
    model.temperature.fill_(1.3)
    packed = pack(model, Named(), "abcd", (6, 6))  # type: ignore[arg-type]
    assert packed.temperature == 1.3
    images = random_images(np.random.default_rng(0), 30, 36)

    def predict(x: np.ndarray) -> Any:
        *spiking, last = (snapped(member) for member in members)
        found = [member.decide(torch.from_numpy(x)) for member in spiking]
        return model.combine([*found, last.decide(torch.from_numpy(time_table(16)[x]))])

    assert verify(packed, lambda x: predict(x).decisions(), images) is None
    expected = predict(images)
    np.testing.assert_allclose(packed.predict_proba(images), expected.probabilities, rtol=1e-6)
    np.testing.assert_array_equal(packed.member_probabilities(images).swapaxes(0, 1), expected.members)
    with pytest.raises(UsageError, match=r"pack a committee"):
        pack(Ensemble(bisnn("bernoulli", 4), 3), Named(), "abcd", (6, 6))  # type: ignore[arg-type]
