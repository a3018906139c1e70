"""A first-spike network as a scikit-learn classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from bitspike.coding import FirstSpike, Population
from bitspike.data import Split
from bitspike.data.augment import Augment
from bitspike.deploy.pack import pack, save
from bitspike.errors import UsageError
from bitspike.experiment import Experiment, Training
from bitspike.networks.base import Network
from bitspike.recipes.first_spike_race import bs4nn_digits, s4nn_digits
from bitspike.settings import IF
from bitspike.training.trainer import Trainer

FEW_FEATURES = 16
FEW_SAMPLES = 300
UNITS = 12


class BitspikeClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify real features by the first spike of a network, one bit per synapse by default.

    Features become intensities 0..255, intensities become spike times, the class whose neuron fires first wins.
    `encoding="intensity"` scales each feature by its range in the training data and gives it two inputs, on
    (I) and off (255 - I); `"population"` gives it 12 Gaussian receptive fields; `"auto"` takes the population
    up to 16 features. Trained by the first-spike race rule (`bitspike.rules.first_spike_race`).

    Parameters: `hidden` width, or widths, of the hidden layers; `weights` "binary" or "real"; `epochs`; `batch_size`;
    `lr` the first step size (None: 0.01 binary, 0.004 real); `n_steps` steps an input spike can choose from;
    `random_state` int, RandomState or None; `verbose` 1 prints a line per epoch. After `fit`: `classes_`,
    `n_features_in_`, `model_` (the packed model, which decides in `predict`).
    """

    def __init__(
        self,
        hidden: int | Sequence[int] = (128,),
        weights: Literal["binary", "real"] = "binary",
        epochs: int = 100,
        batch_size: int = 32,
        lr: float | None = None,
        n_steps: int = 16,
        encoding: Literal["auto", "intensity", "population"] = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.hidden = hidden
        self.weights = weights
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.n_steps = n_steps
        self.encoding = encoding
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Train on features `(n, d)` and labels `(n,)` of any kind; a single class raises `ValueError`."""
        features: NDArray[np.float64]
        features, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y holds one class only; a classifier needs 2 or more to tell apart")
        self._fit_encoding(features)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        experiment = self._experiment(seed)
        images = self._encoding.encode(features)
        network = _train(experiment, images, labels.astype(np.int64), len(self.classes_), self.verbose)
        names = [str(name) for name in self.classes_]
        self.model_ = pack(network, experiment, names, images.shape[1:])
        return self

    def encode(self, X: ArrayLike) -> NDArray[np.uint8]:
        """The intensities uint8 `(n, inputs)` that the network, and an exported model, take for features `(n, d)`."""
        check_is_fitted(self, "_encoding")
        features: NDArray[np.float64] = validate_data(self, X, dtype=np.float64, reset=False)
        return self._encoding.encode(features)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each sample."""
        check_is_fitted(self, "model_")
        return np.asarray(self.classes_[self.model_.predict(self.encode(X))])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities `(n, classes)`, in the order of `classes_`."""
        check_is_fitted(self, "model_")
        probabilities = self.model_.predict_proba(self.encode(X)).astype(np.float64)
        return np.asarray(probabilities / probabilities.sum(axis=1, keepdims=True))

    def export(self, path: str | PathLike[str]) -> int:
        """Write model.bitspike and return its size in bytes. Its inputs are what `encode` gives."""
        check_is_fitted(self, "model_")
        return save(self.model_, Path(path))

    def _fit_encoding(self, X: NDArray[np.float64]) -> None:
        if self.encoding not in ("auto", "intensity", "population"):
            raise UsageError(f"encoding is {self.encoding!r}; choose 'auto', 'intensity' or 'population'")
        few = self.encoding == "auto" and X.shape[1] <= FEW_FEATURES
        self._encoding: Population | OnOff
        if few or self.encoding == "population":
            self._encoding = Population.fit(X, UNITS)
        else:
            self._encoding = OnOff.fit(X)

    def _experiment(self, seed: int) -> Experiment:
        recipe = s4nn_digits if self.weights == "real" else bs4nn_digits
        if self.weights not in ("binary", "real"):
            raise UsageError(f"weights is {self.weights!r}; choose 'binary' or 'real'")
        lr = recipe.optimizer.lr if self.lr is None else self.lr
        return replace(
            recipe,
            name="estimator",
            augment=Augment(),
            coding=FirstSpike(_whole(self.n_steps)),
            network=IF(hidden=tuple(int(width) for width in np.atleast_1d(self.hidden))),
            optimizer=replace(recipe.optimizer, lr=lr),
            training=Training(
                _whole(self.epochs), _whole(self.batch_size), evaluate_every=_whole(self.epochs)
            ),
            seed=seed,
        )


def _whole(value: Any) -> Any:
    """Whole numbers of numpy, such as those of a grid, as Python's; anything else as it is."""
    return int(value) if isinstance(value, np.integer) else value


@dataclass(frozen=True, eq=False)
class OnOff:
    """Each feature, scaled to its range [low, high] and clipped, as two intensities: on = round(255 x), 255 - on."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @staticmethod
    def fit(features: NDArray[np.float64]) -> OnOff:
        """Take the ranges from training features `(n, d)`; a constant feature is always off."""
        low, high = features.min(axis=0), features.max(axis=0)
        return OnOff(low, np.where(high > low, high, low + 1))

    def encode(self, features: NDArray[np.float64]) -> NDArray[np.uint8]:
        """Intensities uint8 `(n, 2 d)`, all on channels before all off channels."""
        share = (np.clip(features, self.low, self.high) - self.low) / (self.high - self.low)
        on = np.rint(255 * share).astype(np.uint8)
        return np.concatenate([on, 255 - on], axis=1)


def _train(
    experiment: Experiment, images: NDArray[np.uint8], labels: NDArray[np.int64], n_classes: int, verbose: int
) -> Network:
    """Train on images `(n, inputs)`; finish on a sixth of them held out, or on all where they are few."""
    n = len(images)
    rows = np.random.default_rng(experiment.seed).permutation(n)
    n_held = n // 6 if n >= FEW_SAMPLES else 0
    kept, judged = rows[n_held:], rows[:n_held] if n_held else rows
    nothing = np.arange(0)
    parts = [part for chosen in (kept, judged, nothing) for part in (images[chosen], labels[chosen])]
    trainer = Trainer(experiment, Split(*parts), n_classes, images.shape[1:])
    while not trainer.done:
        (figures,) = trainer.run(epochs=1)
        if verbose:
            progress = f"epoch {trainer.epoch}/{experiment.training.epochs}"
            print(f"{progress}  accuracy {100 * figures['accuracy']:.2f} %")
    return trainer.finish()[0]
