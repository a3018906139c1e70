"""Training an experiment: `train`, `resume`, and `load_model` of a finished run."""

from bitspike.training.loop import TrainResult, load_model, resume, train
from bitspike.training.run_folder import RunFolder

__all__ = ["RunFolder", "TrainResult", "load_model", "resume", "train"]
