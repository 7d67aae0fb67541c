"""Finding what is odd in a log: a character GRU that remembers earlier lines, beside character n-grams.

A made-up shop writes a log: sessions of users run side by side, each `login`, some searches and orders, `logout`, by
four services, with times, addresses and durations that have their usual ranges. A model learns a clean log; in another
one, some lines are wrong, each in one of five ways. Lines are ranked by their surprise.

    python examples/log_anomalies.py --out anomalies.png
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import recurra as rc
from recurra.evaluation import NgramModel, score_texts
from recurra.figures import plot_precision_recall
from recurra.libraries import need

KINDS = ("order", "value", "garbled", "combination", "unknown")
SHARE = 0.01
WORDS = ("shoes", "lamp", "kettle", "novel", "guitar", "tent", "jacket", "camera", "desk", "bicycle")


class Line(NamedTuple):
    text: str
    anomaly: str = ""


class Session:
    """What one user does, in an order that has rules: nobody pays before ordering, or does anything after logout."""

    def __init__(self, random: np.random.Generator, number: int) -> None:
        self.random, self.id = random, f"{number % 4096:03x}"
        self.ip = f"10.{random.integers(4)}.{random.integers(16)}.{random.integers(256)}"
        self.last = ""

    def next(self) -> str:
        """Choose the next event."""
        after = {
            "": (["login"], [1]),
            "login": (["search", "logout"], [0.9, 0.1]),
            "search": (["search", "view", "logout"], [0.2, 0.7, 0.1]),
            "view": (["search", "order", "logout"], [0.4, 0.4, 0.2]),
            "order": (["pay", "cancel"], [0.85, 0.15]),
            "pay": (["logout", "search"], [0.7, 0.3]),
            "cancel": (["logout", "search"], [0.7, 0.3]),
        }
        names, odds = after[self.last]
        self.last = str(self.random.choice(names, p=odds))
        return self.last

    def write(self, event: str, **changed: str) -> str:
        """Write an event as its service does."""
        draw = self.random
        took = {"login": 40, "logout": 5, "search": 120, "view": 30, "order": 80, "pay": 400, "cancel": 60}[event]
        fields = {
            "service": {"login": "auth", "logout": "auth", "search": "find", "view": "find"}.get(event, "shop"),
            "level": "WARN" if event == "cancel" else "INFO",
            "status": "409" if event == "cancel" else "201" if event == "order" else "200",
            "ms": str(int(took * draw.uniform(0.8, 1.25))),
        }
        if event in ("pay", "cancel"):
            fields["service"] = "bank"
        fields |= changed
        what = {"search": f" q={draw.choice(WORDS)}", "view": f" item={draw.integers(100, 1000)}"}.get(event, "")
        if event in ("order", "pay"):
            what = f" sum={draw.integers(5, 200)}.{draw.choice(['00', '50', '99'])}"
        return (
            f"{fields['level']} {fields['service']} s={self.id} {event}{what} "
            f"from={self.ip} status={fields['status']} ms={fields['ms']}"
        )


def spoil(session: Session, event: str, random: np.random.Generator) -> Line:
    """Write an event in one of the ways that are wrong."""
    kind = str(random.choice(KINDS))
    if kind == "order":  # of events that only the lines before tell to be wrong
        return Line(
            session.write({"login": "pay", "search": "pay", "view": "pay", "order": "login"}.get(event, "view")), kind
        )
    if kind == "value":
        return Line(session.write(event, ms=str(int(random.integers(4000, 30000)))), kind)
    if kind == "combination":
        service = {"auth": "bank", "find": "auth", "shop": "find", "bank": "find"}
        right = session.write(event).split()[1]
        return Line(session.write(event, service=service[right]), kind)
    text = session.write(event)
    if kind == "unknown":
        return Line(session.write(event, status=str(random.choice(["500", "503", "403"]))), kind)
    start = int(random.integers(10, len(text) - 12))
    noise = "".join(random.choice(list("0123456789abcdefrstuw=."), 6))
    return Line(text[:start] + noise + text[start + 6 :], kind)


def make_log(lines: int, seed: int, *, share: float = 0.0, most_sessions: int = 2) -> list[Line]:
    """Write a log of sessions that run side by side, a share of its lines wrong."""
    random = np.random.default_rng(seed)
    log: list[Line] = []
    sessions: list[Session] = []
    clock, started = 8 * 3600.0, int(random.integers(4096))
    while len(log) < lines:
        if len(sessions) < most_sessions and (not sessions or random.random() < 0.3):
            started += 1
            sessions.append(Session(random, started))
        session = sessions[random.integers(len(sessions))]
        event = session.next()
        line = spoil(session, event, random) if random.random() < share else Line(session.write(event))
        if event == "logout":
            sessions.remove(session)
        clock = (clock + random.exponential(0.7)) % 86400
        at = f"{int(clock) // 3600:02}:{int(clock) // 60 % 60:02}:{int(clock) % 60:02} "
        log.append(line._replace(text=at + line.text))
    return log


def ngram_scores(corpus: rc.Corpus, text: str, order: int) -> list[float]:
    """Return the mean bits of each line by a character n-gram."""
    model = NgramModel.fit(corpus.train, order=order, vocab=len(corpus.vocabulary))
    bits = model.surprisals(corpus.vocabulary.encode(text))
    ends = np.cumsum([len(line) + 1 for line in text.splitlines()])
    return [float(np.nanmean(part)) for part in np.split(bits, ends[:-1])]


def report(name: str, scores: list[float], log: list[Line]) -> tuple[np.ndarray, np.ndarray, float]:
    """Print how well the highest scores are the wrong lines, and return the curve of precision over recall."""
    metrics = need("sklearn.metrics")
    wrong = np.array([bool(line.anomaly) for line in log])
    ranks = np.argsort(-np.array(scores), kind="stable")
    found = set(ranks[: wrong.sum()].tolist())
    hit = np.mean([n in found for n in np.flatnonzero(wrong)])
    average = float(metrics.average_precision_score(wrong, scores))
    kinds = ", ".join(
        f"{kind} {np.mean([n in found for n, line in enumerate(log) if line.anomaly == kind] or [np.nan]):.2f}"
        for kind in KINDS
    )
    print(f"{name:<18} precision = recall at {wrong.sum()} lines {hit:.3f}, average precision {average:.3f}; {kinds}")
    precision, recall, _ = metrics.precision_recall_curve(wrong, scores)
    return recall, precision, average


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=30_000, help="of the clean log")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, help="keep the logs and the run here")
    parser.add_argument("--out", type=Path, help="a picture of precision and recall")
    parser.add_argument("--quick", action="store_true", help="so small that it only shows that it runs")
    args = parser.parse_args()
    if args.quick:
        args.lines, args.hidden, args.epochs = 300, 16, 1
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as scratch:
        run_all(args, args.folder or Path(scratch))


def run_all(args: argparse.Namespace, folder: Path) -> None:
    """Write both logs, learn the clean one, and rank the lines of the other."""
    folder.mkdir(parents=True, exist_ok=True)
    clean = make_log(args.lines, args.seed)
    log = make_log(max(200, args.lines // 3), args.seed + 1, share=SHARE if args.lines > 1000 else 0.1)
    texts = ["".join(f"{line.text}\n" for line in each) for each in (clean, log)]
    for name, text in zip(("clean.log", "test.log"), texts, strict=True):
        (folder / name).write_text(text)
    (folder / "labels.txt").write_text("".join(f"{line.anomaly or '-'}\n" for line in log))
    print(f"{len(clean):,} clean lines, {len(texts[0]):,} characters; {len(log):,} lines with anomalies, such as")
    for kind in KINDS:
        print(f"  {kind:<12} {next((line.text for line in log if line.anomaly == kind), '')}")

    torch.manual_seed(args.seed)
    corpus = rc.Corpus.from_file(folder / "clean.log", valid=0.05)
    model = rc.LanguageModel(corpus.vocabulary, cell="gru", hidden=args.hidden, embedding=min(64, args.hidden))
    started = time.perf_counter()
    trainer = rc.Trainer(
        model, corpus, out=folder / "run", backprop=rc.Truncated(256), batch=32, lr=3e-3, schedule="cosine"
    )
    trainer.fit(epochs=args.epochs)
    print(f"GRU of {args.hidden} units, trained in {time.perf_counter() - started:.0f} s")

    with (folder / "test.log").open() as lines:
        passages = list(score_texts(model, lines))
    curves = {
        "GRU": report("GRU", [passage.bits for passage in passages], log),
        "its worst token": report("its worst token", [passage.most for passage in passages], log),
    }
    for order in (6, 10):
        name = f"Kneser-Ney {order}-gram"
        curves[name] = report(name, ngram_scores(corpus, texts[1], order), log)
    if args.out:
        plot_precision_recall(
            {name: (recall, precision) for name, (recall, precision, _) in curves.items()},
            args.out,
            title="Anomalies in a log",
            note=", ".join(f"{name} {average:.2f}" for name, (_, _, average) in curves.items()),
        )


if __name__ == "__main__":
    main()
