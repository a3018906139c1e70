"""Experiments drawn at random, for tests of what must hold for all of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from bitspike.coding import FirstSpike, Pixel
from bitspike.data.augment import Augment
from bitspike.experiment import Data, Experiment, Training
from bitspike.rules.bnn import BNN
from bitspike.rules.first_spike_race import FirstSpikeRace
from bitspike.settings import IF, Optimizer, Weights

positive = st.floats(min_value=1e-9, max_value=1e9)
share = st.floats(min_value=0, max_value=1)
open_share = st.floats(min_value=1e-6, max_value=1 - 1e-6)
count = st.integers(min_value=1, max_value=10**12)
bounds = st.tuples(st.floats(-1e6, -1e-6), st.floats(1e-6, 1e6))
hidden = st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(tuple)
common: dict[str, Any] = {
    "name": st.text(),
    "data": st.builds(Data, st.text(), st.none() | st.text(), open_share),
    "augment": st.builds(Augment, share, open_share, share, share, share, st.booleans()),
    "network": st.builds(IF, hidden, st.just(0)),
    "optimizer": st.builds(
        Optimizer, st.sampled_from(["adam", "sgd"]), positive, positive, positive, share,
        st.sampled_from(["cosine", "exponential", "constant"]), open_share,
    ),
    "training": st.builds(
        Training, count, count, st.sampled_from(["permutation", "replacement", "none"]), share, count
    ),
    "seed": st.integers(0, 2**62),
}  # fmt: skip
binary = st.builds(Weights, st.just("binary"), bounds, bounds, st.none() | positive)
experiments = st.builds(
    Experiment,
    coding=st.just(Pixel()),
    rule=st.builds(BNN, st.sampled_from(["hinge", "cross_entropy"]), st.booleans()),
    weights=binary,
    backend=st.sampled_from(["auto", "reference"]),
    **common,
) | st.builds(
    Experiment,
    coding=st.builds(FirstSpike, st.integers(1, 32766)),
    rule=st.builds(FirstSpikeRace, positive, positive, open_share, positive, positive, open_share),
    weights=st.builds(Weights, st.sampled_from(["binary", "real"]), bounds, bounds, st.none() | positive),
    backend=st.sampled_from(["auto", "reference", "native"]),
    **common,
)
