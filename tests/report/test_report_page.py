import html.parser
import json
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bitspike.errors import DataError
from bitspike.report import write_report
from bitspike.report.cost import in_bytes
from bitspike.report.headline import headline
from bitspike.report.page import flatten
from bitspike.report.record import read_record
from report_runs import N_STEPS, experiment, write_json, write_run

SECTIONS = {
    "spikes", "time", "errors", "calibration", "uncertainty", "learning", "robustness", "sweep", "cost", "record",
}  # fmt: skip


class _Structure(html.parser.HTMLParser):
    """Ids, addresses and balance of tags."""

    VOID = frozenset({"meta", "br", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.sections: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        names = dict(attrs)
        if "id" in names:
            self.ids.append(names["id"])
        if tag == "section":
            self.sections.add(names["id"])
        self.references += [value for key, value in attrs if key in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(folder) -> tuple[str, _Structure]:
    path = write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, _Structure(text)


def test_a_full_run_gives_every_section_in_one_self_contained_page(tmp_path):
    text, structure = page(write_run(tmp_path / "run"))
    assert structure.sections == SECTIONS
    assert structure.open == []
    assert len(structure.ids) == len(set(structure.ids))
    assert all(reference.startswith(("#", "data:")) for reference in structure.references)
    assert {reference[1:] for reference in structure.references if reference[0] == "#"} <= set(structure.ids)
    assert not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert sorted(file.name for file in (tmp_path / "run").iterdir()) == [
        "evaluation.json", "evaluation.safetensors", "experiment.json", "manifest.json", "metrics.jsonl",
        "report.html",
    ]  # fmt: skip


def test_headline_shows_the_figures_of_the_evaluation(tmp_path):
    run = read_record(write_run(tmp_path / "run"))
    cards = {card["title"]: card for card in headline(run)}
    assert cards["Accuracy"]["value"] == f"{run.evaluation['accuracy']:.2%}"
    low, high = (float(part) for part in re.findall(r"([\d.]+)%", cards["Accuracy"]["note"]))
    assert low < 100 * run.evaluation["accuracy"] < high
    assert cards["Model file"]["value"] == "912 bytes"
    # (64 * 40 + 40 * 10) * 4 + 50 * 4 = 12,040 bytes in float32
    assert cards["Model file"]["note"] == "13 times smaller than float32"
    assert cards["Spikes per image"]["value"] == f"{run.evaluation['spikes']:.0f}"
    assert "of 64 steps" in cards["Decision time"]["note"]


@pytest.mark.parametrize(
    ("energy_uj", "shown"), [(0.04213, "42.1 nJ"), (0.09, "90 nJ"), (0.1, "0.1 µJ"), (4.213, "4.21 µJ")]
)
def test_energies_have_the_unit_that_suits_them(tmp_path, energy_uj, shown):
    folder = write_run(tmp_path / "run")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", evaluation | {"energy_uj": energy_uj})
    assert shown in {card["value"] for card in headline(read_record(folder))}


def test_sizes_are_in_powers_of_a_thousand():
    sizes = {
        999: "999 bytes",
        1000: "1.0 kB",
        1024: "1.0 kB",
        250_000: "250.0 kB",
        3_200_000: "3.2 MB",
        5e9: "5000.0 MB",
    }
    assert {count: in_bytes(count) for count in sizes} == sizes


def test_only_the_required_files_still_give_a_page(tmp_path):
    text, structure = page(write_run(tmp_path / "run", full=False))
    assert structure.sections == {"record"}
    assert "87.50%" in text
    assert "<svg" not in text


@pytest.mark.parametrize("missing", ["manifest.json", "metrics.jsonl", "evaluation.safetensors"])
def test_each_optional_file_may_be_missing(tmp_path, missing):
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()
    _, structure = page(folder)
    gone = {
        "manifest.json": set(),
        "metrics.jsonl": {"learning"},
        "evaluation.safetensors": {"spikes", "time", "errors", "calibration", "uncertainty"},
    }
    assert structure.sections == SECTIONS - gone[missing]


def test_each_optional_figure_and_array_may_be_missing(tmp_path):
    folder = write_run(tmp_path / "run")
    evaluation, arrays = (
        json.loads((folder / "evaluation.json").read_text()),
        load_file(folder / "evaluation.safetensors"),
    )
    for name in [key for key in evaluation if key != "accuracy"]:
        write_json(folder / "evaluation.json", {k: v for k, v in evaluation.items() if k != name})
        assert page(folder)[1].open == []
    write_json(folder / "evaluation.json", evaluation)
    for name in arrays:
        save_file({k: v for k, v in arrays.items() if k != name}, folder / "evaluation.safetensors")
        assert page(folder)[1].open == []


def test_conformal_sets_show_the_range_of_one_model(tmp_path):
    folder = write_run(tmp_path / "run")
    evaluation = json.loads((folder / "evaluation.json").read_text())
    sets = {"coverage": 0.9125, "mean_set_size": 1.1, "singletons": 0.9, "empty": 0.0}
    row = {**sets, "coverage_range": [0.85968, 0.93487]}
    early = {**row, "coverage_range": [0.84, 0.95], "decision_time": 9.0}
    found = {
        "conformal_samples": 240,
        "conformal": {"0.1": row},
        "conformal_early": {"0.1": {"early": early, "full": early}},
    }
    write_json(folder / "evaluation.json", evaluation | {"uncertainty": found})
    text, _ = page(folder)
    assert "each calibrated on 240 images like this one" in text
    assert text.count('<td class="n">86.0 to 93.5%</td>') == 1
    assert text.count('<td class="n">84.0 to 95.0%</td>') == 2
    assert "on average over calibration sets:" in text
    older = {"conformal": {"0.1": sets}}
    write_json(folder / "evaluation.json", evaluation | {"uncertainty": older})
    text, _ = page(folder)
    assert "on average over calibration sets. Where" in text
    assert "Range of coverage" not in text


def test_the_interval_of_the_accuracy_is_that_of_its_test_set(tmp_path):
    folder = write_run(tmp_path / "run")
    write_json(folder / "evaluation.json", {"accuracy": 0.5, "n": 100})
    assert headline(read_record(folder))[0]["note"] == "95 % interval 40.38% to 59.62%"  # Wilson's
    write_json(folder / "evaluation.json", {"accuracy": 0.5})
    assert headline(read_record(folder))[0]["note"] == ""


def test_bnn_has_no_sections_about_spikes(tmp_path):
    text, structure = page(write_run(tmp_path / "run", experiment("BNN")))
    assert structure.sections == {"errors", "calibration", "uncertainty", "learning", "cost", "record"}
    assert "Loihi" not in text
    for word in ("Decision time", "Spikes per image", "silent"):
        assert word not in text.split('id="record"')[0]


def test_real_weights_change_size_and_energy(tmp_path):
    text, _ = page(write_run(tmp_path / "run", experiment(weights="real")))
    assert "x 32 bit" in text
    assert "x 1 bit" not in text
    assert "float32 add + 32-bit read from 8 KB SRAM" in text


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = write_run(tmp_path / "run")
    assert page(folder)[0] == page(folder)[0]


def test_text_from_files_is_escaped(tmp_path):
    folder = write_run(tmp_path / "run", experiment(name="<script>alert(1)</script>"))
    write_json(folder / "manifest.json", {"command": ["<img src=x onerror=alert(1)>"], "a": {"</td>": "&"}})
    text, structure = page(folder)
    assert "<script" not in text
    assert "<img" not in text
    assert structure.open == []


def test_every_constant_of_the_energy_stands_with_its_source(tmp_path):
    text, _ = page(write_run(tmp_path / "run"))
    assert "Horowitz" in text
    assert "Davies" in text
    assert "estimate, not a measurement" in text


def test_many_classes_all_decided_wrongly_and_without_confidence(tmp_path):
    folder = write_run(tmp_path / "run")
    arrays = load_file(folder / "evaluation.safetensors")
    labels = np.arange(2000) % 47
    arrays |= {"labels": labels, "predicted": np.roll(labels, 1)}
    arrays["probabilities"] = np.full((2000, 47), 1 / 47, dtype=np.float32)
    save_file(arrays, folder / "evaluation.safetensors")
    assert page(folder)[1].sections >= {"errors", "calibration"}


def test_what_is_missing_or_damaged_is_named(tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        write_report(tmp_path / "nothing")
    for name in ("experiment.json", "evaluation.json"):
        folder = write_run(tmp_path / name)
        (folder / name).write_text("{")
        with pytest.raises(DataError, match=f"{name} is not JSON"):
            write_report(folder)
        (folder / name).write_text("[]")
        with pytest.raises(DataError, match=f"{name}: it is .*expected a JSON object"):
            write_report(folder)
        (folder / name).unlink()
        with pytest.raises(DataError, match=f"{name} is missing"):
            write_report(folder)
        assert not (folder / "report.html").exists()
    folder = write_run(tmp_path / "arrays")
    (folder / "evaluation.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(DataError, match="not a readable safetensors file"):
        write_report(folder)
    save_file({"labels": np.arange(3), "predicted": np.arange(4)}, folder / "evaluation.safetensors")
    with pytest.raises(DataError, match="differ in length"):
        write_report(folder)
    write_json(folder / "evaluation.json", {"ece": 0.1})
    with pytest.raises(DataError, match="no number `accuracy`"):
        write_report(folder)


def test_an_interrupted_last_line_is_left_out_and_other_damage_is_named(tmp_path):
    folder = write_run(tmp_path / "run")
    log = folder / "metrics.jsonl"
    log.write_text(log.read_text() + '{"epoch": 5, "lo')
    assert len(read_record(folder).epochs) == 4
    log.write_text('{"epoch": 1\n' + log.read_text())
    with pytest.raises(DataError, match="line 1"):
        read_record(folder)


def test_the_sweep_of_the_calibration_is_cut_to_where_it_changes(tmp_path):
    folder = write_run(tmp_path / "run", experiment(rule="FirstSpikeRace") | {"rule": {"theta_out": 20.0}})
    accuracies = [0.4] * 5 + [0.5 + t / 100 for t in range(40)] + [0.3] * 9
    rows = [{"threshold": float(t), "accuracy": a, "silent": 0.0} for t, a in enumerate(accuracies)]
    evaluation = json.loads((folder / "evaluation.json").read_text())
    del evaluation["threshold_sweep"]
    write_json(
        folder / "evaluation.json", evaluation | {"calibration": {"threshold_shift": 3.0, "sweep": rows}}
    )
    run = read_record(folder)
    assert [row["threshold"] for row in run.sweep] == list(range(4, 46))
    assert run.chosen_threshold == 23.0
    text, structure = page(folder)
    assert "sweep" in structure.sections
    assert len(re.findall('<tr class="chosen"><td class="n">23</td>', text)) == 1
    assert "calibration.sweep" not in text


def test_flatten_names_objects_by_their_kind():
    tree = {
        "name": "x",
        "data": {"kind": "Data", "dir": "d"},
        "rule": {"kind": "S4NN", "gamma": 3, "deep": {"a": None}},
        "hidden": [600, 10],
        "empty": [],
    }
    assert flatten(tree) == [
        ("name", "x"),
        ("data.dir", "d"),
        ("rule", "S4NN"),
        ("rule.gamma", "3"),
        ("rule.deep.a", "none"),
        ("hidden", "600, 10"),
        ("empty", "none"),
    ]


def test_n_steps_comes_from_the_evaluation_or_the_coding(tmp_path):
    assert read_record(write_run(tmp_path / "a")).n_steps == N_STEPS
    assert read_record(write_run(tmp_path / "b", full=False)).n_steps == N_STEPS
    assert read_record(write_run(tmp_path / "c", experiment("BNN"))).n_steps is None
