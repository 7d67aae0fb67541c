"""What the choices cost: how the text is partitioned, whether the state is carried, and what a token is.

    python examples/choices.py shakespeare.txt --minutes 10 --json choices.json

Two experiments on one text, the last tenth of which is held back:

1. The same model is trained for equally many steps on windows in order, its state carried from each to the next, and on
   shuffled windows that start from nothing. Both are then measured with the state carried through the whole held-back
   text, and with the state forgotten after every N characters.
2. The same layer is trained for equally many minutes on characters, words and byte pairs. What is left out of the
   minutes: validation, samples and the start. Bits per character compare across tokenizers: all bits spent on the
   held-back text, divided by the same number of characters.

Words that the vocabulary does not hold cost a word model no more than the token `<unk>`, which says nothing of how they
are spelled. The row "word, spelled out" adds what it takes to spell them letter by letter at the frequencies of the
training text. White space other than single spaces and line ends is lost to words, and is not charged to them.

A word of a sample is misspelled when it does not occur in the whole text, compared without case; a word is a run of
letters and apostrophes. Tables go to stdout, all numbers to the file named by --json, which grows as they are made.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import recurra as rc
from recurra.evaluation import evaluate
from recurra.models import ModelConfig, generate_texts
from recurra.training import Reporter, Run, Trainer, TrainingConfig

VALID_SHARE = 0.1
RESETS = (8, 16, 32, 64, 128, 256, 512, 1024)
SAMPLES = 10
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")


class Clock(Reporter):
    """Adds up the seconds between steps; what happens between epochs is left out."""

    def __init__(self, skipped: int = 0) -> None:
        self.skipped, self.seconds, self.intervals = skipped, 0.0, 0
        self.last: float | None = None

    def step(self, step: int, loss_nats: float, grad_norm: float) -> None:
        now = time.perf_counter()
        if self.last is not None and step > self.skipped:
            self.seconds += now - self.last
            self.intervals += 1
        self.last = now

    def validating(self, done: int, total: int) -> None:
        self.last = None

    def epoch(self, row: dict[str, Any], sample: str) -> None:
        self.last = None
        print(
            f"  epoch {row['epoch']}, step {row['step']}: {row.get('valid_loss_nats', math.nan):.4f}", file=sys.stderr
        )

    def note(self, text: str) -> None:
        print(f"  {text}", file=sys.stderr)

    @property
    def seconds_per_step(self) -> float:
        return self.seconds / max(self.intervals, 1)


def train(corpus: rc.Corpus, model: ModelConfig, training: TrainingConfig, out: Path, clock: Clock) -> Run:
    """Train a model whose first weights depend on nothing but the seed and its sizes."""
    torch.manual_seed(training.seed)
    return Trainer(rc.LanguageModel(corpus.vocabulary, model), corpus, out=out, config=training, reporter=clock).fit()


def compare_partitions(
    corpus: rc.Corpus, model: ModelConfig, training: TrainingConfig, folder: Path
) -> list[dict[str, Any]]:
    rows = []
    for partition in ("sequential", "random"):
        print(f"partition {partition}", file=sys.stderr)
        clock = Clock()
        settings = {**vars(training), "partition": partition, "keep": "last"}
        run = train(corpus, model, TrainingConfig(**settings), folder / partition, clock)
        resets = [n for n in RESETS if 2 * n < len(corpus.valid)]
        losses = {str(n): evaluate(run.model, corpus.valid, reset_every=n).loss_nats for n in resets}
        losses["never"] = evaluate(run.model, corpus.valid).loss_nats
        rows.append({"partition": partition, "seconds": round(clock.seconds), "loss_nats_by_reset": losses})
    return rows


def partition_table(rows: list[dict[str, Any]]) -> str:
    resets = list(rows[0]["loss_nats_by_reset"])
    lines = [f"| trained on | {' | '.join(resets)} |", f"|---|{'---:|' * len(resets)}"]
    for row in rows:
        losses = " | ".join(f"{loss:.4f}" for loss in row["loss_nats_by_reset"].values())
        lines.append(f"| {row['partition']} windows | {losses} |")
    return "\n".join(lines)


def steps_for(
    minutes: float, corpus: rc.Corpus, model: ModelConfig, training: TrainingConfig, folder: Path, probe: int
) -> int:
    """Measure some steps and return how many fill the minutes."""
    clock = Clock(skipped=probe // 4)
    train(corpus, model, TrainingConfig(**{**vars(training), "steps": probe}), folder, clock)
    return max(1, round(60 * minutes / clock.seconds_per_step))


def spelling_bits(words: Counter[str], training_text: str) -> float:
    """Bits to spell words letter by letter, with an end each, at the frequencies of the training text's words."""
    letters = Counter(training_text.split())
    counts: Counter[str] = Counter()
    for word, times in letters.items():
        for letter in [*word, " "]:
            counts[letter] += times
    alphabet = len(counts.keys() | {letter for word in words for letter in word})
    total = counts.total() + alphabet  # each letter is counted once more, so that none is impossible
    return sum(
        times * -math.log2((counts[letter] + 1) / total) for word, times in words.items() for letter in [*word, " "]
    )


def misspelled_share(samples: list[str], text: str) -> tuple[float, int]:
    """Return the share of misspelled words, and how many words there are; the last, cut off, of a sample is not one."""
    known = set(WORD.findall(text.lower()))
    found = [
        word for sample in samples for word in WORD.findall(re.sub(r"\S*\Z", "", sample).replace("<unk>", " ").lower())
    ]
    return sum(word not in known for word in found) / max(len(found), 1), len(found)


def compare_tokenizers(
    parts: tuple[str, str], model: ModelConfig, training: TrainingConfig, args: argparse.Namespace, folder: Path
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    train_text, valid_text = parts
    valid_file = folder / "valid.txt"
    valid_file.write_text(valid_text, encoding="utf-8", newline="")
    for kind in ("char", "word", "bpe"):
        print(f"tokenizer {kind}", file=sys.stderr)
        vocab = args.bpe_vocab if kind == "bpe" else None
        corpus = rc.Corpus.from_text(train_text, tokenizer=kind, vocab=vocab, valid=valid_file)
        steps = steps_for(args.minutes, corpus, model, training, folder / f"{kind}-probe", args.probe_steps)
        clock = Clock()
        run = train(corpus, model, TrainingConfig(**{**vars(training), "steps": steps}), folder / kind, clock)
        score = evaluate(run.model, corpus.valid)
        chars_per_token = len(train_text) / len(corpus.train)
        tokens_per_s = training.batch * training.policy.span / clock.seconds_per_step
        each = max(1, round(args.sample_chars / SAMPLES / chars_per_token))
        samples = generate_texts(run.model, samples=SAMPLES, tokens=each, temperature=args.temperature)
        misspelled, sampled_words = misspelled_share(samples, train_text + valid_text)
        best = min(run.metrics, key=lambda row: row.get("valid_loss_nats", math.inf))
        rows.append(
            {
                "tokenizer": kind,
                "vocabulary": len(corpus.vocabulary),
                "chars_per_token": chars_per_token,
                "parameters": sum(parameter.numel() for parameter in run.model.parameters()),
                "minutes": clock.seconds_per_step * steps / 60,
                "steps": steps,
                "passes": steps * training.batch * training.policy.span / len(corpus.train),
                "best_step": best["step"],
                "bits_per_char": score.bits_per_token * score.tokens / len(valid_text),
                "loss_nats": score.loss_nats,
                "chars_per_s": tokens_per_s * chars_per_token,
                "sampled_chars": sum(map(len, samples)),
                "sampled_words": sampled_words,
                "misspelled": misspelled,
                "unknown_in_valid": 0.0,
            }
        )
        unseen = corpus.vocabulary.unseen(valid_text)
        if kind == "word" and unseen:
            row = rows[-1]
            row["unknown_in_valid"] = unseen.total() / len(corpus.valid)
            bits = score.bits_per_token * score.tokens + spelling_bits(unseen, train_text)
            rows.append({**row, "tokenizer": "word, spelled out", "bits_per_char": bits / len(valid_text)})
    return rows


def tokenizer_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| tokens | vocabulary | characters per token | passes | best at step | bits per character "
        "| unknown words | characters per second | misspelled words |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['tokenizer']} | {row['vocabulary']:,} | {row['chars_per_token']:.2f} | {row['passes']:.1f} "
        f"| {row['best_step']:,} of {row['steps']:,} | {row['bits_per_char']:.3f} | {row['unknown_in_valid']:.1%} "
        f"| {row['chars_per_s']:,.0f} | {row['misspelled']:.1%} of {row['sampled_words']:,} |"
        for row in rows
    ]
    return "\n".join(lines)


def split(text: str) -> tuple[str, str]:
    """Cut the last tenth off, at a line end: the same characters for every tokenizer."""
    cut = text.find("\n", int(len(text) * (1 - VALID_SHARE))) + 1
    if not 0 < cut < len(text):
        sys.exit("the text has no line end near its last tenth; give a text of lines")
    return text[:cut], text[cut:]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what partitioning, resets and tokenizers cost.")
    parser.add_argument("text", type=Path, help="a text file")
    parser.add_argument("--minutes", type=float, default=10.0, help="of training per tokenizer")
    parser.add_argument("--steps", type=int, default=4000, help="of training per partition")
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--embedding", type=int, default=128)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--window", type=int, default=64, help="tokens between cuts of the gradient")
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--bpe-vocab", type=int, default=2048)
    parser.add_argument("--probe-steps", type=int, default=40, help="to measure the speed with")
    parser.add_argument("--sample-chars", type=int, default=20_000)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("partitions", "tokenizers"), help="one of the two experiments")
    parser.add_argument("--out", type=Path, help="folder to keep the runs in; default a temporary one")
    parser.add_argument("--json", type=Path, help="file for all numbers")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.minutes, args.steps, args.hidden, args.embedding = 0.005, 4, 8, 8
        args.batch, args.window, args.bpe_vocab, args.probe_steps, args.sample_chars = 4, 8, 260, 4, 300
    return args


def measure(args: argparse.Namespace, folder: Path) -> None:
    text = args.text.read_bytes().decode("utf-8")
    parts = split(text)
    model = ModelConfig(cell="lstm", hidden=args.hidden, embedding=args.embedding, dropout=args.dropout)
    training = TrainingConfig(
        batch=args.batch, backprop=str(args.window), lr=args.lr, weight_decay=0.05, steps=args.steps, seed=args.seed
    )
    report: dict[str, Any] = {"text": args.text.name, "characters": len(text), "threads": torch.get_num_threads()}
    report["settings"] = {name: value for name, value in vars(args).items() if not isinstance(value, Path)}

    def keep(name: str, rows: list[dict[str, Any]], table: str) -> None:
        report[name] = rows
        print(f"\n{table}\n", flush=True)
        if args.json:
            args.json.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    if args.only != "tokenizers":
        valid_file = folder / "valid-of-partitions.txt"
        valid_file.write_text(parts[1], encoding="utf-8", newline="")
        corpus = rc.Corpus.from_text(parts[0], valid=valid_file)
        rows = compare_partitions(corpus, model, training, folder)
        keep("partitions", rows, "Nats per character, state forgotten every N characters:\n\n" + partition_table(rows))
    if args.only != "partitions":
        rows = compare_tokenizers(parts, model, training, args, folder)
        keep("tokenizers", rows, f"{args.minutes:g} minutes of training each:\n\n" + tokenizer_table(rows))


def main() -> None:
    args = parse_arguments()
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        measure(args, args.out)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(args, Path(folder))


if __name__ == "__main__":
    main()
