"""From torch's operations to the engine's: a recorded step as a `Graph`, and what stands before and after its loop.

What does not depend on the state and leads to a product or a reduction is done *before* the loop, for all steps at
once; what the next state does not need and holds a product or a reduction is done *after* it; the rest is *inside*.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch

from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.dependence import find_dependence, unknown
from recurra.engine.capture.recording import Call, Recording, Reference
from recurra.engine.capture.values import Value, as_boolean, as_number, broadcast, numel
from recurra.engine.graphs.differentiate import differentiate
from recurra.engine.graphs.graph import Array, Builder, CannotCompileError, Graph, Node, Weight
from recurra.engine.graphs.masking import mask

__all__ = ["Boundary", "Lowering", "Split", "split"]

aten = torch.ops.aten


class Boundary(NamedTuple):
    """A tensor that enters the loop: its number, and the shape of a row that it is brought to (None: as it is)."""

    number: int
    shape: tuple[int, ...] | None = None


@dataclass
class Split:
    """A step, split.

    Args:
        inside: what the loop does.
        before: operations on all T·B rows at once, in order; those on parameters alone, too.
        streams, vectors, weights: tensors that enter the loop, matching the inside's.
        after: operations on all T·B rows at once.
        leaving: tensors that leave the loop for them, matching the inside's emits after the first if the output leaves
            the loop, and all of them if it does not.
        output: number of the output if it is computed after the loop, else None: it is the first that the inside emits.
        output_shape: of a row of it.
    """

    recording: Recording
    inside: Graph = field(default_factory=Graph)
    before: list[Call] = field(default_factory=list)
    streams: list[Boundary] = field(default_factory=list)
    vectors: list[Boundary] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    after: list[Call] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)
    output: int | None = None


def split(recording: Recording, *, hoist: bool = True) -> Split:
    """Split a recorded step.

    Args:
        hoist: do before and after the loop what can be done there; else only what depends on parameters alone.
    Raises: CannotCompileError naming the operation and source line that the engine cannot compile.
    """
    cuts: dict[Any, frozenset[int]] = {}
    while True:  # until every vector is cut where some use of it begins or ends
        lowering = Lowering(recording, cuts, hoist)
        result = lowering.run()
        if lowering.cuts == cuts:
            _check_masks(result.inside)
            return result
        cuts = lowering.cuts


def _check_masks(graph: Graph) -> None:
    """Check that the step has a derivative where rows end and start afresh; products in blocks may be in the way."""
    if any(weight.blocks > 1 for weight in graph.weights):
        try:
            differentiate(mask(graph, reset=True, alive=True, gate=True, masks_output=False).graph)
        except ValueError as error:
            raise CannotCompileError(
                f"the next state is joined from parts, and the old one is read by {error}"
            ) from None


class Lowering:
    """Reads the calls of a recording as nodes; what `recurra.engine.capture.aten` registers works with one.

    Args:
        cuts: where vectors are cut into pieces; with the cuts that it met in vain it is to be tried again.
    """

    def __init__(self, recording: Recording, cuts: dict[Any, frozenset[int]], hoist: bool = True) -> None:
        self.recording = recording
        self.builder = Builder()
        self.known_cuts = cuts
        self.cuts = dict(cuts)
        self.maker = {n: call for call in recording.calls for n in call.outputs if n is not None}
        self.values: dict[int, Value] = {}
        self.dtype = recording.dtypes[recording.state[0]] if recording.state else recording.dtypes[recording.inputs[0]]
        self.dependence = find_dependence(recording, hoist)
        self.on_state, self.on_input = self.dependence.on_state, self.dependence.on_input
        self.split = Split(recording, before=[*self.dependence.before], after=self.dependence.after)
        if self.split.after:
            self.split.output = recording.output

    def run(self) -> Split:
        """Read the step."""
        recording, inside = self.recording, self.split.inside
        for leaf, number in enumerate(recording.state):
            shape = self._row_shape(number)
            inside.carries.append(numel(shape))
            node = self.builder.node("carry", (), numel(shape), (leaf, 0))
            self.values[number] = self.cut(Value.of(node, recording.shapes[number]), ("carry", leaf))
        if self.split.output is None:
            inside.emits.append(self._whole(recording.output))
        else:
            self._leave()
        inside.next_carry = [self._whole(number) for number in recording.next_state]
        for before, after in zip(recording.state, recording.next_state, strict=True):
            for kind, of in (("shape", recording.shapes), ("type", recording.dtypes)):
                if of[before] != of[after]:
                    raise CannotCompileError(f"the state after a step has another {kind} than the one before")
        if recording.dtypes[recording.output] != self.dtype:
            raise CannotCompileError(f"the output is {recording.dtypes[recording.output]}, the state {self.dtype}")
        return self.split

    def _leave(self) -> None:
        made = {n for call in self.split.after for n in call.outputs}
        for call in self.split.after:
            for number in call.inputs:
                if number in made or number in self.split.leaving:
                    continue
                if number in self.on_state:
                    self.split.leaving.append(number)
                    self.split.inside.emits.append(self._whole(number))
                elif number not in self.dependence.hoisted and number not in self.recording.inputs:
                    self._hoist(number)

    def _hoist(self, number: int) -> None:
        """Do an operation on the input before the loop after all: something after the loop reads it."""
        wanted, calls = {number}, []
        for call in reversed(self.recording.calls):
            if wanted.intersection(n for n in call.outputs if n is not None):
                wanted.update(call.inputs)
                calls.append(call)
        self.split.before += [call for call in reversed(calls) if call not in self.split.before]

    def _row_shape(self, number: int) -> tuple[int, ...]:
        shape = self.recording.shapes[number]
        if not shape or shape[0] != -1 or any(size < 0 for size in shape[1:]):
            raise CannotCompileError(
                f"a tensor of the step has shape {shape}, where its first axis should be the batch"
            )
        return shape[1:]

    def _whole(self, number: int) -> tuple[Node, ...]:
        """Return pieces that make up a tensor, its rows flattened."""
        value = self.value(number)
        wanted = numel(self._row_shape(number))
        if not value.is_plain or (len(value.pieces) > 1 and value.outer > 1):
            raise CannotCompileError("a result of the step is laid out in a way that the engine does not write")
        if len(value.pieces) == 1:
            piece = value.pieces[0]
            if piece.is_boolean:
                piece = self.builder.pointwise("where", piece, self.builder.constant(1.0), self.builder.constant(0.0))
            return (self.builder.widen(piece, wanted),)
        return value.pieces

    def value(self, number: int) -> Value:
        """Return a tensor as pieces."""
        if number not in self.values:
            self.values[number] = self._make(number)
        return self.values[number]

    def _make(self, number: int) -> Value:
        recording, shape = self.recording, self.recording.shapes[number]
        if number in recording.numbers:
            return Value((), (self.builder.constant(recording.numbers[number]),), ())
        if number in recording.inputs or (number in self.dependence.hoisted and number in self.on_input):
            row = self._row_shape(number)
            index = _index(self.split.streams, Boundary(number))
            if index == len(self.split.inside.streams):
                self.split.inside.streams.append(Array(numel(row)))
            node = self.builder.node("stream", (), numel(row), (index, 0))
            value = self.cut(Value.of(node, shape), ("stream", number))
            return as_boolean(self.builder, value) if recording.dtypes[number] == torch.bool else value
        call = self.maker.get(number)
        if call is None or not self.on_state.union(self.on_input).intersection((number,)):
            raise CannotCompileError(f"a tensor {shape} of parameters is used in a way that the engine does not know")
        lower = LOWERINGS.get(call.function)
        if lower is None:
            raise unknown(call)
        kind = self.dtype_of(call)
        if kind.is_floating_point and kind != self.dtype:
            raise CannotCompileError(f"{call.function} gives {kind} where the state is {self.dtype}, at {call.where}")
        try:
            results = lower(self, call, *call.args, **call.kwargs)
        except (TypeError, ValueError, LookupError, AttributeError) as error:  # arguments that it does not foresee
            raise CannotCompileError(f"{call.function} is not compiled here ({error}), at {call.where}") from error
        except CannotCompileError as error:
            if " at " in str(error):
                raise
            raise CannotCompileError(f"{error} ({call.function}), at {call.where}") from error
        results = results if isinstance(results, list) else [results]
        for output, result in zip(call.outputs, results, strict=False):
            if output is not None and result is not None:
                is_truth = recording.dtypes[output] == torch.bool
                self.values[output] = as_boolean(self.builder, result) if is_truth else result
        if number not in self.values:
            raise unknown(call)
        return self.values[number]

    def cut(self, value: Value, key: Any) -> Value:
        """Cut a vector at all places where one is known to be needed."""
        (node,) = value.pieces
        places = sorted({0, node.channels // value.outer, *self.known_cuts.get(key, ())})
        if len(places) == 2:
            return value
        if value.outer > 1:
            raise CannotCompileError("a tensor of several axes is cut along the last of them")
        return value.with_pieces(tuple(self.slice(node, a, b, 1) for a, b in pairwise(places)))

    def slice(self, node: Node, start: int, stop: int, outer: int) -> Node:
        """Return channels start..stop of each of the `outer` parts of a node."""
        b, inner = self.builder, node.channels // outer
        if (start, stop) == (0, inner):
            return node
        if node.op == "constant":
            return node
        if node.channels == 1:
            return node
        size = (stop - start) * outer
        if node.is_pointwise:
            inputs = [i if i.channels == 1 else self.slice(i, start, stop, outer) for i in node.inputs]
            return b.node(node.op, inputs, size, node.attributes)
        if node.op == "product":
            weight, transposed, column, rows, blocks = node.attributes
            if outer != blocks:
                raise CannotCompileError("a product is cut across its blocks")
            self._learn(("product", weight, *(i.index for i in node.inputs)), column + start, column + stop)
            return b.node("product", node.inputs, size, (weight, transposed, column + start, rows, blocks))
        if outer != 1:
            raise CannotCompileError("a tensor of several axes is cut along the last of them")
        number, column = node.attributes
        name = self.split.streams[number].number if node.op == "stream" else number
        if node.op == "channel":
            name = self.split.vectors[number]
        self._learn((node.op, name), column + start, column + stop)
        return b.node(node.op, (), size, (number, column + start))

    def _learn(self, key: Any, *places: int) -> None:
        self.cuts[key] = self.cuts.get(key, frozenset()) | frozenset(places)

    # operands

    def operand(self, leaf: Any, like: Value | None = None) -> Value:
        """Return an argument, a number or a tensor, as a value; a parameter is brought to the shape of `like`."""
        if isinstance(leaf, (bool, int, float)):
            return Value((), (self.builder.constant(float(leaf)),), ())
        if not isinstance(leaf, Reference):
            raise CannotCompileError(f"an argument {leaf!r} is not understood")
        number = leaf.number
        if number in self.on_state or number in self.on_input or number in self.recording.numbers:
            return self.value(number)
        return self.vector(number, like)

    def vector(self, number: int, like: Value | None) -> Value:
        """Return a tensor of parameters as a vector of channels."""
        number = self._as_real(number)
        shape = self.recording.shapes[number]
        if math.prod(shape) == 1:
            row: tuple[int, ...] = ()
        elif like is None or not like.is_plain:
            raise CannotCompileError("parameters meet parameters, or a transposed tensor")
        else:
            row = like.shape
            full = tuple(torch.broadcast_shapes(shape, (1, *like.actual[1:])))
            if full[0] != 1:
                raise CannotCompileError(f"parameters {shape} meet rows {like.actual[1:]}")
            if numel(full) != numel(row):  # the rows are repeated
                row = tuple(size for size in full[1:] if size != 1)
                like = Value.plain((), (-1, *full[1:]))
            plain = tuple(size for size in shape if size != 1)
            if plain != row[len(row) - len(plain) :]:
                number = self.derive(aten.expand.default, number, full, full)
        boundary = Boundary(number, row)
        index = _index(self.split.vectors, boundary)
        if index == len(self.split.inside.vectors):
            self.split.inside.vectors.append(numel(row))
        node = self.builder.node("channel", (), numel(row), (index, 0))
        if not row:
            return Value((), (node,), ())
        return self.cut(Value(row, (node,), like.axes, like.actual), ("channel", boundary))  # type: ignore[union-attr]

    def _as_real(self, number: int) -> int:
        """Return parameters in the type of the state, whatever theirs is: torch would, too, or the result tells."""
        if self.recording.dtypes[number] == self.dtype:
            return number
        return self.derive(aten._to_copy.default, number, self.recording.shapes[number], dtype=self.dtype)

    def derive(self, function: Any, number: int, shape: tuple[int, ...], *args: Any, **kwargs: Any) -> int:
        """Return the number of a tensor that is made from parameters before the loop: function(tensor, ...)."""
        recording = self.recording
        call = Call(function, (Reference(number), *args), kwargs, (), "")
        known = recording.derived.setdefault(repr(call), len(recording.shapes))
        if known == len(recording.shapes):
            recording.shapes.append(shape)
            recording.dtypes.append(kwargs.get("dtype", recording.dtypes[number]))
        call = call._replace(outputs=(known,))
        if call not in self.split.before:
            self.split.before.append(call)
        return known

    def shape(self, leaf: Any) -> tuple[int, ...]:
        """Return the shape of an argument, with -1 for the batch."""
        shape: tuple[int, ...] = self.recording.shapes[leaf.number]
        return shape

    def dtype_of(self, call: Call) -> torch.dtype:
        """Return the type of the first result of a call."""
        return self.recording.dtypes[next(n for n in call.outputs if n is not None)]

    def operands(self, *leaves: Any) -> list[Value]:
        """Return arguments as values, with parameters brought to the shape of the others."""
        rowwise = [self.operand(x) for x in leaves if not self.is_parameter(x)]
        like = max(rowwise, key=lambda value: (len(value.actual), numel(value.shape)), default=None)
        return [self.operand(x, like) for x in leaves]

    def pointwise(self, op: str, *leaves: Any, attributes: tuple[Any, ...] = ()) -> Value:
        """Lower a pointwise operation on arguments."""
        return self.apply(op, *self.operands(*leaves), attributes=attributes)

    def apply(self, op: str, *values: Value, attributes: tuple[Any, ...] = ()) -> Value:
        """Apply a pointwise operation to values."""
        builder = self.builder
        if op == "where":
            values = (as_boolean(builder, values[0]), *(as_number(builder, value) for value in values[1:]))
        elif op not in ("and", "or", "not"):
            values = tuple(as_number(builder, value) for value in values)
        like, columns = broadcast(values, self.slice)
        pieces = tuple(builder.pointwise(op, *nodes, attributes=attributes) for nodes in columns)
        return like.with_pieces(pieces)

    def is_parameter(self, leaf: Any) -> bool:
        """Is an argument a tensor that depends on neither the inputs nor the state?"""
        return isinstance(leaf, Reference) and not (
            leaf.number in self.on_state or leaf.number in self.on_input or leaf.number in self.recording.numbers
        )

    def weight(self, number: int, weight: Weight) -> int:
        """Return the number among the weights of the loop of a matrix of parameters."""
        if self.is_parameter(Reference(number)) is False:
            raise CannotCompileError("a product of two tensors that both change from row to row")
        if self.recording.dtypes[number] != self.dtype:
            raise CannotCompileError(f"a matrix of {self.recording.dtypes[number]} meets a state of {self.dtype}")
        index = _index(self.split.weights, number)
        if index == len(self.split.inside.weights):
            self.split.inside.weights.append(weight)
        return index


def _index(known: list[Any], item: Any) -> int:
    if item not in known:
        known.append(item)
    return known.index(item)
