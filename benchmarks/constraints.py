"""A thousand texts that match a pattern, beside a thousand free ones of as many tokens; prints JSON.

python benchmarks/constraints.py RUN [--regex RE | --json-schema FILE] [--samples 1000 --tokens 100] [--rounds 3]

RUN is a language model. Processor time of one thread, the two interleaved, medians; the automaton is built each time.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from recurra.models import generate_texts
from recurra.training import Run

REGEX = r"[A-Z]{3,9}: [a-z' ]{10,40}[.!?]"


def timed(model: Any, **settings: Any) -> tuple[list[str], float]:
    begin = time.process_time()
    texts = generate_texts(model, **settings)
    return texts, time.process_time() - begin


def is_valid(text: str, regex: str | None) -> bool:
    """Whether a text matches, or is JSON at all."""
    if regex is not None:
        return re.fullmatch(regex, text) is not None
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--regex")
    parser.add_argument("--json-schema", type=Path)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Run.load(args.run).model
    regex = None if args.json_schema else args.regex or REGEX
    wish = {"regex": regex} if regex else {"json_schema": json.loads(args.json_schema.read_text(encoding="utf-8"))}
    timed(model, samples=2, tokens=args.tokens, **wish)  # whatever is made once
    constrained, free, valid, length = [], [], 0, 1
    for seed in range(args.rounds):
        texts, seconds = timed(model, samples=args.samples, tokens=args.tokens, seed=seed, **wish)
        constrained.append(seconds)
        valid += sum(is_valid(text, regex) for text in texts)
        drawn = sum(len(model.vocabulary.encode(text)) + 1 for text in texts)  # each with its end
        length = max(1, round(drawn / args.samples))
        free.append(timed(model, samples=args.samples, tokens=length, seed=seed)[1])
    ours, theirs = statistics.median(constrained), statistics.median(free)
    row = {"texts": args.samples * args.rounds, "valid": valid, "tokens_per_text": length}
    print(json.dumps(row | {"constrained_s": ours, "free_s": theirs, "ratio": round(ours / theirs, 2)}))


if __name__ == "__main__":
    main()
