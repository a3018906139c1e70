"""VOWEL: online learning of winner-take-all circuits; the product of reward and trace is filtered.

Jang, Skatchkovsky and Simeone 2020, arXiv 2004.09416; equations (5) to (10) of `ops.glm.online.vowel`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar, cast

from bitspike.coding import EventBins, Latency, Poisson
from bitspike.contracts import Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.ops.glm.settings import VOWELSettings, VOWELUpdate
from bitspike.ranges import Range, between
from bitspike.rules import circuits
from bitspike.rules.circuits import CircuitLearner, named
from bitspike.settings import GLM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.glm import GLMNetwork
    from bitspike.ops.glm.online import Step, VOWELState


@dataclass(frozen=True)
class VOWEL(Rule, VOWELUpdate):
    """Settings; eta is `optimizer.lr`.

    e <- kappa e + (1 - kappa) g; outputs move by eta e, hidden circuits by eta y, y <- kappa y + (1 - kappa) (R - N /
    (Dn + 1e-7)) e.
    """

    silence: float = 0.8
    """reference: probability that a hidden circuit is silent"""

    networks: ClassVar = (GLM,)
    codings: ClassVar = (Latency, Poisson, EventBins)
    kinds: ClassVar = ("real",)
    ranges: ClassVar[dict[str, Range]] = {
        **VOWELUpdate.update_ranges,
        "silence": between(0, 1, low_open=True, high_open=True),
    }

    def check(self, experiment: Experiment) -> None:
        """Refuse hidden circuits that hear the outputs, and another optimiser than plain steps."""
        circuits.check(experiment)
        if cast(GLM, experiment.network).top_down:
            raise UsageError(
                "network.top_down: hidden circuits are drawn from their causal prior, which may not see the outputs, "
                "held at the label while learning; set it to False"
            )

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
        """All parameters uniform in the range of their layer's weights."""
        return circuits.build(experiment, task, generator)

    def learner(self, network: GLMNetwork, experiment: Experiment) -> VOWELLearner:
        """An update per step."""
        return VOWELLearner(self, network, experiment)


class VOWELLearner(CircuitLearner):
    """Carries e, N, Dn and y."""

    state: VOWELState

    def __init__(self, rule: VOWEL, network: GLMNetwork, experiment: Experiment) -> None:
        from bitspike.ops.glm.online import VOWELState

        super().__init__(network, experiment)
        self.rule, self.silence = rule, rule.silence
        self.state = VOWELState.start(self.parameters, 1)

    def settings_at(self, lr: float) -> VOWELSettings:
        """The rule's, with this step size."""

        return VOWELSettings(lr=lr, **{one.name: getattr(self.rule, one.name) for one in fields(VOWELUpdate)})

    def move(self, made: Step, lr: float) -> None:
        """One step."""
        from bitspike.ops.glm import online

        online.vowel(self.network.topology, self.parameters, self.state, made, self.settings_at(lr))

    def carried(self) -> dict[str, Tensor]:
        """e, N, Dn and y of every parameter."""
        state = self.state
        return {
            **named("trace", state.trace), **named("top", state.top), **named("bottom", state.bottom),
            **named("product", state.product),
        }  # fmt: skip
