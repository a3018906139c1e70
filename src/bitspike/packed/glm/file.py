"""Networks of circuits in the file `model.bitspike` (docs/format.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from bitspike.errors import FormatError, UsageError
from bitspike.ops.glm.topology import Group, Topology
from bitspike.packed.base import Known
from bitspike.packed.codings import coding_name, read_coding
from bitspike.packed.container import Tensors, weight_name, weight_tensor
from bitspike.packed.decisions import Array
from bitspike.packed.fields import MAX_NEURONS, MAX_STATES, MAX_WEIGHTS, plain
from bitspike.packed.glm.layers import Connection, GLMStack
from bitspike.packed.weights import Signs, stored_shape
from bitspike.settings.basis import MAX_FILTERS, MAX_LENGTH

MAX_GROUPS = 64
_GROUP = {"circuits": int, "values": int}
_CONNECTION = {"source": int, "target": int, "kind": str, "masked": bool}


def to_parts(network: GLMStack, shape: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Array]]:
    """What a model file holds of the network."""
    _check_size(network.topology, len(network.table), network.n_steps)
    tensors: dict[str, Array] = {"filters": network.table}
    listed = []
    for number, ((source, target), connection) in enumerate(
        zip(network.topology.connections, network.connections, strict=True), start=1
    ):
        tensors[f"{number}.{weight_name(connection.kind)}"] = weight_tensor(connection.weights)
        if connection.scale is not None:
            tensors[f"{number}.scale"] = connection.scale
        if connection.there is not None:
            tensors[f"{number}.there"] = connection.there.bits
        listed.append(
            {
                "source": source,
                "target": target,
                "kind": connection.kind,
                "masked": connection.there is not None,
            }
        )
    tensors |= {f"bias.{group}": bias for group, bias in enumerate(network.biases, start=1)}
    length = 0
    if network.feedback is not None:
        table, own = network.feedback
        tensors["feedback"] = table
        tensors |= {f"feedback.{group}": weights for group, weights in enumerate(own, start=1)}
        length = table.shape[1]
    fields = {
        "coding": coding_name(network.coding),
        "settings": plain(network.coding),
        "input": list(shape),
        "groups": [{"circuits": group.n, "values": group.values} for group in network.topology.groups],
        "connections": listed,
        "filters": list(network.table.shape),
        "feedback": [0 if network.feedback is None else len(network.feedback[0]), length],
        "decision_by": network.decision_by,
        "runs": network.runs,
        "draw_seed": network.draw_seed,
    }
    return fields, tensors


def from_parts(metadata: Mapping[str, Any], tensors: Tensors, known: Known) -> dict[str, Any]:
    """The arguments of `GLMPacked` of a file."""
    coding = read_coding(metadata, known)
    groups = [_entry(one, _GROUP, f"group {number}") for number, one in enumerate(metadata["groups"])]
    listed = [
        _entry(one, _CONNECTION, f"connection {number}")
        for number, one in enumerate(metadata["connections"], start=1)
    ]
    if not 2 <= len(groups) <= MAX_GROUPS or len(listed) > MAX_GROUPS**2:
        raise FormatError(f"{len(groups)} groups; 2 to {MAX_GROUPS} are possible")
    topology = Topology(
        tuple(Group(one["circuits"], one["values"]) for one in groups),
        tuple((one["source"], one["target"]) for one in listed),
    )
    table_shape = _shape(metadata["filters"], "filters", least=1)
    feedback_shape = _shape(metadata["feedback"], "feedback", least=0)
    _check_size(topology, table_shape[0], coding.n_steps)
    connections = []
    for number, one in enumerate(listed, start=1):
        source, target = topology.groups[one["source"]].rows, topology.groups[one["target"]].rows
        shape = (source, table_shape[0], target)
        weights = tensors.take_weights(one["kind"], str(number), shape)
        scale = tensors.take(f"{number}.scale", (target,), np.float32) if one["kind"] == "binary" else None
        there = _there(tensors, number, (source, target)) if one["masked"] else None
        connections.append(Connection(weights, scale, there))
    learned = topology.groups[1:]
    biases = [
        tensors.take(f"bias.{g}", (group.rows,), np.float32) for g, group in enumerate(learned, start=1)
    ]
    feedback = None
    if math.prod(feedback_shape):
        own = [
            tensors.take(f"feedback.{g}", (feedback_shape[0], group.rows), np.float32)
            for g, group in enumerate(learned, start=1)
        ]
        feedback = tensors.take("feedback", feedback_shape, np.float32), tuple(own)
    return {
        "topology": topology,
        "connections": tuple(connections),
        "table": tensors.take("filters", table_shape, np.float32),
        "biases": tuple(biases),
        "feedback": feedback,
        "decision_by": metadata["decision_by"],
        "runs": metadata["runs"],
        "draw_seed": metadata["draw_seed"],
        "n_steps": coding.n_steps,
        "coding": coding,
    }


def _there(tensors: Tensors, number: int, shape: tuple[int, int]) -> Any:
    return Signs(tensors.take(f"{number}.there", stored_shape(shape), np.uint8), shape)


def _entry(entry: dict[str, Any], fields: Mapping[str, type], where: str) -> dict[str, Any]:
    if set(entry) != set(fields) or any(type(entry[name]) is not kind for name, kind in fields.items()):
        raise FormatError(f"{where} is {entry!r:.200}; expected {', '.join(fields)}")
    return entry


def _shape(given: list[int], name: str, least: int) -> tuple[int, int]:
    if len(given) != 2 or not (least <= given[0] <= MAX_FILTERS and least <= given[1] <= MAX_LENGTH):
        raise FormatError(f"{name} is {given!r:.100}; expected at most [{MAX_FILTERS}, {MAX_LENGTH}]")
    return given[0], given[1]


def _check_size(topology: Topology, filters: int, n_steps: int) -> None:
    """Refuse networks so large that deciding would ask for gigabytes; files can claim any size."""
    if any(group.n < 1 or group.values < 1 for group in topology.groups):
        raise UsageError("a group has no circuits or no values; 1 or more are possible")
    rows = sum(group.rows for group in topology.groups)
    if rows > MAX_NEURONS or rows * n_steps > MAX_STATES:
        raise UsageError(f"{rows} rows in {n_steps} steps; at most {MAX_NEURONS}, times steps {MAX_STATES}")
    for source, target in topology.connections:
        asked = topology.groups[source].rows * filters * -(-topology.groups[target].rows // 16) * 16
        if asked > MAX_WEIGHTS:
            raise UsageError(f"connection {source}-{target} has {asked} weights; at most {MAX_WEIGHTS}")
