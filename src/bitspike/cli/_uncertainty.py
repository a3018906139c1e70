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
    n_samples: int | None,
    strange: Dataset | None,
    predict: Callable[[Any], Prediction],
) -> dict[str, Any]:
    """`uncertainty` of docs/metrics.md; conformal figures by the model's `quantiles`, where it has them.

    `n_samples`: how many calibration samples those come from, where that is known. `predict` decides on the test inputs
    of `strange`, another data set.
    """
    import torch

    from bitspike.metrics.uncertainty import conformal_figures, decision_figures, ood_figures

    labels = torch.from_numpy(dataset.test_labels)
    found = decision_figures(prediction, labels)
    if quantiles:
        if n_samples is not None:
            found["conformal_samples"] = n_samples
        found["conformal"] = conformal_figures(prediction.probabilities, labels, quantiles, n_samples)
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
            ["conformal sets", "expected of one", *(name.replace("_", " ") for name in names)],
            (
                [f"{100 - 100 * float(alpha):g} %", _expected(figures), *map(figures.get, names)]
                for alpha, figures in found["conformal"].items()
            ),
        )
        promise = "What is promised holds on average over calibration sets"
        samples = found.get("conformal_samples")
        if samples is None:
            print(f"{promise}; one model strays from it, the further the fewer inputs it was calibrated on.")
        else:
            print(
                f"{promise}; of 100 models, each of {samples:,} calibration inputs, 95 cover the share expected."
            )
    if "ood" in found:
        ood = dict(found["ood"])
        print()
        heading = f"against {ood.pop('n'):,} inputs of {ood.pop('data')}"
        fpr95 = ood.pop("fpr95")
        rows = [[name.replace("_", " "), "AUROC", value] for name, value in ood.items()]
        table([heading, "figure", "value"], [*rows, ["entropy", "false positives at 95 %", fpr95]])


def _expected(figures: dict[str, Any]) -> str:
    """The range of coverage of one model, in %; a dash where it is not known."""
    if "coverage_range" not in figures:
        return "–"
    return "{:.1f} to {:.1f} %".format(*(100 * end for end in figures["coverage_range"]))
