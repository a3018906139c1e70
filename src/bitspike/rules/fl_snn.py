"""FL-SNN's online rule: the learning signal is filtered, then multiplied (Skatchkovsky, Jang and Simeone 2020).

arXiv 1910.09594; equations (6) to (11) of `ops.glm.online.fl_snn`. The federated protocol is another matter.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, ClassVar

from bitspike.coding import EventBins, Latency, Poisson
from bitspike.contracts import Task
from bitspike.experiment import Experiment, Rule
from bitspike.ops.glm.settings import FLSNNSettings, FLSNNUpdate
from bitspike.ranges import Range, between
from bitspike.rules import circuits
from bitspike.rules.circuits import CircuitLearner, named
from bitspike.settings import GLM

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from bitspike.networks.glm import GLMNetwork
    from bitspike.ops.glm.online import FLSNNState, Step


@dataclass(frozen=True)
class FLSNN(Rule, FLSNNUpdate):
    """Settings; eta is `optimizer.lr`.

    Per block of `steps`: ell <- kappa ell + (1 - kappa) l, e <- kappa e + (1 - kappa) g; outputs move by eta e, hidden
    circuits by eta ell e, or with the control variate by eta (ell - N / (Dn + 1e-7)) e.
    """

    rate: float = 0.3
    """reference: probability that a hidden circuit emits a value"""

    networks: ClassVar = (GLM,)
    codings: ClassVar = (Latency, Poisson, EventBins)
    kinds: ClassVar = ("real",)
    ranges: ClassVar[dict[str, Range]] = {
        **FLSNNUpdate.update_ranges,
        "rate": between(0, 1, low_open=True, high_open=True),
    }

    def check(self, experiment: Experiment) -> None:
        """Refuse another optimiser than plain steps."""
        circuits.check(experiment)

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> GLMNetwork:
        """All parameters uniform in the range of their layer's weights."""
        return circuits.build(experiment, task, generator)

    def learner(self, network: GLMNetwork, experiment: Experiment) -> FLSNNLearner:
        """An update per block of steps."""
        return FLSNNLearner(self, network, experiment)


class FLSNNLearner(CircuitLearner):
    """Carries ell, e, the sums of the block so far and, with the control variate, N and Dn."""

    state: FLSNNState

    def __init__(self, rule: FLSNN, network: GLMNetwork, experiment: Experiment) -> None:
        from bitspike.ops.glm.online import FLSNNState

        super().__init__(network, experiment)
        self.rule, self.silence = rule, 1 - rule.rate
        self.state = FLSNNState.start(self.parameters, 1, self.settings_at(0.0))

    def settings_at(self, lr: float) -> FLSNNSettings:
        """The rule's, with this step size."""
        return FLSNNSettings(lr=lr, **{one.name: getattr(self.rule, one.name) for one in fields(FLSNNUpdate)})

    def move(self, made: Step, lr: float) -> None:
        """One step; weights move when a block is full."""
        from bitspike.ops.glm import online

        online.fl_snn(self.network.topology, self.parameters, self.state, made, self.settings_at(lr))

    def carried(self) -> dict[str, Tensor]:
        """Of blocks that are full a sample ends with nothing in the sums; they are carried all the same."""
        state = self.state
        return {
            "signal": state.signal, "reward": state.reward, "count": state.count, **named("trace", state.trace),
            **named("sums", state.sums), **named("top", state.top), **named("bottom", state.bottom),
        }  # fmt: skip
