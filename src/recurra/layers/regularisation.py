"""Noise for recurrent networks, drawn from torch's global generator and in training mode only."""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from recurra.config import check_probability
from recurra.errors import ConfigError, nearest
from recurra.share import draw_rows
from recurra.state import map_leaves, named_leaves

__all__ = [
    "LockedDropout",
    "RowDropout",
    "Zoneout",
    "draw_weights",
    "draw_words",
    "drop_weights",
    "embed",
    "embedding_dropout",
    "has_recurrent_weight",
    "masked",
    "weight_drop",
]

RECURRENT_WEIGHT = "weight_hh_l0"


class LockedDropout(nn.Module):
    """Dropout with one mask for the whole sequence (variational dropout).

    Args:
        p: probability that a feature of a row is dropped; the others are scaled by 1/(1-p).
    Source: Gal & Ghahramani 2016.
    """

    def __init__(self, p: float) -> None:
        check_probability(p=p)
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """x (T, B, F) -> the same times a mask (1, B, F); in evaluation mode, x."""
        return masked(x, self.draw(x, x.shape[-1]))

    def draw(self, like: Tensor, features: int) -> Tensor | None:
        """Return a mask (1, B, F) for tensors (T, B, F) with the rows and type of another; None in evaluation mode."""
        if not (self.training and self.p):
            return None
        return draw_rows(lambda rows: dropout(like.new_ones(1, rows, features), self.p), like.shape[1], 1)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"


class RowDropout(nn.Dropout):
    """Dropout of the features of rows (B, F)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, F) -> the same, some entries 0 and the others scaled; in evaluation mode, x."""
        if not (self.training and self.p):
            return x
        return x * draw_rows(lambda rows: dropout(x.new_ones(rows, x.shape[1]), self.p), len(x), 0)


def embedding_dropout(embedding: nn.Embedding, tokens: Tensor, p: float, training: bool = True) -> Tensor:
    """Embed tokens, with whole words of the vocabulary dropped: a word is gone wherever it occurs, or nowhere.

    Args:
        tokens: int64 of any shape.
        p: probability that a word is dropped; the others are scaled by 1/(1-p).
    Returns: (*tokens.shape, E).
    Source: Gal & Ghahramani 2016; Merity, Keskar & Socher 2018.
    """
    check_probability(p=p)
    return embed(embedding, tokens, draw_words(embedding, p) if training and p else None)


def draw_words(embedding: nn.Embedding, p: float) -> Tensor:
    """Return a mask (V,) of the words that are not dropped, scaled."""
    return dropout(embedding.weight.new_ones(embedding.num_embeddings, requires_grad=False), p)


def embed(embedding: nn.Embedding, tokens: Tensor, words: Tensor | None) -> Tensor:
    """Embed tokens with a mask of words, or none."""
    embedded: Tensor = embedding(tokens)
    return embedded if words is None else embedded * words[tokens].unsqueeze(-1)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x times a mask, or x."""
    return x if mask is None else x * mask


def has_recurrent_weight(cell: Any) -> bool:
    """Can `weight_drop` act on this cell: has it a recurrent matrix U and a way to compute with another one?"""
    inner = cell.cell if isinstance(cell, Zoneout) else cell
    return hasattr(inner, "bind") and isinstance(getattr(inner, RECURRENT_WEIGHT, None), Tensor)


def weight_drop(cell: Any, p: float, training: bool = True) -> Any:
    """Return a view of a cell whose recurrent weights U are dropped at random, for one scan (DropConnect).

    Args:
        p: probability that a weight is dropped; the others are scaled by 1/(1-p).
    Gradient: flows into the kept weights of the cell's own U.
    Raises: ConfigError if the cell has no recurrent weight.
    Source: Wan et al. 2013; on recurrent weights Merity, Keskar & Socher 2018.
    """
    check_probability(p=p)
    if not has_recurrent_weight(cell):
        raise ConfigError(f"weight drop needs a cell with a recurrent weight U; {type(cell).__name__} has none")
    return drop_weights(cell, draw_weights(cell, p) if training and p else None)


def draw_weights(cell: Any, p: float) -> Tensor:
    """Return a mask of the recurrent weights U that are not dropped, scaled."""
    return dropout(torch.ones_like(_recurrent_weight(cell), requires_grad=False), p)


def drop_weights(cell: Any, mask: Tensor | None) -> Any:
    """Return a view of a cell with its recurrent weights times a mask, or the cell."""
    return cell if mask is None else cell.bind(**{RECURRENT_WEIGHT: _recurrent_weight(cell) * mask})


def _recurrent_weight(cell: Any) -> Tensor:
    U: Tensor = getattr(cell.cell if isinstance(cell, Zoneout) else cell, RECURRENT_WEIGHT)
    return U


class Zoneout(nn.Module):
    """A cell some of whose state entries keep their previous value, at random.

        s_t = m_t ⊙ s_{t-1} + (1 - m_t) ⊙ f(x_t, s_{t-1}),    m_t ~ Bernoulli(p)

    The masks m are part of the inputs: ``scan(cell, cell.draw(x), state)``. Without them, m is its expectation p.
    Where the output of the wrapped cell is a leaf of its new state, the zoned-out leaf is the output.

    Args:
        cell: the cell f.
        p: probability of keeping, for all leaves of the state.
        leaves: probabilities that differ, by the name of the leaf: ``Zoneout(cell, c=0.5, h=0.05)``.
    Source: Krueger et al. 2017.
    """

    cell: Any

    def __init__(self, cell: nn.Module, p: float = 0.0, **leaves: float) -> None:
        super().__init__()
        self.cell = cell
        known = named_leaves(self.zero_state(1))
        for name in leaves:
            if name not in known:
                raise ConfigError(f"the state of {type(cell).__name__} has no leaf '{name}'{nearest(name, known)}")
        check_probability(p=p, **leaves)
        self.p = {name: leaves.get(name, p) for name in known}

    def step(self, x: Any, state: Any) -> tuple[Tensor, Any]:
        """(x, masks shaped like state), or x alone; state -> output, next state."""
        x, masks = x if isinstance(x, tuple) else (x, self._expected(state))
        output, new = self.cell.step(x, state)
        mixed = map_leaves(lambda m, old, fresh: m * old + (1 - m) * fresh, masks, state, new)
        same = (leaf for raw, leaf in zip(_leaves(new), _leaves(mixed), strict=True) if raw is output)
        return next(same, output), mixed

    def draw(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return (x, masks), the inputs of a scan over x (T, B, I): masks for every step, in evaluation mode p."""
        p = self._expected(self.zero_state(x.shape[1]))
        p = map_leaves(lambda leaf: leaf.expand(len(x), *leaf.shape), p)
        return x, map_leaves(_draw, p) if self.training else p

    def _expected(self, state: Any) -> Any:
        p = iter(self.p.values())
        return map_leaves(lambda leaf: torch.full_like(leaf, next(p)), state)

    def zero_state(self, batch: int) -> Any:
        """The wrapped cell's."""
        return self.cell.zero_state(batch)

    @property
    def input_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.input_size

    @property
    def output_size(self) -> Any:
        """The wrapped cell's."""
        return self.cell.output_size

    def bind(self, **tensors: Tensor | None) -> Self:
        """Return a view whose wrapped cell computes with the given tensors, see `recurra.cells.Cell.bind`."""
        view = copy.copy(self)
        view._modules = {**self._modules, "cell": self.cell.bind(**tensors)}
        return view

    def extra_repr(self) -> str:
        """The probabilities, for printing."""
        return ", ".join(f"{name}={p}" for name, p in self.p.items())


def _draw(p: Tensor) -> Tensor:
    """Draw 1 or 0 with probabilities (T, B, ...), the same in all steps and rows."""
    return draw_rows(lambda rows: torch.bernoulli(p[:, :1].expand(-1, rows, *p.shape[2:])), p.shape[1], 1)


def _leaves(state: Any) -> list[Tensor]:
    return list(named_leaves(state).values())
