"""The operations of a decision beside synaptic additions, for networks of any kind and committees of them."""

from __future__ import annotations

from typing import Any

from torch import nn

from bitspike.coding import Direct
from bitspike.metrics.spikes import train_work
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.srm import SRMNetwork


def work_of(model: nn.Module, images: Any = None) -> dict[str, float]:
    """`input_macs` and `neuron_updates` as `summarise` takes them; nothing of networks that have none.

    A committee's are the sums of its members', an ensemble's those of its posterior times its draws. `images` `(n,
    pixels)`: what enters, where it enters as a constant current.
    """
    if isinstance(model, Committee):
        parts = [work_of(member, images) for member in model.members]
        return {name: sum(part.get(name, 0.0) for part in parts) for name in set().union(*parts)}
    if isinstance(model, Ensemble):
        return {name: model.draws * value for name, value in work_of(model.posterior, images).items()}
    if isinstance(model, SRMNetwork):
        return train_work([op for op, _ in model.operators], model.n_steps)
    if isinstance(model, LIFNetwork):
        return train_work(
            model.operators, model.n_steps, images if isinstance(model.coding, Direct) else None
        )
    return {}
