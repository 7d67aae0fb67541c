"""Weights in one and two bytes beside float32: bytes, perplexity, and speed at batch 1 and in evaluation; prints JSON.

python benchmarks/small_weights.py RUN [--text TEXT] [--rounds 15]
python benchmarks/small_weights.py --cell lstm --layers 2 --hidden 650 --vocab 10000 [--tie]

RUN is a language model; without one, a model of random weights, of which no perplexity is measured. Processor time of
one thread, all in turn, medians over rounds. The peers are torch.nn with the same weights, as it is and after
torch.ao.quantization.quantize_dynamic, where the cells are LSTM or GRU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recurra.benchmarks.machine import describe_machine
from recurra.benchmarks.timing import median_ratio
from recurra.data import Corpus, build_tokenizer
from recurra.engine.quantised import dequantise_all, quantise_all
from recurra.evaluation import evaluate
from recurra.export import export_run
from recurra.models import LanguageModel, QuantisedLanguageModel
from recurra.training import Run

WINDOW = 1024
READING_S = 0.1
LOAD = """
import ctypes, gc, sys, torch
from recurra.training import Run

def steps(path):
    model = Run.load(path, small=True).model
    state = model.zero_state(1)
    with torch.no_grad():
        for _ in range(5):
            _, state = model.step(torch.zeros(1, dtype=torch.int64), state)
    return model

def resident():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))

torch.set_num_threads(1)
steps(sys.argv[1])  # what is loaded and compiled once
before = resident()
model = steps(sys.argv[1])
print(resident() - before)
"""


class Peer(nn.Module):
    """The same model as torch has it."""

    def __init__(self, model: LanguageModel) -> None:
        super().__init__()
        config = model.config
        layer: Any = {"lstm": nn.LSTM, "gru": nn.GRU}[config.cell]
        cells = list(model.stack.cells)
        self.rnns = nn.ModuleList(layer(cell.input_size, cell.output_size) for cell in cells)
        for rnn, cell in zip(self.rnns, cells, strict=True):
            rnn.load_state_dict(cell.state_dict())
        self.embedding, W = model.embedding, model.embedding.weight if model.projection is None else model.projection
        self.output = nn.Linear(W.shape[1], W.shape[0])
        self.output.load_state_dict({"weight": W.detach(), "bias": model.bias.detach()})

    def forward(self, tokens: torch.Tensor, states: list[Any]) -> tuple[torch.Tensor, list[Any]]:
        x, following = self.embedding(tokens), []
        for rnn, state in zip(self.rnns, states, strict=True):
            x, state = rnn(x, state)
            following.append(state)
        return self.output(x), following


def stepping(model: Any) -> Callable[[], None]:
    """Return a function that takes a step of one row and keeps the state."""
    token, state = torch.tensor([7]), [model.zero_state(1)]

    @torch.no_grad()
    def step() -> None:
        _, state[0] = model.step(token, state[0])

    return step


def peer_stepping(peer: Peer) -> Callable[[], None]:
    token, state = torch.tensor([[7]]), [[None] * len(peer.rnns)]

    @torch.inference_mode()
    def step() -> None:
        _, state[0] = peer(token, state[0])

    return step


def reading(model: Any, tokens: torch.Tensor) -> Callable[[], None]:
    """Return a function that reads a window of one row and makes all its logits."""

    @torch.inference_mode()
    def read() -> None:
        made, _ = model.read(tokens, model.zero_state(1))
        made.logits(torch.arange(len(tokens)))

    return read


def timed(calls: dict[str, Callable[[], None]], tokens: int, rounds: int) -> dict[str, Any]:
    """Return tokens per second of each, and how much faster than float32 of ours each is, medians over rounds."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    counts = {name: max(2, round(READING_S / seconds(call, 2))) for name, call in calls.items()}
    for turn in range(rounds):
        for name in reversed(calls) if turn % 2 else calls:
            calls[name]()  # brings its weights back into the caches
            found[name].append(seconds(calls[name], counts[name]))
    return {
        name: {
            "tokens_per_second": round(tokens / statistics.median(readings), 1),
            "times_float32": round(median_ratio(readings, found["float32"]), 2),
        }
        for name, readings in found.items()
    }


def seconds(call: Callable[[], None], times: int) -> float:
    """Return processor time per call."""
    begin = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - begin) / times


def random_model(args: argparse.Namespace) -> LanguageModel:
    words = build_tokenizer("word", " ".join(f"w{n}" for n in range(args.vocab)))
    return LanguageModel(words, cell=args.cell, layers=args.layers, hidden=args.hidden, tie=args.tie).eval()


def stored_forms(run: Run, text: str | None, folder: Path) -> dict[str, Any]:
    """Return bytes on disk and in memory, and the perplexity, of each form of a run."""
    paths = {"float32": run.path}
    for kind in ("bf16", "int8"):
        paths[kind] = export_run(run, kind, folder / kind).folder
    rows: dict[str, Any] = {}
    for kind, path in paths.items():
        model = Run.load(path, small=True).model
        command = [sys.executable, "-c", LOAD, str(path)]
        resident = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows[kind] = {"file_bytes": (path / "model.safetensors").stat().st_size, "resident_kb": int(resident)}
        if text is not None:
            corpus = Corpus.from_file(text, tokenizer=run.tokenizer, valid=0.0)
            score = evaluate(model, corpus.train)
            rows[kind] |= {"perplexity": round(score.perplexity, 4), "tokens": score.tokens}
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--text", help="measure the perplexity on this")
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--hidden", type=int, default=650)
    parser.add_argument("--vocab", type=int, default=10_000)
    parser.add_argument("--tie", action="store_true")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    result: dict[str, Any] = {"machine": describe_machine()}
    if args.run is None:
        model = random_model(args)
    else:
        run = Run.load(args.run)
        model = run.model
        with tempfile.TemporaryDirectory() as folder:
            result["forms"] = stored_forms(run, args.text, Path(folder))
    names = {name for name, _ in model.named_parameters()}
    models: dict[str, Any] = {"float32": model}
    for kind in ("bf16", "int8"):
        stored = quantise_all(model.state_dict(), kind, names)
        copy = LanguageModel(model.vocabulary, model.config)
        copy.load_state_dict(dequantise_all(stored))
        models[kind] = QuantisedLanguageModel(copy, stored)
    calls = {name: stepping(each) for name, each in models.items()}
    if model.config.cell in ("lstm", "gru") and not model.config.zoneout and not model.config.residual:
        warnings.simplefilter("ignore")
        peer = Peer(model).eval()
        kinds = {nn.LSTM, nn.GRU, nn.Linear}
        calls["torch float32"] = peer_stepping(peer)
        calls["torch int8"] = peer_stepping(torch.ao.quantization.quantize_dynamic(peer, kinds, dtype=torch.qint8))
    result["generation"] = timed(calls, 1, args.rounds)
    tokens = torch.randint(0, len(model.vocabulary), (WINDOW, 1))
    calls = {name: reading(each, tokens) for name, each in models.items()}
    result["evaluation"] = timed(calls, WINDOW, max(5, args.rounds // 3))
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
