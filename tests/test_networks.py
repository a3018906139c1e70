"""One contract for every network: what decides, whatever it is made of."""

from __future__ import annotations

import copy
import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.coding import Direct, Poisson, SpikeList
from bitspike.contracts import Batch
from bitspike.deploy.model import Model
from bitspike.errors import BackendError, UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.base import Network, check_demand
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.glm import GLMNetwork
from bitspike.networks.heaviside import HeavisideNetwork
from bitspike.networks.inputs import take
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.srm import SRMNetwork
from bitspike.ops.backend import native_available
from bitspike.ops.operators import Dense
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import decode, encode
from bitspike.prediction import Prediction
from torch_nets import CASES, CLASSES, PIXELS, Case, N, seeded, warm

FIELDS = [field.name for field in fields(Decisions)]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


def labels_of(case: Case, network: Network) -> Tensor:
    """Of four inputs three as the network decides; numbers of a regression."""
    if network.n_classes == 1:
        return torch.linspace(0, 1, N, dtype=torch.float64)
    return (decided(network, case.inputs).labels + (torch.arange(N) % 4 == 1)) % network.n_classes


def decided(network: Network, inputs: Any, seed: int = 1) -> Prediction:
    return network.decide(inputs, seeded(seed))


def state(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def assert_state(network: Network, before: dict[str, Tensor]) -> None:
    after = network.state_dict()
    assert after.keys() == before.keys()
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor), name


def assert_equal(a: Prediction, b: Prediction) -> None:
    """Decisions to the bit; probabilities but for the last, in which torch's softmax depends on the shape."""
    for name in FIELDS:
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    torch.testing.assert_close(a.probabilities, b.probabilities, rtol=1e-6, atol=1e-9)
    assert (a.members is None) == (b.members is None)
    if a.members is not None:
        torch.testing.assert_close(a.members, b.members, rtol=1e-6, atol=1e-9)


def rows(prediction: Prediction, chosen: Tensor) -> Prediction:
    return Prediction(
        **{name: None if value is None else value[chosen] for name, value in vars(prediction).items()}
    )


def test_decisions_are_worth_a_test(case: Case) -> None:
    """Not all alike, and what one decision must be."""
    network = case.build(0)
    p = decided(network, case.inputs)
    assert p.labels.shape == (N,)
    assert p.probabilities.shape == p.tied.shape == p.potentials.shape == (N, network.n_classes)
    assert (p.members is not None) == isinstance(network, Committee | Ensemble)
    if network.n_classes > 1:
        assert len(set(p.labels.tolist())) > 1
        torch.testing.assert_close(p.probabilities.sum(1), torch.ones(N))
        torch.testing.assert_close(p.probabilities, (p.potentials / network.temperature).softmax(1))
    assert len(p.potentials.unique(dim=0)) > N / 5
    always = isinstance(network, Committee | Ensemble)  # that have ties where all members are silent, too
    assert torch.equal(p.tied.any(1), ~p.silent | always)
    latest = {"once": 1, "window": network.n_steps, "first spike": network.n_steps}[network.decides]
    assert int(p.decision_time.min()) >= 0
    assert int(p.decision_time.max()) <= latest
    if network.decides == "first spike":
        assert len(set(p.decision_time.tolist())) > 2
    assert all(tensor.device.type == "cpu" for tensor in vars(p).values() if tensor is not None)


def test_an_input_is_decided_alike_alone_and_in_company(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    network, inputs = case.build(0), case.inputs
    network.snap()  # sums are exact then
    whole = decided(network, inputs)
    for row in (0, 3, 17, N - 1):
        assert_equal(decided(network, inputs[row : row + 1]), rows(whole, torch.tensor([row])))
    order = torch.randperm(N, generator=seeded(3))[: N - 7]
    assert_equal(decided(network, take(inputs, order)), rows(whole, order))
    if isinstance(network, Ensemble):
        return  # draws anew for every chunk
    assert network.chunk > 7
    for kind in {type(part) for part in (network, *network.parts)}:
        monkeypatch.setattr(kind, "chunk", property(lambda self: 7))
    sizes: list[int] = []
    original = type(network)._decide
    monkeypatch.setattr(
        type(network), "_decide", lambda self, part, noise: sizes.append(len(part)) or original(self, part, noise)
    )  # fmt: skip
    assert_equal(decided(network, inputs), whole)
    assert sizes in ([7] * 5 + [5], [])  # native networks of one engine decide all at once, in bounded memory


def test_an_ensemble_draws_anew_for_every_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["ensemble"]
    network, inputs, generator = case.build(0), case.inputs, seeded(1)
    parts = [network.decide(inputs[start : start + 20], generator) for start in (0, 20)]
    monkeypatch.setattr(Ensemble, "chunk", property(lambda self: 20))
    assert_equal(decided(network, inputs), Prediction.concatenate(parts))
    assert not torch.equal(
        decided(network, inputs[:20], 1).potentials, decided(network, inputs[:20], 2).potentials
    )
    for verb in (lambda: network.decide(inputs), lambda: network.finish(Batch(inputs, inputs[:, 0]), 0.1)):
        with pytest.raises(UsageError, match="generator"):
            verb()


def test_deciding_and_asking_touch_nothing(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    before, torch_state, numpy_state = state(network), torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    kept = inputs.clone() if isinstance(inputs, Tensor) else copy.deepcopy(inputs)
    noise = seeded(1)
    noise_state = noise.get_state()
    first = network.decide(inputs, noise)
    assert torch.equal(noise.get_state(), noise_state) != isinstance(network, Ensemble)
    if network.anytime:
        network.over_time(inputs, torch.tensor([0, network.n_steps - 1]))
    for facts in (network.layers, network.weights, network.parts, network.implementation, network.device):
        assert facts is not None
    network.trace(inputs[:5])
    network.activity(inputs)
    network.work(inputs)
    assert_equal(decided(network, inputs), first)
    assert_state(network, before)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not first.probabilities.requires_grad
    assert not first.potentials.requires_grad
    if isinstance(kept, Tensor):
        assert torch.equal(inputs, kept)
    else:
        assert all(
            np.array_equal(a, b) for a, b in zip(vars(inputs).values(), vars(kept).values(), strict=True)
        )


def test_the_last_answer_over_time_is_the_decision(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    network.snap()
    times = torch.tensor([0, 2, network.n_steps // 2, network.n_steps - 1])
    if not network.anytime:
        with pytest.raises(UsageError, match="decides once"):
            network.over_time(inputs, times)
        assert isinstance(network, HeavisideNetwork | Ensemble)
        return
    p = network.over_time(inputs, times)
    assert p.dtype == torch.float32
    assert p.shape == (N, 4, network.n_classes)
    decision = decided(network, inputs).probabilities
    torch.testing.assert_close(p[:, -1], decision, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(p[:, 0], decision, atol=1e-3)
    if network.n_classes > 1:
        torch.testing.assert_close(p.sum(2), torch.ones(N, 4))
    some = torch.tensor([30, 3, 8])
    torch.testing.assert_close(network.over_time(take(inputs, some), times), p[some], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(network.over_time(inputs, times[1:2]), p[:, 1:2], rtol=1e-5, atol=1e-7)
    for wrong in ([], [-1], [network.n_steps]):
        with pytest.raises(UsageError, match="give steps from 0"):
            network.over_time(inputs, torch.tensor(wrong, dtype=torch.int64))


@pytest.mark.parametrize("max_silent", [0.0, 0.4])
def test_finishing_puts_weights_on_their_grid_and_tells_what_was_chosen(
    case: Case, max_silent: float
) -> None:
    network, inputs = case.build(0), case.inputs
    labels = labels_of(case, network)
    figures = network.finish(Batch(inputs, labels), max_silent, seeded(2))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    finished = state(network)
    network.snap()
    assert_state(network, finished)
    for name, weight in case.build(0).weights.items():
        if weight.kind != "real":
            assert torch.equal(network.weights[name].tensor, weight.tensor), name
    if network.n_classes == 1:
        assert figures == {}
        return
    assert figures["temperature"] == pytest.approx(float(network.temperature))
    assert figures["temperature"] not in (1.0, 1.7)
    p = decided(network, inputs, 3)
    if not isinstance(network, Ensemble):
        assert figures["validation_accuracy"] == float((p.labels == labels).double().mean())
    if "validation_silent" in figures:
        assert figures["validation_silent"] == float(p.silent.double().mean())
    chosen = figures.get(
        "first_member", figures
    )  # a committee's first, or the draw that stood for an ensemble
    part, old = network.parts[0], case.build(0).parts[0].state_dict()
    assert float(part.temperature) == pytest.approx(chosen["temperature"])
    if "sweep" in chosen:
        least = min(point["silent"] for point in chosen["sweep"])
        assert chosen["validation_silent"] <= max(max_silent, least)
        assert chosen["max_silent"] == max_silent
        last = f"thresholds.{len(network.layers) - 2}"
        moved = part.state_dict()[last] - old[last]
        torch.testing.assert_close(
            moved, torch.full_like(moved, chosen["threshold_shift"]), rtol=0, atol=0.02
        )
    if not isinstance(network, Committee | Ensemble):
        likelihood = []
        for factor in (1.0, 1.2, 1 / 1.2):
            network.temperature.fill_(factor * figures["temperature"])
            chances = decided(network, inputs).probabilities.gather(1, labels[:, None])
            likelihood.append(float(chances.double().log().mean()))
        assert likelihood[0] > max(likelihood[1:])


def test_where_every_decision_is_right_no_temperature_is_told(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    if network.n_classes == 1 or isinstance(network, Ensemble):
        return
    if isinstance(network, Committee):
        network = warm(Committee(network.parts[:1]))  # its own decisions are its member's
    for part in network.parts:
        if isinstance(part, FirstSpikeNetwork):
            part.sweep = None  # another threshold decides otherwise
    network.snap()
    before = decided(network, inputs)
    figures = network.finish(Batch(inputs, before.labels), 1.0, seeded(2))
    assert figures["validation_accuracy"] == 1
    neutral = 1.7 if isinstance(network, Committee) else 1.0
    lowest = fit_temperature(before.potentials, before.labels)
    assert figures["temperature"] == pytest.approx(
        neutral if isinstance(network, Committee | SRMNetwork) else lowest
    )


def test_packed_it_decides_alike(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    if isinstance(network, Ensemble):
        for verb in (network.packed, lambda: network.contents(case.shape, "abc", "test")):
            with pytest.raises(UsageError, match="pack a committee that it has drawn"):
                verb()
        network = network.drawn(seeded(4))
    network.finish(Batch(inputs, labels_of(case, network)), 0.2, seeded(2))
    names = [f"class {k}" for k in range(network.n_classes)] if network.n_classes > 1 else []
    contents = network.contents(case.shape, names, "test")
    again = decode(encode(contents))
    assert encode(again) == encode(contents)
    assert (again.classes, again.recipe, again.input_shape) == (tuple(names), "test", case.shape)
    assert again.temperature == float(str(np.float32(network.packed_temperature)))
    p = decided(network, inputs)
    for backend in ("auto", "reference"):
        model = Model(again, backend)
        found = model.decide(case.raw)
        for name in FIELDS:
            if name == "potentials" and not contents.network.exact_potentials:
                continue
            np.testing.assert_array_equal(getattr(found, name), getattr(p, name).numpy(), err_msg=name)
        if network.n_classes > 1:
            np.testing.assert_allclose(model.predict_proba(case.raw), p.probabilities, rtol=2e-5, atol=1e-7)
        assert model.network.operations(model.inputs(case.raw)) == network.work(inputs)
    if not isinstance(network, Committee):
        packed = network.packed()
        given = inputs if isinstance(inputs, SpikeList) else inputs.numpy()
        if not isinstance(network, HeavisideNetwork):  # pixels are floats in training
            np.testing.assert_array_equal(packed.decide(given).labels, p.labels.numpy())
        assert (packed.n_in, packed.n_classes) == (network.layers[0].neurons, network.n_classes)
        exact = network.contents(case.shape, names, "test", exact=True).temperature
        assert exact == (network.packed_temperature if packed.exact_potentials else again.temperature)


def test_weights_are_named_tensors_of_the_network_itself(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    own, weights = network.state_dict(), network.weights
    assert {name for name in own if not name.endswith("temperature")} == set(weights)
    kind = network.parts[0].synapse.kind
    for name, weight in weights.items():
        assert weight.tensor.data_ptr() == own[name].data_ptr(), name
        assert weight.kind == (kind if "latents." in name else "real"), name
    assert any("latents." in name for name in weights)
    other = case.build(9)
    temperatures = {name: tensor for name, tensor in state(other).items() if name.endswith("temperature")}
    before = decided(other, inputs)
    with torch.no_grad():
        for name, weight in other.weights.items():
            weight.tensor.copy_(weights[name].tensor)
    assert_equal(decided(other, inputs), decided(network, inputs))
    assert not torch.equal(before.potentials, decided(other, inputs).potentials)
    assert all(torch.equal(other.state_dict()[name], tensor) for name, tensor in temperatures.items())


def test_layers_have_their_true_sizes(case: Case) -> None:
    network = case.build(0)
    part = network.parts[0]
    first, *above = network.layers
    inputs = case.inputs
    channels = inputs.n_channels if isinstance(inputs, SpikeList) else inputs.shape[1]
    assert (first.name, first.operator, first.weights, first.synapses) == ("input", None, 0, 0)
    signed = isinstance(network.coding, Poisson) and network.coding.signed
    assert first.neurons == channels * (2 if signed else 1)
    below = first.neurons
    for layer in above:
        op = layer.operator
        assert op is not None
        assert op.n_in == below
        others = isinstance(part, GLMNetwork)  # whose layers hear more than the one below
        assert others or layer.synapses == int(op.fan_out().sum())
        assert layer.neurons in (op.n_out, op.n_out // 4, 4 * 2 * 1)  # a pool may be part of the layer
        below = layer.neurons
    latents = sum(
        weight.tensor.numel() for name, weight in part.weights.items() if name.startswith("latents.")
    )
    assert sum(layer.weights for layer in network.layers) == latents
    readout = 0
    if isinstance(part, SRMNetwork):
        last = part.layer(len(part.operators) - 1)
        readout = last.readout.numel() + last.readout_bias.numel()
    else:
        assert network.layers[-1].name == "output"
        values = part.settings.output_values if isinstance(part, GLMNetwork) else 1
        assert network.layers[-1].neurons == network.n_classes * values
    if isinstance(part, GLMNetwork):
        latents = sum(layer.synapses for layer in part.layers)  # fewer where they are sparse
    assert part.packed().sizes()["synapses"] == latents + readout
    assert len({layer.name for layer in network.layers}) == len(network.layers)


def test_traces_and_activity_tell_what_decisions_tell(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    shown = inputs[:5]
    p, arrays, layers = decided(network, shown), network.trace(shown), network.layers
    if isinstance(network, FirstSpikeNetwork):
        times = [arrays[f"example_{name}_times"] for name in ("input", "hidden", "output")]
        widths = [layers[0].neurons, sum(layer.neurons for layer in layers[1:-1]), network.n_classes]
        assert [tuple(one.shape) for one in times] == [(5, width) for width in widths]
        assert torch.equal(times[2].amin(1).long(), p.decision_time)
        used = [((one <= p.decision_time[:, None]) & (one < network.n_steps)).sum(1) for one in times[:2]]
        assert torch.equal(used[0] + used[1], p.n_spikes)
    elif isinstance(network, LIFNetwork):
        spiking = [index for index in range(len(layers)) if f"example_layer{index}_counts" in arrays]
        assert spiking == list(range(1 if isinstance(network.coding, Direct) else 0, len(layers)))
        for index in spiking:
            counts, width = arrays[f"example_layer{index}_counts"], layers[index].neurons
            assert counts.shape == (5, width)
            raster = np.unpackbits(arrays[f"example_layer{index}_spikes"].numpy(), axis=2, bitorder="little")
            chosen = arrays[f"layer{index}_shown"]
            assert raster.shape[:2] == (5, network.n_steps)
            np.testing.assert_array_equal(raster[:, :, : len(chosen)].sum(1), counts[:, chosen])
            if index:
                traced = arrays[f"example_layer{index}_traced"]
                membrane = arrays[f"example_layer{index}_membrane"]
                assert membrane.shape == (5, network.n_steps, traced.shape[1])
        total = sum(arrays[f"example_layer{index}_counts"].sum(1) for index in spiking[:-1])
        assert torch.equal(torch.as_tensor(total).long(), p.n_spikes)
    else:
        assert arrays == {}
    facts, figures = network.activity(inputs)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert [one["name"] for one in facts] == [layer.name for layer in layers]
    assert [one["neurons"] for one in facts] == [layer.neurons for layer in layers]
    for index, one in enumerate(facts):
        if "mean_count" in one:
            assert figures[f"layer{index}_mean_counts"].shape == (one["neurons"],)
            assert one["mean_count"] == pytest.approx(float(figures[f"layer{index}_mean_counts"].mean()))
            assert one["rate"] == pytest.approx(one["mean_count"] / network.n_steps)
            assert int(figures[f"layer{index}_histogram"].sum()) == N * one["neurons"]


@pytest.mark.skipif(not native_available(), reason="the native module was not built")
def test_back_ends_decide_alike(case: Case) -> None:
    network, inputs = case.build(0), case.inputs
    network.snap()
    times, found = torch.tensor([0, 3, network.n_steps - 1]), []
    for backend in ("native", "reference"):
        for part in network.parts:
            part.backend = backend
        if isinstance(network, HeavisideNetwork):
            assert network.implementation == ("reference" if backend == "reference" else "native")
        else:
            assert network.implementation == backend
        over = network.over_time(inputs, times) if network.anytime else None
        found.append((decided(network, inputs), over))
    assert_equal(found[0][0], found[1][0])
    if found[0][1] is not None:
        torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-6, atol=1e-9)


def test_on_the_meta_device_a_network_is_all_there(case: Case) -> None:
    """A device that is not the CPU: no tensor stays behind, and the back end is the reference."""
    network = case.build(0).to("meta")
    assert network.device.type == "meta"
    assert all(tensor.device.type == "meta" for tensor in network.state_dict().values())
    assert network.implementation == "reference"
    assert [layer.neurons for layer in network.layers] == [layer.neurons for layer in case.build(0).layers]
    assert all(weight.tensor.device.type == "meta" for weight in network.weights.values())
    for part in network.parts:
        if isinstance(part, HeavisideNetwork):
            outputs, hidden = part(torch.empty(4, PIXELS, device="meta"))
            assert outputs.device.type == "meta"
            assert [tuple(one.shape) for one in (*hidden, outputs)] == [(4, 14), (4, 9), (4, CLASSES)]
        else:
            part.backend = "native"
            with pytest.raises(BackendError, match="runs on the CPU"):
                _ = part.implementation


def test_networks_that_ask_for_gigabytes_are_refused_before_they_are_built() -> None:
    check_demand([Dense(784, 10_000), Dense(10_000, 10_000)])
    with pytest.raises(UsageError, match="asks for 268,435,456 weights; 134,217,728 are possible"):
        check_demand([Dense(1 << 14, 1 << 14)])
    with pytest.raises(UsageError, match="asks for 327,997,670 neurons times steps"):
        check_demand([Dense(10, 10_000)], n_steps=32767)
    with pytest.raises(UsageError, match="at most 4194304"):
        check_demand([Dense(1, 10**30)])
    with pytest.raises(UsageError, match="65 layers"):
        check_demand([Dense(1, 1)] * 65)
