"""Training an experiment: `train`, `resume`, and `load_model` of a finished run."""

from bitspike.training.load import load_best, load_model, load_shipped
from bitspike.training.loop import TrainResult, resume, train
from bitspike.training.run_folder import RunFolder

__all__ = ["RunFolder", "TrainResult", "load_best", "load_model", "load_shipped", "resume", "train"]
