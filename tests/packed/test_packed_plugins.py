"""Networks and codings of the user's own: named by import path in the file, read where the user gives the module."""

from __future__ import annotations

import importlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bitspike
from bitspike.cli import main
from bitspike.deploy.load import with_plugins
from bitspike.deploy.model import Model
from bitspike.errors import FormatError, UsageError
from bitspike.ops.native import instruction_sets
from bitspike.packed.committee import CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.file import decode, encode, write
from lif_nets import dense, random_trains
from packed_nets import assert_equal
from spoil import parts, whole
from srm_nets import dense as srm_dense
from srm_nets import random_srm

MODULE = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bitspike.coding import SpikeList
from bitspike.contracts import Coding
from bitspike.errors import BackendError
from bitspike.packed.base import Packed
from bitspike.packed.decisions import Decisions
from bitspike.packed.first_spike.network import FirstSpikePacked
from bitspike.packed.images import as_images


class _Still(Coding):
    of_images: ClassVar[bool] = True
    takes: ClassVar[str] = "images"

    def channels_of(self, n_pixels):
        return n_pixels

    def map_shape(self, input_shape, n_inputs):
        return (n_inputs,)


@dataclass(frozen=True)
class Once(_Still):
    """Bright pixels spike once, in a step of their own."""

    n_steps: int = 12
    level: float | None = None
    steps: tuple[int, ...] = (1, 5)
    side: Literal["bright", "dark"] = "bright"

    def encode(self, images):
        fires = images >= (self.level or 128)
        rows, channels = np.nonzero(fires if self.side == "bright" else ~fires)
        offsets = np.searchsorted(rows, np.arange(len(images) + 1)).astype(np.int64)
        steps = np.array(self.steps, np.int16)[channels % len(self.steps)]
        return SpikeList(steps, channels.astype(np.int32), offsets, self.n_steps, images.shape[1])


@dataclass(frozen=True)
class Blink(_Still):
    """Bright pixels spike in every second step: trains without limits, so that kernels get them as lists."""

    n_steps: int = 12

    def encode(self, images):
        return images

    def trains(self, images):
        fires = np.zeros((len(images), self.n_steps, images.shape[1]), bool)
        fires[:, 1::2] = (images >= 128)[:, None]
        return fires


@dataclass(frozen=True)
class Brightest(Packed):
    """The brighter half wins."""

    n: int
    n_steps: ClassVar[int] = 1
    fields = {"n": int, "input": [int], "classes": [str]}
    one_bit, n_classes, takes = True, 2, "images"
    n_in = property(lambda self: self.n)

    def check_shape(self, shape):
        pass

    def inputs(self, x, shape):
        return as_images(x, shape, self.n)

    def decide(self, inputs):
        halves = np.stack([part.sum(axis=1) for part in np.array_split(inputs.astype(np.float32), 2, axis=1)], axis=1)
        n = len(halves)
        return Decisions(
            halves.argmax(axis=1), np.ones(n, np.int64), np.zeros(n, bool), halves == halves.max(axis=1, keepdims=True),
            halves, np.zeros(n, np.int64), np.zeros(n, np.int64),
        )

    def engine(self, isa=None):
        raise BackendError("numpy only")

    def best(self):
        from bitspike.packed.base import Reference
        return Reference(self)

    def sizes(self):
        return {"synapses": 0, "synapse_bits": 0, "thresholds": 0}

    def to_parts(self, shape):
        return {"n": self.n, "input": list(shape)}, {}

    @classmethod
    def from_parts(cls, metadata, tensors, known):
        return cls(metadata["n"])


class Derived(FirstSpikePacked):
    """The same numbers under a name of its own."""
'''
IMAGES = np.random.default_rng(0).integers(0, 256, (20, 3, 4)).astype(np.uint8)


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("mine")
    (folder / "my_packed.py").write_text(MODULE)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("my_packed")
    sys.path.remove(str(folder))
    del sys.modules["my_packed"]


def contents_of(mine: Any, name: str) -> Contents:
    rng = np.random.default_rng(1)
    if name == "Brightest":
        return Contents(mine.Brightest(12), (3, 4), ("left", "right"), 500.0)
    coding = mine.Once(12, 90.0, (2, 3, 7), "dark") if name == "Once" else mine.Blink()
    if name == "Once":
        network: Any = random_trains(rng, dense(12, 9, 3), True, coding, 12, level=0.2)
    else:
        network = random_srm(rng, srm_dense(12, 8), 3, True, coding, 12)
    return Contents(network, (3, 4), tuple("abc"))


@pytest.mark.parametrize("name", ["Once", "Blink", "Brightest"])
def test_a_class_of_the_users_own_ships(mine: Any, name: str, tmp_path: Path) -> None:
    contents, path = contents_of(mine, name), tmp_path / "model.bitspike"
    write(contents, path)
    needs = rf"needs my_packed:{name}; import it .*plugins=\[my_packed\], or --plugin"
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "my_packed")
        with pytest.raises(FormatError, match=needs):
            bitspike.load(path)
    assert encode(bitspike.load(path).contents) == path.read_bytes()  # imported already
    for plugin in (mine, "my_packed"):
        model = bitspike.load(path, plugins=[plugin])
        assert encode(model.contents) == path.read_bytes()
        decided = model.decide(IMAGES)
        assert len(set(decided.labels.tolist())) > 1
        assert_equal(decided, Model(contents, "reference").decide(IMAGES))
        assert_equal(pickle.loads(pickle.dumps(model)).decide(IMAGES), decided)
        assert_equal(model.decide(model.inputs(IMAGES)), decided)
    if name != "Brightest":
        assert model.network.coding == contents.network.coding  # type: ignore[attr-defined]
        for isa in instruction_sets():
            assert_equal(bitspike.load(path, "native", isa, [mine]).decide(IMAGES), decided)


def test_in_a_committee(mine: Any) -> None:
    member = contents_of(mine, "Once"), contents_of(mine, "Blink")
    data = encode(Contents(CommitteePacked(member), (3, 4), tuple("abc")))
    with pytest.raises(FormatError, match=r"member\.1: the file needs my_packed:Once"):
        decode(data)
    model = Model(decode(data, with_plugins([mine])))
    assert_equal(model.decide(IMAGES), Model(model.contents, "reference").decide(IMAGES))


def test_a_class_below_one_of_ours_has_its_own_name(mine: Any) -> None:
    from packed_nets import random_network

    network = random_network(np.random.default_rng(0), (12, 9, 3), "bb")
    derived = mine.Derived(network.layers, network.n_steps)
    data = encode(Contents(derived, (3, 4), tuple("abc")))
    with pytest.raises(FormatError, match="my_packed:Derived"):
        decode(data)
    again = decode(data, with_plugins([mine]))
    assert type(again.network) is mine.Derived
    assert_equal(Model(again).decide(IMAGES), Model(Contents(network, (3, 4), tuple("abc"))).decide(IMAGES))


def test_settings_are_read_as_they_are_declared(mine: Any) -> None:
    metadata, tensors = parts(encode(contents_of(mine, "Once")))
    known = with_plugins([mine])
    for name, good, bad in (
        ("level", [None, 3.5], [3, "x", True]),
        ("steps", [[1], [0, 11]], [1, [1.0], ["1"], None]),
        ("side", ["bright"], ["grey", None, 1]),
    ):
        for value in good:
            settings = {**metadata["settings"], name: value}
            coding = decode(whole({**metadata, "settings": settings}, tensors), known).network.coding  # type: ignore[attr-defined]
            assert getattr(coding, name) == (tuple(value) if isinstance(value, list) else value)
        for value in bad:
            settings = {**metadata["settings"], name: value}
            with pytest.raises(FormatError, match=f"settings: {name} is"):
                decode(whole({**metadata, "settings": settings}, tensors), known)


@pytest.mark.parametrize("name", ["os:system", "my_packed:Nothing", "a b:C", "\x1b[2J:C", "x" * 999 + ":C"])
def test_a_file_imports_nothing(mine: Any, name: str) -> None:
    metadata, tensors = parts(encode(contents_of(mine, "Once")))
    for field in ("coding", "decision"):
        with pytest.raises(FormatError, match=r"is unknown|needs") as caught:
            decode(whole({**metadata, field: name}, tensors), with_plugins([mine]))
        assert "\x1b" not in str(caught.value)
        assert len(str(caught.value)) < 600
    with pytest.raises(UsageError, match="no_such_module"):
        bitspike.load("m", plugins=["no_such_module"])


def test_predict_takes_plugins(mine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, inputs = tmp_path / "model.bitspike", tmp_path / "x.npy"
    write(contents_of(mine, "Brightest"), model)
    np.save(inputs, IMAGES)
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "my_packed")
        assert main(["predict", str(model), str(inputs)]) == 2
    assert "--plugin my_packed" in capsys.readouterr().err
    assert main(["predict", str(model), str(inputs), "--plugin", "my_packed", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    expected = bitspike.load(model, plugins=[mine]).predict(IMAGES)
    assert [row["label"] for row in rows] == [("left", "right")[label] for label in expected]
