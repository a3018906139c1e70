"""Runs of networks that fire by chance, from data to a file: images and recordings."""

import numpy as np
import pytest

from bitspike import data
from bitspike.coding import EventBins, Latency
from bitspike.deploy import load, pack
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.three_factor import ThreeFactor
from bitspike.settings import GLM, Optimizer, Weights
from bitspike.settings.basis import Exponential
from bitspike.training import load_model, train

SMALL = Weights("real", (-0.01, 0.01), (-0.01, 0.01), None)
EVENTS = EventBins(32, 10_000, stabilise=False, height=8, width=8)


@pytest.mark.parametrize(
    ("name", "coding", "floor"), [("digits", Latency(12), 0.85), ("events:digits", EVENTS, 0.3)]
)
def test_a_run_is_read_packed_and_decides_alike(tmp_path, name, coding, floor):
    experiment = Experiment(
        "circuits", data=Data(name), coding=coding, network=GLM((8,), values=2, basis=Exponential(6.0, 12)),
        weights=SMALL, rule=ThreeFactor(), optimizer=Optimizer("adam", lr=1.0), training=Training(4, 32),
    )  # fmt: skip
    run = train(experiment, tmp_path / "run", progress=False)
    figures = run.evaluation
    assert figures["system"] == "glm"
    assert figures["accuracy"] >= floor
    assert figures["log_likelihood"] < 0
    assert figures["uncertainty"]["conformal_early"]
    again, network = load_model(tmp_path / "run")
    assert again == experiment
    for key, tensor in run.model.state_dict().items():
        assert (network.state_dict()[key] == tensor).all(), key
    given = data.load(name)
    pack.save(pack.pack(network, experiment, given.classes, given.shape), tmp_path / "a.bitspike")
    model = load.load(tmp_path / "a.bitspike")
    some = given.test_inputs[np.arange(20)]
    coded = coding.encode(some)
    assert pack.difference(model.decide(some), run.model.decide(coded).decisions(), "both") is None
