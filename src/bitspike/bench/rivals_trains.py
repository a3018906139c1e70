"""snnTorch and SpikingJelly on networks of any shape, in the fastest form each has on a CPU; where installed.

Every layer's weights are applied to all steps at once, constant input once; neurons are the libraries' simplest leaky
ones (no synaptic current, reset not differentiated), so their step is cheaper than that of the neuron they face here.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.bench.timing import Call

NAMES = ("snnTorch", "SpikingJelly")


class Surrogate(nn.Module):
    """Layers, each followed by leaky neurons: `(n_steps, batch, ...)`, or constant `(batch, ...)`, to spike counts."""

    def __init__(self, layers: Sequence[nn.Module], n_steps: int) -> None:
        super().__init__()
        self.layers, self.n_steps = nn.ModuleList(layers), n_steps

    def forward(self, x: Tensor, constant: bool = False) -> Tensor:
        for index, layer in enumerate(self.layers):
            if constant and index == 0:
                current = layer(x)
                x = self.run(index, current.expand(self.n_steps, *current.shape))
            else:
                merged = layer(x.flatten(0, 1))
                x = self.run(index, merged.reshape(*x.shape[:2], *merged.shape[1:]))
        return x.sum(0)

    def run(self, index: int, current: Tensor) -> Tensor:
        """Spikes of a layer's neurons under their current, both `(n_steps, batch, ...)`."""
        raise NotImplementedError


class _SnnTorch(Surrogate):
    def __init__(self, layers: Sequence[nn.Module], n_steps: int) -> None:
        super().__init__(layers, n_steps)
        library: Any = importlib.import_module("snntorch")
        surrogate: Any = importlib.import_module("snntorch.surrogate")
        self.neurons = nn.ModuleList(
            library.Leaky(beta=0.95, spike_grad=surrogate.fast_sigmoid(slope=25)) for _ in layers
        )

    def run(self, index: int, current: Tensor) -> Tensor:
        neuron: Any = self.neurons[index]
        membrane, spikes = neuron.reset_mem(), []
        for now in current.unbind(0):
            spike, membrane = neuron(now, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class _SpikingJelly(Surrogate):
    def __init__(self, layers: Sequence[nn.Module], n_steps: int) -> None:
        super().__init__(layers, n_steps)
        neuron = importlib.import_module("spikingjelly.activation_based.neuron")
        surrogate = importlib.import_module("spikingjelly.activation_based.surrogate")
        self.neurons = nn.ModuleList(
            neuron.LIFNode(
                tau=20.0, decay_input=False, detach_reset=True, surrogate_function=surrogate.Sigmoid(), step_mode="m"
            )
            for _ in layers
        )  # fmt: skip

    def run(self, index: int, current: Tensor) -> Tensor:
        neuron: Any = self.neurons[index]
        neuron.reset()
        spikes: Tensor = neuron(current)
        return spikes


def network(library: str, layers: Sequence[nn.Module], n_steps: int) -> Surrogate | None:
    """The layers with a library's neurons, or None where it is not installed."""
    with warnings.catch_warnings():  # what a rival's own code is warned of is not this library's
        warnings.simplefilter("ignore")
        try:
            return (_SnnTorch if library == "snnTorch" else _SpikingJelly)(layers, n_steps)
        except ImportError:
            return None


def dense(hidden: int) -> list[nn.Module]:
    """Layers of 784-hidden-10."""
    return [nn.Linear(784, hidden), nn.Linear(hidden, 10)]


def convolutions() -> list[nn.Module]:
    """Layers of 15C5-P2-40C5-P2-300-10, without neurons of their own between convolution and pooling."""
    return [
        nn.Sequential(nn.Conv2d(1, 15, 5), nn.AvgPool2d(2)),
        nn.Sequential(nn.Conv2d(15, 40, 5), nn.AvgPool2d(2)),
        nn.Sequential(nn.Flatten(), nn.Linear(640, 300)),
        nn.Linear(300, 10),
    ]


def step(model: nn.Module, x: Tensor, labels: Tensor, constant: bool) -> Call:
    """One Adam step by backpropagation through time, cross-entropy of the spike counts; counted in images."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def run() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(model(x, constant), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return len(labels)

    return run
