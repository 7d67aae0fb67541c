"""A language model whole: optimizer steps, and one token at a time, beside the same model of `torch.nn`."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from recurra.benchmarks.timing import interleave, median_ratio
from recurra.data import build_tokenizer
from recurra.models import LanguageModel

__all__ = ["LAYERS", "measure_generation", "measure_training"]

LAYERS: dict[str, Callable[[int, int], torch.nn.Module]] = {
    "rnn": torch.nn.RNN,
    "gru": torch.nn.GRU,
    "lstm": torch.nn.LSTM,
}
ROUNDS = 5
ROWS, STEPS, SIZE, CLASSES, TOKENS = 32, 64, 256, 65, 200


def measure_training(cell: str, rounds: int | None = None) -> dict[str, Any]:
    """Measure whole optimizer steps: loss, gradients, clipping, AdamW."""
    model, embedding, layer = _language_model(cell), torch.nn.Embedding(CLASSES, SIZE), LAYERS[cell](SIZE, SIZE)
    projection = torch.nn.Parameter(torch.randn(CLASSES, SIZE) * 0.05)
    parameters = [*embedding.parameters(), *layer.parameters(), projection]
    tokens = torch.randint(CLASSES, (STEPS + 1, ROWS))

    def loss_of_peer() -> Tensor:
        outputs, _ = layer(embedding(tokens[:-1]))
        return cross_entropy(linear(outputs, projection).flatten(0, 1), tokens[1:].flatten())

    return _compare(
        _optimizer_step(lambda: model.loss(tokens[:-1], tokens[1:])[0], list(model.parameters())),
        _optimizer_step(loss_of_peer, parameters),
        STEPS * ROWS,
        rounds,
    )


def measure_generation(cell: str, rounds: int | None = None) -> dict[str, Any]:
    """Measure single steps of one row, with embedding and output layer."""
    model, layer = _language_model(cell).eval(), LAYERS[cell](SIZE, SIZE).eval()
    token = torch.zeros(1, dtype=torch.int64)

    @torch.inference_mode()
    def ours() -> None:
        state = model.zero_state(1)
        for _ in range(TOKENS):
            _, state = model.step(token, state)

    @torch.inference_mode()
    def theirs() -> None:
        state = None
        for _ in range(TOKENS):
            output, state = layer(model.embedding(token).unsqueeze(0), state)
            model.project(output[0])

    return _compare(ours, theirs, TOKENS, rounds)


def _compare(ours: Callable[[], None], theirs: Callable[[], None], tokens: int, rounds: int | None) -> dict[str, Any]:
    readings = interleave({"ours": ours, "torch": theirs}, rounds or ROUNDS)
    return {
        "tokens_per_s": round(tokens / statistics.median(readings["ours"])),
        "torch_tokens_per_s": round(tokens / statistics.median(readings["torch"])),
        "ratio": round(median_ratio(readings["ours"], readings["torch"]), 3),
    }


def _optimizer_step(loss: Callable[[], Tensor], parameters: list[Any]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def _language_model(cell: str) -> Any:
    alphabet = "".join(chr(33 + i) for i in range(CLASSES))
    return LanguageModel(build_tokenizer("char", [alphabet]), cell=cell, hidden=SIZE)
