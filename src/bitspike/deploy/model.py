"""What every packed model can do, whatever its coding."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from bitspike.errors import DataError, UsageError
from bitspike.packed import conformal
from bitspike.packed.average import softmax
from bitspike.packed.decisions import Array, Decisions

Backend = Literal["auto", "native", "reference"]


class Model:
    """A packed model, ready to decide: `decide` makes decisions, the rest follows from them."""

    contents: Any  # what the model file holds
    classes: tuple[str, ...]
    temperature: float
    network: Any

    @property
    def n_steps(self) -> int:
        """The window in steps; decisions come no later."""
        steps: int = self.network.n_steps
        return steps

    @property
    def one_bit(self) -> bool:
        """Do all synapses hold one bit?"""
        return all(layer.kind != "real" for layer in self.network.layers)

    def decide(self, x: Any, threads: int | None = None) -> Decisions:
        """The decisions with all that can be known about them."""
        raise NotImplementedError

    def predict(self, x: Any, threads: int | None = None) -> Array:
        """The class of each input, its index in `classes`, int64 `(n,)`; of a regression its value, float32 `(n,)`."""
        decided = self.decide(x, threads)
        return decided.labels if self.classes else decided.potentials[:, 0]

    def predict_proba(self, x: Any, threads: int | None = None) -> Array:
        """softmax(potential / temperature) at the decision, float32 `(n, classes)`."""
        return self.probabilities(self.decide(x, threads))

    def probabilities(self, decisions: Decisions) -> Array:
        """The probabilities that go with decisions already made, float32 `(n, classes)`; see `predict_proba`.

        A regression, which has no classes, has its values `(n, 1)` in their place.
        """
        if not self.classes:
            return decisions.potentials
        return softmax(decisions.potentials, self.temperature).astype(np.float32)

    def sets(self, x: Any, alpha: float, threads: int | None = None) -> Array:
        """Conformal sets, bool `(n, classes)`: with probability >= 1 - `alpha` the set holds the right class.

        So if x is drawn as the validation data were; a set is {c: 1 - p[c] <= threshold} and can be empty. Takes the
        threshold of the next smaller alpha in the model file; where there is none, `UsageError` says what to do.
        """
        threshold = conformal.threshold_for(self.contents.conformal, alpha)
        return conformal.sets(self.predict_proba(x, threads), threshold)

    def abstain(self, x: Any, alpha: float, threads: int | None = None) -> Array:
        """The class of each input whose set (see `sets`) holds exactly one, else -1: refused; int64 `(n,)`."""
        within = self.sets(x, alpha, threads)
        labels: Array = np.where(within.sum(axis=1) == 1, within.argmax(axis=1), -1)
        return labels


def check_backend(backend: str) -> None:
    """Refuse a back end that does not exist."""
    if backend not in ("auto", "native", "reference"):
        raise UsageError(f"backend is {backend!r}; choose 'auto', 'native' or 'reference'")


def as_images(x: Any, shape: tuple[int, ...], n_in: int) -> Array:
    """Images as uint8 `(n, n_in)`: from `(n, *shape)`, `(n, n_in)` or one image; floats in [0, 1] are rounded."""
    if type(x) is not np.ndarray:
        x = np.asarray(x)
    if x.shape == shape or x.shape == (n_in,):
        images = x.reshape(1, n_in)
    elif x.shape[1:] == shape or x.shape[1:] == (n_in,):
        images = x.reshape(x.shape[0], n_in)
    else:
        raise DataError(
            f"images have shape {x.shape}; this model wants (n, {', '.join(map(str, shape))}), "
            f"(n, {n_in}) or one image"
        )
    return images if images.dtype == np.uint8 else _levels(images)


def _levels(images: Array) -> Array:
    """Floats in [0, 1], or integers or booleans already in range, as uint8."""
    if images.dtype == np.bool_:
        raise DataError("images are bool; give uint8 0..255, or floats in [0, 1]")
    is_float = np.issubdtype(images.dtype, np.floating)
    if not is_float and not np.issubdtype(images.dtype, np.integer):
        raise DataError(f"images are {images.dtype}; give uint8 0..255, or floats in [0, 1]")
    top = 1 if is_float else 255
    if not ((images >= 0) & (images <= top)).all():  # NaN fails both
        fault = "NaN" if is_float and np.isnan(images).any() else f"values outside 0..{top}"
        raise DataError(f"images hold {fault}; give uint8 0..255, or floats in [0, 1]")
    return np.rint(images * 255.0).astype(np.uint8) if is_float else images.astype(np.uint8)
