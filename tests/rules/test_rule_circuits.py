"""FL-SNN's and VOWEL's online rules: the native steps learn what the reference learns, from sample to sample."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

pytest.importorskip("bitspike._native")

from bitspike.coding import Latency
from bitspike.contracts import Batch, Progress, Task
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.fl_snn import FLSNN
from bitspike.rules.vowel import VOWEL
from bitspike.settings import GLM, Optimizer, Weights
from bitspike.settings.basis import RaisedCosine

RULES = [FLSNN(), FLSNN(beta=0.05, steps=3), VOWEL(), VOWEL(kappa=0.0, baseline=False)]
NETWORKS = [
    GLM(hidden=(6,), values=2, basis=RaisedCosine(3, 5)),
    GLM(
        hidden=(5,),
        basis=RaisedCosine(2, 4),
        feedback=RaisedCosine(2, 6),
        recurrent=True,
        lateral=True,
        density=0.7,
    ),
]


@pytest.mark.parametrize("network", NETWORKS, ids=["skip", "recurrent"])
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_native_steps_learn_what_the_reference_learns(rule, network: GLM) -> None:
    """Ten steps are no multiple of the block of three: what a sample leaves goes on to the next."""
    images = torch.randint(0, 256, (6, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    experiment = Experiment(
        name="small", data=Data("digits"), coding=Latency(10), network=network,
        weights=Weights("real", hidden=(-0.3, 0.3), output=(-0.3, 0.3), clip=None), rule=rule,
        optimizer=Optimizer("sgd", lr=0.0005), training=Training(epochs=1),
    )  # fmt: skip
    coded = experiment.coding.encode(images.flatten(1))
    found = []
    for backend in ("native", "reference"):
        chosen = replace(experiment, backend=backend)
        model = rule.build(
            chosen, Task(coded, 3, (4, 4), 6, torch.device("cpu")), torch.Generator().manual_seed(2)
        )
        before = [parameter.detach().clone() for parameter in model.parameters()]
        learner, generator = rule.learner(model, chosen), torch.Generator().manual_seed(3)
        reports = [learner.step(Batch(coded, labels, None), Progress(0.0, 0), generator) for _ in range(2)]
        found.append((model, learner.state_dict(), reports))
    (mine, state, reports), (yours, other, wanted) = found
    changed = 0.0
    for a, b, old in zip(mine.parameters(), yours.parameters(), before, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
        changed = max(changed, float((a.detach() - old).abs().max()))
    assert changed > 0.002
    assert state.keys() == other.keys()
    for name, value in state.items():
        torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(reports, wanted, strict=True):
        assert ours.loss == pytest.approx(theirs.loss, rel=1e-5)
        assert (ours.n_correct, ours.n) == (theirs.n_correct, theirs.n)
        assert ours.firing == pytest.approx(theirs.firing)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_learner_taken_up_goes_on_to_the_same_bits(rule) -> None:
    images = torch.randint(0, 256, (6, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    experiment = Experiment(
        name="small", data=Data("digits"), coding=Latency(10), network=NETWORKS[0],
        weights=Weights("real", hidden=(-0.3, 0.3), output=(-0.3, 0.3), clip=None), rule=rule,
        optimizer=Optimizer("sgd", lr=0.0005), training=Training(epochs=1), backend="native",
    )  # fmt: skip
    coded = experiment.coding.encode(images.flatten(1))
    task, labels = Task(coded, 3, (4, 4), 6, torch.device("cpu")), torch.tensor([0, 1, 2, 0, 1, 2])
    ended = []
    for stops in (False, True):
        model = rule.build(experiment, task, torch.Generator().manual_seed(2))
        learner, generator = rule.learner(model, experiment), torch.Generator().manual_seed(3)
        learner.step(Batch(coded, labels, None), Progress(0.0, 0), generator)
        if stops:
            state = {name: value.clone() for name, value in learner.state_dict().items()}
            learner = rule.learner(model, experiment)
            learner.load_state_dict(state)
        learner.step(Batch(coded, labels, None), Progress(0.0, 0), generator)
        ended.append([*model.parameters(), *learner.state_dict().values()])
    for a, b in zip(*ended, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
