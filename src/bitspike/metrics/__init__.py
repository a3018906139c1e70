"""One metric, one file; torch tensors in, Python floats out. Definitions: docs/metrics.md."""

from bitspike.metrics.accuracy import accuracy, accuracy_tie_optimistic, bootstrap_interval
from bitspike.metrics.calibration import (
    Reliability,
    brier,
    ece_interval,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from bitspike.metrics.conformal import (
    EarlyStopping,
    conformal_grid,
    conformal_threshold,
    early_figures,
    early_stopping,
    label_scores,
    prediction_sets,
    set_figures,
)
from bitspike.metrics.energy import Work, energy_table, energy_uj
from bitspike.metrics.footprint import Footprint, footprint, model_bytes
from bitspike.metrics.ood import auroc, entropy, false_positive_rate, least_confidence, mutual_information
from bitspike.metrics.robustness import (
    add_noise,
    delete,
    delete_trains,
    deletion_curve,
    jitter,
    jitter_curve,
    jitter_trains,
)
from bitspike.metrics.selective import RiskCoverage, risk_coverage
from bitspike.metrics.spikes import OverTime, SpikeCost, accuracy_over_time, spike_cost
from bitspike.metrics.summary import summarise

__all__ = [
    "EarlyStopping",
    "Footprint",
    "OverTime",
    "Reliability",
    "RiskCoverage",
    "SpikeCost",
    "Work",
    "accuracy",
    "accuracy_over_time",
    "accuracy_tie_optimistic",
    "add_noise",
    "auroc",
    "bootstrap_interval",
    "brier",
    "conformal_grid",
    "conformal_threshold",
    "delete",
    "delete_trains",
    "deletion_curve",
    "early_figures",
    "early_stopping",
    "ece_interval",
    "energy_table",
    "energy_uj",
    "entropy",
    "expected_calibration_error",
    "false_positive_rate",
    "fit_temperature",
    "footprint",
    "jitter",
    "jitter_curve",
    "jitter_trains",
    "label_scores",
    "least_confidence",
    "model_bytes",
    "mutual_information",
    "negative_log_likelihood",
    "prediction_sets",
    "reliability",
    "risk_coverage",
    "set_figures",
    "spike_cost",
    "summarise",
]
