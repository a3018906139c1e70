"""Layers of neurons that fire at most once: reference in plain PyTorch, native kernels, autograd functions."""

from bitspike.ops.first_spike.function import hidden_layer, hidden_readout, implementation, race_loss
from bitspike.ops.first_spike.spikes import Spikes

__all__ = ["Spikes", "hidden_layer", "hidden_readout", "implementation", "race_loss"]
