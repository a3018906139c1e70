"""Committees: vector B7 of the BiSNN specification, averages, draws from a posterior."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.coding import FirstSpike, Poisson
from bitspike.contracts import Batch, Task
from bitspike.errors import UsageError
from bitspike.networks.base import Decides, LayerFacts, Network
from bitspike.networks.committee import Committee, Ensemble, deciding
from bitspike.networks.first_spike import FirstSpikeNetwork
from bitspike.networks.posterior import decided, draw, mode
from bitspike.networks.srm import SRMNetwork
from bitspike.packed.base import Packed
from bitspike.prediction import Prediction
from bitspike.recipes import RECIPES
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF, SRM, Predict, Weights


class Said(Network):
    """A member that says what it was told, and, over time, what it was told for each time."""

    system = "said"
    decides: Decides = "window"

    def __init__(self, answer: Prediction, temperature: float = 1.0, early: Tensor | None = None) -> None:
        super().__init__(FirstSpike(10), answer.potentials.shape[1], Weights(), "reference")
        self.answer, self.early = answer, early
        self.temperature.fill_(temperature)

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        return self.answer

    @property
    def anytime(self) -> bool:
        return self.early is not None

    def over_time(self, inputs: Any, times: Tensor) -> Tensor:
        assert self.early is not None
        return self.early

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        return ()

    def packed(self) -> Packed:
        raise UsageError("nothing to pack")


class Read(SRMNetwork):
    """A network whose readouts are given, step by step."""

    def __init__(self, readouts: Tensor) -> None:
        steps, classes = readouts.shape
        weights, generator = Weights("real", clip=None), torch.Generator()
        super().__init__(
            (3,), classes, Poisson(steps), SRM(("4",), burn_in=0), weights, generator, "reference"
        )
        self.readouts = readouts

    def run(self, inputs: Any) -> Iterator[tuple[Tensor, list[Tensor]]]:
        for read in self.readouts:
            yield read[None], [torch.zeros(1, 3), torch.zeros(1, 4)]


def said(potentials: list[list[float]], time: int = 3, silent: bool = False) -> Prediction:
    values = torch.tensor(potentials)
    n = len(values)
    return Prediction(
        labels=values.argmax(1), probabilities=values.softmax(1), decision_time=torch.full((n,), time),
        silent=torch.full((n,), silent), tied=values == values.amax(1, keepdim=True), potentials=values,
        n_spikes=torch.full((n,), 5), n_synops=torch.full((n,), 7),
    )  # fmt: skip


def test_b7_ensemble() -> None:
    """The vector has two readouts; a third one far below them, for two classes would be decided by one readout."""
    readouts = torch.tensor(
        [[[1, 0.2], [0.4, 0.6]], [[0.1, 0.9], [0.3, 0.5]], [[2, 0], [1, 0]]], dtype=torch.float64
    )
    members = [Read(torch.cat([each, torch.full((2, 1), -300.0)], 1)) for each in readouts]
    inputs, per_draw = torch.zeros(1, 3, dtype=torch.uint8), [0.57007024, 0.38009576, 0.80592783]
    assert [float(member.decide(inputs).probabilities[0, 0]) for member in members] == pytest.approx(
        per_draw, abs=1e-7
    )
    p = Committee(members).decide(inputs)
    assert p.probabilities[0, :2].tolist() == pytest.approx([0.58536461, 0.41463539], abs=1e-7)
    assert p.members is not None
    assert p.members[0, :, 0].tolist() == pytest.approx(per_draw, abs=1e-7)


def test_averages_temperatures_and_costs() -> None:
    votes = [said([[2.0, 0.0]], time=4), said([[0.0, 1.0]], time=9, silent=True)]
    members = [Said(votes[0], 2.0), Said(votes[1], 0.5)]
    committee = Committee(members)
    one, two = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    p = committee.decide(torch.zeros(1, 1))
    torch.testing.assert_close(p.probabilities[0], (one + two) / 2)
    assert int(p.labels) == 1
    assert (int(p.decision_time), bool(p.silent), int(p.n_spikes), int(p.n_synops)) == (9, False, 10, 14)
    logits = Committee(members, "potential").decide(torch.zeros(1, 1))
    torch.testing.assert_close(logits.probabilities[0], torch.tensor([0.5, 1.0]).softmax(0))
    committee.temperature.fill_(0.5)
    sharper = committee.decide(torch.zeros(1, 1)).probabilities[0]
    torch.testing.assert_close(sharper, (2 * ((one + two) / 2).log()).softmax(0))
    with pytest.raises(UsageError, match="at least one member"):
        Committee([])


def test_averages_over_time() -> None:
    early = [torch.tensor([[[0.9, 0.1], [0.6, 0.4]]]), torch.tensor([[[0.3, 0.7], [0.2, 0.8]]])]
    members = [Said(said([[0.0, 0.0]]), 1.0, one) for one in early]
    times = torch.tensor([2, 9])
    assert Committee(members).anytime
    torch.testing.assert_close(
        Committee(members).over_time(None, times), torch.tensor([[[0.6, 0.4], [0.4, 0.6]]])
    )
    geometric = torch.stack(early).log().mean(0).softmax(2)
    torch.testing.assert_close(Committee(members, "potential").over_time(None, times), geometric)
    assert not Committee([members[0], Said(said([[0.0, 0.0]]))]).anytime


def posterior(scale: float = 0.5) -> tuple[FirstSpikeNetwork, Tensor]:
    experiment = dataclasses.replace(
        RECIPES["bs4nn-digits"], weights=Weights("bernoulli", (-scale, scale), (-scale, scale), clip=None),
        network=IF((40,)), rule=FirstSpikeRace(tau_c=3.0, tau_h=3.0, width=8.0, theta_out=5.0),
    )  # fmt: skip
    times = torch.randint(0, 17, (200, 64), generator=torch.Generator().manual_seed(2)).to(torch.int16)
    network = experiment.rule.build(experiment, Task(times, 10), torch.Generator().manual_seed(1))
    assert isinstance(network, FirstSpikeNetwork)
    return network, times


def test_draws_and_mode_of_a_posterior() -> None:
    network, _ = posterior()
    latent = network.latents[0].detach()
    generator, total = torch.Generator().manual_seed(0), torch.zeros_like(latent)
    for _ in range(400):
        drawn = draw(network, generator)
        assert drawn.synapse.kind == "binary"
        total += drawn.latents[0].detach()
    spread = (1 - latent.tanh() ** 2).sqrt() / math.sqrt(400)
    z = (total / 400 - latent.tanh()) / spread
    assert float(z.abs().max()) < 5.5
    assert float(z.std()) == pytest.approx(1, abs=0.06)
    assert torch.equal(mode(network).latents[0] > 0, latent >= 0)
    assert 0.2 < decided(network) < 0.3
    assert network.latents[0].detach().equal(latent)
    with pytest.raises(UsageError, match="no posterior"):
        draw(mode(network), generator)


@pytest.mark.parametrize("how", ["map", "ensemble", "committee"])
def test_what_decides(how: Any) -> None:
    network, times = posterior()
    labels = torch.randint(0, 10, (200,), generator=torch.Generator().manual_seed(3))
    model = deciding(network, Predict(how, 3), torch.Generator().manual_seed(4))
    model.finish(Batch(times, labels), 0.05, torch.Generator().manual_seed(5))
    first, again = (model.decide(times, torch.Generator().manual_seed(6)) for _ in range(2))
    other = model.decide(times, torch.Generator().manual_seed(7))
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.probabilities, other.probabilities) == (how != "ensemble")
    assert type(model) is {"map": FirstSpikeNetwork, "ensemble": Ensemble, "committee": Committee}[how]
    assert (first.members is None) == (how == "map")
