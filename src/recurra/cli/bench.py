"""``recurra bench``."""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.options import debug_option, json_option, print_json

if TYPE_CHECKING:
    import torch

SUBJECTS = ("engine", "train", "generate")
CELLS = ("rnn", "gru", "lstm")
ROUNDS = 5
ROWS, STEPS, SIZE, CLASSES = 32, 64, 256, 65


@click.command("bench", epilog="\b\nExample:\n  recurra bench engine --json")
@click.argument("subject", required=False, type=click.Choice(SUBJECTS))
@click.option("--threads", type=int, help="Threads of the CPU.")
@json_option
@debug_option
def command(subject: str | None, threads: int | None, as_json: bool) -> None:
    """Measure this machine, recurra and torch.nn in one run: medians of interleaved rounds.

    engine: a layer forward and backward. train: whole optimizer steps. generate: one token at a time.
    """
    import torch

    from recurra.config import check_at_least

    check_at_least(1, threads=threads)
    if threads:
        torch.set_num_threads(threads)
    report: dict[str, Any] = {"machine": _machine()}
    if not as_json:
        click.echo("machine     " + ", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    for name in [subject] if subject else SUBJECTS:
        report[name] = []
        for cell in CELLS:
            print(f"measuring {name} {cell} …", file=sys.stderr)
            row = {"cell": cell, **MEASURES[name](cell)}
            report[name].append(row)
            if not as_json:
                click.echo(f"{name:<12}" + ", ".join(f"{key} {value}" for key, value in row.items()))
    if as_json:
        print_json(report)


def _machine() -> dict[str, Any]:
    import torch

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = min(_seconds(lambda: a @ b) for _ in range(8))
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "matrix_product_gflops": round(2 * 2048**3 / best / 1e9),
    }


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _interleave(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float, float]:
    """Return median seconds of both and the median of their ratio (above 1: ours is faster)."""
    ours(), theirs()
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(ROUNDS)]
    mine, other = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(other), statistics.median(b / a for a, b in pairs)


def _peer(cell: str) -> torch.nn.Module:
    import torch

    layers: dict[str, Callable[[int, int], torch.nn.Module]] = {
        "rnn": torch.nn.RNN,
        "gru": torch.nn.GRU,
        "lstm": torch.nn.LSTM,
    }
    return layers[cell](SIZE, SIZE)


def _engine(cell: str) -> dict[str, Any]:
    import torch

    from recurra.cells import make_cell
    from recurra.engine import scan

    ours, theirs = make_cell(cell, SIZE, SIZE), _peer(cell)
    inputs = torch.randn(STEPS, ROWS, SIZE, requires_grad=True)
    mine, other, ratio = _interleave(
        lambda: scan(ours, inputs)[0].sum().backward(), lambda: theirs(inputs)[0].sum().backward()
    )
    gates = {"rnn": 1, "gru": 3, "lstm": 4}[cell]
    work = 3 * 2 * STEPS * ROWS * gates * SIZE * 2 * SIZE / 1e9
    return {
        "shape": f"{ROWS}x{STEPS}x{SIZE}",
        "gflops": round(work / mine),
        "torch_gflops": round(work / other),
        "ratio": round(ratio, 3),
    }


def _train(cell: str) -> dict[str, Any]:
    import torch
    from torch.nn.functional import cross_entropy, linear

    model, embedding, layer = _language_model(cell), torch.nn.Embedding(CLASSES, SIZE), _peer(cell)
    projection = torch.nn.Parameter(torch.randn(CLASSES, SIZE) * 0.05)
    parameters = [*embedding.parameters(), *layer.parameters(), projection]
    tokens = torch.randint(CLASSES, (STEPS + 1, ROWS))

    def loss_of_peer() -> torch.Tensor:
        outputs, _ = layer(embedding(tokens[:-1]))
        return cross_entropy(linear(outputs, projection).flatten(0, 1), tokens[1:].flatten())

    mine, other, ratio = _interleave(
        _optimizer_step(lambda: model.loss(tokens[:-1], tokens[1:])[0], list(model.parameters())),
        _optimizer_step(loss_of_peer, parameters),
    )
    return {
        "tokens_per_s": round(STEPS * ROWS / mine),
        "torch_tokens_per_s": round(STEPS * ROWS / other),
        "ratio": round(ratio, 3),
    }


def _optimizer_step(loss: Callable[[], torch.Tensor], parameters: list[Any]) -> Callable[[], None]:
    import torch

    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


def _generate(cell: str) -> dict[str, Any]:
    import torch

    model, layer = _language_model(cell).eval(), _peer(cell).eval()
    token, count = torch.zeros(1, dtype=torch.int64), 200

    @torch.inference_mode()
    def ours() -> None:
        state = model.zero_state(1)
        for _ in range(count):
            _, state = model.step(token, state)

    @torch.inference_mode()
    def theirs() -> None:
        state = None
        for _ in range(count):
            output, state = layer(model.embedding(token).unsqueeze(0), state)
            model.project(output[0])

    mine, other, ratio = _interleave(ours, theirs)
    return {
        "tokens_per_s": round(count / mine),
        "torch_tokens_per_s": round(count / other),
        "ratio": round(ratio, 3),
    }


def _language_model(cell: str) -> Any:
    from recurra.data import build_tokenizer
    from recurra.models import LanguageModel

    alphabet = "".join(chr(33 + i) for i in range(CLASSES))
    return LanguageModel(build_tokenizer("char", [alphabet]), cell=cell, hidden=SIZE)


MEASURES: dict[str, Callable[[str], dict[str, Any]]] = {"engine": _engine, "train": _train, "generate": _generate}
