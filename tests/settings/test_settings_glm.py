"""Settings of circuits that fire by chance: what asks for gigabytes is refused before anything is built."""

import numpy as np
import pytest
import torch

from bitspike.coding import Latency
from bitspike.contracts import Basis
from bitspike.errors import UsageError
from bitspike.networks.glm import GLMNetwork
from bitspike.settings import GLM, Weights
from bitspike.settings.basis import Dirac, Exponential, RaisedCosine, checked_table


@pytest.mark.parametrize(
    "make",
    [
        lambda: Exponential(length=10**9),
        lambda: RaisedCosine(n=10**9),
        lambda: RaisedCosine(length=10**9),
        lambda: RaisedCosine(length=1),
        lambda: Dirac(length=10**6),
        lambda: Exponential(tau=0.0),
    ],
)
def test_bases_have_limits(make):
    with pytest.raises(UsageError, match="basis"):
        make()


class Wide(Basis):
    length = 10

    def table(self):
        return np.ones((65, 10))


class Odd(Basis):
    length = 10

    def table(self):
        return np.full((2, 10), np.nan)


@pytest.mark.parametrize("basis", [Wide, Odd])
def test_a_basis_of_ones_own_is_checked(basis):
    with pytest.raises(UsageError, match=basis.__name__):
        checked_table(basis())


@pytest.mark.parametrize(
    "more", [{"hidden": (10**9,)}, {"hidden": (10**30,)}, {"values": 10**12}, {"hidden": (20_000, 20_000)}]
)
def test_networks_that_ask_for_gigabytes_are_refused(more):
    network = GLM(**{"hidden": (64,), **more})
    with pytest.raises(UsageError, match=r"neurons|weights"):
        GLMNetwork(784, 10, Latency(16), network, Weights("real"), torch.Generator())


def test_runs_have_a_limit():
    with pytest.raises(UsageError, match=r"network\.runs"):
        GLM(runs=10**6)
