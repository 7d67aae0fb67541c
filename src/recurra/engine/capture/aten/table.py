"""The table itself: how each operation of torch is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from recurra.engine.capture.recording import Call

if TYPE_CHECKING:
    from recurra.engine.capture.lowering import Lowering

__all__ = ["LOWERINGS", "Lower", "lowers", "pointwise", "shape_of"]

Lower = Callable[..., Any]
Registered = TypeVar("Registered", bound=Lower)

LOWERINGS: dict[Any, Lower] = {}


def lowers(*functions: Any) -> Callable[[Registered], Registered]:
    """Register how functions of `torch.ops.aten` are read.

    What is decorated gets the `Lowering`, the call, and the call's arguments. It returns a `Value`, or a list with one
    per result of the call; whoever uses a result that is None there stays on the loop.
    """

    def register(lower: Registered) -> Registered:
        LOWERINGS.update(dict.fromkeys(functions, lower))
        return lower

    return register


def pointwise(op: str, *functions: Any) -> None:
    """Register functions that are a pointwise operation of the engine's, argument by argument."""
    LOWERINGS.update(dict.fromkeys(functions, lambda low, call, *args, **_: low.pointwise(op, *args)))


def shape_of(low: Lowering, call: Call, result: int = 0) -> tuple[int, ...]:
    """Return the shape of a result of a call, with -1 for the batch."""
    number = call.outputs[result]
    assert number is not None
    return low.recording.shapes[number]
