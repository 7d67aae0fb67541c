"""`RNN`, `LSTM` and `GRU` of ``torch.nn``, run by `recurra.scan`."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.nn.functional import dropout
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurra import cells
from recurra.engine import scan
from recurra.engine.aside import aside
from recurra.errors import ShapeError
from recurra.layers.stepping import Stepper

__all__ = ["GRU", "LSTM", "RNN", "make_template"]


def _template(kind: Callable[..., cells.Cell], *sizes: int, **options: Any) -> cells.Cell:
    if torch.compiler.is_dynamo_compiling():  # which reads neither caches nor constructors, but knows attributes
        from recurra.layers.templates import Templates, name_template

        return getattr(Templates, name_template(kind, *sizes, **options))  # type: ignore[no-any-return]
    return make_template(kind, *sizes, **options)


@cache
def make_template(kind: Callable[..., cells.Cell], *sizes: int, **options: Any) -> cells.Cell:
    """Return a layer's equations: a cell without numbers, to which the module's tensors are bound at every call."""
    template: cells.Cell = aside(kind, *sizes, device="meta", **options)  # no tracer takes part in it
    return template


class _Scanned(nn.RNNBase):
    """What the three modules share: torch's constructor, names and checks around one scan per layer and direction."""

    _state_type: Callable[..., Any]

    def __init__(self, *sizes: Any, **options: Any) -> None:
        super().__init__(*sizes, **options)
        self._stepper = Stepper()

    def _template(self, input_size: int) -> cells.Cell:
        """Return a cell of the kind of this module."""
        raise NotImplementedError

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Any, Any]:
        """Run all layers over a sequence.

        Args:
            input: (T, B, I), (B, T, I) with `batch_first`, (T, I) unbatched, or a PackedSequence.
            hx: as in torch.nn, each tensor (layers x directions, B, H), without B if unbatched. Default: zeros.
            lengths: (B,) int. Steps past a row's end leave its state as it was and output zeros.
            reset: bool, the shape of `input` without features. True marks the first step of a new sequence, before
                which nothing is remembered (nor, in the backward direction, after the step before it).
        Returns: (outputs, hx), laid out as in torch.nn.
        Raises: as torch.nn for shapes and types; ShapeError for `lengths` and `reset` that do not fit.
        """
        traces = torch.compiler.is_compiling()
        is_plain = lengths is None and reset is None and not (self.dropout and self.training)
        if is_plain and not traces and not is_grad_enabled():
            found = self._stepper(self, input, hx)
            if found is not None:
                return found  # type: ignore[no-any-return]
        if not traces:
            self._update_flat_weights()
        if isinstance(input, PackedSequence):
            if lengths is not None or reset is not None:
                raise ShapeError("a PackedSequence carries its own ends; give lengths= and reset= with a padded tensor")
            return self._forward_packed(input, hx)
        if input.numel() == 0:  # nothing to scan: torch's own answer, or its own error
            empty: tuple[Any, Any] = super().forward(input, hx)
            return empty
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        if any(leaf.dim() != input.dim() for leaf in _leaves(hx)):
            raise RuntimeError(f"For {input.dim()}-D input, hx should also be {input.dim()}-D")
        if input.dim() == 3:
            return self._forward_padded(input, hx, lengths, reset)
        batch_axis = 0 if self.batch_first else 1
        reset = None if reset is None else reset.unsqueeze(batch_axis)
        hx = _map(lambda leaf: leaf.unsqueeze(1), hx)
        outputs, hx = self._forward_padded(input.unsqueeze(batch_axis), hx, lengths, reset)
        return outputs.squeeze(batch_axis), _map(lambda leaf: leaf.squeeze(1), hx)

    def _forward_padded(self, x: Tensor, hx: Any, lengths: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Any]:
        self._check(x, hx)
        if not self.batch_first:
            return self._run(x, hx, lengths, reset)
        outputs, hx = self._run(x.transpose(0, 1), hx, lengths, None if reset is None else reset.t())
        return outputs.transpose(0, 1), hx

    def _forward_packed(self, packed: PackedSequence, hx: Any) -> tuple[PackedSequence, Any]:
        data, batch_sizes, order, inverse = packed
        self._check(data, hx, batch_sizes)
        x, lengths = pad_packed_sequence(PackedSequence(data, batch_sizes))  # longest row first, as packed
        hx = hx if order is None else _map(lambda leaf: leaf.index_select(1, order), hx)
        outputs, hx = self._run(x, hx, lengths, None)
        hx = hx if inverse is None else _map(lambda leaf: leaf.index_select(1, inverse), hx)
        return PackedSequence(pack_padded_sequence(outputs, lengths).data, batch_sizes, order, inverse), hx

    def _check(self, x: Tensor, hx: Any, batch_sizes: Tensor | None = None) -> None:
        if hx is None:
            self.check_input(x, batch_sizes)
        else:
            self.check_forward_args(x, hx, batch_sizes)

    def _run(self, x: Tensor, hx: Any, lengths: Tensor | None, reset: Tensor | None) -> tuple[Tensor, Any]:
        """Run every layer over x (T, B, I); hx holds the states of all layers and directions, in torch's order."""
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in ("", "_reverse") if self.bidirectional else ("",):
                cell, row = self._cell(f"_l{layer}{suffix}", x.shape[-1]), len(finals)
                state = None if hx is None else self._state_type(*(leaf[row] for leaf in _leaves(hx)))
                mask = _for_backward_reading(reset, lengths) if suffix else reset
                output, state = scan(cell, x, state, lengths=lengths, reset=mask, reverse=bool(suffix))
                outputs.append(output)
                finals.append(state)
            x = torch.cat(outputs, -1) if self.bidirectional else outputs[0]
        join = torch.stack if len(finals) > 1 else _add_axis
        leaves = tuple(join(leaf) for leaf in zip(*finals, strict=True))
        return x, leaves if len(leaves) > 1 else leaves[0]

    def _cell(self, suffix: str, input_size: int) -> cells.Cell:
        """Return a cell that computes with this module's tensors as they are now: dropped, shared or parametrised."""
        template = self._template(input_size)
        names = [name for name, tensor in template._parameters.items() if tensor is not None]
        return template.bind(**{name: getattr(self, name.replace("_l0", suffix)) for name in names})


class RNN(_Scanned, nn.RNN):
    """`torch.nn.RNN`, run by `recurra.scan`; `forward` also takes ``lengths`` and ``reset``."""

    _state_type = cells.ElmanState

    def _template(self, input_size: int) -> cells.Cell:
        return _template(cells.Elman, input_size, self.hidden_size, nonlinearity=self.nonlinearity, bias=self.bias)


class GRU(_Scanned, nn.GRU):
    """`torch.nn.GRU`, run by `recurra.scan`; `forward` also takes ``lengths`` and ``reset``."""

    _state_type = cells.GRUState

    def _template(self, input_size: int) -> cells.Cell:
        return _template(cells.GRU, input_size, self.hidden_size, bias=self.bias)


class LSTM(_Scanned, nn.LSTM):
    """`torch.nn.LSTM`, run by `recurra.scan`; `forward` also takes ``lengths`` and ``reset``."""

    _state_type = cells.LSTMState

    def _template(self, input_size: int) -> cells.Cell:
        if self.proj_size:
            return _template(cells.ProjectedLSTM, input_size, self.hidden_size, self.proj_size, bias=self.bias)
        return _template(cells.LSTM, input_size, self.hidden_size, bias=self.bias)


def _add_axis(leaves: tuple[Tensor, ...]) -> Tensor:
    """Stack a single tensor, without a copy."""
    return leaves[0].unsqueeze(0)


def _leaves(hx: Any) -> tuple[Tensor, ...]:
    return () if hx is None else (hx,) if isinstance(hx, Tensor) else tuple(hx)


def _map(fn: Callable[[Tensor], Tensor], hx: Any) -> Any:
    return hx if hx is None else fn(hx) if isinstance(hx, Tensor) else tuple(map(fn, hx))


def _for_backward_reading(reset: Tensor | None, lengths: Tensor | None) -> Tensor | None:
    """Move each mark to the step before it, where the backward direction enters the earlier sequence."""
    if reset is None:
        return None
    if lengths is not None:
        time = torch.arange(len(reset), device=reset.device).unsqueeze(1)
        reset = reset & (time < lengths.to(reset.device))
    return torch.cat([reset[1:], torch.zeros_like(reset[:1])])
