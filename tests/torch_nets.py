"""One network of every kind for the tests, and inputs for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch

from bitspike.coding import Direct, EventBins, FirstSpike, Latency, Pixel, Poisson
from bitspike.contracts import Coding
from bitspike.data.recordings import EVENT, Events
from bitspike.networks.base import Network
from bitspike.networks.committee import Committee, Ensemble
from bitspike.networks.first_spike import FirstSpikeNetwork, Sweep
from bitspike.networks.glm import GLMNetwork
from bitspike.networks.heaviside import HeavisideNetwork
from bitspike.networks.lif import LIFNetwork
from bitspike.networks.posterior import draw
from bitspike.networks.srm import SRMNetwork
from bitspike.settings import GLM, IF, LIF, SRM, Weights
from bitspike.settings.basis import Dirac, Exponential, RaisedCosine

HEIGHT, WIDTH, CLASSES, N = 6, 5, 3, 40
PIXELS = HEIGHT * WIDTH
EVENTS = EventBins(20, 100, stabilise=False, height=3, width=4)
REAL = Weights("real", (-0.8, 1.0), (-0.8, 1.0), None, (-0.8, 1.0))
EVEN = Weights("real", (-1.0, 1.0), (-1.0, 1.0), None, (-1.0, 1.0))
MILD = Weights("real", (-0.25, 0.25), (-0.25, 0.25), None)
BINARY, BAYES = Weights("binary"), Weights("bernoulli", (-1.5, 1.5), (-1.5, 1.5), None)
DENSE = LIF(("18",), (3.0, 1.2), 8.0, 2.0, 1, lateral=0.5)
MAPS = LIF(("4C3p1", "P2", "11"), (2.0, 0.8, 2.0, 1.5), 8.0, 2.0)


class Case(NamedTuple):
    """How to build a network, of a seed, and the inputs of its coding as a user has them."""

    build: Callable[[int], Network]
    raw: Any
    shape: tuple[int, ...] = (HEIGHT, WIDTH)

    @property
    def inputs(self) -> Any:
        coding = self.build(0).coding
        raw = self.raw if not coding.of_images else torch.from_numpy(self.raw).flatten(1)
        return coding.encode(raw)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images() -> np.ndarray[Any, Any]:
    """Dense, sparse, black and white."""
    rng = np.random.default_rng(5)
    values = rng.integers(0, 256, (N, HEIGHT, WIDTH)).astype(np.uint8)
    values[N // 2 :][rng.random(values[N // 2 :].shape) < 0.7] = 0
    values[3], values[17] = 0, 255
    return values


def events() -> Events:
    recordings = []
    for k in range(N):
        rng = np.random.default_rng(k)
        one = np.zeros(6 * (k % 9), EVENT)
        one["t"] = np.sort(rng.integers(0, 1700, len(one)))
        one["x"], one["y"], one["p"] = (rng.integers(0, size, len(one)) for size in (4, 3, 2))
        recordings.append(one)
    return Events.join(recordings, (3, 4))


def warm(network: Network) -> Any:
    network.temperature.fill_(1.7)
    return network


def first_spike(
    weights: Weights = BINARY,
    hidden: tuple[int, ...] = (16,),
    delay: Any = 0,
    swept: bool = True,
    **more: Any,
) -> Callable[[int], Network]:
    def build(seed: int) -> Network:
        generator = seeded(seed)
        sweep = Sweep(1.0, 2.0) if swept and not delay else None
        network = FirstSpikeNetwork(
            PIXELS, CLASSES, FirstSpike(12), IF(hidden, delay), weights, generator, sweep=sweep, **more
        )
        for threshold in network.thresholds:
            threshold.data.uniform_(0.2, 2.5, generator=generator)
        return warm(network)

    return build


def heaviside(binarise: bool = False) -> Callable[[int], Network]:
    def build(seed: int) -> Network:
        network = HeavisideNetwork((PIXELS, 14, 9, CLASSES), Pixel(), BINARY, binarise, seeded(seed))
        for theta in network.thetas:
            theta.data.fill_(0.05)
        return warm(network)

    return build


def lif(coding: Coding, network: LIF, weights: Weights, shape: Any = None) -> Callable[[int], Network]:
    def build(seed: int) -> Network:
        given = shape or (coding.channels_of(PIXELS),)
        return warm(LIFNetwork(given, CLASSES, coding, network, weights, seeded(seed)))

    return build


def srm(
    coding: Coding, weights: Weights, hidden: tuple[str, ...] = ("14", "10"), classes: int = CLASSES, shape: Any = None,
    bias: bool = True, first: int = 0,
) -> Callable[[int], Network]:  # fmt: skip
    def build(seed: int) -> Network:
        given = shape or (coding.channels_of(PIXELS),)
        settings = SRM(hidden, bias=bias, burn_in=3)
        return warm(SRMNetwork(given, classes, coding, settings, weights, seeded(first + seed)))

    return build


def glm(
    coding: Coding, weights: Weights, inputs: int = PIXELS, first: int = 0, **more: Any
) -> Callable[[int], Network]:
    def build(seed: int) -> Network:
        generator = seeded(first + seed)
        network = GLMNetwork(inputs, CLASSES, coding, GLM((7,), **more), weights, generator)
        for parameter in (*network.biases, *network.feedback):
            parameter.data.uniform_(-0.8, 0.4, generator=generator)
        for scale in network.scales:
            scale.data.uniform_(-1.5, -0.5, generator=generator)
        return warm(network)

    return build


def committee(build: Callable[[int], Network], average: Any = "probability") -> Callable[[int], Network]:
    return lambda seed: warm(Committee([build(seed + k) for k in range(3)], average))


def ensemble(build: Callable[[int], Network]) -> Callable[[int], Network]:
    return lambda seed: warm(Ensemble(build(seed), 3))


def drawn(build: Callable[[int], Network]) -> Callable[[int], Network]:
    return lambda seed: warm(Committee([draw(build(seed), seeded(k)) for k in range(2)]))


DIRECT, POISSON = Direct(15, 0.5), Poisson(16, 0.5)
IMAGES, MAP, RECORDED = images(), (HEIGHT, WIDTH, 1), EVENTS.map_shape((2, 3, 4), 24)
CASES = {
    "first-spike-binary": Case(first_spike(), IMAGES),
    "first-spike-real": Case(first_spike(REAL), IMAGES),
    "first-spike-deep": Case(first_spike(REAL, (12, 10)), IMAGES),
    "first-spike-delay": Case(first_spike(BINARY, (12, 10), 1), IMAGES),
    "first-spike-unswept": Case(first_spike(REAL, swept=False), IMAGES),
    "first-spike-bernoulli": Case(first_spike(BAYES), IMAGES),
    "heaviside": Case(heaviside(), IMAGES),
    "heaviside-two-valued": Case(heaviside(True), IMAGES),
    "lif-direct": Case(lif(DIRECT, DENSE, REAL), IMAGES),
    "lif-binary": Case(lif(DIRECT, DENSE, BINARY), IMAGES),
    "lif-poisson": Case(lif(Poisson(16, 0.5, signed=True), DENSE, REAL), IMAGES),
    "lif-maps": Case(lif(POISSON, MAPS, REAL, MAP), IMAGES),
    "lif-maps-direct": Case(lif(DIRECT, MAPS, BINARY, MAP), IMAGES),
    "lif-recordings": Case(lif(EVENTS, DENSE, REAL, RECORDED), events(), (2, 3, 4)),
    "srm": Case(srm(POISSON, EVEN, first=4), IMAGES),
    "srm-maps": Case(srm(POISSON, BINARY, ("4C3", "P2", "9"), shape=MAP), IMAGES),
    "srm-two-classes": Case(srm(POISSON, BAYES, classes=2), IMAGES),
    "srm-regression": Case(srm(POISSON, BAYES, classes=1, bias=False), IMAGES),
    "srm-recordings": Case(srm(EVENTS, REAL, shape=RECORDED), events(), (2, 3, 4)),
    "glm": Case(glm(Latency(12), MILD, first=1), IMAGES),
    "glm-binary": Case(glm(Latency(12), BINARY, values=3, basis=Exponential(4.0, 6)), IMAGES),
    "glm-bernoulli": Case(glm(POISSON, BAYES, decision="mean-field"), IMAGES),
    "glm-everyone": Case(
        glm(
            POISSON, MILD, values=2, output_values=2, basis=RaisedCosine(3, 6), feedback=Dirac(2), recurrent=True,
            lateral=True, top_down=True, density=0.7, decision="count", runs=3,
        ),
        IMAGES,
    ),
    "glm-recordings": Case(glm(EVENTS, MILD, 24, 9, skip=False), events(), (2, 3, 4)),
    "committee": Case(committee(first_spike(REAL)), IMAGES),
    "committee-of-potentials": Case(committee(lif(DIRECT, DENSE, REAL), "potential"), IMAGES),
    "committee-of-draws": Case(drawn(srm(POISSON, BAYES, first=4)), IMAGES),
    "ensemble": Case(ensemble(first_spike(BAYES)), IMAGES),
}  # fmt: skip
