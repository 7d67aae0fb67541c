"""Names for a layer's equations in a graph of `torch.compile`. To be imported there alone: it loads torch._dynamo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from recurra import cells
from recurra.layers.rnn import make_template

__all__ = ["Templates", "name_template"]


class Templates:
    """Equations that a graph of `torch.compile` asked for, by name."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def name_template(kind: Callable[..., cells.Cell], *sizes: int, **options: Any) -> str:
    """Return the name in `Templates` of what `recurra.layers.rnn.make_template` returns."""
    template = make_template(kind, *sizes, **options)
    name = f"_{id(template)}"  # which lives as long as the cache
    setattr(Templates, name, template)
    return name
