"""BiSNN as one writes it in plain PyTorch: dense tensor operations per time step; rivals in the benchmarks.

The rule of `ops.srm.reference` for dense layers and classes, the gradient once in closed form, once by autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from bitspike.networks.srm import SRMNetwork

Draw = Callable[[Tensor], Tensor]


def hard(latent: Tensor) -> Tensor:
    """W = +1 with probability sigmoid(2 w), else -1."""
    return torch.sigmoid(2 * latent).sub_(torch.rand(latent.shape)).sign_()


class Dense:
    """A layer's own copy of latents and constants, and its traces."""

    def __init__(self, model: SRMNetwork, index: int) -> None:
        layer, (weight, bias) = model.layer(index), model.place(index)
        self.neuron, self.scale, self.readout_scale = layer.neuron, layer.scale, layer.readout_scale
        self.readout, self.readout_bias = layer.readout.clone(), layer.readout_bias.clone()
        self.weight = model.latents[weight].detach().clone()
        self.bias = model.latents[bias].detach().clone() if model.bias else torch.zeros(self.weight.shape[1])
        self.reset(0)

    def reset(self, batch: int) -> None:
        n_in, n_out = self.weight.shape
        self.p, self.q = torch.zeros(batch, n_in), torch.zeros(batch, n_in)
        self.r, self.s = torch.zeros(batch, n_out), torch.zeros(batch, n_out)

    def advance(self, x: Tensor) -> None:
        self.p.mul_(self.neuron.alpha).add_(self.q)
        self.q.mul_(self.neuron.beta).add_(x)
        self.r.mul_(self.neuron.gamma).add_(self.s)


class Online:
    """The layers, and one optimiser of all latents; `step` is one time step of a batch, learning."""

    def __init__(
        self,
        model: SRMNetwork,
        box: float,
        optimiser: Callable[[list[Tensor]], torch.optim.Optimizer],
        draw: Draw = hard,
    ) -> None:
        self.layers = [Dense(model, index) for index in range(len(model.operators))]
        self.box, self.draw = box, draw
        self.optimiser = optimiser([latent for layer in self.layers for latent in (layer.weight, layer.bias)])

    def window(self, x: Tensor, labels: Tensor) -> None:
        """Every step of spikes `(n_steps, batch, n)` against labels `(batch,)`."""
        for layer in self.layers:
            layer.reset(len(labels))
        for now in x:
            self.step(now, labels)

    def step(self, x: Tensor, labels: Tensor) -> None:
        raise NotImplementedError


class ClosedForm(Online):
    @torch.no_grad()
    def step(self, x: Tensor, labels: Tensor) -> None:
        for layer in self.layers:
            layer.advance(x)
            weight, bias = self.draw(layer.weight), self.draw(layer.bias)
            u = torch.addmm(layer.r, layer.p, weight, beta=-1, alpha=layer.scale).add_(
                bias, alpha=layer.scale
            )
            layer.s = x = (u >= 0).float()
            read = torch.addmm(layer.readout_bias, x, layer.readout).mul_(layer.readout_scale)
            slope = read.softmax(1)
            slope[torch.arange(len(labels)), labels] -= 1
            inside = (u > -self.box) & (u <= self.box)
            e = (slope @ layer.readout.T).mul_(layer.readout_scale / len(labels)).mul_(inside)
            layer.weight.grad = (layer.p.T @ e).mul_(layer.scale)
            layer.bias.grad = e.sum(0).mul_(layer.scale)
        self.optimiser.step()


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, box: float) -> Tensor:
        ctx.save_for_backward((u > -box) & (u <= box))
        return (u >= 0).float()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None


class Autograd(Online):
    def step(self, x: Tensor, labels: Tensor) -> None:
        loss: Tensor = torch.zeros(())
        drawn = []
        for layer in self.layers:
            layer.advance(x)
            weight = self.draw(layer.weight).requires_grad_()
            bias = self.draw(layer.bias).requires_grad_()
            u = layer.scale * (layer.p @ weight + bias) - layer.r
            spikes: Tensor = _Spike.apply(u, self.box)  # type: ignore[no-untyped-call]
            read = (spikes @ layer.readout + layer.readout_bias) * layer.readout_scale
            loss = loss + functional.cross_entropy(read, labels)
            layer.s = x = spikes.detach()
            drawn.append((layer, weight, bias))
        loss.backward()  # type: ignore[no-untyped-call]
        for layer, weight, bias in drawn:
            layer.weight.grad, layer.bias.grad = weight.grad, bias.grad
        self.optimiser.step()
