"""Training: the trainer, its tasks and settings, and the run that it leaves behind."""

from recurra.training.adaptation import FINE_TUNING, adapt, adapted_config
from recurra.training.config import ExamplesConfig, Origin, RunConfig, TrainingConfig
from recurra.training.language import sample_text, validate
from recurra.training.progress import Reporter, make_reporter, printable
from recurra.training.run import Run, free_path
from recurra.training.tasks import TASKS, config_from_mapping, default_config
from recurra.training.together import FollowedError, fit_together
from recurra.training.trainer import Trainer

__all__ = [
    "FINE_TUNING",
    "TASKS",
    "ExamplesConfig",
    "FollowedError",
    "Origin",
    "Reporter",
    "Run",
    "RunConfig",
    "Trainer",
    "TrainingConfig",
    "adapt",
    "adapted_config",
    "config_from_mapping",
    "default_config",
    "fit_together",
    "free_path",
    "make_reporter",
    "printable",
    "sample_text",
    "validate",
]
