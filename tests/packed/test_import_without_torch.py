"""Loading and running a packed model needs numpy, and no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitspike
from bitspike.coding import Poisson
from bitspike.deploy.load import PackedModel
from bitspike.deploy.pack import save
from bitspike.deploy.srm_model import SRMModel
from bitspike.packed.committee import CommitteeModel
from bitspike.packed.file import Contents
from bitspike.packed.srm.file import SRMContents
from packed_nets import random_images, random_network
from srm_nets import dense, random_srm

WITHOUT_TORCH = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked in this test")

sys.meta_path.insert(0, Block())
import numpy as np
import bitspike

model = bitspike.load(sys.argv[1], backend=sys.argv[3])
images = np.load(sys.argv[2])
print(*model.predict(images), *model.predict_proba(images).argmax(1), model.decide(images).n_spikes.sum())
assert "torch" not in sys.modules
"""


def first_spike(rng: np.random.Generator) -> PackedModel:
    return PackedModel(
        Contents(random_network(rng, (36, 20, 5), "bb"), "first_spike", (6, 6), tuple("abcde"))
    )


def spike_response(rng: np.random.Generator) -> SRMModel:
    network = random_srm(rng, dense(36, 12), 5, True, Poisson(20, 0.5), 20)
    return SRMModel(SRMContents(network, (6, 6), tuple("abcde")))


def committee(rng: np.random.Generator) -> CommitteeModel:
    return CommitteeModel([first_spike(rng), spike_response(rng)])


@pytest.mark.parametrize("make", [first_spike, spike_response, committee])
def test_a_packed_model_runs_without_torch(
    make: Callable[[np.random.Generator], Any], tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    model = make(rng)
    images = random_images(rng, 9, 36)
    save(model, tmp_path / "model.bitspike")
    np.save(tmp_path / "images.npy", images)
    decisions = model.decide(images)
    expected = f"{decisions.labels} {model.predict_proba(images).argmax(1)} {decisions.n_spikes.sum()}"
    for backend in ("auto", "reference"):
        shown = subprocess.run(
            [
                sys.executable,
                "-c",
                WITHOUT_TORCH,
                tmp_path / "model.bitspike",
                tmp_path / "images.npy",
                backend,
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert shown.split() == expected.replace("[", "").replace("]", "").split()


def test_the_public_names_are_listed_and_lazy() -> None:
    assert {"load", "PackedModel", "Experiment", "train"} <= set(bitspike.__all__) <= set(dir(bitspike))
    assert bitspike.PackedModel is PackedModel
    code = "import sys, bitspike; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
