"""One exact gradient of a character model through a million consecutive characters; prints JSON.

gzip -dc war-and-peace.txt.gz > war-and-peace.txt
python benchmarks/long_text.py war-and-peace.txt [--characters 1000000 --memory 200MB] [--check 5000]

Embedding, scan and loss are unrolled together and recomputed by segments. With --check, the gradient through the first
characters is compared with that of full back-propagation, in float64.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from checkpointing import Peak, resident

from recurra.data import build_tokenizer
from recurra.engine import Checkpointed, Full, Policy, unroll
from recurra.models import LanguageModel


def gradient(model: LanguageModel, ids: torch.Tensor, policy: Policy) -> tuple[float, list[torch.Tensor]]:
    """Return the mean nats of ids (T + 1,) and the gradient of all parameters, through all T steps."""

    def segment(piece: tuple[torch.Tensor, torch.Tensor], state: object) -> tuple[torch.Tensor, object]:
        tokens, targets = piece
        features, state = model.features(tokens, state)
        return model.nats(features.dropped, targets) / (len(ids) - 1), state

    sequence = (ids[:-1].unsqueeze(1), ids[1:].unsqueeze(1))
    parameters = list(model.parameters())
    nats, _ = unroll(segment, sequence, model.zero_state(1), policy, lambda: parameters)
    return nats.item(), list(torch.autograd.grad(nats, parameters))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("text", type=Path)
    parser.add_argument("--characters", type=int, default=1_000_000)
    parser.add_argument("--memory", default="200MB")
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--check", type=int, default=5000)
    a = parser.parse_args()
    text = a.text.read_text(encoding="utf-8")[: a.characters + 1]
    tokenizer = build_tokenizer("char", text)
    ids = torch.as_tensor(tokenizer.encode(text)).long()
    torch.manual_seed(0)
    model = LanguageModel(tokenizer, cell=a.cell, hidden=a.hidden)
    result: dict[str, object] = {"characters": len(ids) - 1, "memory": a.memory}

    few, double = ids[: a.check + 1], LanguageModel(tokenizer, cell=a.cell, hidden=a.hidden).double()
    _, exact = gradient(double, few, Full())
    _, found = gradient(double, few, Checkpointed("40MB"))
    result["difference"] = max(float((f - e).norm() / e.norm()) for f, e in zip(found, exact, strict=True))

    gradient(model, few, Checkpointed(a.memory))
    before, peak, start = resident(), Peak(), time.perf_counter()
    peak.start()
    nats, found = gradient(model, ids, Checkpointed(a.memory))
    result |= {"seconds": time.perf_counter() - start, "nats_per_character": nats}
    peak.is_done.set()
    peak.join()
    result["mib"] = (peak.highest - before) / 2**20
    result["gradient_norm"] = float(torch.stack([g.norm() for g in found]).norm())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
