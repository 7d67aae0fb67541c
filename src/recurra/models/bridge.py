"""From what an encoder has read to the state that a decoder starts from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recurra.state import from_named, map_leaves, named_leaves

__all__ = ["Bridge"]


class Bridge(nn.Module):
    """Starts each layer of a decoder from a layer of an encoder, counted from the top.

    States of the same structure are copied. Of any other, with e all leaves of the encoder's layer side by side, both
    directions, each leaf of the decoder's layer becomes

        s = s_fresh + tanh(W e + b)

    An offset from a fresh state is one that every cell can start from.

    Args:
        given: states of the encoder's layers, one row, from the bottom up; any trees.
        wanted: states of the decoder's layers, one row.
        summary: features Y of a summary of the top layer, ``tanh(V e)``, seen at every step; 0 for none.
    Source: tanh(W e) Bahdanau et al. 2015, appendix A.2.2; the summary Cho et al. 2014.
    """

    def __init__(self, given: Sequence[Any], wanted: Sequence[Any], summary: int = 0) -> None:
        super().__init__()
        above = len(given) - len(wanted)
        self.sources = [max(0, layer + above) for layer in range(len(wanted))]
        pairs = [(given[source], state) for source, state in zip(self.sources, wanted, strict=True)]
        self.copies = [_shapes(source) == _shapes(state) for source, state in pairs]
        self.layers = nn.ModuleList(
            nn.ModuleList()
            if same
            else nn.ModuleList(nn.Linear(_width(source), leaf.numel()) for leaf in _leaves(state))
            for (source, state), same in zip(pairs, self.copies, strict=True)
        )
        self.summary = nn.Linear(_width(given[-1]), summary) if summary else None

    def forward(self, given: Sequence[Any], fresh: tuple[Any, ...]) -> tuple[tuple[Any, ...], Tensor | tuple[()]]:
        """Return (states of the decoder's layers, the summary (B, Y), empty if there is none).

        Args:
            given: states of the encoder's layers, B rows.
            fresh: what a fresh decoder starts from, B rows.
        """
        states = tuple(self._start(layer, given[source], fresh[layer]) for layer, source in enumerate(self.sources))
        return states, () if self.summary is None else torch.tanh(self.summary(_side_by_side(given[-1])))

    def _start(self, layer: int, source: Any, fresh: Any) -> Any:
        if self.copies[layer]:
            return from_named(fresh, named_leaves(source))
        maps: Any = iter(self.layers[layer].children())
        features = _side_by_side(source)
        return map_leaves(lambda leaf: leaf + torch.tanh(next(maps)(features)).reshape(leaf.shape), fresh)


def _side_by_side(state: Any) -> Tensor:
    """Return all leaves as (B, F)."""
    return torch.cat([leaf.flatten(1) for leaf in _leaves(state)], -1)


def _leaves(state: Any) -> list[Tensor]:
    return list(named_leaves(state).values())


def _shapes(state: Any) -> dict[str, torch.Size]:
    return {name: leaf.shape[1:] for name, leaf in named_leaves(state).items()}


def _width(state: Any) -> int:
    return sum(leaf[0].numel() for leaf in _leaves(state))
