"""Energy and size of the network of a run, as rows of tables."""

from __future__ import annotations

from typing import Any

from bitspike.metrics import Footprint, Work, energy_table, footprint
from bitspike.metrics.energy import Weights, n_synapses
from bitspike.report.record import RunRecord


def energy(run: RunRecord) -> dict[str, Any] | None:
    """The estimate beside others, as `energy_table` gives it; None of a run that counted no operations."""
    e = run.evaluation
    if not e.get("synops"):
        return None
    beside = {name: e.get(name, 0.0) for name in ("input_macs", "neuron_updates", "srm_updates")}
    work = Work(e["synops"], **beside)
    n_macs = n_synapses(run.widths) if run.widths else None
    if n_macs is None and run.layers:
        n_macs = sum(layer.get("synapses", 0) for layer in run.layers if layer.get("weights")) or None
    return energy_table(work, _weights(run), n_macs, spiking=run.spiking)


def _weights(run: RunRecord) -> Weights:
    return "real" if run.kind("weights") == "real" else "binary"


def own_footprint(run: RunRecord, weights: Weights) -> Footprint | None:
    """Weights and thresholds of one network, as its widths or its layers say; None where they say nothing."""
    if run.widths is not None:
        return footprint(run.widths, weights)
    n_weights = sum(layer.get("weights", 0) for layer in run.layers)
    if not n_weights:
        return None
    n_thresholds = sum(_count(layer.get("threshold")) for layer in run.layers)
    return Footprint(
        n_weights, n_weights * (1 if weights == "binary" else 32), n_thresholds, n_thresholds * 32
    )


def _count(thresholds: Any) -> int:
    """How many thresholds a layer has: none, one for all its neurons, or a list of them."""
    return 0 if thresholds is None else len(thresholds) if isinstance(thresholds, list) else 1


def size(run: RunRecord) -> list[tuple[str, str, str]]:
    """Rows of part, content and size; a committee's members hold as much as each other."""
    rows, times = [], f"{run.n_members} networks x " if run.n_members > 1 else ""
    own, real = own_footprint(run, _weights(run)), own_footprint(run, "real")
    if own is not None and real is not None:
        bits = own.synapse_bits // own.synapses
        rows += [
            (
                "weights" if run.windowed else "synapses",
                f"{times}{own.synapses:,} x {bits} bit",
                in_bytes(run.n_members * own.synapse_bits / 8),
            ),
        ]
        if own.thresholds:
            bytes_ = in_bytes(run.n_members * own.threshold_bits / 8)
            rows.append(("thresholds", f"{times}{own.thresholds:,} x 32 bit", bytes_))
        if bits == 1:
            name = "one such network in float32" if times else "the same network in float32"
            rows.append((name, f"{real.synapses:,} x 32 bit", in_bytes(real.bytes)))
    if run.evaluation.get("model_bytes"):
        rows.append(
            (
                "model file",
                f"{run.evaluation['model_bytes']:,} bytes",
                in_bytes(run.evaluation["model_bytes"]),
            )
        )
    return rows


def in_bytes(count: float) -> str:
    """A size in bytes, kB or MB, powers of 1000."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000 or unit == "MB":
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit takes all")
