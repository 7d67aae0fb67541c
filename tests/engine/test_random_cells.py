"""Cells that nobody wrote: random steps from the operations that the engine knows, against the loop.

A step is a program, a tuple of instructions. Each makes a vector per row from vectors made before it: the inputs, the
leaves of the state and what earlier instructions made. Numbers are kept small, so that float64 tells right from wrong.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recurra.engine import scan
from recurra.engine.capture.recording import find_tensor, replay
from recurra.engine.compiled import make_plan
from recurra.engine.graphs.interpreter import interpret
from recurra.testing.compare import assert_equal, assert_same, gradients

UNARY = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "silu": F.silu,
    "gelu": F.gelu,
    "softplus": F.softplus,
    "logsigmoid": F.logsigmoid,
    "abs": torch.abs,
    "neg": torch.neg,
    "exp": lambda a: torch.exp(-a.abs()),
    "expm1": lambda a: torch.expm1(torch.tanh(a)),
    "log": lambda a: torch.log(a * a + 0.5),
    "log1p": lambda a: torch.log1p(a.abs()),
    "sqrt": lambda a: torch.sqrt(a * a + 0.3),
    "rsqrt": lambda a: torch.rsqrt(a * a + 0.3),
    "cube": lambda a: torch.tanh(a) ** 3,
    "clamp": lambda a: a.clamp(-0.7, 0.8),
    "scale": lambda a: 0.3 * a - 0.1,
    "roll": lambda a: a.roll(1, -1),
    "detach": lambda a: a.detach(),
    "softmax": lambda a: torch.softmax(a, -1),
    "log_softmax": lambda a: torch.log_softmax(a, -1) / 5,
    "layer_norm": lambda a: F.layer_norm(a, a.shape[1:]) / 2,
    "center": lambda a: a - a.mean(-1, keepdim=True),
    "normalize": lambda a: a / (a.norm(dim=-1, keepdim=True) + 1),
}
BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / (1 + b * b),
    "minimum": torch.minimum,
    "maximum": torch.maximum,
    "where": lambda a, b: torch.where((a > 0) & (b < 0.5), a, b / 2),
    "lerp": lambda a, b: torch.lerp(a, b, torch.sigmoid(b)),
}
REDUCTIONS = {
    "mean": lambda a: a.mean(-1, keepdim=True),
    "sum": lambda a: torch.tanh(a.sum(-1, keepdim=True)),
    "amax": lambda a: a.amax(-1, keepdim=True),
    "var": lambda a: torch.tanh(a.var(-1, keepdim=True, unbiased=False)),
}


KINDS = ["unary", "unary", "unary", "binary", "binary", "vector", "product", "blocks", "cat", "slice", "write"]
KINDS.append("reduction")


class Instruction(NamedTuple):
    """`kind` and `name` of what is done to earlier vectors, with `numbers` as it needs them."""

    kind: str
    name: str
    sources: tuple[int, ...]
    numbers: tuple[int, ...] = ()


class RandomCell(nn.Module):
    """Runs a program; `after` are the vectors that become the leaves of the state, `output` the one that comes out."""

    def __init__(
        self, input_size: int, leaves: tuple[int, ...], program: tuple[Instruction, ...], sizes: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.input_size, self.leaves, self.program = input_size, leaves, program
        self.after = tuple(range(len(sizes) - len(leaves) - 1, len(sizes) - 1))
        self.weights = nn.ParameterDict()
        torch.manual_seed(0)
        for n, instruction in enumerate(program):
            shape = self.shape_of_weight(instruction, sizes)
            if shape:
                weight = torch.randn(shape, dtype=torch.float64) / shape[-1] ** 0.5
                self.weights[str(n)] = nn.Parameter(weight)

    @staticmethod
    def shape_of_weight(instruction: Instruction, sizes: tuple[int, ...]) -> tuple[int, ...]:
        kind, _, (source, *_), numbers = instruction
        if kind == "vector":
            return (sizes[source],)
        if kind == "product":
            return (numbers[0], sizes[source])
        if kind == "blocks":
            return (numbers[0], sizes[source] // numbers[0], sizes[source] // numbers[0])
        return ()

    def zero_state(self, batch: int) -> Any:
        return tuple(torch.zeros(batch, size, dtype=torch.float64) for size in self.leaves)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        made = [x, *state]
        for n, instruction in enumerate(self.program):
            weight = self.weights.get(str(n), None)
            made.append(self.perform(instruction, [made[source] for source in instruction.sources], weight))
        return made[-1], tuple(made[n] for n in self.after)

    @staticmethod
    def perform(instruction: Instruction, given: list[Tensor], weight: Any) -> Tensor:
        kind, name, _, numbers = instruction
        if kind in ("unary", "reduction"):
            return (UNARY | REDUCTIONS)[name](given[0])
        if kind == "binary":
            return BINARY[name](*given)
        if kind == "vector":
            return given[0] * weight if name == "mul" else given[0] + weight
        if kind == "product":
            return F.linear(given[0], weight)
        if kind == "blocks":
            return torch.einsum("bhi,hij->bhj", given[0].unflatten(1, (numbers[0], -1)), weight).flatten(1)
        if kind == "cat":
            return torch.cat(given, -1)
        if kind == "slice":
            return given[0][:, numbers[0] : numbers[1]]
        assert kind == "write"
        copy = given[0].clone()
        copy[:, numbers[0] :] += 0.1
        return copy


@st.composite
def cells(draw: Any) -> RandomCell:
    """Draw a cell. Names and sources come from what has the right size, so that every program is one."""
    input_size = draw(st.integers(1, 5), label="input size")
    leaves = tuple(draw(st.lists(st.sampled_from([1, 2, 4, 6, 9, 16]), min_size=1, max_size=3), label="state"))
    sizes, program = [input_size, *leaves], []

    def append(kind: str, name: str, sources: tuple[int, ...], size: int, numbers: tuple[int, ...] = ()) -> None:
        program.append(Instruction(kind, name, sources, numbers))
        sizes.append(size)

    def source(recent: int = 6) -> int:
        return draw(st.integers(max(0, len(sizes) - recent), len(sizes) - 1))

    for _ in range(draw(st.integers(2, 9), label="instructions")):
        kind = draw(st.sampled_from(KINDS))
        a = source()
        size = sizes[a]
        if kind == "unary":
            append(kind, draw(st.sampled_from(sorted(UNARY))), (a,), size)
        elif kind == "binary":
            b = draw(st.sampled_from([n for n, other in enumerate(sizes) if other in (1, size) or size == 1]))
            append(kind, draw(st.sampled_from(sorted(BINARY))), (a, b), max(size, sizes[b]))
        elif kind == "vector":
            append(kind, draw(st.sampled_from(["add", "mul"])), (a,), size)
        elif kind == "product":
            width = draw(st.sampled_from([1, 3, 4, 6, 8, 12]))
            append(kind, "", (a,), width, (width,))
        elif kind == "blocks" and size % 2 == 0:
            append(kind, "", (a,), size, (2,))
        elif kind == "cat":
            b = source()
            if size + sizes[b] <= 20:
                append(kind, "", (a, b), size + sizes[b])
        elif kind == "slice" and size > 1:
            first = draw(st.integers(0, size - 2))
            last = draw(st.integers(first + 1, size))
            append(kind, "", (a,), last - first, (first, last))
        elif kind == "write":
            append(kind, "", (a,), size, (size // 2,))
        elif kind == "reduction":
            append(kind, draw(st.sampled_from(sorted(REDUCTIONS))), (a,), 1)
    after = []
    for size in leaves:  # whatever was made, the state stays bounded and of its size
        a = source(len(sizes))
        if sizes[a] != size:
            append("product", "", (a,), size, (size,))
            a = len(sizes) - 1
        after.append(a)
    for a, size in zip(after, leaves, strict=True):
        append("unary", "tanh", (a,), size)
    a = source(len(sizes))
    append("unary", "scale", (a,), sizes[a])
    return RandomCell(input_size, leaves, tuple(program), tuple(sizes))


def masks(draw: Any, steps: int, rows: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99), label="masks"))
    chosen = draw(st.sampled_from(["none", "lengths", "reset", "both, reversed"]))
    lengths = torch.randint(0, steps + 1, (rows,), generator=generator)
    reset = torch.rand(steps, rows, generator=generator) < 0.3
    return {
        "none": {},
        "lengths": {"lengths": lengths},
        "reset": {"reset": reset},
        "both, reversed": {"lengths": lengths, "reset": reset, "reverse": True},
    }[chosen]


def compare_with_the_loop(cell: RandomCell, data: Any) -> None:
    steps, rows = data.draw(st.integers(1, 4), label="steps"), data.draw(st.integers(1, 5), label="rows")
    options = masks(data.draw, steps, rows)
    torch.manual_seed(1)
    x = torch.randn(steps, rows, cell.input_size, dtype=torch.float64)
    state = tuple(torch.rand(rows, size, dtype=torch.float64) - 0.5 for size in cell.leaves)
    loop, compiled = (
        gradients(cell, lambda x, s, b=backend: scan(cell, x, s, backend=b, **options), x, state)
        for backend in ("loop", "llvm")
    )
    assert_same(f"with {sorted(options)}", compiled, loop)


@settings(max_examples=10, deadline=None, derandomize=True, database=None)
@given(cell=cells(), data=st.data())
def test_random_cells_equal_the_loop(cell, data):
    compare_with_the_loop(cell, data)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, database=None)
@given(cell=cells(), data=st.data())
def test_many_random_cells_equal_the_loop(cell, data):
    compare_with_the_loop(cell, data)


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(cell=cells())
def test_the_interpreter_equals_the_loop(cell):
    """Nothing is compiled here: the graph of a random cell, run by torch."""
    steps, rows = 3, 4
    torch.manual_seed(1)
    x = torch.randn(steps, rows, cell.input_size, dtype=torch.float64)
    state = tuple(torch.rand(rows, size, dtype=torch.float64) - 0.5 for size in cell.leaves)
    split = make_plan(cell, x, state).split
    recording = split.recording
    known = {recording.inputs[0]: x.flatten(0, 1)}
    known.update((n, find_tensor(cell, path)) for n, path in recording.captured.items())
    with torch.no_grad():
        replay(split.before, known, steps * rows)
        streams = [known[n].reshape(steps * rows, -1) for n, _ in split.streams]
        vectors = [known[n].reshape(-1) for n, _ in split.vectors]
        weights = [known[n] for n in split.weights]
        emits, finals = interpret(split.inside, steps, rows, streams, vectors, weights, state)
        outputs, final = scan(cell, x, state, backend="loop")
        for number, leaf in zip(split.leaving, emits, strict=True) if split.after else ():
            known[number] = leaf.flatten(0, 1)
        replay(split.after, known, steps * rows)
        found = known[split.output].unflatten(0, (steps, rows)) if split.after else emits[0]
    assert_equal("outputs", found, outputs)
    assert_equal("final state", tuple(finals), final)
