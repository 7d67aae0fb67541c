"""Those that take part: one file each, one function ``prepare(work) -> call``, or None where it does not apply."""

from __future__ import annotations

from collections.abc import Callable

from recurra.benchmarks.peers import jax_scan, onnx_node, ours, torch_compiled, torch_loop, torch_nn
from recurra.benchmarks.work import Call, Work
from recurra.engine import BACKENDS

__all__ = ["OURS", "contenders"]

OURS = "recurra"
"""The name of ours as it comes; a forced backend is named after it."""

Prepare = Callable[[Work], Call | None]


def contenders(*, compiled: bool = False) -> dict[str, Prepare]:
    """Return all by name, ours first.

    Args:
        compiled: with `torch.compile`, which takes minutes for each case.
    """
    forced = [backend for backend in BACKENDS if backend not in ("auto", "loop")]
    return {
        OURS: ours.prepare,
        **{f"{OURS} {backend}": ours.forced(backend) for backend in forced},
        "torch": torch_nn.prepare,
        "torch cell": torch_nn.prepare_cell,
        "torch loop": torch_loop.prepare,
        **({"torch compiled": torch_compiled.prepare} if compiled else {}),
        "jax": jax_scan.prepare,
        "onnxruntime": onnx_node.prepare,
    }
