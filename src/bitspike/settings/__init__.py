"""Settings of networks, weights, optimiser and decisions: frozen dataclasses. Importing this needs no torch."""

from bitspike.settings.first_spike import IF
from bitspike.settings.glm import GLM
from bitspike.settings.lif import LIF
from bitspike.settings.optimizer import Optimizer
from bitspike.settings.predict import Predict
from bitspike.settings.srm import SRM
from bitspike.settings.weights import Weights

__all__ = ["GLM", "IF", "LIF", "SRM", "Optimizer", "Predict", "Weights"]
