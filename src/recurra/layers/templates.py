"""Names for a layer's equations in a graph of `torch.compile`. To be imported there alone: it loads torch._dynamo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

__all__ = ["Templates", "name_template"]


class Templates:
    """Equations that a graph of `torch.compile` asked for, by name."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def name_template(make: Callable[..., Any], *arguments: Any, **options: Any) -> str:
    """Return the name in `Templates` of what ``make(*arguments, **options)`` returns, always the same object."""
    template = make(*arguments, **options)
    name = f"_{id(template)}"  # which lives as long as the cache of `make`
    setattr(Templates, name, template)
    return name
