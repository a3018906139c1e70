"""Damaged model files of every kind: each one loads and answers in numbers, or is refused in one line.

    PYTHONPATH=tests python tests/endurance/files.py [--each 200000] [--seed 1] [--only lif]

Every case follows from the seed, the kind and its number. A case that takes ten seconds, or a gigabyte more than the
process has, is a fault like any exception but `BitspikeError`.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import random
import signal
import struct
from pathlib import Path
from typing import Any

import numpy as np
from limited import GB, Tally, finish, limit

from bitspike.coding import SpikeList
from bitspike.deploy.model import Model
from bitspike.errors import BitspikeError
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Decisions
from bitspike.packed.file import decode
from spoil import parts, whole

VECTORS = Path(__file__).parents[1] / "vectors"
KINDS = {
    "first spike, one bit": "tiny",
    "first spike, real": "mixed",
    "heaviside": "pixel",
    "lif, direct": "trains",
    "lif, poisson": "poisson",
    "lif, events": "saccade",
    "srm": "bisnn",
    "glm, one bit": "circuits",
    "glm, real": "chances",
    "committee": "committee",
}
CHUNK = 5000  # cases per child
NUMBERS = (
    0, 1, -1, 2, 7, 8, 255, 256, 2**15 - 1, 2**15, 2**16, 2**22, 2**24, 2**31 - 1, 2**31, 2**62, 2**64, -(2**63),
    10**30, 0.0, -0.0, 0.5, 1e-45, 1e-320, 1e-50, 1e15, 1e16, 1e38, 3.5e38, 1e300, -1e300, float("nan"), float("inf"),
)  # fmt: skip
OTHERS = (
    None,
    True,
    "",
    "x",
    "binary",
    "real",
    "pool",
    [],
    [0],
    [1, 2, 3],
    {},
    {"size": 1},
    "\x1b[2J",
    "count, membrane, index",
)


class Damage:
    """Ways to damage a file; pieces of an `other` one may come in."""

    def __init__(self, valid: bytes, other: bytes) -> None:
        self.valid, self.other = valid, other
        metadata, self.tensors = parts(valid)
        self.text = json.dumps(metadata)

    def case(self, chance: random.Random, ways: int = 10) -> bytes:
        """A damaged file; every way is as likely."""
        way = chance.randrange(ways)
        if way < 5:
            return self._bytes(chance, way)
        metadata, tensors = json.loads(self.text), dict(self.tensors)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            if way == 5 or not tensors:
                self._field(chance, metadata)
            else:
                self._tensor(chance, tensors)
        try:
            return whole(metadata, tensors)
        except ValueError:  # safetensors itself does not write it
            return self._bytes(chance, 0)

    def _bytes(self, chance: random.Random, way: int) -> bytes:
        data, n = bytearray(self.valid), len(self.valid)
        head = 8 + struct.unpack("<Q", self.valid[:8])[0]
        if way == 0:  # bits, half of the time in the header
            for _ in range(chance.randint(1, 8)):
                data[chance.randrange(chance.choice((head, n)))] ^= 1 << chance.randrange(8)
        elif way == 1:
            return bytes(data[: chance.randrange(n)])
        elif way == 2:  # a piece of it, or of another file, somewhere else
            source = chance.choice((self.valid, self.other))
            begin = chance.randrange(len(source))
            piece = source[begin : begin + chance.randint(1, 200)]
            at = chance.randrange(n)
            data[at : at + chance.choice((0, len(piece)))] = piece
        elif way == 3:
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(n)] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        else:  # another text of the header, with its length made anew
            text = bytearray(self.valid[8:head])
            for _ in range(chance.randint(1, 3)):
                at = chance.randrange(len(text))
                digit = chance.choice(
                    (b"0", b"9", b"-", b"1e400", b"99999999999", b"[", b'"', b"}", b"NaN", b"")
                )
                text[at : at + chance.choice((0, 1))] = digit
            return struct.pack("<Q", len(text)) + bytes(text) + self.valid[head:]
        return bytes(data)

    def _field(self, chance: random.Random, metadata: dict[str, Any]) -> None:
        """Another value somewhere in the metadata, a field less or a field more."""
        place: Any = metadata
        while True:
            keys: list[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = chance.choice(keys)
            if not isinstance(place[key], dict | list) or chance.random() < 0.1:
                break
            place = place[key]
        way = chance.randrange(8)
        if way == 0:
            del place[key]
        elif way == 1 and isinstance(place, dict):
            place[chance.choice(("extra", "members", "conformal", "delay", "n_steps"))] = chance.choice(
                NUMBERS
            )
        elif way == 2 and isinstance(place[key], int | float):
            place[key] = place[key] * chance.choice((2, 0.5, -1)) + chance.choice((0, 1, -1))
        else:
            place[key] = chance.choice(NUMBERS if way < 6 else OTHERS)

    def _tensor(self, chance: random.Random, tensors: dict[str, np.ndarray[Any, Any]]) -> None:
        """Other numbers, another shape, another type or another name."""
        name = chance.choice(sorted(tensors))
        tensor, way = tensors[name].copy(), chance.randrange(10)
        if name.startswith("member.") and name in self.tensors and way < 8:
            member = Damage(self.tensors[name].tobytes(), self.other)
            tensors[name] = np.frombuffer(member.case(chance), np.uint8)
        elif way < 6 and tensor.size and tensor.dtype != np.bool_:
            flat, floats = tensor.reshape(-1), tensor.dtype.kind == "f"
            for _ in range(chance.randint(1, 4)):
                kind = np.finfo(tensor.dtype) if floats else np.iinfo(tensor.dtype)
                ends = [kind.min, kind.max, 0, 1] + (
                    [np.nan, np.inf, 1e-45, 1e30, 0.1] if floats else [2, 127]
                )
                flat[chance.randrange(flat.size)] = chance.choice(ends)
            if way == 0:
                flat[:] = flat[chance.randrange(flat.size)]
            tensors[name] = flat.reshape(tensor.shape)
        elif way == 6:
            axis = chance.randrange(max(1, tensor.ndim))
            tensors[name] = np.repeat(tensor, 2, axis) if tensor.ndim else tensor[None]
        elif way == 7:
            tensors[name] = tensor[: chance.randrange(len(tensor) + 1)] if tensor.ndim else tensor[None]
        elif way == 8:
            kind = chance.choice((np.uint8, np.int16, np.int32, np.float32, np.float64, np.bool_))
            with np.errstate(all="ignore"):
                tensors[name] = tensor.astype(kind)
        else:
            tensors[chance.choice(("1.signs", "1.weights", "9.signs", "x", ""))] = tensors.pop(name)


def inputs_for(contents: Contents) -> Any:
    """Two inputs of the kind that a network takes: nothing, and something."""
    network = contents.network
    if network.takes == "images":
        shape = contents.input_shape
        return np.stack([np.zeros(shape, np.uint8), np.full(shape, 200, np.uint8)])
    steps = np.minimum(np.arange(5), network.n_steps - 1).astype(np.int16)
    return SpikeList(steps, (np.arange(5) % network.n_in).astype(np.int32), np.array([0, 0, 5]), network.n_steps,
                     network.n_in)  # fmt: skip


def fault_of(data: bytes) -> tuple[str, str | None]:
    """What became of a file, and what is wrong with that."""
    try:
        with np.errstate(all="ignore"):
            model = Model(decode(data))
    except BitspikeError as error:
        text = str(error)
        return "refused", None if text and len(text) < 3000 else f"no line of text: {text!r:.200}"
    try:
        decided: Decisions = model.decide(inputs_for(model.contents))
        p = model.probabilities(decided)
    except BitspikeError as error:
        return "refused later", None if str(error) else "no text"
    if not np.isfinite(p).all() or not np.isfinite(decided.potentials).all():
        return "read", f"answers {p.tolist()} by {decided.potentials.tolist()}"
    if model.classes and not ((decided.labels >= 0) & (decided.labels < len(model.classes))).all():
        return "read", f"labels {decided.labels.tolist()}"
    return "read", None


def attack(name: str, stem: str, each: int, seed: int) -> Tally:
    """Try `each` cases of one kind, in children that are replaced when one dies."""
    valid, other = ((VECTORS / f"{one}.bitspike").read_bytes() for one in (stem, "digits"))
    tally, damage, at = Tally(name, each), Damage(valid, other), 0
    shared = mmap.mmap(-1, 8)
    while at < each:
        end, (reading, writing) = min(at + CHUNK, each), os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _chunk(damage, name, seed, range(at, end), shared, writing)
        os.close(writing)
        with os.fdopen(reading, encoding="utf-8", errors="replace") as stream:
            for line in stream:
                outcome, _, fault = line.rstrip("\n").partition("\t")
                tally.add(outcome, fault or None)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code:  # the case that it had begun
            at = struct.unpack("q", shared[:])[0]
            tally.add("killed", f"case {at} ended the process ({code}: 14 is ten seconds)")
            at += 1
        else:
            at = end
    tally.show("\n")
    return tally


def _chunk(damage: Damage, name: str, seed: int, numbers: range, shared: mmap.mmap, writing: int) -> None:
    code = 1
    try:
        limit(GB)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        with os.fdopen(writing, "w", encoding="utf-8", errors="replace") as stream:
            for number in numbers:
                shared[:] = struct.pack("q", number)
                signal.alarm(10)
                data = damage.case(random.Random(f"{seed}/{name}/{number}"))
                try:
                    outcome, fault = fault_of(data)
                except BaseException as error:
                    outcome, fault = "error", f"{type(error).__name__}: {error}"
                said = "" if fault is None else f"case {number}: {' '.join(fault.split())}"
                stream.write(f"{outcome}\t{said}\n")
                stream.flush()
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=200_000, help="cases per kind of file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds whose name begins so")
    given = parser.parse_args()
    finish(
        [
            attack(name, stem, given.each, given.seed)
            for name, stem in KINDS.items()
            if name.startswith(given.only)
        ]
    )
