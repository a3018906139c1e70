"""What a small file may ask for: nothing is prepared for one that asks for gigabytes."""

import numpy as np
import pytest

from bitspike.deploy.load import load
from bitspike.errors import FormatError
from bitspike.packed.base import MOST, Demand
from bitspike.packed.file import decode, encode, read
from bitspike.packed.kinds import KNOWN
from spoil import whole

NEURON = {"threshold": 1.0, "tau_m": 20.0, "tau_s": 5.0, "refractory": 2, "lateral": 0.0, "epsilon": 0.0}


def pools(side, steps):
    """Spike trains through two poolings: no weights at all."""
    maps = [{"height": side, "width": side, "channels": 1, "size": size} for size in (1, side)]
    metadata = {
        "format": 1, "coding": "direct", "settings": {"n_steps": steps, "rate": 1.0}, "input": [side, side],
        "layers": [{"kind": "pool", "pool": pool, "neuron": NEURON} for pool in maps],
        "classes": ["a"], "temperature": 1.0, "decision": "count, membrane, index", "recipe": "",
    }  # fmt: skip
    return whole(metadata, {})


def committee(member, n):
    metadata = {"format": 1, "members": n, "average": "probability", "temperature": 1.0}
    metadata |= {"decision": "committee, index", "recipe": ""}
    return whole(metadata, {f"member.{k}": np.frombuffer(member, np.uint8) for k in range(1, n + 1)})


def wide(n_in):
    """First spikes: many inputs, one hidden neuron."""
    metadata = {
        "format": 1, "coding": "first_spike", "n_steps": 16, "delay": 0, "input": [n_in], "widths": [n_in, 1, 1],
        "kinds": ["binary", "binary"], "classes": ["a"], "temperature": 1.0, "decision": "earliest, margin, index",
        "recipe": "",
    }  # fmt: skip
    one = np.ones((1, 1), np.uint8)
    tensors = {"1.signs": np.ones((n_in, 1), np.uint8), "1.fires_at": np.ones(1, np.int32)}
    if n_in < 32767:
        tensors["1.fires_at"] = np.ones(1, np.int16)
    return whole(metadata, tensors | {"2.signs": one, "2.thresholds": np.zeros(1, np.float32)})


@pytest.mark.parametrize("data", [pools(1400, 500), wide((1 << 22) + 1)], ids=["states", "synapses"])
def test_files_that_ask_for_too_much_are_refused(data):
    with pytest.raises(FormatError, match="a decision asks for"):
        decode(data)


def test_a_committee_asks_for_the_sum_of_its_members():
    member = pools(400, 200)  # 64 million states
    assert decode(member).network.demand.states < MOST.states
    with pytest.raises(FormatError, match="a decision asks for"):
        decode(committee(member, 3))


def test_limits_are_an_argument(tmp_path):
    path = tmp_path / "model.bitspike"
    path.write_bytes(pools(8, 10))
    assert load(path).network.demand == Demand(states=10 * (64 + 64 + 1))
    with pytest.raises(FormatError, match="at most 1,000 are allowed"):
        load(path, most=Demand(states=1000))


def test_honest_files_ask_for_a_tenth_at_most(tmp_path):
    from pathlib import Path

    for path in (Path(__file__).parents[1] / "vectors").glob("*.bitspike"):
        demand = read(path, KNOWN).network.demand
        assert 10 * demand.states <= MOST.states
        assert 10 * demand.synapses <= MOST.synapses
        assert encode(read(path)) == path.read_bytes()
