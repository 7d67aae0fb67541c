"""Preparing a corpus beside `datasets.map` with the same tokenizer, on the same documents; prints JSON.

python benchmarks/prepare.py TEXT... [--megabytes 20] [--document 2000] [--rounds 3] [--tokenizers char,byte,word,bpe]

The texts are cut into documents, the rows of a data set on disk, and repeated up to the size asked for. Ours is all of
`recurra.data.prepare` on that data set with a vocabulary that is there: reading it, tokenising, digests, writing.
Theirs is `Dataset.map` alone, with the faster of two functions: our `encode` of each text, and `encode_batch_fast` of
the library's own form of the same tokenizer. Processor time of one process, interleaved, medians; MB are 10^6 bytes of
text.
"""

from __future__ import annotations

import os

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import datasets

from recurra.data import Tokenizer, build_tokenizer, load_tokenizer, prepare
from recurra.data.store_index import read_index

VOCAB = {"word": 50_000, "bpe": 8192}


def documents_of(texts: list[str], size: int, length: int) -> list[str]:
    """Return documents of so many bytes in all."""
    pieces = [text[start : start + length] for text in texts for start in range(0, len(text), length)]
    documents, total = list[str](), 0
    for turn in count():
        # Another beginning each time, so that no document comes twice as it is.
        for piece in pieces:
            documents.append(piece[7 * turn % length :] + piece[: 7 * turn % length])
            total += len(documents[-1].encode())
            if total >= size:
                return documents
    raise AssertionError


def timed(work: Callable[[], Any]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def compare(kind: str, tokenizer: Tokenizer, rows: Any, folder: Path, rounds: int) -> dict[str, Any]:
    vocabulary = folder / f"{kind}.json"
    tokenizer.save(vocabulary)
    ways: dict[str, Callable[[Any], Any]] = {
        "encode": lambda batch: {"ids": [tokenizer.encode(text) for text in batch["text"]]},
        "encode_batch_fast": lambda batch: {
            "ids": [found.ids for found in tokenizer.backend.encode_batch_fast(batch["text"])]
        },
    }
    ours, theirs = list[float](), {name: list[float]() for name in ways}
    for turn in range(rounds):
        store = folder / f"{kind}-{turn}"
        ours.append(timed(lambda store=store: prepare(f"hf:{folder / 'rows'}", store, vocabulary=vocabulary, valid=0)))
        tokenizer = load_tokenizer(vocabulary)  # which remembers nothing of the round before
        for name, way in ways.items():
            fingerprint = f"{kind}{name}{turn}"  # which it would else take time to find
            theirs[name].append(
                timed(
                    lambda way=way, fingerprint=fingerprint: rows.map(
                        way, batched=True, remove_columns=["text"], load_from_cache_file=False,
                        new_fingerprint=fingerprint,
                    )
                )
            )  # fmt: skip
    peer = {name: statistics.median(times) for name, times in theirs.items()}
    return {"ours_s": statistics.median(ours), "peer_s": peer, "tokens": read_index(store / "train").tokens}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--document", type=int, default=2000, help="characters of a document")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokenizers", default="char,byte,word,bpe")
    args = parser.parse_args()
    datasets.disable_progress_bars()
    texts = [path.read_text(encoding="utf-8") for path in args.texts]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        documents = documents_of(texts, int(args.megabytes * 1e6), args.document)
        size = sum(len(document.encode()) for document in documents)
        datasets.Dataset.from_dict({"text": documents}).save_to_disk(folder / "rows")
        rows = datasets.load_from_disk(folder / "rows")
        for kind in args.tokenizers.split(","):
            tokenizer = build_tokenizer(kind, texts, vocab=VOCAB.get(kind), end=True)
            found = compare(kind, tokenizer, rows, folder, args.rounds)
            best = min(found["peer_s"].values())
            speeds = {"ours_MB_s": size / 1e6 / found["ours_s"], "datasets_MB_s": size / 1e6 / best}
            row = {
                "tokenizer": kind,
                "megabytes": round(size / 1e6, 1),
                **found,
                **speeds,
                "ratio": best / found["ours_s"],
            }
            print(json.dumps({name: round(x, 2) if isinstance(x, float) else x for name, x in row.items()}), flush=True)


if __name__ == "__main__":
    main()
