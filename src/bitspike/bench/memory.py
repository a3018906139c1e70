"""Peak memory of one training step, each case in a fresh process."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.bench import rivals_trains
from bitspike.bench.spike_trains import OURS, experiment, rule_step
from bitspike.bench.subjects import digits, pixels
from bitspike.coding import Poisson
from bitspike.networks.lif import LIFNetwork


@dataclass(frozen=True)
class Usage:
    """Bytes: resident before the network was made, at most during one step, and kept between forward and backward."""

    start: int
    peak: int
    kept: int


Measure = Callable[[str, int, int, int], Usage | None]


def in_a_process(system: str, n_steps: int, hidden: int, batch: int) -> Usage | None:
    """`case`, in a process of its own."""
    code = f"from bitspike.bench.memory import write; write({system!r}, {n_steps}, {hidden}, {batch})"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    written = json.loads(run.stdout)
    return None if written is None else Usage(**written)


def memory(
    steps: tuple[int, ...] = (100, 400, 1600),
    hidden: int = 800,
    batch: int = 64,
    measure: Measure = in_a_process,
) -> list[dict[str, Any]]:
    """Peak resident memory of a process that takes one training step, 784-800-10, batch 64; bytes kept for backward."""
    rows: list[dict[str, Any]] = []
    for n_steps in steps:
        ours = None
        for system in (OURS, *rivals_trains.NAMES):
            usage = measure(system, n_steps, hidden, batch)
            if usage is None:
                continue
            above = usage.peak - usage.start
            ours = ours or above
            rows.append(
                {
                    "system": system,
                    "steps": n_steps,
                    "peak MB": round(usage.peak / 2**20, 1),
                    "of which for the step": round(above / 2**20, 1),
                    "times ours": round(above / ours, 2),
                    "bytes kept per sample and step": round(usage.kept / batch / n_steps, 1),
                }
            )
    return rows


def resident(which: str) -> int:
    """Bytes of this process in memory: "VmRSS" now, "VmHWM" at most; where the system tells only the latter, that."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what the parent had before it started this process
        line = next(line for line in status.read_text().splitlines() if line.startswith(which))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def kept(step: Callable[[], object], model: nn.Module) -> int:
    """Bytes that autograd keeps between forward and backward of one step, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()
    return sum(storages.values())


def write(system: str, n_steps: int, hidden: int, batch: int) -> None:
    """Print `case` on one thread, as JSON."""
    torch.set_num_threads(1)
    usage = case(system, n_steps, hidden, batch)
    print(json.dumps(None if usage is None else asdict(usage)))


def case(system: str, n_steps: int, hidden: int, batch: int) -> Usage | None:
    """What one training step of a system takes; None where its library is not installed."""
    data = digits()
    coding = Poisson(n_steps)
    if system == OURS:
        settings = experiment(coding, hidden, batch)
        start = resident("VmRSS")
        step, network = rule_step(settings, data, 0)
        signal = cast(LIFNetwork, network).signal(pixels(data, batch), torch.Generator().manual_seed(0))
        return Usage(start, kept=kept(step, network) + signal[0].nbytes, peak=resident("VmHWM"))
    rival = rivals_trains.network(system, rivals_trains.dense(hidden), n_steps)
    if rival is None:
        return None
    start = resident("VmRSS")
    labels = torch.from_numpy(data.train_labels[:batch])
    chance = pixels(data, batch).float() * (coding.rate / 255)
    spikes = torch.empty((n_steps, *chance.shape)).bernoulli_(chance)  # drawing must not be the peak
    step = rivals_trains.step(rival, spikes, labels, constant=False)
    return Usage(start, kept=kept(step, rival), peak=resident("VmHWM"))
