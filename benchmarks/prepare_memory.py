"""Memory and time of `recurra prepare` on a text of any size, made by repeating others; prints JSON.

python benchmarks/prepare_memory.py TEXT... --megabytes 2000 [--tokenizer char] [--processes 2] [--folder /tmp]

Every fiftieth of a second the resident memory of all its processes is added up: their own (Pss, in which pages that
several share, or files that the system has mapped, are counted once), and as plain sums (Rss).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def children(process: int) -> list[int]:
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(each for child in found for each in children(int(child)))]


def resident(process: int) -> tuple[int, int]:
    """Return Pss and Rss in kilobytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0, 0
    values = {line.split(":")[0]: int(line.split()[1]) for line in lines if line.startswith(("Pss:", "Rss:"))}
    return values.get("Pss", 0), values.get("Rss", 0)


def write_text(texts: list[bytes], path: Path, size: int) -> int:
    written = 0
    with path.open("wb") as file:
        while written < size:
            for text in texts:
                written += file.write(text + b"\n")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=float, default=2000)
    parser.add_argument("--tokenizer", default="char")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", default=None, help="on the disk to use")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        text, store = Path(scratch, "text.txt"), Path(scratch, "store")
        size = write_text([path.read_bytes() for path in args.texts], text, int(args.megabytes * 1e6))
        command = [sys.executable, "-m", "recurra", "prepare", str(text), "--out", str(store), "--json"]
        command += ["--tokenizer", args.tokenizer, "--processes", str(args.processes), "--valid", "0.01"]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        pss, rss = 0, 0
        while process.poll() is None:
            found = [resident(each) for each in children(process.pid)]
            pss, rss = max(pss, sum(each[0] for each in found)), max(rss, sum(each[1] for each in found))
            time.sleep(0.02)
        assert process.stdout is not None
        made = json.loads(process.stdout.read())
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        row = {
            "tokenizer": args.tokenizer,
            "processes": args.processes,
            "megabytes": round(size / 1e6, 1),
            "tokens": made["train_tokens"] + made["valid_tokens"],
            "vocabulary": made["vocabulary"],
            "seconds": round(time.perf_counter() - started, 1),
            "processor_s": round(used.ru_utime + used.ru_stime, 1),
            "pss_MB": round(pss / 1024, 1),
            "rss_MB": round(rss / 1024, 1),
        }
        print(json.dumps(row))


if __name__ == "__main__":
    main()
