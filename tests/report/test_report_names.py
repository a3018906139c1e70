"""What a run says about itself: names of classes, how it decides, layers, colour, and systems that nobody foresaw."""

import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_report_page import page
from test_report_table import cells

from bitspike.errors import DataError
from bitspike.report import results_table
from bitspike.report.record import read_record
from report_runs import N_STEPS, experiment, write_json, write_run

NAMES = [
    "T-shirt/top", "Trouser", "Pullover <b>", "Dress & $x^2$", "a coat with a very long name, indeed", 'a "bag"',
    "Shirt", "two\nlines", "袋", "Ankle boot",
]  # fmt: skip


def with_classes(folder, names, **data):
    write_json(
        folder / "manifest.json", {"started": "2026-01-02T03:04:05+00:00", "data": {"classes": names, **data}}
    )
    return folder


def evaluated(folder, **facts):
    path = folder / "evaluation.json"
    write_json(path, json.loads(path.read_text()) | facts)
    return folder


def test_classes_have_their_names_everywhere(tmp_path):
    folder = with_classes(write_run(tmp_path / "run"), NAMES)
    arrays = load_file(folder / "evaluation.safetensors")
    arrays |= {"example_labels": np.full(12, 5), "example_predicted": np.full(12, 5)}
    save_file(arrays, folder / "evaluation.safetensors")
    text, structure = page(folder)
    assert structure.open == []
    rasters = text.split('id="spikes"')[1].split("</section>")[0]
    errors = text.split('id="errors"')[1].split("</section>")[0]
    for part in (rasters, errors):
        for name in ("Trouser", "Shirt", "Pullover &lt;b&gt;", "Dress &amp; $x^", "two lines", "袋"):
            assert name in part, name
        assert "<b>" not in part
    assert "a coat with…" in rasters
    assert "a coat with a very long nam…" in errors
    assert rasters.count('label a "bag"') == 6
    assert rasters.count("of class a &quot;bag&quot;, decided a &quot;bag&quot; (correct)") == 6


def test_names_fall_back_to_numbers(tmp_path):
    run = read_record(with_classes(write_run(tmp_path / "a"), ["one"]))
    assert [run.class_name(0), run.class_name(3)] == ["one", "3"]
    assert run.named
    for number, classes in enumerate(([], [" ", ""])):
        run = read_record(with_classes(write_run(tmp_path / f"b{number}", full=False), classes))
        assert run.class_name(1) == "1"
    run = read_record(write_run(tmp_path / "c", full=False))
    assert not run.named
    assert run.class_name(7) == "7"
    assert read_record(with_classes(tmp_path / "c", ["bad\x07\x1b"])).class_name(0) == "bad\ufffd\ufffd"


def test_the_header_says_when_where_and_what_is_to_be_known_of_the_data(tmp_path):
    text, structure = page(with_classes(write_run(tmp_path / "here"), NAMES, note="simulated <events>"))
    header = text.split("<header>")[1].split("</header>")[0]
    for words in ("2026-01-02 03:04", "run folder here", "data: simulated &lt;events&gt;"):
        assert words in header
    links = re.findall(r'<a href="#([^"]+)">', text)
    assert set(links) == structure.sections
    assert links[0] == "spikes"
    assert links[-1] == "record"


@pytest.mark.parametrize("decides", ["first spike", "window", "once"])
def test_what_the_evaluation_says_about_deciding_counts(tmp_path, decides):
    plug_in = experiment("a.b:MyRule", network={"kind": "my_package.module:MyNetwork", "hidden": [40]})
    layers = [
        {"name": "input", "neurons": 64},
        {"name": "40", "neurons": 40, "weights": 2560, "synapses": 2560, "threshold": [1.0] * 40},
        {"name": "output", "neurons": 10, "weights": 400, "synapses": 400, "threshold": 2.0},
    ]
    folder = evaluated(write_run(tmp_path / "run", plug_in), decides=decides, layers=layers)
    run = read_record(with_classes(folder, NAMES, noun="scan"))
    assert (run.timed, run.windowed, run.spiking) == (
        decides == "first spike", decides == "window", decides != "once",
    )  # fmt: skip
    assert run.noun == "scan"
    assert run.shape == ("64", "40", "10")
    assert run.n_steps == (None if decides == "once" else N_STEPS)
    text, structure = page(folder)
    assert structure.open == []
    assert ("time" in structure.sections) == (decides == "first spike")
    assert "scans" in text
    assert ">MyRule</td>" in text
    assert "my_package" not in text
    (row,) = cells(results_table([folder]))
    assert row["network"] == "64-40-10"
    assert row["rule"] == "MyRule"


def test_a_system_that_nobody_foresaw_has_a_report(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_json(
        folder / "experiment.json", {"name": "new", "network": {"kind": "x.y:Z", "depth": 3}, "rule": "r"}
    )
    write_json(folder / "evaluation.json", {"accuracy": 0.5, "layers": [{"neurons": 3}, {"name": "a"}]})
    text, structure = page(folder)
    assert structure.sections == {"record"}
    assert "50.00%" in text
    assert cells(results_table([folder]))[0]["Accuracy (%)"] == "50.00"


def test_layers_without_figures_of_activity_and_thresholds_still_show(tmp_path):
    layers = [{"name": "input", "neurons": 64}, {"name": "8C3", "neurons": 40, "mean_count": 1.5}]
    folder = evaluated(write_run(tmp_path / "run"), decides="window", layers=layers)
    text, structure = page(folder)
    assert "activity" in structure.sections
    assert ">8C3</td>" in text


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_examples_in_colour(tmp_path, channels):
    folder = write_run(tmp_path / "run")
    arrays = load_file(folder / "evaluation.safetensors")
    images = np.zeros((12, 8, 8, channels), np.uint8)
    images[..., 0] = 200
    save_file(arrays | {"example_images": images}, folder / "evaluation.safetensors")
    text, structure = page(folder)
    assert "spikes" in structure.sections
    assert text.count("data:image/png") == 6


def test_a_first_spike_run_without_pictures_has_rasters(tmp_path):
    folder = write_run(tmp_path / "run")
    arrays = load_file(folder / "evaluation.safetensors")
    del arrays["example_images"]
    save_file(arrays, folder / "evaluation.safetensors")
    text, _ = page(folder)
    assert "data:image/png" not in text
    assert text.count("Spikes of one image") == 6


def test_some_rows_and_columns_of_the_results_table(tmp_path):
    runs = [write_run(tmp_path / name, experiment(name=name), n=50) for name in ("a", "b", "c")]
    rows = cells(results_table(runs, recipes=("c", "a"), columns=("recipe", "accuracy"), notes=False))
    assert [row["recipe"] for row in rows] == ["c", "a"]
    assert list(rows[0]) == ["recipe", "Accuracy (%)"]
    with pytest.raises(DataError, match="recipe 'd'"):
        results_table(runs, recipes=("d",))
    with pytest.raises(DataError, match="no column 'x'"):
        results_table(runs, columns=("x",))
