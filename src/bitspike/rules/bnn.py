"""BNN: the binary network without time that first-spike networks are compared with.

Hidden layer:  h_j = [alpha * sum_i b_ij x_i > theta],  x_i = I_i / 255 in the first layer,
               b = sgn(w), sgn(0) = +1.
Output:        o_k = alpha * sum_j b_jk h_j;  the decision is the largest o_k, ties to the lowest index.

One scale alpha > 0 and one threshold theta per layer are learned. The gradient of the step is 1 where |z| <=
1 and 0 elsewhere, z = alpha * sum_i b_ij x_i - theta; that of the sign passes unchanged and w is clipped
after each update. Every sum is an integer that float32 holds exactly, so the network is the integer test U_j
= sum_i b_ij I_i > 255 * theta / alpha whatever the order of the additions.

References: S4NN and BS4NN specification, section 13. The recipe of the "simple BNN" of the BS4NN paper (arXiv
2007.04039) is not published; this one is defined there in its place.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from bitspike.coding import Pixel
from bitspike.contracts import Batch, Prediction, StepReport, Task, unwrap
from bitspike.errors import UsageError
from bitspike.metrics.calibration import fit_temperature
from bitspike.settings import layered
from bitspike.weights import Weights

if TYPE_CHECKING:
    from bitspike.experiment import Experiment

BRIGHTEST = 255


class _Heaviside(torch.autograd.Function):
    """h = [z > 0]; dL/dz := dL/dh where |z| <= 1, else 0."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, fires: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return fires.to(z.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (z,) = ctx.saved_tensors
        return gradient * (z.abs() <= 1), None


class HeavisideNetwork(nn.Module):
    """Fully connected 0/1 units; `latents[l]` is `(n_in, n_out)`, `log_alphas` and `thetas` hold one scalar
    per layer.

    alpha starts at 1/sqrt(n_in), so that z lies within reach of the step's gradient wherever the latents
    start, and stays positive because its logarithm is what is learned. theta starts at 0; the output layer
    has none. `binarise` reads a pixel as 255 where it is 128 or more and as 0 elsewhere. `temperature`
    (buffer) divides the outputs in the softmax that gives the probabilities.
    """

    temperature: Tensor

    def __init__(
        self, widths: tuple[int, ...], weights: Weights, binarise: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.weights, self.binarise = weights, binarise
        shapes = list(itertools.pairwise(widths))
        self.latents = nn.ParameterList(
            weights.start(n_in, n_out, is_output=index == len(shapes) - 1, generator=generator)
            for index, (n_in, n_out) in enumerate(shapes)
        )
        self.log_alphas = nn.ParameterList(torch.tensor(-0.5 * math.log(n_in)) for n_in, _ in shapes)
        self.thetas = nn.ParameterList(torch.zeros(()) for _ in shapes[:-1])
        self.register_buffer("temperature", torch.ones(()))

    def signs(self, layer: int) -> Tensor:
        """Weights of a layer, +1 or -1, `(n_in, n_out)` float32, differentiable in the latents."""
        return self.weights.forward(self.latents[layer])

    def threshold(self, layer: int) -> Tensor:
        """What a hidden layer's sum U must exceed, a scalar: theta / alpha, times 255 in the first layer."""
        unit = BRIGHTEST if layer == 0 else 1
        threshold: Tensor = unit * self.thetas[layer].detach() / self.log_alphas[layer].detach().exp()
        return threshold

    def forward(self, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Outputs `(batch, classes)` and hidden layers `(batch, n)`, 0 or 1, of float32 pixels 0..255."""
        signal = BRIGHTEST * (inputs >= 128).to(torch.float32) if self.binarise else inputs
        hidden: list[Tensor] = []
        for layer, theta in enumerate(self.thetas):
            potential = signal @ self.signs(layer)  # an integer, exact in float32
            scale = self.log_alphas[layer].exp() / (BRIGHTEST if layer == 0 else 1)
            fires = potential > self.threshold(layer)
            layer_output: Tensor = _Heaviside.apply(potential * scale - theta, fires)  # type: ignore[no-untyped-call]
            hidden.append(layer_output)
            signal = layer_output
        last = len(self.latents) - 1
        return (signal @ self.signs(last)) * self.log_alphas[last].exp(), hidden


@dataclass(frozen=True)
class BNN:
    """Settings: the loss (`hinge`: sum over classes of max(0, 1 - y o)^2, y = +-1), and two-valued pixels."""

    loss: Literal["hinge", "cross_entropy"] = "hinge"
    binarise: bool = False

    def check(self, experiment: Experiment) -> None:
        """Refuse what has time, real weights or no hidden layer."""
        if not isinstance(experiment.coding, Pixel):
            raise UsageError("rule BNN reads pixels and knows no time; choose coding Pixel()")
        if experiment.weights.kind != "binary":
            raise UsageError(f"rule BNN trains binary weights; weights.kind is {experiment.weights.kind!r}")
        network = layered(experiment.network, "BNN")
        if not network.hidden:
            raise UsageError("rule BNN needs at least one hidden layer; network.hidden is empty")
        if network.delay:
            raise UsageError("rule BNN knows no time; set network.delay to 0")
        if experiment.backend == "native":
            raise UsageError("rule BNN runs in plain torch; choose backend 'auto' or 'reference'")

    def init(
        self, experiment: Experiment, task: Task, generator: torch.Generator
    ) -> tuple[HeavisideNetwork, torch.optim.Optimizer]:
        """Network and optimiser; step sizes: `lr` weights, `lr_threshold` hidden scales and thresholds,
        `lr_output_threshold` the scale of the outputs."""
        widths = (task.n_inputs, *layered(experiment.network, "BNN").hidden, task.n_classes)
        model = HeavisideNetwork(widths, experiment.weights, self.binarise, generator)
        settings = experiment.optimizer
        groups = [
            {"params": list(model.latents), "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": [*model.log_alphas[:-1], *model.thetas], "lr": settings.lr_threshold},
            {"params": [model.log_alphas[-1]], "lr": settings.lr_output_threshold},
        ]
        if settings.name == "sgd":
            return model, torch.optim.SGD(groups)
        return model, torch.optim.Adam(groups, fused=True)

    def step(
        self, model: nn.Module, optimiser: torch.optim.Optimizer, batch: Batch, generator: torch.Generator
    ) -> StepReport:
        """One update by the gradient of the batch's mean loss, then the latents are clipped."""
        outputs, hidden = model(batch.inputs)
        n = len(batch.labels)
        if self.loss == "hinge":
            signs = torch.full_like(outputs, -1.0).scatter_(1, batch.labels[:, None], 1.0)
            loss = functional.relu(1 - signs * outputs).square().sum() / n
        else:
            loss = functional.cross_entropy(outputs, batch.labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        network = unwrap(model)
        assert isinstance(network, HeavisideNetwork)
        for latent in network.latents:
            network.weights.bound(latent)
        n_correct = int((outputs.detach().argmax(1) == batch.labels).sum())
        firing = tuple(float(layer.detach().mean()) * n for layer in hidden)
        return StepReport(float(loss.detach()) * n, n, n_correct, firing)

    @torch.no_grad()
    def predict(self, model: nn.Module, inputs: Tensor, generator: torch.Generator) -> Prediction:
        """Decide; time is one step, in which every input and hidden unit that is not 0 is a spike."""
        network = unwrap(model)
        assert isinstance(network, HeavisideNetwork)
        outputs, hidden = network(inputs)
        lit = inputs >= 128 if self.binarise else inputs > 0
        spikes = [signal.count_nonzero(1) for signal in (lit, *hidden)]
        fan_outs = [latent.shape[1] for latent in network.latents]
        return Prediction(
            labels=outputs.argmax(1),
            probabilities=functional.softmax(outputs / network.temperature, dim=1),
            decision_time=torch.ones(len(inputs), dtype=torch.int64),
            silent=torch.zeros(len(inputs), dtype=torch.bool),
            tied=outputs == outputs.amax(1, keepdim=True),
            potentials=outputs,
            n_spikes=torch.stack(spikes).sum(0),
            n_synops=sum(
                (n * fan for n, fan in zip(spikes, fan_outs, strict=True)), torch.zeros_like(spikes[0])
            ),
        )

    def end_epoch(self, model: nn.Module, generator: torch.Generator) -> dict[str, float]:
        """The learned scale and threshold of each layer, to log."""
        network = unwrap(model)
        assert isinstance(network, HeavisideNetwork)
        alphas = {
            f"alpha_{layer}": float(value.exp().detach()) for layer, value in enumerate(network.log_alphas)
        }
        return alphas | {
            f"theta_{layer}": float(value.detach()) for layer, value in enumerate(network.thetas)
        }

    @torch.no_grad()
    def calibrate(self, model: nn.Module, batch: Batch, max_silent: float) -> dict[str, Any]:
        """Fit the temperature on validation data; nothing is ever silent, so `max_silent` has no effect."""
        network = unwrap(model)
        assert isinstance(network, HeavisideNetwork)
        temperature = fit_temperature(network(batch.inputs)[0], batch.labels)
        network.temperature.fill_(temperature)
        return {"temperature": temperature}
