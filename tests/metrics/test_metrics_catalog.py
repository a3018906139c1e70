"""One catalog names every figure: documented, importable without torch, complete."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import bitspike.metrics
from bitspike.cli._terminal import FIGURES, figures
from bitspike.metrics import summarise
from bitspike.metrics.catalog import CATALOG, catalog_table
from bitspike.prediction import Prediction

METRICS_PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


def test_the_table_of_the_documentation_is_the_catalog():
    text = METRICS_PAGE.read_text(encoding="utf-8")
    between = text.split("<!-- catalog: begin -->")[1].split("<!-- catalog: end -->")[0]
    assert between.strip() == catalog_table()


def test_every_figure_is_defined_in_the_documentation_besides():
    definitions = METRICS_PAGE.read_text(encoding="utf-8").split("<!-- catalog: end -->")[1]
    for key in CATALOG.keys() - {"n", "seconds", "train_seconds"}:
        assert key in definitions, key


def test_labels_are_distinct_and_formats_work():
    assert len({metric.label for metric in CATALOG.values()}) == len(CATALOG)
    for metric in CATALOG.values():
        assert metric.shown.endswith("%") == (metric.unit == "%")
        assert float(metric.number(0.5).replace(",", "")) in (50.0, 0.5, 0.0)
        assert metric.text(0.5).startswith(metric.number(0.5))


def test_figures_as_they_are_shown():
    assert CATALOG["accuracy"].text(0.9296) == "92.96%"
    assert CATALOG["accuracy"].number(0.9296) == "92.96"
    assert CATALOG["accuracy"].heading == "Accuracy (%)"
    assert CATALOG["model_bytes"].text(5464) == "5,464"
    assert CATALOG["brier"].heading == "Brier score"
    assert CATALOG["spikes"].per("recording") == "Spikes per recording"
    assert CATALOG["nll"].per("recording") == "NLL"


def test_it_needs_no_torch():
    code = "import sys, bitspike.metrics.catalog; assert not {'torch', 'numpy'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_public_name_is_found_and_others_are_not():
    for name in bitspike.metrics.__all__:
        assert callable(getattr(bitspike.metrics, name)), name
    assert set(bitspike.metrics.__all__) <= set(dir(bitspike.metrics))
    with pytest.raises(AttributeError, match="no_such"):
        _ = bitspike.metrics.no_such


def test_an_evaluation_has_no_figure_that_the_catalog_lacks():
    nothing = torch.zeros(2, dtype=torch.int64)
    p = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    prediction = Prediction(
        labels=nothing, probabilities=p, decision_time=nothing, silent=nothing.bool(), tied=p > 0.5,
        potentials=p.log(), n_spikes=nothing, n_synops=nothing,
    )  # fmt: skip
    summary = summarise(prediction, nothing, 5, input_macs=1.0, neuron_updates=2.0, srm_updates=3.0)
    assert summary.keys() - CATALOG.keys() == {"n_steps"}
    assert set(FIGURES) <= CATALOG.keys()


def test_the_terminal_uses_its_names(capsys):
    figures(
        {"accuracy": 0.9296, "accuracy_interval": (0.9, 0.95), "nll": np.float64(0.25), "n": 355, "other": 1}
    )
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.split("  ")[0] == "Accuracy"
    assert first.endswith("92.96 %, 95 % interval 90.00 to 95.00")
    assert second.endswith("0.250 nats")
    assert third.split() == ["Test", "inputs", "355"]
