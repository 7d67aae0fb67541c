"""How two runs of a cell are compared: by all that a caller can see of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recurra.state import fork, map_leaves, named_leaves
from recurra.testing.case import fold
from recurra.testing.tolerances import TOLERANCES

__all__ = ["assert_equal", "assert_same", "floating", "gradients", "windows_by_hand"]

Run = Callable[[Tensor, Any], tuple[Tensor, Any]]


def assert_equal(what: str, found: Any, expected: Any) -> None:
    """Raise AssertionError unless two tensors or states agree within the tolerance of their type."""
    if type(found) is not type(expected):
        raise AssertionError(f"{what}: {type(found).__name__} where {type(expected).__name__} was expected")
    there = named_leaves(expected)
    for name, leaf in named_leaves(found).items():
        options: Any = TOLERANCES.get(leaf.dtype, {"rtol": 0, "atol": 0})
        try:
            torch.testing.assert_close(leaf, there[name], **options)
        except AssertionError as error:
            where = f"{what}, leaf '{name}'" if name else what
            raise AssertionError(f"{where}: {error}") from None


def assert_same(where: str, found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Raise AssertionError unless two results of `gradients` agree."""
    for name, value in expected.items():
        assert_equal(f"{where}: {name}", found[name], value)


def gradients(cell: Any, run: Run, inputs: Tensor, state: Any) -> dict[str, Any]:
    """Run, and return all that a caller can see of it: outputs, final state, every gradient.

    The loss is a sum of all numbers in outputs and final state, each with a weight of its own, so that gradients
    arrive through both.
    """
    x, s = _leaf(inputs), map_leaves(_leaf, state)
    outputs, final = run(x, s)
    seen = floating(outputs, final)
    return {"outputs": outputs.detach(), "final state": fork(final), **_grad(seen, _weights(seen), _wanted(cell, x, s))}


def windows_by_hand(cell: Any, inputs: Tensor, state: Any, window: int) -> dict[str, Any]:
    """Return what `gradients` does for truncated back-propagation, every window on a graph of its own."""
    pieces = inputs.split(window)
    with torch.no_grad():
        outputs, final = fold(cell, inputs, state)
    weights = _weights(floating(outputs, final))
    total: dict[str, Any] = {"outputs": outputs, "final state": final}
    for n, (piece, weight) in enumerate(zip(pieces, weights[0].split(window), strict=True)):
        x, s = _leaf(piece), map_leaves(_leaf, state)
        output, state = fold(cell, x, s)
        seen = floating(output, state) if n == len(pieces) - 1 else [output]
        for name, grad in _grad(seen, [weight, *weights[1:]], _wanted(cell, x, s)).items():
            if n == 0:
                total[name] = grad
            elif name == "gradient of inputs":
                total[name] = torch.cat([total[name], grad])
            elif name.startswith("gradient of parameter"):
                total[name] = total[name] + grad
    return total


def floating(outputs: Tensor, final: Any) -> list[Tensor]:
    """Return the tensors of a result that can have gradients: outputs and the leaves of the final state."""
    return [leaf for leaf in (outputs, *named_leaves(final).values()) if leaf.is_floating_point()]


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_(tensor.is_floating_point())


def _wanted(cell: Any, inputs: Tensor, state: Any) -> dict[str, Tensor]:
    leaves = {f"gradient of initial state '{name}'": leaf for name, leaf in named_leaves(state).items()}
    parameters = {f"gradient of parameter '{name}'": parameter for name, parameter in cell.named_parameters()}
    wanted = {"gradient of inputs": inputs, **leaves, **parameters}
    return {name: tensor for name, tensor in wanted.items() if tensor.requires_grad}


def _weights(seen: list[Tensor]) -> list[Tensor]:
    """Return the gradients of the loss with regard to what was seen: its weights."""
    return [torch.linspace(0.5, 2, t.numel(), dtype=t.dtype, device=t.device).reshape(t.shape) for t in seen]


def _grad(seen: list[Tensor], weights: list[Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Back-propagate the weights; what no gradient reaches has gradient zero."""
    reached = [(tensor, weight) for tensor, weight in zip(seen, weights, strict=False) if tensor.requires_grad]
    if not reached:
        return {name: torch.zeros_like(tensor) for name, tensor in wanted.items()}
    roots, arriving = zip(*reached, strict=True)
    grads = torch.autograd.grad(roots, list(wanted.values()), arriving, materialize_grads=True, allow_unused=True)
    return dict(zip(wanted, grads, strict=True))
