"""Writing, many rows side by side: always the most likely token, or the most likely text that a beam finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from recurra.decoding import Beam, beam_search
from recurra.models.decoder import Decoder, DecoderState
from recurra.state import select

__all__ = ["Script", "write_by_beam", "write_greedily"]


class Script(NamedTuple):
    """What was written in one row.

    Args:
        tokens: (S,) int64, the end included where it was reached.
        nats: of these tokens.
        weights: (S, P) of the row's places; None without attention, and of all but the best of a beam.
    """

    tokens: Tensor
    nats: float
    weights: Tensor | None


@torch.no_grad()
def write_greedily(decoder: Decoder, state: DecoderState, longest: Tensor) -> list[Script]:
    """Write the most likely token in each row until its end.

    Rows that have ended are dropped from the batch, so that the last ones run alone.

    Args:
        state: of B rows, before the first token.
        longest: (B,) int64, most tokens of each row, its end included; at least 1.
    Returns: B scripts.
    """
    rows = torch.arange(len(longest), device=longest.device)
    token = torch.full_like(longest, decoder.end)
    found: list[tuple[Tensor, Tensor, Tensor, Tensor | None]] = []
    while len(rows):
        features, weights, state = decoder.read_one(token, state)
        log_p, token = torch.log_softmax(decoder.project(features), -1).max(-1)
        found.append((rows, token, log_p, weights))
        going = (token != decoder.end) & (longest[rows] > len(found))
        if not going.all():
            kept = going.nonzero().squeeze(1)
            rows, token, state = rows[kept], token[kept], select(state, kept)
    return _by_row(found, len(longest))


@torch.no_grad()
def write_by_beam(decoder: Decoder, state: DecoderState, longest: Tensor, beam: Beam) -> list[list[Script]]:
    """Write the best texts of each row that a beam finds, best first; arguments as `write_greedily`."""
    prompt = torch.full_like(longest, decoder.end).unsqueeze(0)
    found = beam_search(decoder.step, state, prompt, tokens=longest, end=decoder.end, **asdict(beam))
    looked = _read_again(decoder, state, [row[0].tokens for row in found])
    return [
        [
            Script(torch.tensor(tokens), -log_p, None if rank or weights is None else weights)
            for rank, (tokens, log_p, _) in enumerate(row)
        ]
        for row, weights in zip(found, looked, strict=True)
    ]


def _read_again(decoder: Decoder, state: DecoderState, texts: Sequence[tuple[int, ...]]) -> list[Tensor] | list[None]:
    """Return where each row looked (S, P) while it wrote its text."""
    if decoder.attention is None:
        return [None] * len(texts)
    before = pad_sequence([torch.tensor([decoder.end, *tokens[:-1]]) for tokens in texts])
    looked: list[Tensor] = []
    for token in before.to(decoder.bias.device):
        _, weights, state = decoder.read_one(token, state)
        assert weights is not None
        looked.append(weights)
    return [torch.stack([weights[row] for weights in looked[: len(ids)]]) for row, ids in enumerate(texts)]


def _by_row(found: list[tuple[Tensor, Tensor, Tensor, Tensor | None]], count: int) -> list[Script]:
    """Collect what was found at each step, for the rows that were still going, row by row."""
    tokens: list[list[int]] = [[] for _ in range(count)]
    nats = [0.0] * count
    weights: list[list[Tensor]] = [[] for _ in range(count)]
    for rows, token, log_p, looked in found:
        for n, (row, number, logarithm) in enumerate(zip(rows.tolist(), token.tolist(), log_p.tolist(), strict=True)):
            tokens[row].append(number)
            nats[row] -= logarithm
            if looked is not None:
                weights[row].append(looked[n])
    return [
        Script(torch.tensor(tokens[row]), nats[row], torch.stack(weights[row]) if weights[row] else None)
        for row in range(count)
    ]
