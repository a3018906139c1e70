"""Whole runs on the embedded digits: what they leave, and that nothing that interrupts them shows in the result."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bitspike import codec, errors
from bitspike.cli import main
from bitspike.coding import FirstSpike, Poisson
from bitspike.contracts import Batch, Progress
from bitspike.data.augment import Augment
from bitspike.data.distortion import Distortion
from bitspike.errors import BitspikeError, DataError, UsageError
from bitspike.experiment import Data, Training
from bitspike.networks.heaviside import HeavisideNetwork
from bitspike.rules.bnn import BNNLearner
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.rules.s4nn import S4NN
from bitspike.settings import IF, LIF, Optimizer
from bitspike.training import RunFolder, load_model, resume, train
from bitspike.training import run as run_module
from bitspike.training.checkpoint import load_checkpoint
from bitspike.training.randomness import generator
from small_runs import interrupted, results, small, timeless

FEW = Data(validation=0.7)
SOURCE = Path(errors.__file__).parents[1]
# A run that waits after an epoch for its end, however late that comes.
WAIT = """
import signal, sys
from bitspike.training import RunFolder
write = RunFolder.append_metrics
def append_metrics(folder, figures):
    write(folder, figures)
    while figures["epoch"] == int(sys.argv[1]):
        signal.pause()
RunFolder.append_metrics = append_metrics
"""
TRAIN = """
from pathlib import Path
from bitspike import codec
from bitspike.training import train
experiment, folder = sys.argv[2:]
train(codec.from_json(Path(experiment).read_text()), folder)
"""
RESUME = """
from bitspike.cli import main
sys.exit(main(["train", "--resume", *sys.argv[2:]]))
"""


def test_what_a_run_leaves(tmp_path: Path) -> None:
    experiment = small(training=Training(epochs=4, batch_size=50, evaluate_every=3))
    result = train(experiment, tmp_path / "run", progress=False)
    folder = RunFolder.open(result.folder)
    assert folder.experiment() == experiment
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "checkpoint.safetensors", "evaluation.json", "evaluation.safetensors", "experiment.json", "manifest.json",
        "metrics.jsonl",
    ]  # fmt: skip

    lines = folder.metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert ["validation_accuracy" in line for line in lines] == [False, False, True, True]
    assert all(line["images_per_second"] > 0 and len(line["firing"]) == 1 for line in lines)
    assert lines[-1]["loss"] < lines[0]["loss"]

    manifest = folder.manifest()
    assert manifest["data"]["train"] + manifest["data"]["validation"] + manifest["data"]["test"] == 1797
    assert len(manifest["data"]["sha256"]) == 4
    assert manifest["seed"] == 1
    assert (manifest["backend"], manifest["device"]) == ("reference", "cpu")
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["machine"]["cores"] == os.cpu_count()

    arrays = load_file(folder.evaluation_arrays)
    n = manifest["data"]["test"]
    assert arrays["probabilities"].shape == (n, 10)
    assert all(
        arrays[name].shape == (n,) for name in ("labels", "predicted", "decision_time", "silent", "n_spikes")
    )
    assert arrays["example_images"].shape == (12, 8, 8)
    assert arrays["example_images"].dtype == torch.uint8
    assert set(arrays["example_labels"].tolist()) == set(range(10))
    accuracy = (arrays["labels"] == arrays["predicted"]).double().mean()
    assert result.evaluation["accuracy"] == pytest.approx(float(accuracy))
    assert result.evaluation["accuracy"] > 0.5
    assert result.evaluation == json.loads((folder.path / "evaluation.json").read_text())
    assert result.evaluation["best_epoch"] in (3, 4)


def test_the_finished_model_comes_back_without_data(tmp_path: Path) -> None:
    result = train(small(), tmp_path / "run", progress=False)
    experiment, model = load_model(tmp_path / "run")
    assert experiment == result.experiment
    mine, theirs = model.state_dict(), result.model.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert float(model.temperature) == pytest.approx(  # type: ignore[arg-type]
        result.evaluation["calibration"]["temperature"], rel=1e-6
    )


def test_the_model_kept_is_the_best_on_validation_and_of_equals_the_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, kept = iter([0.25, 0.75, 0.75, 0.5]), []

    decide = HeavisideNetwork.decide

    def fixed(network: HeavisideNetwork, inputs: torch.Tensor, noise: Any = None) -> Any:
        prediction, share = decide(network, inputs, noise), next(shares, None)
        if share is None:  # training is over
            return prediction
        wrong = torch.arange(len(inputs)) >= round(share * len(inputs))
        kept.append({name: value.clone() for name, value in network.state_dict().items()})
        return replace(prediction, labels=torch.where(wrong, -1, labels))

    experiment = small(training=Training(epochs=4, batch_size=50))
    dataset = run_module.load("digits")
    labels = torch.tensor(run_module.split(dataset, 1 / 6, 1).validation_labels)
    monkeypatch.setattr(HeavisideNetwork, "decide", fixed)
    result = train(experiment, tmp_path / "run", progress=False)
    assert result.evaluation["best_epoch"] == 3
    best = result.model.state_dict()
    assert all(torch.equal(best[name], kept[2][name]) for name in best if name != "temperature")
    assert not torch.equal(best["latents.0"], kept[3]["latents.0"])


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(small(seed=seed), tmp_path / name, progress=False)
    a, b, c = (results(tmp_path / name) for name in "abc")
    assert a == b
    assert timeless(RunFolder(tmp_path / "a").metrics()) == timeless(RunFolder(tmp_path / "b").metrics())
    assert a["checkpoint.safetensors"] != c["checkpoint.safetensors"]


@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": Augment(rotation=10, shift=1)},
        {"training": Training(epochs=3, batch_size=50, shuffle="replacement", evaluate_every=2)},
        {"optimizer": Optimizer(name="sgd", lr=0.01, schedule="cosine")},
        {"coding": FirstSpike(8), "rule": FirstSpikeRace(theta_out=4.0, width=4.0, dropout=0.2)},
        {
            "coding": FirstSpike(8),
            "rule": S4NN(gamma=1, thresholds=(5.0, 5.0), alpha=1.0, dead_share=0.05),
            "optimizer": Optimizer("sgd", lr=0.1),
        },
        {
            "coding": Poisson(30, 1.0),
            "rule": HM2BP(desired=10.0, margin=1.0, boost=True),
            "network": LIF(("30",), (8.0, 4.0), tau_m=8.0, tau_s=2.0),
            "augment": Distortion(share="epoch"),
        },
    ],
)
def test_resumed_runs_end_in_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], when: int
) -> None:
    experiment = small(data=FEW, **changes)
    train(experiment, tmp_path / "whole", progress=False)
    with interrupted(when + 1, written=True):  # the line is there, the checkpoint is not
        train(experiment, tmp_path / "cut", progress=False)
    assert len(RunFolder(tmp_path / "cut").metrics()) == when + 1
    resume(tmp_path / "cut", progress=False)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")
    assert timeless(RunFolder(tmp_path / "cut").metrics()) == timeless(
        RunFolder(tmp_path / "whole").metrics()
    )
    assert RunFolder(tmp_path / "cut").manifest()["resumed"][0]["after_epoch"] == when


def start(*command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        time.sleep(0.005)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGINT")
def test_killed_interrupted_and_resumed_ends_in_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = small(data=Data(validation=0.5), training=Training(epochs=30, batch_size=20))
    asked = tmp_path / "experiment.json"
    asked.write_text(codec.to_json(experiment))
    train(experiment, tmp_path / "whole", progress=False)
    folder = tmp_path / "killed"
    process = start("-c", WAIT + TRAIN, "5", str(asked), str(folder))
    wait_for((folder / "checkpoint.safetensors").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert 1 <= len(RunFolder(folder).metrics()) <= 5

    process = start("-c", WAIT + RESUME, "20", str(folder))
    lines = len(RunFolder(folder).metrics())
    wait_for(lambda: len(RunFolder(folder).metrics()) > lines + 2, process)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1].decode()
    assert process.returncode == 130, err
    assert f"go on with: bitspike train --resume {folder}" in err.replace("\n", "")
    assert "Traceback" not in err
    assert lines <= load_checkpoint(RunFolder(folder).checkpoint).epoch <= 20
    with pytest.raises(DataError, match="resume it first"):
        load_model(folder)
    capsys.readouterr()
    assert main(["pack", str(folder)]) == main(["eval", str(folder), "--reference"]) == 2
    assert capsys.readouterr().err.count("resume it first") == 2
    assert main(["eval", str(folder)]) == 2  # there is no model file yet

    resume(folder, progress=False)
    assert results(folder) == results(tmp_path / "whole")
    assert timeless(RunFolder(folder).metrics()) == timeless(RunFolder(tmp_path / "whole").metrics())


def test_stopped_before_the_first_checkpoint(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "cut", small())
    (tmp_path / "cut" / ".checkpoint.safetensors.tmp").write_bytes(b"half")
    resume(tmp_path / "cut", progress=False)
    train(small(), tmp_path / "whole", progress=False)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")


def test_a_finished_run_is_not_evaluated_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    original = run_module.evaluate

    def counted(*arguments: Any) -> dict[str, Any]:
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(run_module, "evaluate", counted)
    first = train(small(), tmp_path / "run", progress=False)
    before = results(tmp_path / "run")
    again = resume(tmp_path / "run", progress=False)
    assert len(calls) == 1
    assert results(tmp_path / "run") == before
    assert again.evaluation == first.evaluation
    assert all(
        torch.equal(a, b) for a, b in zip(again.model.parameters(), first.model.parameters(), strict=True)
    )


def test_what_cannot_be_resumed_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(small(), folder, progress=False)
    with pytest.raises(UsageError, match="already holds a run"):
        train(small(), folder, progress=False)
    with pytest.raises(UsageError, match="another experiment"):
        train(small(seed=2), folder, progress=False, resume=True)
    with pytest.raises(UsageError, match="folder"):
        train(small(), progress=False, resume=True)
    with pytest.raises(DataError, match="holds no run"):
        resume(tmp_path, progress=False)
    manifest = RunFolder(folder).manifest()
    manifest["data"]["sha256"]["train_inputs"] = "0" * 64
    RunFolder(folder).write_json("manifest.json", manifest)
    with pytest.raises(DataError, match="not those"):
        resume(folder, progress=False)
    checkpoint = RunFolder(folder).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:-9])
    with pytest.raises(DataError, match="damaged"):
        resume(folder, progress=False)


def test_a_run_that_is_not_over_gives_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run_module, "evaluate", stop)
    with pytest.raises(KeyboardInterrupt):
        train(small(), tmp_path / "run", progress=False)
    with pytest.raises(DataError, match="resume it first"):
        load_model(tmp_path / "run")


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = BNNLearner.step

    def broken(*arguments: Any) -> Any:
        return replace(step(*arguments), loss=float("nan"))

    monkeypatch.setattr(BNNLearner, "step", broken)
    with pytest.raises(BitspikeError, match=r"nan in epoch 1.*optimizer\.lr"):
        train(small(), tmp_path / "run", progress=False)
    assert RunFolder(tmp_path / "run").metrics() == []


def test_step_sizes_follow_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, ...]] = []
    step = BNNLearner.step

    def watched(self: BNNLearner, batch: Batch, progress: Progress, noise: torch.Generator) -> Any:
        report = step(self, batch, progress, noise)
        seen.append(tuple(group["lr"] for group in self.optimiser.param_groups))
        return report

    monkeypatch.setattr(BNNLearner, "step", watched)
    settings = Optimizer(
        lr=0.1, lr_threshold=0.2, lr_output_threshold=0.4, schedule="exponential", final=0.25
    )
    train(small(optimizer=settings), tmp_path / "run", progress=False)
    total = len(seen)
    assert total == 3 * -(-RunFolder(tmp_path / "run").manifest()["data"]["train"] // 50)
    assert seen[0] == (0.1, 0.2, 0.4)
    for index, rates in enumerate(seen):
        assert rates == pytest.approx([rate * 0.25 ** (index / total) for rate in (0.1, 0.2, 0.4)])


def test_each_epoch_sees_every_image_once_in_a_new_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    step = BNNLearner.step

    def watched(self: BNNLearner, batch: Batch, progress: Progress, noise: torch.Generator) -> Any:
        seen.append(torch.cat([batch.inputs, batch.labels[:, None].float()], 1))
        return step(self, batch, progress, noise)

    monkeypatch.setattr(BNNLearner, "step", watched)
    train(small(training=Training(epochs=2, batch_size=64)), tmp_path / "run", progress=False)
    epochs = torch.cat(seen).chunk(2)
    assert not torch.equal(epochs[0], epochs[1])
    rows = [sorted(map(tuple, epoch.tolist())) for epoch in epochs]
    assert rows[0] == rows[1]
    dataset = run_module.load("digits")
    parts = run_module.split(dataset, 1 / 6, 1)
    images = torch.tensor(parts.train_inputs).flatten(1).float()
    wanted = torch.cat([images, torch.tensor(parts.train_labels)[:, None].float()], 1)
    assert rows[0] == sorted(map(tuple, wanted.tolist()))


def test_each_epoch_has_noise_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where images come in one order, the second epoch changes them otherwise, and draws other numbers."""
    seen: list[tuple[torch.Tensor, ...]] = []
    step = BNNLearner.step

    def watched(self: BNNLearner, batch: Batch, progress: Progress, noise: torch.Generator) -> Any:
        seen.append((batch.labels, batch.inputs, noise.get_state()))
        return step(self, batch, progress, noise)

    monkeypatch.setattr(BNNLearner, "step", watched)
    training = Training(epochs=2, batch_size=300, shuffle="none")
    train(small(augment=Augment(shift=1), training=training), tmp_path / "run", progress=False)
    epochs = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    for (labels, images, noise), (same_labels, others, more) in zip(*epochs, strict=True):
        assert torch.equal(labels, same_labels)
        assert not torch.equal(images, others)
        assert not torch.equal(noise, more)


def test_generators_differ_by_purpose_epoch_and_process() -> None:
    keys = [
        (1, "shuffle", 1, 0),
        (1, "augment", 1, 0),
        (1, "shuffle", 2, 0),
        (2, "shuffle", 1, 0),
        (1, "rule", 1, 0),
        (1, "rule", 1, 1),
    ]
    draws = {torch.rand((), generator=generator(*key)).item() for key in keys}  # type: ignore[arg-type]
    assert len(draws) == len(keys)
    assert torch.rand((), generator=generator(1, "rule", 3)) == torch.rand(
        (), generator=generator(1, "rule", 3)
    )


def test_memory_does_not_grow_with_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    write = RunFolder.append_metrics

    def measured(folder: RunFolder, figures: dict[str, Any]) -> None:
        write(folder, figures)
        if figures["epoch"] in (3, 8):
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0] + tensor_bytes())

    monkeypatch.setattr(RunFolder, "append_metrics", measured)
    tracemalloc.start()
    wide = small(training=Training(epochs=8, batch_size=100), network=IF(hidden=(300,)))
    result = train(wide, tmp_path / "run", progress=False)
    tracemalloc.stop()
    model = sum(4 * parameter.numel() for parameter in result.model.parameters())
    assert sizes[1] - sizes[0] < model, sizes


def tensor_bytes() -> int:
    gc.collect()
    tensors = [item for item in gc.get_objects() if issubclass(type(item), torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_unknown_data_leaves_no_run_behind_that_blocks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown"):
        train(small(data=Data("nothing")), tmp_path / "run", progress=False)
    train(small(), tmp_path / "run", progress=False)


def test_weights_that_are_no_numbers_end_the_run(tmp_path: Path) -> None:
    """Binary weights hide it: the sign of NaN is a weight, and the loss stays finite."""
    steps = replace(small().optimizer, lr=1e300)
    unbounded = replace(small().weights, clip=None)
    with pytest.raises(
        BitspikeError, match=r"latents\.0 became NaN or infinite in epoch 1; take smaller steps"
    ):
        train(small(optimizer=steps, weights=unbounded), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "checkpoint.safetensors").exists()
