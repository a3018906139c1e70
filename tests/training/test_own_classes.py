"""Rules, codings, networks and augmentations of a module outside the library: trained, interrupted, resumed, loaded."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from bitspike import errors
from bitspike.contracts import Batch
from bitspike.errors import DataError
from bitspike.training import RunFolder, load_best, load_model, resume, train
from bitspike.training.checkpoint import load_checkpoint
from small_runs import interrupted, results

MODULE = '''
"""A perceptron of real weights on pixels that are scaled; its learner carries a momentum of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from bitspike.coding import Pixel
from bitspike.contracts import Augmentation, Learner, NetworkSettings, StepReport
from bitspike.errors import DataError, UsageError
from bitspike.experiment import Data, Experiment, Rule, Training
from bitspike.networks.base import LayerFacts, Network
from bitspike.ops.operators import Dense
from bitspike.prediction import Prediction
from bitspike.settings import Weights


@dataclass(frozen=True)
class Scaled(Pixel):
    """Pixels between 0 and `top`."""

    top: float = 1.0

    def encode(self, images):
        return super().encode(images) * (self.top / 255)


@dataclass(frozen=True)
class Mirror(Augmentation):
    """Mirrors images with a chance."""

    chance: float = 0.5

    @property
    def active(self):
        return self.chance > 0

    def __call__(self, images, generator):
        mirrored = torch.rand(len(images), generator=generator) < self.chance
        return torch.where(mirrored[:, None, None], images.flip(2), images)


@dataclass(frozen=True)
class Flat(NetworkSettings):
    """No hidden layers."""

    bias: bool = True
    hidden: ClassVar = ()


class FlatNetwork(Network):
    system = "flat"
    decides = "once"

    def __init__(self, n_in, n_classes, coding, network, weights, generator):
        super().__init__(coding, n_classes, weights, "reference")
        self.op = Dense(n_in, n_classes)
        start = weights.initial(n_in, n_classes, layer=0, is_output=True, generator=generator)
        self.latents = nn.ParameterList([start])
        self.bias = nn.Parameter(torch.zeros(n_classes), requires_grad=network.bias)

    def forward(self, inputs):
        return inputs @ self.latents[0] + self.bias

    def _decide(self, inputs, generator):
        potentials = self(inputs)
        nothing = torch.zeros(len(inputs), dtype=torch.int64)
        return Prediction(
            labels=potentials.argmax(1), probabilities=(potentials / self.temperature).softmax(1),
            decision_time=nothing + 1, silent=nothing.bool(), tied=potentials == potentials.amax(1, keepdim=True),
            potentials=potentials, n_spikes=nothing, n_synops=nothing,
        )

    @property
    def layers(self):
        n = self.op.n_in * self.op.n_out
        return LayerFacts("input", self.op.n_in), LayerFacts("output", self.op.n_out, n, n, self.op)

    def packed(self):
        raise UsageError("a FlatNetwork does not ship")


@dataclass(frozen=True)
class Perceptron(Rule):
    """Plain steps with momentum."""

    momentum: float = 0.5

    networks: ClassVar = (Flat,)
    codings: ClassVar = (Scaled,)
    kinds: ClassVar = ("real",)

    def build(self, experiment, task, generator):
        return FlatNetwork(
            task.n_inputs, task.n_classes, experiment.coding, experiment.network, experiment.weights, generator
        )

    def learner(self, network, experiment):
        return PerceptronLearner(self, network, experiment)


class PerceptronLearner(Learner):
    def __init__(self, rule, network, experiment):
        self.rule, self.network, self.settings = rule, network, experiment.optimizer
        self.velocity = [torch.zeros_like(parameter.data) for parameter in network.parameters()]

    def step(self, batch, progress, generator):
        outputs = self.network(batch.inputs)
        loss = functional.cross_entropy(outputs, batch.labels)
        gradients = torch.autograd.grad(loss, list(self.network.parameters()))
        lr = self.settings.lr * self.settings.factor(progress.share, progress.epoch)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(self.network.parameters(), self.velocity, gradients, strict=True):
                velocity.mul_(self.rule.momentum).add_(gradient)
                parameter -= lr * velocity
        n = len(batch.labels)
        return StepReport(float(loss.detach()) * n, n, int((outputs.argmax(1) == batch.labels).sum()), ())

    def state_dict(self):
        return {f"velocity{index}": velocity for index, velocity in enumerate(self.velocity)}

    def load_state_dict(self, state):
        if state.keys() != self.state_dict().keys():
            raise DataError(f"velocities are {sorted(state)}")
        for name, velocity in self.state_dict().items():
            velocity.copy_(state[name])


recipe = Experiment(
    "own", data=Data(validation=0.5), augment=Mirror(0.1), coding=Scaled(top=2.0), network=Flat(),
    weights=Weights("real", (-0.1, 0.1), (-0.1, 0.1), clip=None), rule=Perceptron(momentum=0.8),
    training=Training(epochs=3, batch_size=20),
)
'''

ELSEWHERE = """
import sys
from pathlib import Path
import torch
from bitspike.errors import BitspikeError
from bitspike.training import RunFolder, load_best, load_model, resume
folder = sys.argv[1]
for without in (load_model, load_best, lambda folder: resume(folder, progress=False)):
    try:
        without(folder)
    except BitspikeError as error:
        print(error)
assert "own_parts" not in sys.modules
experiment, network = load_model(folder, plugins=["own_parts"])
print(type(network).__name__, experiment.rule, float(network.latents[0].detach().double().sum()))
print(resume(folder, progress=False, plugins=["own_parts"]).evaluation["accuracy"])
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, imported from a folder that is not the library's."""
    (tmp_path / "own_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("own_parts")
    del sys.modules["own_parts"]


def test_they_train_go_on_to_the_same_bits_and_load(own: Any, tmp_path: Path) -> None:
    whole = train(own.recipe, tmp_path / "whole", progress=False)
    assert whole.evaluation["accuracy"] > 0.7
    assert (whole.evaluation["system"], whole.evaluation["decides"]) == ("flat", "once")
    with interrupted(2, written=True):
        train(own.recipe, tmp_path / "cut", progress=False)
    checkpoint = load_checkpoint(tmp_path / "cut" / "checkpoint.safetensors")
    assert set(checkpoint.learner) == {"velocity0", "velocity1"}
    resume(tmp_path / "cut", progress=False)
    assert results(tmp_path / "cut") == results(tmp_path / "whole")

    experiment, network = load_model(tmp_path / "whole")
    assert experiment == own.recipe
    assert isinstance(network, own.FlatNetwork)
    assert isinstance(load_best(tmp_path / "whole")[1], own.FlatNetwork)
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), whole.model.parameters(), strict=True))


def test_a_learner_that_does_not_know_its_state_says_so(own: Any, tmp_path: Path) -> None:
    train(own.recipe, tmp_path / "run", progress=False)
    del sys.modules["own_parts"]
    text = MODULE.replace('f"velocity{index}"', 'f"speed{index}"')
    (tmp_path / "own_parts.py").write_text(text)
    importlib.invalidate_caches()
    with pytest.raises(DataError, match="does not fit the experiment's rule: velocities are"):
        resume(tmp_path / "run", progress=False, changes={"training.epochs": 4}, plugins=["own_parts"])


def test_a_learner_is_told_which_samples_it_sees(
    own: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows: list[torch.Tensor] = []
    step = own.PerceptronLearner.step

    def watched(self: Any, batch: Batch, *rest: Any) -> Any:
        assert batch.rows is not None
        rows.append(batch.rows)
        return step(self, batch, *rest)

    monkeypatch.setattr(own.PerceptronLearner, "step", watched)
    train(own.recipe, tmp_path / "run", progress=False)
    n = RunFolder(tmp_path / "run").manifest()["data"]["train"]
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(n).repeat_interleave(3))


def test_another_process_needs_the_module_by_name(own: Any, tmp_path: Path) -> None:
    result = train(own.recipe, tmp_path / "run", progress=False)
    environment = {**os.environ, "PYTHONPATH": str(Path(errors.__file__).parents[1])}
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *refused, loaded, accuracy = done.stdout.splitlines()
    assert len(refused) == 3
    for sentence in refused:
        assert "experiment.json" in sentence
        assert "needs own_parts:" in sentence
        assert "import own_parts first, or add --plugin own_parts" in sentence
    total = float(result.model.state_dict()["latents.0"].double().sum())
    assert loaded == f"FlatNetwork {own.recipe.rule} {total}"
    assert float(accuracy) == result.evaluation["accuracy"]
