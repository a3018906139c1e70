"""What the best network has most of."""

from __future__ import annotations

from torch import Tensor

from bitspike.prediction import Prediction


def score_of(prediction: Prediction, labels: Tensor) -> tuple[float, dict[str, float]]:
    """The score, and its name and value to log: accuracy, or minus the root mean square error of a regression."""
    if not labels.dtype.is_floating_point:
        n = len(labels)
        accuracy = int((prediction.labels == labels).sum()) / n
        return accuracy, {
            "validation_accuracy": accuracy,
            "validation_silent": int(prediction.silent.sum()) / n,
        }
    rmse = float((prediction.potentials[:, 0].double() - labels).square().mean().sqrt())
    return -rmse, {"validation_rmse": rmse}
