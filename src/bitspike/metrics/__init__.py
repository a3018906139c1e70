"""One metric, one file; torch tensors in, Python floats out. Definitions: docs/metrics.md."""

from bitspike.metrics.accuracy import accuracy, accuracy_tie_optimistic, bootstrap_interval
from bitspike.metrics.calibration import (
    Reliability,
    brier,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from bitspike.metrics.energy import Work, energy_table, energy_uj
from bitspike.metrics.footprint import Footprint, footprint, model_bytes
from bitspike.metrics.robustness import (
    add_noise,
    delete,
    delete_trains,
    deletion_curve,
    jitter,
    jitter_curve,
    jitter_trains,
)
from bitspike.metrics.spikes import OverTime, SpikeCost, accuracy_over_time, spike_cost
from bitspike.metrics.summary import summarise

__all__ = [
    "Footprint",
    "OverTime",
    "Reliability",
    "SpikeCost",
    "Work",
    "accuracy",
    "accuracy_over_time",
    "accuracy_tie_optimistic",
    "add_noise",
    "bootstrap_interval",
    "brier",
    "delete",
    "delete_trains",
    "deletion_curve",
    "energy_table",
    "energy_uj",
    "expected_calibration_error",
    "fit_temperature",
    "footprint",
    "jitter",
    "jitter_curve",
    "jitter_trains",
    "model_bytes",
    "negative_log_likelihood",
    "reliability",
    "spike_cost",
    "summarise",
]
