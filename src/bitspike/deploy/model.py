"""A packed model, ready to decide: inference with numpy alone."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from bitspike.errors import BackendError, UsageError
from bitspike.packed import conformal
from bitspike.packed.average import logarithm, softmax
from bitspike.packed.base import Engine, Packed, Reference
from bitspike.packed.committee import CommitteeEngine, CommitteePacked
from bitspike.packed.contents import Contents
from bitspike.packed.decisions import Array, Decisions

Backend = Literal["auto", "native", "reference"]


class Model:
    """A packed model of any kind; results always have the first axis n.

    Images are uint8 of shape `(n, *input_shape)`, `(n, features)`, or one image without the first axis; 0 is dark, 255
    bright. Floats in [0, 1] are accepted and rounded to k / 255. A model of events takes `Events` or one recording, an
    array of dtype `EVENT`; one of sound takes `Audio`; both take a `SpikeList` already coded. `backend` "auto" takes
    the fastest engine there is, `isa` names an instruction set; what is not there raises `BackendError`.
    """

    def __init__(self, contents: Contents, backend: Backend = "auto", isa: str | None = None) -> None:
        if backend not in ("auto", "native", "reference"):
            raise UsageError(f"backend is {backend!r}; choose 'auto', 'native' or 'reference'")
        if isa is not None and backend == "reference":
            raise BackendError(f"instruction set {isa!r} was asked for, but the reference runs in numpy")
        self._made_from = contents, backend, isa
        self.contents, self.network = contents, contents.network
        self._shape, self._regression = contents.input_shape, contents.network.regression
        self._engine = _engine(contents.network, backend, isa)

    def __reduce__(self) -> tuple[Any, ...]:
        return Model, self._made_from  # the engine is built anew from the contents

    def with_contents(self, contents: Contents) -> Model:
        """A model of other contents on the same back end."""
        return Model(contents, *self._made_from[1:])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in order; none of a regression."""
        return self.contents.classes

    @property
    def temperature(self) -> float:
        """What potentials are divided by in the softmax."""
        return self.contents.temperature

    @property
    def n_steps(self) -> int:
        """The window in steps; decisions come no later."""
        return self.network.n_steps

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return self.network.one_bit

    @property
    def backend(self) -> str:
        """What runs: "native (avx512)" and the like, or "reference"; of a committee each kind once."""
        return self._engine.name

    def inputs(self, x: Any) -> Any:
        """What the network takes, from any input above; what it gives is taken once more, so inputs are coded once."""
        return self.network.inputs(x, self._shape)

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The decisions with all that can be known about them."""
        return self._engine.decide(self.inputs(x), threads)

    def predict(self, x: Any, threads: int | None = None) -> Array:
        """The class of each input, its index in `classes`, int64 `(n,)`; of a regression its value, float32 `(n,)`."""
        if self._regression:
            return self.decide(x, threads).potentials[:, 0]
        return self._engine.label(self.network.inputs(x, self._shape), threads)

    def predict_proba(self, x: Any, threads: int | None = None) -> Array:
        """softmax(potential / temperature) at the decision, float32 `(n, classes)`."""
        return self.probabilities(self.decide(x, threads))

    def probabilities(self, decisions: Decisions) -> Array:
        """The probabilities that go with decisions already made, float32 `(n, classes)`; see `predict_proba`.

        A regression, which has no classes, has its values `(n, 1)` in their place.
        """
        if self.network.regression:
            return decisions.potentials
        return softmax(decisions.potentials, self.temperature).astype(np.float32)

    def member_probabilities(self, x: Any, threads: int | None = None) -> Array | None:
        """softmax(potentials_k / T_k) of a committee's members, float32 `(members, n, classes)`; None for one network.

        Of regressions it is their values.
        """
        return self.decide_all(x, threads)[1]

    def decide_all(self, x: Any, threads: int | None = None) -> tuple[Decisions, Array | None]:
        """The decisions and, of a committee, the `member_probabilities`, from one run of the members."""
        engine, network = self._engine, self.network
        if not (isinstance(engine, CommitteeEngine) and isinstance(network, CommitteePacked)):
            return self.decide(x, threads), None
        each = engine.each(self.inputs(x), threads)
        return network.combine(each), network.member_probabilities(each)

    def over_time(self, x: Any, threads: int | None = None) -> Array:
        """Probabilities had the answer been demanded after every step that decides, float32 `(n, times, classes)`.

        Of a BiSNN network these are the steps from its `burn_in` on; other networks raise `UsageError`. The temperature
        is applied as in `predict_proba`; a regression has one column, its value.
        """
        p = self._engine.over_time(self.inputs(x), threads)
        if self.network.regression:
            return p
        if p.shape[2] < self.network.n_classes:  # one readout, two classes
            p = np.concatenate([np.float32(1) - p, p], axis=2)
        return softmax(logarithm(p), self.temperature).astype(np.float32)

    def sets(self, x: Any, alpha: float, threads: int | None = None) -> Array:
        """Conformal sets, bool `(n, classes)`: with probability >= 1 - `alpha` the set holds the right class.

        So if x is drawn as the validation data were, and on average over such data; one model strays from it, see
        `metrics.coverage_range`. A set is {c: 1 - p[c] <= threshold} and can be empty. Takes the threshold of the next
        smaller alpha in the model file; where there is none, `UsageError` says what to do.
        """
        threshold = conformal.threshold_for(self.contents.conformal, alpha)
        return conformal.sets(self.predict_proba(x, threads), threshold)

    def abstain(self, x: Any, alpha: float, threads: int | None = None) -> Array:
        """The class of each input whose set (see `sets`) holds exactly one, else -1: refused; int64 `(n,)`."""
        within = self.sets(x, alpha, threads)
        labels: Array = np.where(within.sum(axis=1) == 1, within.argmax(axis=1), -1)
        return labels

    def footprint(self) -> dict[str, int]:
        """Synapses stored, their bits, thresholds, and the true size of the model file; of a committee also members."""
        return {**self.network.sizes(), "file_bytes": len(self.contents.to_bytes())}


def _engine(network: Packed, backend: str, isa: str | None) -> Engine:
    if backend == "reference":
        return _reference(network)
    return network.best() if backend == "auto" and isa is None else network.engine(isa)


def _reference(network: Packed) -> Engine:
    if isinstance(network, CommitteePacked):
        return CommitteeEngine(network, [Reference(member) for member in network.networks])
    return Reference(network)
