"""Characters per second of scoring a text with a GRU of 256 units; prints JSON.

python benchmarks/score.py shakespeare.txt [--embedding 256 64] [--batch 1 16 64] [--threads 2] [--rounds 3]

Weights are random: they change no time. Reading and printing of the command line are not counted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

import recurra as rc
from recurra.evaluation import TextScorer

WARMUP = 256
PIECE = 2**16


def seconds(model: rc.LanguageModel, text: str, batch: int) -> float:
    """Score a text piece by piece, as it would be read from a file."""
    scorer = TextScorer(model, batch=batch, warmup=WARMUP if batch > 1 else 0)
    begin = time.perf_counter()
    for start in range(0, len(text), PIECE):
        scorer.feed(text[start : start + PIECE])
    scorer.end_document()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path)
    parser.add_argument("--embedding", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    text = args.text.read_text(encoding="utf-8")
    vocabulary = rc.Corpus.from_text(text).vocabulary
    models = {e: rc.LanguageModel(vocabulary, cell="gru", hidden=256, embedding=e).eval() for e in args.embedding}
    cases = [(embedding, batch) for embedding in args.embedding for batch in args.batch]
    taken: dict[tuple[int, int], list[float]] = {case: [] for case in cases}
    for embedding, batch in cases:
        seconds(models[embedding], text[:PIECE], batch)
    for _ in range(args.rounds):
        for embedding, batch in cases:
            taken[embedding, batch].append(seconds(models[embedding], text, batch))
    for (embedding, batch), each in taken.items():
        speed = len(text) / statistics.median(each)
        row = {"embedding": embedding, "batch": batch, "threads": args.threads, "characters_per_second": round(speed)}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
