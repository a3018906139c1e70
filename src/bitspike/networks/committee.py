"""Several networks that decide together: draws from a posterior, runs of several seeds, snapshots of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bitspike.contracts import Batch
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.networks.base import LayerFacts, Network, Weight
from bitspike.networks.posterior import draw
from bitspike.ops.backend import Backend
from bitspike.packed import average as arithmetic
from bitspike.packed.average import LEAST, Average
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.operations import Operations
from bitspike.prediction import Prediction
from bitspike.settings import Predict


def deciding(network: Network, settings: Predict, generator: torch.Generator) -> Network:
    """The network, or, where it is a posterior and its mode does not decide, the ensemble or committee of its draws."""
    if network.synapse.kind != "bernoulli" or settings.mode == "map":
        return network
    if settings.mode == "ensemble":
        return Ensemble(network, settings.draws, settings.average)
    return Committee([draw(network, generator) for _ in range(settings.draws)], settings.average)


class _Together(Network):
    """What a committee and an ensemble share: they decide by averages over networks like `like`."""

    system = "committee"

    def __init__(self, like: Network, average: Average) -> None:
        super().__init__(like.coding, like.n_classes, like.synapse, like.backend)
        self.average: Average = average
        self.decides = like.decides

    @property
    def implementation(self) -> Backend:
        """That of the networks."""
        return self.parts[0].implementation

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """Those of the first network."""
        return self.parts[0].layers

    @property
    def disturbances(self) -> tuple[str, ...]:
        """Those of the first network."""
        return self.parts[0].disturbances

    def _fit_together(
        self, batch: Batch, generator: torch.Generator | None, first: dict[str, Any]
    ) -> dict[str, Any]:
        """Fit the temperature of the averaged probabilities; `first`: what one of the networks chose for itself."""
        if self.n_classes == 1:
            return first
        prediction, labels = self.decide(batch.inputs, generator), batch.labels.cpu()
        right = prediction.labels == labels
        if not right.all():  # else no temperature can be told
            self.temperature.fill_(fit_temperature(prediction.potentials, labels))
        accuracy = float(right.double().mean())
        return {
            "temperature": float(self.temperature),
            "validation_accuracy": accuracy,
            "first_member": first,
        }


class Committee(_Together):
    """`members`: networks of any kind, each with its own `temperature`; `temperature` (buffer) is the committee's own.

    p = mean_k p_k with p_k = softmax(potentials_k / T_k), or, of potentials, p = softmax(mean_k potentials_k / T_k).
    Probabilities are softmax(ln p / T), computed in float64; the decision is the largest p, ties to the lowest index.
    """

    def __init__(self, members: Sequence[Network], average: Average = "probability") -> None:
        if not members:
            raise UsageError("a committee needs at least one member")
        super().__init__(members[0], average)
        self.members = nn.ModuleList(members)

    @property
    def parts(self) -> tuple[Network, ...]:
        """The members."""
        return tuple(self.members)  # type: ignore[arg-type]

    @property
    def weights(self) -> Mapping[str, Weight]:
        """`members.K.NAME`: those of member K."""
        return {
            f"members.{k}.{name}": one
            for k, part in enumerate(self.parts)
            for name, one in part.weights.items()
        }

    @property
    def n_steps(self) -> int:
        """The longest window of a member."""
        return max(member.n_steps for member in self.parts)

    @torch.no_grad()
    def combine(self, predictions: Sequence[Prediction]) -> Prediction:
        """The committee's decisions from those of its members, in their order.

        The committee has decided when its last member has: decision times are the largest, spikes and additions sums.
        It is silent where all members are; tied are the classes of the largest p. Potentials are ln p (below 1e-30:
        ln 1e-30), a regression's p itself.
        """
        temperatures = [float(member.temperature) for member in self.parts]
        each = [prediction.decisions() for prediction in predictions]
        joint = arithmetic.combine(each, temperatures, self.average)
        potentials = [one.potentials for one in each]
        members = arithmetic.member_probabilities(potentials, temperatures).swapaxes(0, 1).astype(np.float32)
        p = joint.potentials
        if p.shape[1] > 1:  # no regression
            p = arithmetic.softmax(p, float(self.temperature)).astype(np.float32)
        return Prediction.of(joint, p, members).to(predictions[0].labels.device)

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        return self.combine([member.decide(inputs, generator) for member in self.parts])

    @property
    def anytime(self) -> bool:
        """Where all members are."""
        return all(member.anytime for member in self.parts)

    @torch.no_grad()
    def over_time(self, inputs: Any, times: Tensor) -> Tensor:
        """Probabilities had the answer been demanded after step times[k], averaged as in `combine`."""
        p = torch.stack([member.over_time(inputs, times) for member in self.parts]).double()
        scaled = (
            p.clamp_min(LEAST).log().mean(0)
            if self.average == "potential"
            else p.mean(0).clamp_min(LEAST).log()
        )
        return (scaled / float(self.temperature)).softmax(2).float()

    @torch.no_grad()
    def finish(
        self, batch: Batch, max_silent: float, generator: torch.Generator | None = None
    ) -> dict[str, Any]:
        """Members by themselves, for their thresholds depend on the draw; then the temperature of the average."""
        first, *_ = [member.finish(batch, max_silent, generator) for member in self.parts]
        return self._fit_together(batch, generator, first)

    def snap(self) -> None:
        """Every member by itself."""
        for member in self.parts:
            member.snap()

    def work(self, inputs: Any) -> Operations:
        """Sums over the members."""
        return sum((member.work(inputs) for member in self.parts), Operations())

    def packed(self) -> CommitteePacked:
        """A committee's file holds complete models of its members: see `contents`."""
        raise UsageError("a committee is packed with its classes; use contents, or bitspike.deploy.pack.pack")

    def contents(
        self, input_shape: Sequence[int], classes: Sequence[str], recipe: str, exact: bool = False
    ) -> Contents:
        """As `Network.contents`; members keep their very temperatures, for averages depend on their last bits."""
        members = tuple(member.contents(input_shape, classes, recipe, exact=True) for member in self.parts)
        temperature = float(str(np.float32(float(self.temperature))))
        packed = CommitteePacked(members, self.average)
        return Contents(packed, members[0].input_shape, members[0].classes, temperature, recipe)


class Ensemble(_Together):
    """Draws from a posterior, made anew for every `chunk` inputs: `drawn` is a committee of `draws` networks.

    `posterior` is a network whose weights are of kind bernoulli; `temperature` (buffer) as in `Committee`.
    """

    def __init__(self, posterior: Network, draws: int, average: Average = "probability") -> None:
        super().__init__(posterior, average)
        self.posterior, self.draws = posterior, draws

    @property
    def parts(self) -> tuple[Network, ...]:
        """The posterior, which stands for its draws."""
        return (self.posterior,)

    @property
    def weights(self) -> Mapping[str, Weight]:
        """`posterior.NAME`: those of the posterior."""
        return {f"posterior.{name}": one for name, one in self.posterior.weights.items()}

    def drawn(self, generator: torch.Generator) -> Committee:
        """A committee of fresh draws."""
        committee = Committee([draw(self.posterior, generator) for _ in range(self.draws)], self.average)
        committee.temperature.copy_(self.temperature)
        return committee

    def _decide(self, inputs: Any, generator: torch.Generator | None) -> Prediction:
        if generator is None:
            raise UsageError("an ensemble draws its members; give decide a generator")
        return self.drawn(generator).decide(inputs, generator)

    @torch.no_grad()
    def finish(
        self, batch: Batch, max_silent: float, generator: torch.Generator | None = None
    ) -> dict[str, Any]:
        """By one draw, whose thresholds and temperature the posterior takes over; then the average's temperature."""
        if generator is None:
            raise UsageError("an ensemble draws its members; give finish a generator")
        member = draw(self.posterior, generator)
        first = member.finish(batch, max_silent, generator)
        own = self.posterior.state_dict()
        for name, tensor in member.state_dict().items():
            if not name.startswith("latents."):
                own[name].copy_(tensor)
        return self._fit_together(batch, generator, first)

    def work(self, inputs: Any) -> Operations:
        """The posterior's, times the draws."""
        return self.posterior.work(inputs).times(self.draws)

    def packed(self) -> CommitteePacked:
        """Members that are drawn anew cannot be written down."""
        raise UsageError(
            "an ensemble draws its members anew for every batch; pack a committee that it has drawn"
        )

    def contents(
        self, input_shape: Sequence[int], classes: Sequence[str], recipe: str, exact: bool = False
    ) -> Contents:
        """Refused; see `packed`."""
        raise UsageError(
            "an ensemble draws its members anew for every batch; pack a committee that it has drawn"
        )
