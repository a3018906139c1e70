"""Spike-train runs from the evaluation to the page: small networks, untrained, on the reference back end."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from test_report_page import _Structure

from bitspike.coding import Direct, EventBins, Poisson, SpikeList
from bitspike.contracts import Task
from bitspike.data.recordings import EVENT, Audio, Events
from bitspike.experiment import Experiment
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.trains import SHOWN
from bitspike.ops.operators import Dense
from bitspike.packed.operations import Operations, products, updates
from bitspike.report import write_report
from bitspike.report.headline import headline
from bitspike.report.record import read_record
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import LIF, Weights
from bitspike.training.encode import encode
from bitspike.training.evaluate import Evaluated, evaluate
from bitspike.training.run_folder import RunFolder

N, N_STEPS = 30, 24
DENSE = LIF(("40",), (2.0, 1.5), tau_m=8.0, tau_s=2.0)
MAPS = LIF(("4C3", "P2", "12"), (1.0, 1.0, 1.0, 1.0), tau_m=8.0, tau_s=2.0)
COMMON = {
    "errors", "calibration", "uncertainty", "spikes", "membranes", "activity", "cost", "record", "robustness",
}  # fmt: skip


def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (N, 8, 8)).astype(np.uint8)


def events() -> Events:
    random = np.random.default_rng(2)

    def one(n: int) -> np.ndarray:
        values = np.zeros(n, EVENT)
        values["t"] = np.sort(random.integers(0, 20_000, n))
        values["x"], values["y"] = random.integers(0, 10, (2, n))
        values["p"] = random.random(n) < 0.5
        return values

    return Events.join([one(n) for n in random.integers(0, 200, N)], (10, 10))


def experiment(coding, network: LIF, kind: str = "real") -> Experiment:
    weights = Weights(kind, hidden=(-1.0, 1.0), output=(-1.0, 1.0), conv=(-1.0, 1.0), clip=None)
    return Experiment(
        name="trains", coding=coding, network=network, weights=weights, rule=HM2BP(desired=10.0, margin=2.0),
        backend="reference",
    )  # fmt: skip


CASES = {
    "direct": (Direct(N_STEPS, 1.5), DENSE, images),
    "direct-maps": (Direct(N_STEPS, 1.5), MAPS, images),
    "poisson": (Poisson(N_STEPS, 0.7), replace(DENSE, lateral=1.0, refractory=1), images),
    "events": (EventBins(N_STEPS, 1000, False, 10, 10), MAPS, events),
}


def run(folder, case: str, kind: str = "real"):
    """An evaluated run without training: its experiment, network, coded inputs and folder."""
    coding, network, make = CASES[case]
    made, asked = make(), experiment(coding, network, kind)
    inputs = encode(asked.coding, made)
    shape = () if isinstance(made, Audio) else tuple(made.shape[1:])
    model = asked.rule.build(asked, Task(inputs, 10, shape, N), torch.Generator().manual_seed(1))
    assert isinstance(model, LIFNetwork)
    model.snap()
    where = RunFolder.create(folder, asked)
    labels = torch.arange(N) % 10
    where.write_json("evaluation.json", evaluate(asked, model, Evaluated(made, labels), where))
    return asked, model, inputs, where


@pytest.mark.parametrize(("case", "kind"), [*((case, "real") for case in CASES), ("direct-maps", "binary")])
def test_the_page_of_every_kind_of_input_and_layer(tmp_path, case, kind):
    _, _, _, where = run(tmp_path / "run", case, kind)
    text = write_report(where.path).read_text(encoding="utf-8")
    structure = _Structure(text)
    assert structure.open == []
    assert structure.sections == COMMON
    assert len(structure.ids) == len(set(structure.ids))
    assert all(reference.startswith(("#", "data:")) for reference in structure.references)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert len(text) < 3_000_000
    assert ("recordings" in text) == (case == "events")
    for word in ("Decision time", "output threshold", "first output neuron"):
        assert word not in text.split('id="record"')[0]


@pytest.mark.parametrize("case", CASES)
def test_arrays_hold_what_the_layers_did(tmp_path, case):
    _, model, inputs, where = run(tmp_path / "run", case)
    arrays = load_file(where.evaluation_arrays)
    _, results = model.run(inputs)
    layers = json.loads((where.path / "evaluation.json").read_text())["layers"]
    last = len(results)
    for layer, (neuron, result) in enumerate(zip(model.neurons, results, strict=True), start=1):
        counts = result.counts.numpy()
        n = counts.shape[1]
        shown = arrays[f"layer{layer}_shown"]
        assert len(shown) == min(n, SHOWN) == len(set(shown.tolist()))
        assert (shown[0], shown[-1]) == (0, n - 1)
        spikes = np.unpackbits(
            arrays[f"example_layer{layer}_spikes"], axis=2, count=len(shown), bitorder="little"
        )
        example_counts = arrays[f"example_layer{layer}_counts"]
        assert spikes.shape[1] == N_STEPS
        assert np.array_equal(spikes.sum(1), example_counts[:, shown])
        # the membrane crosses the threshold where, and only where, its neuron fires
        traced, membrane = arrays[f"example_layer{layer}_traced"], arrays[f"example_layer{layer}_membrane"]
        fired = (membrane > neuron.threshold - neuron.epsilon).sum(1)
        assert np.array_equal(fired, np.take_along_axis(example_counts, traced, axis=1))
        if layer == last:
            assert np.array_equal(traced, np.tile(np.arange(n), (len(traced), 1)))
        else:
            assert np.array_equal(fired[:, 0], example_counts.max(1))
        histogram = arrays[f"layer{layer}_histogram"]
        assert np.array_equal(histogram, np.bincount(counts.astype(int).reshape(-1)))
        np.testing.assert_allclose(arrays[f"layer{layer}_mean_counts"], counts.mean(0), rtol=1e-6)
        assert layers[layer]["mean_count"] == pytest.approx(counts.mean())
        assert layers[layer]["rate"] == pytest.approx(counts.mean() / N_STEPS)
        assert layers[layer]["silent"] == pytest.approx((counts == 0).mean())
        assert layers[layer]["never"] == pytest.approx((counts.sum(0) == 0).mean())
        assert layers[layer]["synapses"] == model.operators[layer - 1].fan_out().sum()
    assert ("layer0_histogram" in arrays) == (case in ("poisson", "events"))
    if isinstance(inputs, SpikeList):
        assert arrays["layer0_histogram"] @ np.arange(len(arrays["layer0_histogram"])) == len(inputs.steps)
        total = events()
        assert arrays["example_events"].sum() == sum(
            np.diff(total.offsets)[k] for k in _chosen(arrays["example_labels"])
        )
    elif case.startswith("direct"):
        assert "mean_count" not in layers[0]


def _chosen(labels: np.ndarray) -> list[int]:
    """The examples of 30 inputs labelled 0..9 in turn, none of the classes missing: ten firsts, then wrong ones."""
    return [*range(10), *(int(label) + 10 for label in labels[10:])]


def test_work_of_direct_input_counts_products_once_and_updates_per_step():
    dark = np.array([[0, 255, 3], [0, 0, 0]], np.uint8)
    assert products(Dense(3, 5), dark) == 5.0
    assert updates((Dense(3, 5), Dense(5, 2)), 50) == 350.0
    both = Operations(1.0, 2.0, 3.0) + Operations(10.0, 20.0, 30.0).times(2)
    assert both == Operations(21.0, 42.0, 63.0)


def test_synops_and_headline_of_direct_input(tmp_path):
    _, model, inputs, where = run(tmp_path / "run", "direct")
    _, results = model.run(inputs)
    hidden = results[0].counts.sum(1).double().mean().item()
    products = (inputs > 0).double().sum(1).mean().item() * 40
    evaluation = json.loads((where.path / "evaluation.json").read_text())
    assert evaluation["spikes"] == pytest.approx(hidden)
    assert evaluation["input_macs"] == pytest.approx(products)
    assert evaluation["synops"] == pytest.approx(products + hidden * 10)
    assert evaluation["neuron_updates"] == 50 * N_STEPS
    expected = hidden * 10 * 5.9 + products * 9.6 + 50 * N_STEPS * 13.8
    assert evaluation["energy_uj"] == pytest.approx(expected * 1e-6)
    cards = {card["title"]: card for card in headline(read_record(where.path))}
    assert cards["Window"]["value"] == "24 steps"
    assert cards["Spikes per image"]["value"] == f"{hidden:,.0f}"
    assert "1,200 neuron updates" in cards["Synaptic operations per image"]["note"]


def test_robustness_starts_at_the_undisturbed_accuracy(tmp_path):
    kinds = {"direct": {"noise"}, "poisson": {"deletion"}, "events": {"deletion", "jitter"}}
    for case, expected in kinds.items():
        *_, where = run(tmp_path / case, case)
        evaluation = json.loads((where.path / "evaluation.json").read_text())
        assert set(evaluation["robustness"]) == expected
        for points in evaluation["robustness"].values():
            assert points[0] == [0, pytest.approx(evaluation["accuracy"])]
