"""Training: the trainer, its settings, and the run that it leaves behind."""

from recurra.training.config import RunConfig, TrainingConfig
from recurra.training.progress import Reporter, make_reporter, printable
from recurra.training.run import Run, free_path
from recurra.training.trainer import Trainer
from recurra.training.validation import validate

__all__ = [
    "Reporter",
    "Run",
    "RunConfig",
    "Trainer",
    "TrainingConfig",
    "free_path",
    "make_reporter",
    "printable",
    "validate",
]
