"""Training: `Trainer` in memory, `train` and `resume` with a run folder, `load_model` of a finished run."""

from bitspike.training.load import load_best, load_model, load_shipped, load_snapshots
from bitspike.training.run import TrainResult, resume, train
from bitspike.training.run_folder import RunFolder
from bitspike.training.trainer import Trainer

__all__ = [
    "RunFolder",
    "TrainResult",
    "Trainer",
    "load_best",
    "load_model",
    "load_shipped",
    "load_snapshots",
    "resume",
    "train",
]
