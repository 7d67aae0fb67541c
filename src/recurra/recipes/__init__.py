"""Published results, and our own, as functions that return the settings of a whole run."""

from collections.abc import Callable

from recurra.config import check_choice
from recurra.recipes import counting, language, tasks
from recurra.training import RunConfig

__all__ = ["RECIPES", "find_recipe"]

RECIPES: dict[str, Callable[[], RunConfig]] = {**counting.RECIPES, **language.RECIPES, **tasks.RECIPES}


def find_recipe(name: str) -> RunConfig:
    """Return the settings of a recipe by name.

    Raises: ConfigError, with the nearest name, if there is none.
    """
    check_choice(RECIPES, recipe=name)
    return RECIPES[name]()
