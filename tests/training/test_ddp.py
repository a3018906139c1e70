"""Two processes end where one does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bitspike import codec, errors
from bitspike.coding import Direct, FirstSpike, Pixel
from bitspike.data.augment import Augment
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Training
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.rules.hm2bp import HM2BP
from bitspike.settings import IF, LIF, Optimizer, Predict, Weights
from bitspike.training import RunFolder, load_model, train
from bitspike.training.checkpoint import load_checkpoint
from bitspike.training.processes import Processes

SCRIPT = """
import sys
from pathlib import Path
import torch
from bitspike import codec
from bitspike.training import train
for asked in sys.argv[1:]:
    experiment = codec.from_json(Path(asked).read_text())
    result = train(experiment, Path(asked).with_suffix(""))
    sums = [float(tensor.double().sum()) for tensor in result.model.state_dict().values()]
    name = f"{asked}.{torch.distributed.is_initialized()}.{__import__('os').environ['RANK']}"
    Path(name).write_text(f"{result.evaluation['accuracy']} {result.folder} {sums}")
"""

# 1,202 images: the last batch of 75 has 2, every batch two parts of unequal size.
BNN_RUN = Experiment(
    "bnn",
    coding=Pixel(),
    network=IF(hidden=(20,)),
    rule=BNN(),
    augment=Augment(shift=1),
    optimizer=Optimizer("sgd", lr=0.02, lr_threshold=0.002, lr_output_threshold=0.002),
    training=Training(epochs=2, batch_size=75),
)
RACE_RUN = replace(
    BNN_RUN,
    name="race",
    coding=FirstSpike(8),
    rule=FirstSpikeRace(theta_out=4.0, width=4.0),
    augment=Augment(),
    backend="reference",
)
TRAINS_RUN = replace(
    RACE_RUN,
    name="trains",
    coding=Direct(20, 2.0),
    network=LIF(("20",), (10.0, 6.0), tau_m=8.0, tau_s=2.0),
    weights=Weights("real", (-1.0, 1.0), (-1.0, 1.0), None),
    rule=HM2BP(desired=8.0, margin=1.0, boost=True),
    optimizer=Optimizer("sgd", lr=0.01),
)
RUNS = (BNN_RUN, RACE_RUN, TRAINS_RUN)
# Weights are drawn by every process for itself, so two processes do not end where one does.
COMMITTEE_RUN = replace(
    RACE_RUN,
    name="committee",
    weights=Weights("bernoulli", (-1.0, 1.0), (-1.0, 1.0), clip=None),
    training=Training(epochs=1, batch_size=75),
    predict=Predict("committee", draws=2),
)


def torchrun(script: Path, arguments: list[str], processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1",
        "--nproc-per-node", str(processes), str(script), *arguments,
    ]  # fmt: skip
    source = str(Path(errors.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, made by two processes under torchrun."""
    folder = tmp_path_factory.mktemp("together")
    (folder / "script.py").write_text(SCRIPT)
    for experiment in (*RUNS, COMMITTEE_RUN):
        (folder / f"{experiment.name}.json").write_text(codec.to_json(experiment))
    done = torchrun(folder / "script.py", [str(path) for path in folder.glob("*.json")])
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("experiment", RUNS, ids=[run.name for run in RUNS])
def test_two_processes_end_where_one_does(together: Path, tmp_path: Path, experiment: Experiment) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = train(experiment, tmp_path / "alone", progress=False)
    torch.set_num_threads(threads)
    theirs = together / experiment.name
    one = load_checkpoint(RunFolder(tmp_path / "alone").checkpoint)
    two = load_checkpoint(RunFolder(theirs).checkpoint)
    assert two.finished
    for part in ("network", "final"):
        for name, tensor in getattr(one, part).items():
            torch.testing.assert_close(getattr(two, part)[name], tensor, rtol=1e-3, atol=1e-4, msg=name)
    mine, other = RunFolder(tmp_path / "alone").metrics(), RunFolder(theirs).metrics()
    assert len(other) == len(mine) == 2
    for a, b in zip(mine, other, strict=True):
        for key in ("loss", "accuracy", "firing", "validation_accuracy"):
            assert b[key] == pytest.approx(a[key], rel=1e-2), key
    manifest = RunFolder(theirs).manifest()
    assert manifest["processes"] == 2
    assert load_model(theirs)[0] == experiment
    assert alone.evaluation["accuracy"] == pytest.approx(RunFolder(theirs).evaluation()["accuracy"], abs=0.01)


def test_every_process_returns_the_same(together: Path) -> None:
    for name in ("bnn", "race", "trains", "committee"):
        told = [(together / f"{name}.json.False.{rank}").read_text() for rank in (0, 1)]
        assert told[0] == told[1]
        assert str(together / name) in told[0]


def test_a_batch_is_shared_out_completely() -> None:
    batch = torch.arange(7)
    group = [Processes(rank, 3) for rank in range(3)]
    parts = [member.shard(batch) for member in group]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))
    assert [member.share for member in group] == pytest.approx([3 / 7, 2 / 7, 2 / 7])


def test_too_small_a_batch_leaves_a_row_that_counts_nothing() -> None:
    group = [Processes(rank, 3) for rank in range(3)]
    assert [member.shard(torch.tensor([8, 9])).tolist() for member in group] == [[8], [9], [8]]
    assert [member.share for member in group] == [0.5, 0.5, 0]


def test_more_processes_than_images_in_a_batch_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contextlib import contextmanager

    from bitspike.training import run

    @contextmanager
    def many() -> Any:
        group = Processes(0, 4)
        monkeypatch.setattr(group.__class__, "tell", lambda self, value: value)
        yield group

    monkeypatch.setattr(run, "processes", many)
    with pytest.raises(UsageError, match="start fewer"):
        train(replace(BNN_RUN, training=Training(batch_size=3)), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
