"""Small networks of circuits, and everything that a learning window takes, drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from bitspike.ops.glm.online import Parameters
from bitspike.ops.glm.topology import Group, Topology
from bitspike.ops.lif.signals import Spikes, pack


class Drawn(NamedTuple):
    """The arguments of `learn`; `signal` stands between `keys` and `feedback`."""

    topology: Topology
    parameters: Parameters
    table: Tensor
    feedback_table: Tensor | None
    spikes: Spikes
    wanted: Tensor
    keys: Tensor
    feedback: list[list[Tensor]]
    mean: Tensor


# groups as (circuits, values), connections, own feedback
LAYERED = [(5, 1), (4, 1), (3, 1)], ((0, 1), (1, 2)), False
SKIP = [(7, 2), (4, 3), (3, 2)], ((0, 1), (0, 2), (1, 2)), False
DEEP = [(5, 1), (37, 1), (18, 2), (3, 1)], ((0, 1), (0, 2), (1, 2), (2, 3)), False
VISIBLE = [(5, 1), (3, 1)], ((0, 1),), False
LATERAL = [(5, 1), (3, 2)], ((0, 1), (1, 1)), True
RECURRENT = [(5, 2), (4, 3), (3, 2)], ((0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)), True
EVERY = {
    "layered": LAYERED,
    "skip": SKIP,
    "deep": DEEP,
    "visible": VISIBLE,
    "lateral": LATERAL,
    "recurrent": RECURRENT,
}
Kind = tuple[list[tuple[int, int]], tuple[tuple[int, int], ...], bool]


def draw(
    kind: Kind,
    filters: int = 3,
    length: int = 4,
    n_steps: int = 9,
    batch: int = 4,
    rate: float = 0.3,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    scale: float = 0.3,
) -> Drawn:
    """A network of this kind with normal parameters, a third of its synapses missing, and a batch."""
    groups, connections, own = kind
    g = torch.Generator().manual_seed(seed)
    topology = Topology(tuple(Group(*group) for group in groups), connections)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=g, dtype=torch.float64) * scale).to(dtype)

    weights = []
    for source, target in connections:
        end = topology.groups[target]
        weight = normal(topology.groups[source].rows, filters, end.rows)
        weight *= torch.rand(weight.shape[0], 1, weight.shape[2], generator=g) < 2 / 3
        weights.append(
            weight * torch.from_numpy(end.others())[:, None].to(dtype) if source == target else weight
        )
    learned = topology.groups[1:]
    parameters = Parameters(
        weights,
        [normal(group.rows) for group in learned],
        [normal(2, group.rows) for group in learned] if own else [],
    )
    table = torch.rand(filters, length, generator=g)
    table[torch.rand(filters, length, generator=g) < 0.3] = 0
    out = learned[-1]
    values = torch.randint(0, out.values + 1, (batch, n_steps, out.n), generator=g)
    wanted = torch.stack([values == c + 1 for c in range(out.values)], 2).flatten(2)
    return Drawn(
        topology,
        parameters,
        table.to(dtype),
        torch.rand(2, 3, generator=g).to(dtype) if own else None,
        pack(torch.rand(batch, n_steps, topology.groups[0].rows, generator=g) < rate),
        wanted.to(dtype),
        torch.randint(-(2**63), 2**63 - 1, (batch,), generator=g),
        [[normal(out.rows, group.rows) for _ in range(filters)] for group in learned[:-1]],
        normal(n_steps),
    )
