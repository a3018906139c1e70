"""BNN: the binary network without time that first-spike networks are compared with.

One scale alpha > 0 and one threshold theta per layer are learned with the weights (`networks.heaviside`); the gradient
of the sign passes unchanged and w is clipped after each update.

References: S4NN and BS4NN specification, section 13. The recipe of the "simple BNN" of the BS4NN paper (arXiv
2007.04039) is not published; this one is defined there in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

from bitspike.coding import Pixel
from bitspike.contracts import Batch, Progress, StepReport, Task
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Rule
from bitspike.rules.gradient import GradientLearner
from bitspike.settings import IF

if TYPE_CHECKING:
    import torch

    from bitspike.networks.heaviside import HeavisideNetwork


@dataclass(frozen=True)
class BNN(Rule):
    """Settings of the loss and of the input."""

    loss: Literal["hinge", "cross_entropy"] = "hinge"
    """hinge: sum over classes of max(0, 1 - y o)^2 with y = +-1; or cross_entropy"""
    binarise: bool = False
    """read a pixel as 255 where it is 128 or more, and as 0 elsewhere"""

    networks: ClassVar = (IF,)
    codings: ClassVar = (Pixel,)
    kinds: ClassVar = ("binary",)

    def check(self, experiment: Experiment) -> None:
        """Refuse what has time or no hidden layer, and kernels that do not exist."""
        network = cast(IF, experiment.network)
        if not network.hidden:
            raise UsageError("rule BNN needs at least one hidden layer; network.hidden is empty")
        if network.delay:
            raise UsageError("rule BNN knows no time; set network.delay to 0")
        if experiment.backend == "native":
            raise UsageError("rule BNN runs in plain torch; choose backend 'auto' or 'reference'")

    def build(self, experiment: Experiment, task: Task, generator: torch.Generator) -> HeavisideNetwork:
        """Latents as `weights` says; scales start at 1/sqrt(n_in), thresholds at 0."""
        from bitspike.networks.heaviside import HeavisideNetwork

        widths = (task.n_inputs, *experiment.network.hidden, task.n_classes)
        model = HeavisideNetwork(widths, experiment.coding, experiment.weights, self.binarise, generator)
        return model.to(task.device)

    def learner(self, network: HeavisideNetwork, experiment: Experiment) -> BNNLearner:
        """Gradient steps on the loss."""
        return BNNLearner(self, network, experiment)


class BNNLearner(GradientLearner):
    """Gradient steps: `lr` of weights, `lr_threshold` of hidden scales and thresholds, `lr_output_threshold` last."""

    def __init__(self, rule: BNN, network: HeavisideNetwork, experiment: Experiment) -> None:
        self.rule, self.network, settings = rule, network, experiment.optimizer
        groups = [
            {"params": list(network.latents), "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": [*network.log_alphas[:-1], *network.thetas], "lr": settings.lr_threshold},
            {"params": [network.log_alphas[-1]], "lr": settings.lr_output_threshold},
        ]
        super().__init__(network, settings, groups)

    def step(self, batch: Batch, progress: Progress, generator: torch.Generator) -> StepReport:
        """One update by the gradient of the batch's mean loss, then the latents are clipped."""
        import torch
        from torch.nn import functional

        self.follow(progress)
        outputs, hidden = self.model(batch.inputs)
        n = len(batch.labels)
        if self.rule.loss == "hinge":
            signs = torch.full_like(outputs, -1.0).scatter_(1, batch.labels[:, None], 1.0)
            loss = functional.relu(1 - signs * outputs).square().sum() / n
        else:
            loss = functional.cross_entropy(outputs, batch.labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        for latent in self.network.latents:
            self.network.synapse.bound(latent)
        n_correct = int((outputs.detach().argmax(1) == batch.labels).sum())
        firing = tuple(float(layer.detach().mean()) * n for layer in hidden)
        return StepReport(float(loss.detach()) * n, n, n_correct, firing)

    def end_epoch(self, generator: torch.Generator) -> dict[str, float]:
        """The learned scale and threshold of each layer, to log."""
        network = self.network
        alphas = {
            f"alpha_{layer}": float(value.exp().detach()) for layer, value in enumerate(network.log_alphas)
        }
        return alphas | {
            f"theta_{layer}": float(value.detach()) for layer, value in enumerate(network.thetas)
        }
