"""Gradients of parameters and inputs, from what the backward loop leaves: products, and sums over rows and steps."""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
from torch import Tensor

from recurra.engine.differentiate import WeightGradient
from recurra.engine.given import Given, Left
from recurra.engine.graph import Node
from recurra.engine.loops import Loop
from recurra.engine.products import accumulate as add_product
from recurra.engine.products import multiply

__all__ = ["LoopProducts", "like", "vector_gradients"]


class LoopProducts:
    """The products that make gradients of matrices and of inputs, summed up piece by piece of time."""

    def __init__(self, loop: Loop, given: Given, needed: Given, left: Left, rows: int) -> None:
        self.loop, self.given, self.needed, self.left, self.rows = loop, given, needed, left, rows
        self.feeds: dict[int, Tensor | None] = {}
        self.parts: dict[tuple[WeightGradient, int], Tensor] = {}
        self.inputs: dict[int, Tensor] = {
            n: torch.empty_like(given.streams[n], memory_format=torch.contiguous_format)
            for n in given.feeds
            if needed.streams[n]
        }

    def again(self, first: int, last: int, sources: list[tuple[str, int]]) -> dict[int, Tensor]:
        """Make the streams that the backward loop reads again, where they are products."""
        part = slice(first * self.rows, last * self.rows)
        found = {}
        for place, (kind, number) in enumerate(sources):
            if kind == "stream" and number in self.given.feeds:
                weight = self.given.feeds[number]
                found[place] = multiply(self.given.streams[number][part], weight.t()).contiguous()
        return found

    def add(self, first: int, last: int, emits: dict[int, Tensor]) -> None:
        """Add what a piece of the backward loop gives; emits are (rows of the piece, width)."""
        part = slice(first * self.rows, last * self.rows)
        for number, weight in self.given.feeds.items():
            gradient = emits[number]
            if number in self.inputs:
                multiply(gradient, weight, out=self.inputs[number][part])
            if self.needed.feeds[number]:
                x = self.given.streams[number][part]
                self.feeds[number] = add_product(self.feeds.get(number), gradient.t(), x.t())
        for found in self.loop.derivative.weights:
            if self.needed.weights[found.weight]:
                blocks = self._blocks(found)
                gradient = emits[found.emit][:, found.start : found.start + found.columns * blocks]
                for place, node in enumerate(found.inputs):
                    self._add(found, place, gradient, self._values(node, first, last), blocks)

    def _blocks(self, found: WeightGradient) -> int:
        return self.loop.graph.weights[found.weight].blocks

    def _add(self, found: WeightGradient, place: int, gradient: Tensor, x: Tensor, blocks: int) -> None:
        key = (found, place)
        if blocks == 1:
            self.parts[key] = add_product(self.parts.get(key), gradient.t(), x.t())
            return
        g = gradient.unflatten(1, (blocks, -1)).permute(1, 2, 0)
        total = g @ x.unflatten(1, (blocks, -1)).transpose(0, 1)
        self.parts[key] = self.parts[key] + total if key in self.parts else total

    def _values(self, node: Node, first: int, last: int) -> Tensor:
        """Return the values of a forward node in steps first..last, (rows, channels)."""
        part = slice(first * self.rows, last * self.rows)
        if node.op == "stream":
            number, column = node.attributes
            values: Tensor = self.given.streams[number][part, column : column + node.channels]
            return values
        if node.op == "carry":
            kind, (number, column), shift = "next", node.attributes, 0
        else:
            (kind, number, column), shift = self.loop.derivative.places[node], 1
        if kind == "next":
            array = self.left.histories[number][first + shift : last + shift].flatten(0, 1)
        else:
            kept = self.left.kept if kind == "kept" else None
            array = (self.left.emits[number] if kept is None else kept.tensor)[first:last].flatten(0, 1)
        return array[:, column : column + node.channels]

    def weight(self, number: int) -> Tensor:
        """Return the gradient of a matrix, from its parts."""
        weight = self.given.weights[number]
        parts = [(found, place, total) for (found, place), total in self.parts.items() if found.weight == number]
        if len(parts) == 1 and weight.ndim == 2 and parts[0][2].t().shape == weight.shape:
            return like(parts[0][2], weight)
        result = torch.zeros_like(weight)
        for found, place, total in parts:
            row, columns = found.rows[place], slice(found.column, found.column + found.columns)
            if weight.ndim == 3:
                result[:, row : row + total.shape[-1], columns] += total.transpose(-1, -2)
            else:
                result[row : row + total.shape[1], columns] += total.t()
        return result


def like(total: Tensor, weight: Tensor) -> Tensor:
    """Return the transpose of a (columns, rows) total, in the order of memory of the weight (rows, columns)."""
    return total.t() if weight.stride(0) == 1 else total.t().contiguous()


def _pick(sums: Tensor, places: list[tuple[int, int]]) -> Tensor:
    """Return the sums at places (start, stop): without a copy if they lie side by side."""
    if all(before[1] == after[0] for before, after in pairwise(places)):
        return sums[places[0][0] : places[-1][1]]
    return torch.cat([sums[start:stop] for start, stop in places])


def vector_gradients(loop: Loop, given: Given, sums: Tensor) -> list[Tensor]:
    """Return the gradient of each vector of parameters, from the sums of the backward loop."""
    results = []
    for number, vector in enumerate(given.vectors):
        parts = [
            (column, *place)
            for (n, column), place in zip(loop.derivative.vectors, loop.sum_places, strict=False)
            if n == number
        ]
        columns = list(accumulate((stop - start for _, start, stop in parts), initial=0))
        if parts and columns[-1] == len(vector) and columns[:-1] == [column for column, *_ in parts]:
            results.append(_pick(sums, [(start, stop) for _, start, stop in parts]))
            continue
        total = torch.zeros_like(vector)
        for column, start, stop in parts:
            if len(vector) == 1:
                total += sums[start:stop].sum()
            else:
                total[column : column + stop - start] += sums[start:stop]
        results.append(total)
    return results
