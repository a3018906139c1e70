"""Random packed networks of circuits for the tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from bitspike.packed.glm.layers import Connection
from bitspike.packed.glm.network import GLMPacked, snap_filters
from bitspike.packed.weights import Reals, Signs
from bitspike.settings.basis import checked_table
from bitspike.settings.glm import GLM


def random_glm(
    rng: np.random.Generator,
    settings: GLM,
    n_in: int,
    n_classes: int,
    binary: bool,
    coding: Any = None,
    n_steps: int = 20,
    level: float = 1.0,
) -> GLMPacked:
    """Potentials move by about `level` per time constant of the filters; masks where `settings.density` is below 1."""
    topology = settings.topology(n_in, n_classes)
    table = checked_table(settings.basis).astype(np.float32)
    connections = []
    for source, target in topology.connections:
        sources, targets = topology.groups[source].rows, topology.groups[target].rows
        weights = rng.normal(
            0, level / np.sqrt(sources * np.abs(table).sum()), (sources, len(table), targets)
        )
        there = Signs.of(rng.random((sources, targets)) < settings.density) if settings.density < 1 else None
        if binary:
            scale = np.abs(weights).mean(axis=(0, 1)).astype(np.float32)
            connections.append(Connection(Signs.of(weights > 0), scale, there))
        else:
            snapped = snap_filters(weights.astype(np.float32))
            connections.append(Connection(Reals(snapped), None, there))
    learned = topology.groups[1:]
    feedback = None
    if settings.feedback is not None:
        own = checked_table(settings.feedback).astype(np.float32)
        feedback = own, tuple(rng.normal(-1, 1, (len(own), one.rows)).astype(np.float32) for one in learned)
    return GLMPacked(
        topology, tuple(connections), table,
        tuple(rng.normal(-1, 0.2, one.rows).astype(np.float32) for one in learned),
        feedback, settings.decision, settings.runs, settings.draw_seed, n_steps, coding,
    )  # fmt: skip
