"""Loading and running a packed model needs numpy, and no torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import bitspike
from bitspike.coding import Direct, Poisson
from bitspike.deploy.model import Model
from bitspike.deploy.pack import save
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from lif_nets import dense as lif_dense
from lif_nets import random_trains
from packed_nets import random_heaviside, random_images, random_network
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

images = np.load(sys.argv[2])
for path in sys.argv[3:]:
    model = bitspike.load(path, backend=sys.argv[1])
    print(*model.predict(images), *model.predict_proba(images).argmax(1), model.decide(images).n_spikes.sum())
assert "torch" not in sys.modules
"""


def models(rng: np.random.Generator) -> list[Contents]:
    """One of every kind."""
    networks: list[Any] = [
        random_network(rng, (36, 20, 5), "bb"),
        random_heaviside(rng, (36, 20, 5)),
        random_trains(rng, lif_dense(36, 20, 5), True, Direct(20, 0.9), 20),
        random_trains(rng, lif_dense(36, 20, 5), False, Poisson(20, 0.4), 20),
        random_srm(rng, dense(36, 12), 5, True, Poisson(20, 0.5), 20),
    ]
    return [Contents(network, (6, 6), tuple("abcde")) for network in networks]


def test_packed_models_run_without_torch(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    single = models(rng)
    contents = [*single, Contents(CommitteePacked(tuple(single)), (6, 6), tuple("abcde"))]
    images = random_images(rng, 9, 36)
    np.save(tmp_path / "images.npy", images)
    expected = []
    for number, one in enumerate(contents):
        model = Model(one)
        save(model, tmp_path / f"{number}.bitspike")
        decided = model.decide(images)
        expected += [*decided.labels, *model.predict_proba(images).argmax(1), decided.n_spikes.sum()]
    files = [tmp_path / f"{number}.bitspike" for number in range(len(contents))]
    for backend in ("auto", "reference"):
        command = [sys.executable, "-c", WITHOUT_TORCH, backend, tmp_path / "images.npy", *files]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert [int(word) for word in shown.split()] == expected


def test_the_public_names_are_listed_and_lazy() -> None:
    assert (
        {"load", "Model", "PackedModel", "Experiment", "train"} <= set(bitspike.__all__) <= set(dir(bitspike))
    )
    assert bitspike.PackedModel is bitspike.Model is Model
    code = "import sys, bitspike; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
