"""Benchmarks by name: each function measures side by side and returns rows, JSON-ready, all with the same keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitspike.bench.bisnn import bisnn
from bitspike.bench.inference import inference, trains
from bitspike.bench.memory import memory
from bitspike.bench.spike_trains import convolution, spike_trains
from bitspike.bench.training import epoch, steps, training
from bitspike.bench.uncertain import bisnn_inference, committees

BENCHMARKS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "inference": inference,
    "training": training,
    "steps": steps,
    "epoch": epoch,
    "spike-trains": spike_trains,
    "spike-trains-cnn": convolution,
    "spike-trains-inference": trains,
    "spike-trains-memory": memory,
    "bisnn-inference": bisnn_inference,
    "committees": committees,
    "bisnn": bisnn,
}
