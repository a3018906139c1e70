"""A network of non-leaky integrate-and-fire neurons that fire at most once.

V_j(t) = V_j(t-1) + sum_i w_ij [t_i = t];  neuron j crosses in the first step with V_j(t) > threshold_j (strict, tested
after all spikes of the step) and its spike reaches the next layer `delay` steps later. A spike that would be emitted at
`n_steps` or later is lost. S4NN specification, equations 2 to 5 (there `delay` is 1).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bitspike.settings import Network
from bitspike.weights import Weights


class FirstSpikeNetwork(nn.Module):
    """Fully connected layers; `latents[l]` is `(n_in, n_out)` (input-major), `thresholds[l]` is `(n_out,)`.

    `weight(l)` is what the network computes with (binary: +1/-1). The last layer's neurons are the classes. Binary
    networks carry any scale (alpha of BS4NN) inside the threshold: U > theta/alpha. `temperature` (buffer) divides the
    potentials, minus threshold, in the softmax that gives the probabilities.
    """

    temperature: Tensor

    def __init__(
        self, n_inputs: int, n_classes: int, n_steps: int, network: Network, weights: Weights,
        generator: torch.Generator, backend: str = "auto",
    ) -> None:
        super().__init__()
        self.n_steps, self.delay, self.weights, self.backend = n_steps, network.delay, weights, backend
        widths = (n_inputs, *network.hidden, n_classes)
        shapes = list(zip(widths[:-1], widths[1:], strict=True))
        self.latents = nn.ParameterList(
            weights.start(n_in, n_out, is_output=index == len(shapes) - 1, generator=generator)
            for index, (n_in, n_out) in enumerate(shapes)
        )
        self.thresholds = nn.ParameterList(torch.zeros(n_out) for _, n_out in shapes)
        self.register_buffer("temperature", torch.ones(()))

    def weight(self, layer: int) -> Tensor:
        """Weights of a layer as the network uses them, `(n_in, n_out)`, differentiable in the latents."""
        return self.weights.forward(self.latents[layer])
