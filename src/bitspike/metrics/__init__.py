"""One metric, one file; torch tensors in, Python floats out. Definitions: docs/metrics.md.

Names are imported when first used, so that `metrics.catalog` needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitspike.metrics.calibration import (
        Reliability,
        brier,
        decided_confidence,
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
        coverage_range,
        early_figures,
        early_stopping,
        label_scores,
        prediction_sets,
        set_figures,
    )
    from bitspike.metrics.correctness import accuracy, accuracy_interval, accuracy_tie_optimistic
    from bitspike.metrics.energy import Work, energy_table, energy_uj
    from bitspike.metrics.ood import auroc, entropy, false_positive_rate, least_confidence, mutual_information
    from bitspike.metrics.regression import regression_figures
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
    from bitspike.metrics.size import Footprint, footprint, model_bytes
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
    "accuracy_interval",
    "accuracy_over_time",
    "accuracy_tie_optimistic",
    "add_noise",
    "auroc",
    "brier",
    "conformal_grid",
    "conformal_threshold",
    "coverage_range",
    "decided_confidence",
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
    "regression_figures",
    "reliability",
    "risk_coverage",
    "set_figures",
    "spike_cost",
    "summarise",
]

_MODULES = (
    "calibration", "conformal", "correctness", "energy", "ood", "regression", "robustness", "selective", "size",
    "spikes", "summary",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            defined = vars(importlib.import_module(f"{__name__}.{module}"))
            if name in defined:
                return defined[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
