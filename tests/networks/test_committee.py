"""Committees: vector B7 of the BiSNN specification, averages, draws from a posterior."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.contracts import Batch, Prediction
from bitspike.errors import UsageError
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.posterior import decided, draw, mode
from bitspike.ops.srm import elementary
from bitspike.recipes import RECIPES
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF, Predict
from bitspike.training.deciding import calibrate, decider, predict_all
from bitspike.weights import Weights


class Fixed(nn.Module):
    """A member that says what it was told."""

    temperature: Tensor

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("temperature", torch.tensor(temperature))


def said(potentials: list[list[float]], time: int = 3, silent: bool = False) -> Prediction:
    values = torch.tensor(potentials)
    n = len(values)
    return Prediction(
        labels=values.argmax(1), probabilities=values.softmax(1), decision_time=torch.full((n,), time),
        silent=torch.full((n,), silent), tied=values == values.amax(1, keepdim=True), potentials=values,
        n_spikes=torch.full((n,), 5), n_synops=torch.full((n,), 7),
    )  # fmt: skip


def test_b7_ensemble() -> None:
    readouts = torch.tensor(
        [[[1, 0.2], [0.4, 0.6]], [[0.1, 0.9], [0.3, 0.5]], [[2, 0], [1, 0]]], dtype=torch.float64
    )
    per_draw = elementary.softmax(readouts).mean(1)  # what `layers.srm` does with the readouts of one network
    assert per_draw[:, 0].tolist() == pytest.approx([0.57007024, 0.38009576, 0.80592783], abs=1e-8)
    members = [said([row.log().tolist()]) for row in per_draw]
    p = Committee([Fixed(), Fixed(), Fixed()]).combine(members)
    assert p.probabilities[0].tolist() == pytest.approx([0.58536461, 0.41463539], abs=1e-7)
    assert p.members is not None
    assert p.members[0, :, 0].tolist() == pytest.approx([0.57007024, 0.38009576, 0.80592783], abs=1e-7)


def test_averages_temperatures_and_costs() -> None:
    votes = [said([[2.0, 0.0]], time=4), said([[0.0, 1.0]], time=9, silent=True)]
    committee = Committee([Fixed(2.0), Fixed(0.5)])
    one, two = torch.tensor([1.0, 0.0]).softmax(0), torch.tensor([0.0, 2.0]).softmax(0)
    p = committee.combine(votes)
    torch.testing.assert_close(p.probabilities[0], (one + two) / 2)
    assert int(p.labels) == 1
    assert (int(p.decision_time), bool(p.silent), int(p.n_spikes), int(p.n_synops)) == (9, False, 10, 14)
    logits = Committee([Fixed(2.0), Fixed(0.5)], "potential").combine(votes)
    torch.testing.assert_close(logits.probabilities[0], torch.tensor([0.5, 1.0]).softmax(0))
    committee.temperature.fill_(0.5)
    sharper = committee.combine(votes).probabilities[0]
    torch.testing.assert_close(sharper, (2 * ((one + two) / 2).log()).softmax(0))
    with pytest.raises(UsageError, match="at least one member"):
        Committee([])


def posterior(scale: float = 0.5) -> tuple[nn.Module, object]:
    experiment = dataclasses.replace(
        RECIPES["bs4nn-digits"], weights=Weights("bernoulli", (-scale, scale), (-scale, scale), clip=None),
        network=IF((40,)), rule=FirstSpikeRace(tau_c=3.0, tau_h=3.0, width=8.0, theta_out=5.0),
    )  # fmt: skip
    from bitspike.contracts import Task

    times = torch.randint(0, 17, (200, 64), generator=torch.Generator().manual_seed(2)).to(torch.int16)
    network, _ = experiment.rule.init(experiment, Task(times, 10), torch.Generator().manual_seed(1))
    return network, (experiment, times)


def test_draws_and_mode_of_a_posterior() -> None:
    network, _ = posterior()
    latent = network.latents[0].detach()  # type: ignore[index]
    generator, total = torch.Generator().manual_seed(0), torch.zeros_like(latent)
    for _ in range(400):
        drawn = draw(network, generator)
        assert drawn.weights.kind == "binary"  # type: ignore[union-attr]
        total += drawn.latents[0].detach()  # type: ignore[index]
    spread = (1 - latent.tanh() ** 2).sqrt() / math.sqrt(400)
    z = (total / 400 - latent.tanh()) / spread
    assert float(z.abs().max()) < 5.5
    assert float(z.std()) == pytest.approx(1, abs=0.06)
    assert torch.equal(mode(network).latents[0] > 0, latent >= 0)  # type: ignore[index, operator]
    assert 0.2 < decided(network) < 0.3
    assert network.latents[0].detach().equal(latent)  # type: ignore[index, operator]
    with pytest.raises(UsageError, match="no posterior"):
        draw(mode(network), generator)


@pytest.mark.parametrize("how", ["map", "ensemble", "committee"])
def test_what_decides(how: str) -> None:
    network, (experiment, times) = posterior()  # type: ignore[misc]
    labels = torch.randint(0, 10, (200,), generator=torch.Generator().manual_seed(3))
    model = decider(Predict(how, 3), network, torch.Generator().manual_seed(4))  # type: ignore[arg-type]
    calibrate(experiment.rule, model, Batch(times, labels), 0.05, torch.Generator().manual_seed(5))
    first, again = (
        predict_all(experiment.rule, model, times, torch.Generator().manual_seed(6)) for _ in range(2)
    )
    other = predict_all(experiment.rule, model, times, torch.Generator().manual_seed(7))
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.probabilities, other.probabilities) == (how != "ensemble")
    assert isinstance(model, {"map": type(network), "ensemble": Ensemble, "committee": Committee}[how])
    assert (first.members is None) == (how == "map")
