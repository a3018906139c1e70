"""What `bitspike eval` says about uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bitspike.cli._terminal import table
from bitspike.errors import UsageError

if TYPE_CHECKING:
    from bitspike.data import Dataset
    from bitspike.packed.conformal import Quantiles
    from bitspike.prediction import Prediction


def measure(
    prediction: Prediction,
    dataset: Dataset,
    quantiles: Quantiles,
    strange: Dataset | None,
    predict: Callable[[Any], Prediction],
) -> dict[str, Any]:
    """`uncertainty` of docs/metrics.md; conformal figures by the model's `quantiles`, where it has them.

    `predict` decides on the test inputs of `strange`, another data set.
    """
    import torch

    from bitspike.metrics.uncertainty import conformal_figures, decision_figures, ood_figures

    labels = torch.from_numpy(dataset.test_labels)
    found = decision_figures(prediction, labels, torch.Generator().manual_seed(0))
    if quantiles:
        found["conformal"] = conformal_figures(prediction.probabilities, labels, quantiles)
    if strange is not None:
        outside = predict(strange.test_inputs)
        members = prediction.members, outside.members
        figures = ood_figures(prediction.probabilities, outside.probabilities, members)
        found["ood"] = {"data": strange.name, "n": len(outside.labels), **figures}
    return {"uncertainty": found}


def require_same_shape(dataset: Dataset, strange: Dataset | None) -> None:
    """Refuse, with `UsageError`, inputs that a model of `dataset` does not take."""
    if strange is None:
        return
    own, other = (type(data.test_inputs).__name__ for data in (dataset, strange))
    if own != other or dataset.shape != strange.shape:
        raise UsageError(
            f"--ood {strange.name} has inputs of shape {strange.shape} ({other}), {dataset.name} has "
            f"{dataset.shape} ({own}); give a data set of the same shape"
        )


def show(found: dict[str, Any]) -> None:
    """Tables of the conformal sets, and of how well strange inputs are told apart."""
    if "conformal" in found:
        names = ["coverage", "mean_set_size", "singletons", "empty"]
        print()
        table(
            ["conformal sets", *(name.replace("_", " ") for name in names)],
            (
                [f"{100 - 100 * float(alpha):g} %", *map(figures.get, names)]
                for alpha, figures in found["conformal"].items()
            ),
        )
    if "ood" in found:
        ood = dict(found["ood"])
        print()
        heading = f"against {ood.pop('n'):,} inputs of {ood.pop('data')}"
        fpr95 = ood.pop("fpr95")
        rows = [[name.replace("_", " "), "AUROC", value] for name, value in ood.items()]
        table([heading, "figure", "value"], [*rows, ["entropy", "false positives at 95 %", fpr95]])
