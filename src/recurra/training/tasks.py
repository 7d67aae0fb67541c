"""The tasks by name, and settings of whole runs from plain mappings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recurra.config import check_choice, from_mapping
from recurra.errors import ConfigError
from recurra.training.config import RunConfig
from recurra.training.examples import CaptionTask, ClassifyTask, TagTask, TranslateTask
from recurra.training.forecasting import ForecastTask
from recurra.training.language import LanguageTask
from recurra.training.task import Task

__all__ = ["TASKS", "config_from_mapping", "default_config", "task_of"]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (LanguageTask, ClassifyTask, TagTask, TranslateTask, CaptionTask, ForecastTask)
}


def task_of(model: Any) -> type[Task]:
    """Return the task that trains a model. Raises: ConfigError if there is none."""
    found = {task.model_class: task for task in TASKS.values()}
    for cls in type(model).__mro__:  # the nearest one: a captioner is an encoder-decoder, too
        if cls in found:
            return found[cls]
    known = ", ".join(task.model_class.__name__ for task in TASKS.values())
    raise ConfigError(f"the trainer does not know how to train a {type(model).__name__}; it trains {known}")


def default_config(task: str) -> RunConfig:
    """Return the settings of a task where nothing is asked for. Raises: ConfigError for an unknown task."""
    check_choice(TASKS, task=task)
    return TASKS[task].default_config()


def config_from_mapping(values: Mapping[str, Any], where: str = "") -> RunConfig:
    """Build the settings of a run from tables, as TOML holds them; what is not named has its default.

    Raises: ConfigError for an unknown task or setting, a wrong type, or a value out of range.
    """
    task = values.get("task", "lm")
    prefix = f"{where}: " if where else ""
    if not isinstance(task, str):
        raise ConfigError(f"{prefix}'task' must be a name, not {task!r}")
    check_choice(TASKS, task=task)
    found = TASKS[task]
    classes = {"data": found.data_settings, "model": found.model_settings, "training": found.training_settings}
    tables: dict[str, Any] = {}
    for table, cls in classes.items():
        settings = values.get(table, {})
        if not isinstance(settings, Mapping):
            raise ConfigError(f"{prefix}'{table}' must be a table of settings, not {settings!r}")
        tables[table] = from_mapping(cls, settings, f"{where} [{table}]" if where else "")
    if getattr(tables["data"], "task", task) != task:
        raise ConfigError(f"{prefix}'task' is {task}, but that of its data {tables['data'].task}; make them agree")
    rest = {name: value for name, value in values.items() if name not in classes}
    return replace(from_mapping(RunConfig, rest, where), **tables)
