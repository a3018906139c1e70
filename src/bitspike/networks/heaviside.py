"""A binary network without time: 0/1 units, one scale and one threshold per layer.

Hidden layer:  h_j = [alpha * sum_i b_ij x_i > theta],  x_i = I_i / 255 in the first layer, b = sgn(w), sgn(0) = +1.
Output:        o_k = alpha * sum_j b_jk h_j;  the decision is the largest o_k, ties to the lowest index.

The gradient of the step is 1 where |z| <= 1 and 0 elsewhere, z = alpha * sum_i b_ij x_i - theta. Every sum is an
integer that float32 holds exactly, so the network is the integer test U_j = sum_i b_ij I_i > 255 * theta / alpha
whatever the order of the additions. S4NN and BS4NN specification, section 13.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bitspike.contracts import Coding
from bitspike.networks.base import Decides, LayerFacts, Network, check_demand, dense_layers
from bitspike.ops.operators import Dense
from bitspike.packed.heaviside import HeavisidePacked, from_weights
from bitspike.packed.operations import Operations, products
from bitspike.prediction import Prediction
from bitspike.settings import Weights

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


class HeavisideNetwork(Network):
    """Fully connected 0/1 units; `latents[l]` is `(n_in, n_out)`, `log_alphas` and `thetas` hold one scalar
    per layer.

    alpha starts at 1/sqrt(n_in), so that z lies within reach of the step's gradient wherever the latents
    start, and stays positive because its logarithm is what is learned. theta starts at 0; the output layer
    has none. `binarise` reads a pixel as 255 where it is 128 or more and as 0 elsewhere. `temperature`
    (buffer) divides the outputs in the softmax that gives the probabilities.
    """

    system = "heaviside"
    decides: Decides = "once"

    def __init__(
        self,
        widths: tuple[int, ...],
        coding: Coding,
        weights: Weights,
        binarise: bool,
        generator: torch.Generator,
    ) -> None:
        super().__init__(coding, widths[-1], weights, "reference")
        self.binarise = binarise
        self.operators = tuple(Dense(n_in, n_out) for n_in, n_out in itertools.pairwise(widths))
        check_demand(self.operators)
        last = len(self.operators) - 1
        self.latents = nn.ParameterList(
            weights.initial(*op.weight_shape, layer=index, is_output=index == last, generator=generator)
            for index, op in enumerate(self.operators)
        )
        self.log_alphas = nn.ParameterList(torch.tensor(-0.5 * math.log(op.n_in)) for op in self.operators)
        self.thetas = nn.ParameterList(torch.zeros(()) for _ in self.operators[:-1])

    def signs(self, layer: int) -> Tensor:
        """Weights of a layer, +1 or -1, `(n_in, n_out)` float32, differentiable in the latents."""
        return self.synapse.forward(self.latents[layer])

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

    def _decide(self, inputs: Tensor, generator: torch.Generator | None) -> Prediction:
        """Decide at n_steps, 1, for there is no time; every input and hidden unit that is not 0 is a spike."""
        outputs, hidden = self(inputs)
        lit = inputs >= 128 if self.binarise else inputs > 0
        spikes = [signal.count_nonzero(1) for signal in (lit, *hidden)]
        fan_outs = [op.n_out for op in self.operators]
        return Prediction(
            labels=outputs.argmax(1),
            probabilities=functional.softmax(outputs / self.temperature, dim=1),
            decision_time=torch.full((len(inputs),), self.n_steps, device=outputs.device),
            silent=torch.zeros(len(inputs), dtype=torch.bool, device=outputs.device),
            tied=outputs == outputs.amax(1, keepdim=True),
            potentials=outputs,
            n_spikes=torch.stack(spikes).sum(0),
            n_synops=sum(
                (n * fan for n, fan in zip(spikes, fan_outs, strict=True)), torch.zeros_like(spikes[0])
            ),
        )

    @property
    def layers(self) -> tuple[LayerFacts, ...]:
        """The input, hidden layers by their widths, the output."""
        return dense_layers(self.operators)

    def work(self, inputs: Any) -> Operations:
        """Products of the grey levels that enter; an image in black and white enters as spikes."""
        if self.binarise:
            return Operations()
        return Operations(products(self.operators[0], inputs.numpy(force=True)))

    def packed(self) -> HeavisidePacked:
        """The integer network: a hidden unit is 1 where U > floor(threshold), the output's potential is U itself."""
        positive, thresholds, last = [], [], len(self.operators) - 1
        for index, op in enumerate(self.operators):
            positive.append(self.signs(index).numpy(force=True) > 0)
            # U is an integer, so floor(threshold) decides alike and fits float32 exactly
            threshold = np.floor(float(self.threshold(index))) if index < last else 0.0
            bound = op.n_in * (BRIGHTEST if index == 0 else 1)
            thresholds.append(np.full(op.n_out, np.clip(threshold, -bound - 1, bound), np.float32))
        return from_weights(positive, thresholds, self.binarise)

    @property
    def packed_temperature(self) -> float:
        """Outputs are alpha U here and U in the packed network."""
        return float(self.temperature / float(self.log_alphas[-1].detach().exp()))
