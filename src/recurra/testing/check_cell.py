"""`check_cell`: is this module a cell that every part of the system can trust?"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from recurra.testing import gradient_laws as g
from recurra.testing import value_laws as v
from recurra.testing.case import Law, make_case

__all__ = ["LAWS", "check_cell"]

LAWS: tuple[Law, ...] = (
    v.check_state_type,
    v.check_inputs_intact,
    g.check_fold,
    g.check_chunking,
    v.check_rows,
    v.check_padding,
    v.check_reset,
    v.check_reverse,
    v.check_save_and_load,
    g.check_gradients,
    g.check_truncation,
    g.check_recomputation,
    g.check_backends,
)


def check_cell(
    cell: nn.Module | Callable[[int, int], Any],
    *,
    input_size: int,
    hidden_size: int = 4,
    examples: int = 10,
    dtype: torch.dtype = torch.float64,
    laws: Sequence[Law] = LAWS,
) -> None:
    """Check a cell against every law, on random sequences of random sizes, and report the smallest that breaks one.

    Args:
        cell: a module with ``step`` and ``zero_state``, which is copied, or what makes one: a class, or any function
            of ``(input_size, hidden_size)``.
        input_size: features I of the inputs.
        hidden_size: what a class is given; a module has its own.
        examples: random situations per law; equal calls try equal ones.
        dtype: type of parameters and inputs. Gradients are compared with finite differences in float64 always.
    Raises: AssertionError that names the law and what differs; ImportError without the package hypothesis.
    """
    try:
        from hypothesis import HealthCheck, Phase, given, settings
        from hypothesis import strategies as st
    except ImportError as error:
        raise ImportError("check_cell needs the package hypothesis: pip install 'recurra[testing]'") from error

    made = copy.deepcopy(cell) if isinstance(cell, nn.Module) else cell(input_size, hidden_size)
    subject = made.to(dtype)
    sizes = {"steps": st.integers(1, 5), "rows": st.integers(1, 3), "cut": st.integers(1, 5)}
    limits = settings(
        max_examples=examples,
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )

    def search(law: Law) -> None:
        @limits
        @given(**sizes, seed=st.integers(0, 2**31))
        def obeys(steps: int, rows: int, cut: int, seed: int) -> None:
            law(subject, make_case(steps, rows, input_size, min(cut, steps), seed, dtype))

        obeys()

    for law in laws:
        search(law)
