"""Runs that bitspike 0.1.0 wrote, with checkpoints of version 2, are loaded, packed, reported and trained on.

tests/vectors/older_runs: one finished run per rule; `unfinished.safetensors` is its checkpoint some epochs before the
end, `expected.safetensors` what it decided on the first test inputs. All evaluation.safetensors but one are cut to
the example images. Training ends in the same bits where the processor
and torch are the same; elsewhere only that it ends is tested.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bitspike.cli.eval import evaluate
from bitspike.cli.pack import pack
from bitspike.cli.report import report
from bitspike.data import load
from bitspike.errors import UsageError
from bitspike.networks.committee import Committee
from bitspike.training import RunFolder, load_best, load_model, load_snapshots, resume
from bitspike.training.checkpoint import load_checkpoint
from bitspike.training.encode import encode
from bitspike.training.randomness import generator

VECTORS = Path(__file__).parents[1] / "vectors" / "older_runs"
NAMES = sorted(entry.name for entry in VECTORS.iterdir())
UNFINISHED = sorted(entry.parent.name for entry in VECTORS.glob("*/unfinished.safetensors"))


def same_machine(name: str) -> bool:
    manifest = RunFolder(VECTORS / name).manifest()
    told = manifest["machine"]["instruction_set"], manifest["versions"]["torch"]
    return told == (torch.backends.cpu.get_cpu_capability(), torch.__version__)


@pytest.fixture
def older(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(VECTORS / request.param, tmp_path / request.param))


@pytest.fixture
def unfinished(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A run as it was when it was interrupted: after an epoch had its line and before it had its checkpoint."""
    source, folder = VECTORS / request.param, tmp_path / request.param
    folder.mkdir()
    for name in ("experiment.json", "manifest.json"):
        shutil.copy(source / name, folder)
    shutil.copy(source / "unfinished.safetensors", folder / "checkpoint.safetensors")
    lines = (source / "metrics.jsonl").read_text().splitlines(keepends=True)
    epoch = load_checkpoint(folder / "checkpoint.safetensors").epoch
    (folder / "metrics.jsonl").write_text("".join(lines[: epoch + 1]))
    return folder


def test_there_is_a_run_of_every_rule() -> None:
    rules = {type(RunFolder(VECTORS / name).experiment().rule).__name__ for name in NAMES}
    assert rules == {"FirstSpikeRace", "S4NN", "BNN", "HM2BP", "BiSNN"}
    assert len(UNFINISHED) == 4


# Charged otherwise since (metrics.energy), or by other random draws (metrics.uncertainty).
REDEFINED = (
    "neuron_updates",
    "energy_uj",
    "ece_interval",
    "ece_mass_interval",
    "ood",
    "conformal_early",
    "modes",
)


def alike(found: Any, stored: Any, where: str = "") -> None:
    """All that is stored was found again, bit for bit; there may be more."""
    if isinstance(stored, dict):
        for name, value in stored.items():
            alike(found[name], value, f"{where}.{name}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for index, value in enumerate(stored):
            alike(found[index], value, f"{where}[{index}]")
    else:
        assert found == stored, where


@pytest.mark.parametrize("older", NAMES, indirect=True)
def test_a_finished_run_loads_and_decides_as_it_did(older: Path) -> None:
    experiment, network = load_model(older)
    expected = load_file(older / "expected.safetensors")
    inputs = encode(experiment.coding, load("digits").test_inputs[: len(expected["predicted"])])
    decided = network.decide(inputs, generator(experiment.seed, "predict"))
    assert torch.equal(decided.labels, expected["predicted"].long())
    torch.testing.assert_close(decided.probabilities, expected["probabilities"], rtol=1e-5, atol=1e-7)
    assert isinstance(network, Committee) == (older.name == "bisnn")
    assert float(network.temperature) == pytest.approx(
        json.loads((older / "evaluation.json").read_text())["calibration"]["temperature"], rel=1e-6
    )


@pytest.mark.parametrize("older", NAMES, indirect=True)
def test_a_finished_run_is_evaluated_packed_and_reported(older: Path) -> None:
    stored = json.loads((older / "evaluation.json").read_text())
    found = evaluate(older, verify=True)  # packed and trained networks decide alike
    for name in ("accuracy", "silent", "decision_time", "spikes", "synops", "n"):
        assert found[name] == stored[name], name
    before = (older / "model.bitspike").read_bytes()
    pack(older)
    assert (older / "model.bitspike").read_bytes() == before
    assert Path(report(older)["report"]).stat().st_size > 10_000


@pytest.mark.parametrize("older", NAMES, indirect=True)
def test_a_finished_run_is_not_trained_again_nor_on(older: Path) -> None:
    files = {path.name: path.read_bytes() for path in older.iterdir() if path.name != "manifest.json"}
    result = resume(older, progress=False)
    assert result.evaluation == json.loads((older / "evaluation.json").read_text())
    told = (older / "manifest.json").read_bytes()
    more = result.experiment.training.epochs * 2
    with pytest.raises(UsageError, match="older version cannot be trained on; start another"):
        resume(older, progress=False, changes={"training.epochs": more})
    files["manifest.json"] = told
    assert {path.name: path.read_bytes() for path in older.iterdir()} == files


@pytest.mark.parametrize("name", NAMES)
def test_the_best_network_is_the_one_before_it_was_finished(name: str) -> None:
    experiment, best = load_best(VECTORS / name)
    _, final = load_model(VECTORS / name)
    assert float(best.temperature) == 1
    if isinstance(final, Committee):
        assert best.synapse.kind == "bernoulli"
        assert {member.synapse.kind for member in final.parts} == {"binary"}
    elif experiment.weights.one_bit:  # real ones were put on the grid on which they ship
        assert torch.equal(best.latents[0], final.latents[0])


@pytest.mark.parametrize("older", UNFINISHED, indirect=True)
def test_snapshots_load(older: Path) -> None:
    shutil.copy(older / "unfinished.safetensors", older / "snapshot-5.safetensors")
    experiment, (network,) = load_snapshots(older)
    state = load_checkpoint(older / "unfinished.safetensors").network
    assert experiment == RunFolder(older).experiment()
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("unfinished", UNFINISHED, indirect=True)
def test_an_interrupted_run_goes_on_as_it_would_have_then(unfinished: Path) -> None:
    source, exact = VECTORS / unfinished.name, same_machine(unfinished.name)
    epoch = load_checkpoint(unfinished / "checkpoint.safetensors").epoch
    result = resume(unfinished, progress=False)
    assert RunFolder(unfinished).manifest()["resumed"][0]["after_epoch"] == epoch
    old, new = (RunFolder(folder).metrics() for folder in (source, unfinished))
    assert [line["epoch"] for line in new] == [line["epoch"] for line in old]
    if exact:
        same_as_then(unfinished, source, result.evaluation)
    # It was finished by this version, so it can be trained on.
    length = 5 if unfinished.name == "bisnn" else 1  # tasks share the epochs evenly
    epochs = result.experiment.training.epochs + length
    resume(unfinished, progress=False, changes={"training.epochs": epochs, "optimizer.lr": 1e-3})
    assert load_checkpoint(unfinished / "checkpoint.safetensors").epoch == epochs
    assert RunFolder(unfinished).experiment().optimizer.lr == 1e-3


def same_as_then(unfinished: Path, source: Path, evaluation: dict[str, Any]) -> None:
    """The run ended in the bits in which it ended in 0.1.0."""
    old, new = (RunFolder(folder).metrics() for folder in (source, unfinished))
    clocks = {"seconds", "images_per_second"}
    for before, after in zip(old, new, strict=True):
        assert {k: v for k, v in after.items() if k not in clocks} == {
            k: v for k, v in before.items() if k not in clocks
        }
    stored = json.loads((source / "evaluation.json").read_text())
    for name in REDEFINED:
        stored.pop(name, None)
        stored.get("uncertainty", {}).pop(name, None)
    alike(evaluation, stored)
    ended, whole = (load_checkpoint(folder / "checkpoint.safetensors") for folder in (unfinished, source))
    assert (ended.best_epoch, ended.best_score) == (whole.best_epoch, whole.best_score)
    for part in ("best", "final"):
        assert getattr(ended, part).keys() == getattr(whole, part).keys()
        for name, tensor in getattr(whole, part).items():
            assert torch.equal(getattr(ended, part)[name], tensor), name
    for name, tensor in whole.learner.items():  # of a finished run the rest was that of the best epoch
        assert torch.equal(ended.learner[name], tensor) or not name.startswith("optimiser."), name
    expected, arrays = (
        load_file(source / "expected.safetensors"),
        load_file(unfinished / "evaluation.safetensors"),
    )
    assert torch.equal(arrays["probabilities"][: len(expected["predicted"])], expected["probabilities"])
    for name, tensor in load_file(source / "evaluation.safetensors").items():
        assert torch.equal(arrays[name], tensor), name
    pack(unfinished)
    assert (unfinished / "model.bitspike").read_bytes() == (source / "model.bitspike").read_bytes()
