"""A cell's step as a map of flat states, with its derivatives."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from recurra.engine.choice import check_cell_methods
from recurra.errors import EngineError
from recurra.state import from_named, map_leaves, named_leaves

__all__ = ["BareStep", "StateMap", "at_step", "diagonal_blocks", "spectral_radius", "still"]

MOST_NUMBERS = 2**20
"""Of a batch of states that derivatives are taken at together; bounds memory, changes nothing else."""
SQUARINGS = 14
SMALLEST = 1e-150
"""Below it a number counts as 0 beside 1: its products are subnormal, which processors are slow with."""
NUDGE = {torch.float64: 1e-6, torch.float32: 1e-2}
DISAGREEMENT = 0.2
"""Of a difference quotient with the derivative, as a share of the larger; kinks and rounding stay far below."""


def still(module: Any) -> Any:
    """Return a copy in evaluation mode, on the CPU, in float64, with nothing to train; what is no module, itself.

    Raises: EngineError if it cannot be copied.
    """
    if not isinstance(module, nn.Module):
        return module
    try:
        with torch.inference_mode(False):
            twin = copy.deepcopy(module)
    except RuntimeError as error:
        raise EngineError(f"{type(module).__name__} cannot be copied to be looked into: {_line(error)}") from error
    return twin.to("cpu", torch.float64).eval().requires_grad_(False)


class BareStep:
    """A step ``(x, state) -> (output, state)`` as a cell that starts from the first row of a state."""

    def __init__(self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any) -> None:
        self.step = step
        self.state = state

    def zero_state(self, batch: int) -> Any:
        """Return that row, B times."""
        return map_leaves(lambda leaf: leaf[:1].expand(batch, *leaf.shape[1:]), self.state)


class StateMap:
    """The step of a cell as a map of flat states, s (B, N) -> f(s, x) (B, N), N all floating numbers of the state.

    Rows must be independent of each other, as they are in every cell: a batch holds what is to be differentiated once
    per direction. Leaves of other types have no derivative and stay as a fresh state has them.

    Args:
        cell: anything with ``step`` and ``zero_state``; a module is copied, see `still`.
        x: input (B, I) of the step, or a tree of such, of which one row is tried.
    Raises: EngineError if the step fails or does not return such a state, or if torch does not know its derivative.
    """

    def __init__(self, cell: Any, x: Any) -> None:
        check_cell_methods(cell)
        self.name = type(cell).__name__
        self.dtype = torch.float64
        self.cell = still(cell)
        self._forward = True
        x = _rows(x, torch.zeros(1, dtype=torch.long))
        try:
            self._try(x)
        except RuntimeError:  # it makes tensors of its own, in float32
            self.dtype = torch.float32
            if isinstance(self.cell, nn.Module):
                self.cell = self.cell.float()
            try:
                self._try(x)
            except (RuntimeError, TypeError, ValueError) as error:
                raise EngineError(f"the step of {self.name} fails on a fresh state: {_line(error)}") from error
        self.size = self.flatten(self.cell.zero_state(1)).shape[1]
        if not self.size:
            raise EngineError(f"the state of {self.name} holds no floating numbers, so it has no dynamics to look into")
        self._check_derivative(x)

    def flatten(self, state: Any) -> Tensor:
        """Return the floating numbers of a state, (B, N)."""
        leaves = [leaf for leaf in named_leaves(state).values() if leaf.is_floating_point()]
        if not leaves:
            return torch.zeros(1, 0, dtype=self.dtype)
        return torch.cat([leaf.flatten(1).to("cpu", self.dtype) for leaf in leaves], 1)

    def unflatten(self, flat: Tensor) -> Any:
        """Return the state of the numbers (B, N)."""
        like = self.cell.zero_state(len(flat))
        leaves, at = {}, 0
        for path, leaf in named_leaves(like).items():
            if leaf.is_floating_point():
                width = leaf[0].numel()
                leaves[path] = flat[:, at : at + width].reshape(leaf.shape)
                at += width
            else:
                leaves[path] = leaf
        return from_named(map_leaves(self.cast, like), leaves)

    def fresh(self, rows: int) -> Tensor:
        """Return the state that the cell starts from, (B, N)."""
        return self.flatten(self.cell.zero_state(rows)).detach()

    def __call__(self, x: Any, flat: Tensor) -> Tensor:
        """Return the next state (B, N); x and state of B rows."""
        _, state = self.cell.step(map_leaves(self.cast, x), self.unflatten(flat))
        return self.flatten(state)

    @torch.no_grad()
    def walk(self, x: Any, flat: Tensor) -> Tensor:
        """Return the states after each of the steps with x (T, B, I): (T, B, N)."""
        states = []
        for t in range(len(next(iter(named_leaves(x).values())))):
            flat = self(at_step(x, t), flat)
            states.append(flat)
        return torch.stack(states)

    def push(self, x: Any, flat: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next state and the directions multiplied by the Jacobian there.

        Args:
            directions: (B, K, N), K for every row.
        Returns: (state (B, N), (B, K, N)).
        """
        (rows, count, size), flat = directions.shape, flat.detach()
        if self._forward:
            index = torch.arange(rows).repeat_interleave(count)
            try:
                with torch.no_grad(), forward_ad.dual_level():
                    dual = _make_dual(flat[index], directions.reshape(-1, size))
                    pair = forward_ad.unpack_dual(self(_rows(x, index), dual))
                    moved = torch.zeros_like(dual) if pair.tangent is None else pair.tangent
                return pair.primal[::count].clone(), moved.reshape(directions.shape).clone()
            except (RuntimeError, NotImplementedError):  # an operation that knows its derivative backwards only
                self._forward = False
        with torch.no_grad():
            following = self(x, flat)
        return following, directions @ self.jacobian(x, flat).mT

    def jacobian(self, x: Any, flat: Tensor) -> Tensor:
        """Return d f / d s at each row: (B, N, N), [i, j] how the i-th number of the next state follows the j-th."""
        rows, size = flat.shape
        eye = torch.eye(size, dtype=self.dtype)
        pieces = []
        with torch.inference_mode(False), torch.enable_grad():
            for index in torch.arange(rows * size).split(max(1, MOST_NUMBERS // size)):
                row, entry = index // size, index % size
                start = flat.detach().clone()[row].requires_grad_()
                following = self(_rows(x, row), start)
                if following.requires_grad:
                    (gradient,) = torch.autograd.grad(following, start, eye[entry], allow_unused=True)
                    pieces.append(torch.zeros_like(start) if gradient is None else gradient)
                else:
                    pieces.append(torch.zeros_like(start))
        return torch.cat(pieces).detach().reshape(rows, size, size)

    def cast(self, leaf: Tensor) -> Tensor:
        """Return a leaf as the map computes with it; numbers that are not floating stay."""
        return leaf.to("cpu", self.dtype) if leaf.is_floating_point() else leaf.cpu()

    @torch.no_grad()
    def _try(self, x: Any) -> None:
        start = self.fresh(1)
        following = self(x, start)
        if following.shape != start.shape:
            raise EngineError(f"the step of {self.name} returns a state of another shape than its zero_state")

    @torch.no_grad()
    def _check_derivative(self, x: Any) -> None:
        """Hold the derivative against a difference quotient: a detach or a rounding gives none, or a wrong one."""
        generator = torch.Generator().manual_seed(0)
        # beside the fresh state, which often lies on the kink of a piecewise linear step
        place, direction = torch.randn(2, 1, self.size, generator=generator, dtype=self.dtype)
        place, nudge = self.fresh(1) + 0.1 * place, NUDGE[self.dtype] * direction
        quotient = (self(x, place + nudge) - self(x, place - nudge)) / (2 * NUDGE[self.dtype])
        _, moved = self.push(x, place, direction.unsqueeze(1))
        apart, larger = (quotient - moved[:, 0]).norm(), torch.maximum(quotient.norm(), moved.norm())
        if apart > DISAGREEMENT * larger and apart > NUDGE[self.dtype]:
            raise EngineError(
                f"what torch takes for the derivative of {self.name}.step is not that of its values: an operation in "
                f"it has none (a detach, a rounding); spectra, exponents and fixed points need it"
            )


@torch.no_grad()
def diagonal_blocks(matrix: Tensor) -> Iterator[Tensor]:
    """Cut a matrix (N, N) that is block-triangular into the blocks of its diagonal, which have its eigenvalues.

    So is the Jacobian of a stack, where a layer's state does not follow from the layers above.
    """
    size = len(matrix)
    places = torch.arange(size)
    last = torch.where(matrix != 0, places, -1).amax(1).cummax(0).values
    start = 0
    for end in (places[last <= places] + 1).tolist():
        yield matrix[start:end, start:end]
        start = end


@torch.no_grad()
def spectral_radius(matrix: Tensor) -> float:
    """Return the largest modulus of the eigenvalues of a matrix (N, N).

        ρ = lim (|A^{2m}| / |A^m|)^{1/m},    here m = 2^13

    Several times faster than to compute the eigenvalues. The error is a share of about 1e-4, and more only where many
    of the largest ones share one eigenvector.

    Source: Gelfand 1941.
    """
    if not torch.isfinite(matrix).all():
        return float("inf")
    return max(_block_radius(block) for block in diagonal_blocks(matrix))


def _block_radius(power: Tensor) -> float:
    if len(power) == 1:
        return abs(float(power))
    log, gain = 0.0, 0.0  # |A^m| is exp(log), and |A^2m| / |A^m| was exp(gain)
    for n in range(SQUARINGS + 1):
        power = power @ power if n else power
        norm = float(power.norm())
        if norm == 0:
            return 0.0
        before, log = log, 2 * log + math.log(norm)
        gain = log - before
        power = power / norm
        power = torch.where(power.abs() < SMALLEST, 0, power)
    return math.exp(gain / 2 ** (SQUARINGS - 1))


def _make_dual(primal: Tensor, tangent: Tensor) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the first loads what torch itself deprecates
        dual: Tensor = forward_ad.make_dual(primal, tangent)
        return dual


def _rows(x: Any, index: Tensor) -> Any:
    return map_leaves(lambda leaf: leaf.detach().cpu()[index], x)


def at_step(x: Any, t: int) -> Any:
    """Return the inputs of step t from x (T, B, ...)."""
    return map_leaves(lambda leaf: leaf[t], x)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
