"""The libraries people use for spiking networks, training the same shape by surrogate gradients; where installed."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.bench.timing import Call
from bitspike.data import Split


def _network(library: str, hidden: int) -> nn.Module | None:
    """A 784-hidden-10 network of leaky neurons as `(steps, batch, 784) -> summed output`, or None if not installed."""
    with warnings.catch_warnings():  # what a rival's own code is warned of is not this library's
        warnings.simplefilter("ignore")
        try:
            if library == "snnTorch":
                return _SnnTorch(importlib.import_module("snntorch"), hidden)
            if library == "SpikingJelly":
                neuron = importlib.import_module("spikingjelly.activation_based.neuron")
                functional = importlib.import_module("spikingjelly.activation_based.functional")
                return _SpikingJelly(neuron, functional, hidden)
            return _Norse(importlib.import_module("norse.torch"), hidden)
        except ImportError:
            return None


class _SnnTorch(nn.Module):
    def __init__(self, library: Any, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(784, hidden), nn.Linear(hidden, 10)
        self.first, self.second = library.Leaky(beta=0.95), library.Leaky(beta=0.95)

    def forward(self, spikes: Tensor) -> Tensor:
        first, second = self.first.init_leaky(), self.second.init_leaky()
        total = torch.zeros(())
        for now in spikes:
            hidden, first = self.first(self.inner(now), first)
            _, second = self.second(self.outer(hidden), second)
            total = total + second
        return total


class _SpikingJelly(nn.Module):
    def __init__(self, neuron: Any, functional: Any, hidden: int) -> None:
        super().__init__()
        self.functional = functional
        self.inner, self.outer = nn.Linear(784, hidden), nn.Linear(hidden, 10)
        self.first = neuron.LIFNode(tau=20.0, step_mode="m")

    def forward(self, spikes: Tensor) -> Tensor:
        self.functional.reset_net(self)
        out: Tensor = self.outer(self.first(self.inner(spikes))).sum(0)
        return out


class _Norse(nn.Module):
    def __init__(self, library: Any, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(784, hidden), nn.Linear(hidden, 10)
        self.first = library.LIFCell()

    def forward(self, spikes: Tensor) -> Tensor:
        state, total = None, torch.zeros(())
        for now in spikes:
            hidden, state = self.first(self.inner(now), state)
            total = total + self.outer(hidden)
        return total


def surrogate_steps(data: Split, hidden: int, n_steps: int, batch: int) -> dict[str, Call]:
    """One Adam step of each installed library: rate-coded input, `n_steps` steps, cross-entropy; counted in images."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.from_numpy(data.train_inputs[:batch]).flatten(1).float() / 255
    spikes = (torch.rand((n_steps, *pixels.shape), generator=generator) < pixels).float()
    labels = torch.from_numpy(data.train_labels[:batch])
    networks = {library: _network(library, hidden) for library in ("snnTorch", "SpikingJelly", "Norse")}
    return {
        f"{library}, {n_steps} steps": _step(network, spikes, labels)
        for library, network in networks.items()
        if network is not None
    }


def _step(network: nn.Module, spikes: Tensor, labels: Tensor) -> Call:
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    def run() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(network(spikes), labels).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        return len(labels)

    return run
