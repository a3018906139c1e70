"""Every figure's name, unit, direction and look, in one place: terminal, report, tables and docs/metrics.md read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """How one figure is called and shown. Keys of `CATALOG` are those of evaluation.json, and `train_seconds`."""

    label: str  # a name that a stranger understands
    unit: str  # "%", "steps", ...; "" of a pure number; "input" stands for an image, a recording or a point
    better: Literal["higher", "lower"] | None  # None: neither is better by itself
    shown: str  # a format specification of Python; those that end with % show 100 times the value
    about: str  # one line

    def text(self, value: float) -> str:
        """The value with its % sign, and without any other unit: 0.9296 as "92.96%", 5464 as "5,464"."""
        return format(value, self.shown)

    def number(self, value: float) -> str:
        """The value alone, for where the unit stands apart: 0.9296 as "92.96", 5464 as "5,464"."""
        return self.text(value).removesuffix("%")

    @property
    def heading(self) -> str:
        """Name and unit, as over a column of `number`."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    def per(self, noun: str) -> str:
        """The name, and what one figure is of: "Spikes per image" for the noun "image"."""
        return f"{self.label} per {noun}" if self.unit.endswith("per input") else self.label


CATALOG: dict[str, Metric] = {
    "accuracy": Metric("Accuracy", "%", "higher", ".2%", "share of decisions that are right"),
    "accuracy_tie_optimistic": Metric(
        "Accuracy, ties as right", "%", "higher", ".2%",
        "the label is among the tied classes; the papers' figure, needs the label",
    ),
    "silent": Metric("Silent", "%", "lower", ".2%", "share of inputs without an output spike"),
    "ties": Metric("Ties", "%", None, ".2%", "share of inputs whose best output is shared by two classes or more"),
    "ece": Metric(
        "Calibration error", "%", "lower", ".2%", "ECE: mean gap of confidence and accuracy, bins of equal width"
    ),
    "ece_mass": Metric(
        "Calibration error, equal mass", "%", "lower", ".2%", "the same in bins that hold as many decisions each"
    ),
    "nll": Metric("NLL", "nats", "lower", ".3f", "negative log-likelihood of the labels"),
    "log_likelihood": Metric(
        "Log-likelihood of label trains", "nats per step", "higher", ".3f",
        "ln p of what the outputs should emit, outputs held at it, one draw of the hidden circuits",
    ),
    "brier": Metric("Brier score", "", "lower", ".4f", "squared distance of probabilities and truth, 0 to 2"),
    "aurc": Metric("AURC", "", "lower", ".5f", "area under the curve of risk over coverage"),
    "eaurc": Metric("Excess AURC", "", "lower", ".5f", "AURC beyond that of the best order of as many errors"),
    "entropy": Metric("AUROC by entropy", "%", "higher", ".1%", "strange inputs told from test inputs; 50 % is chance"),
    "max_probability": Metric("AUROC by 1 − max p", "%", "higher", ".1%", "the same by the least confidence"),
    "mutual_information": Metric(
        "AUROC by mutual information", "%", "higher", ".1%", "the same by the disagreement of members"
    ),
    "fpr95": Metric(
        "FPR95 by entropy", "%", "lower", ".1%", "strange inputs that pass where 95 % of the test inputs do"
    ),
    "coverage": Metric(
        "Coverage", "%", "higher", ".2%", "share of conformal sets that hold the label; should be near what is promised"
    ),
    "coverage_range": Metric(
        "Range of coverage", "%", None, ".1%", "that of 95 in 100 models which were calibrated on as many inputs"
    ),
    "mean_set_size": Metric("Classes in a set", "", "lower", ".3f", "mean number of classes in a conformal set"),
    "singletons": Metric("Sets of one class", "%", "higher", ".1%", "share of conformal sets of exactly one class"),
    "empty": Metric("Empty sets", "%", "lower", ".1%", "share of conformal sets without a class"),
    "far_confidence": Metric(
        "Confidence far from the data", "%", "lower", ".1%",
        "two moons, 0.15 or more from any training point; near 50 % is good",
    ),
    "rmse": Metric("RMSE", "", "lower", ".4f", "root mean square error of the targets scaled to [0, 1]"),
    "mae": Metric("Mean absolute error", "", "lower", ".4f", "of the targets scaled to [0, 1]"),
    "spread": Metric("Spread of members", "", None, ".4f", "standard deviation over a committee's members"),
    "decision_time": Metric("Decision time", "steps", "lower", ".1f", "mean step of the decision"),
    "spikes": Metric("Spikes", "per input", "lower", ",.0f", "input and hidden spikes until the decision"),
    "synops": Metric("Synaptic operations", "per input", "lower", ",.0f", "those spikes times their fan-out"),
    "input_macs": Metric("Input products", "per input", "lower", ",.0f", "grey level times weight, once per image"),
    "neuron_updates": Metric("Neuron updates", "per input", "lower", ",.0f", "neurons times steps, of spike trains"),
    "srm_updates": Metric("Neuron updates, SRM", "per input", "lower", ",.0f", "the same of spike response neurons"),
    "energy_uj": Metric("Energy", "µJ per input", "lower", ".3g", "an estimate, not a measurement"),
    "model_bytes": Metric("Model file", "bytes", "lower", ",.0f", "size on disk, header and padding included"),
    "seconds": Metric("Time", "s", "lower", ".3g", "to decide on all test inputs, on this machine"),
    "train_seconds": Metric("Training", "s", "lower", ",.1f", "sum over epochs, on the machine of the run"),
    "n": Metric("Test inputs", "", None, ",.0f", "how many inputs the figures are means over"),
}  # fmt: skip


def catalog_table() -> str:
    """The catalog as the Markdown table of docs/metrics.md: key, name, unit, which is better, one line each."""
    lines = ["| key | name | unit | better | what it is |", "|---|---|---|---|---|"]
    lines += [
        f"| `{key}` | {metric.label} | {metric.unit or '–'} | {metric.better or '–'} | {metric.about} |"
        for key, metric in CATALOG.items()
    ]
    return "\n".join(lines)
