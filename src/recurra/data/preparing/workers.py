"""Pieces of work done here, or by processes of our own, whichever is free."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recurra.data.preparing.work import Work
from recurra.errors import CorpusError, RecurraError

__all__ = ["do_all", "serve"]

Item = tuple[str, Any, int]
QUIET_S = 0.2
"""Seconds between two words about progress."""


def do_all(work: Work, folder: Path, items: Sequence[Item], processes: int, progress: Callable[[int], None]) -> None:
    """Do pieces of work in any order; which process does what changes nothing.

    Args:
        progress: called with the symbols just done.
    Raises: CorpusError of the first that fails.
    """
    if processes == 1 or len(items) < 2:
        for item in items:
            for symbols in work.do(item):
                progress(symbols)
        return
    workers = [_start(folder) for _ in range(min(processes, len(items)))]
    try:
        _share_out(workers, list(reversed(items)), progress)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    pipe.close()


def _start(folder: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}
    environment |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    program = f"from {__name__} import serve; serve({str(folder)!r}, {os.getpid()})"
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, bufsize=0)


def _share_out(workers: Sequence[subprocess.Popen[bytes]], items: list[Item], progress: Callable[[int], None]) -> None:
    """Hand each worker an item, and another whenever it is done."""
    rest = dict.fromkeys(workers, b"")
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            assert worker.stdout is not None
            selector.register(worker.stdout, selectors.EVENT_READ, worker)
            _hand_out(worker, items.pop())
        busy = len(workers)
        while busy:
            for key, _ in selector.select():
                worker = key.data
                data = os.read(key.fd, 1 << 16)
                if not data:
                    raise CorpusError(
                        f"a process that was preparing has ended (status {worker.wait()}); was there too little "
                        f"memory? Repeat the command, which goes on where it stopped, with fewer --processes"
                    )
                *lines, rest[worker] = (rest[worker] + data).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    if "error" in answer:
                        raise CorpusError(answer["error"])
                    progress(answer["symbols"])
                    if answer["done"]:
                        busy -= 1
                        if items:
                            _hand_out(worker, items.pop())
                            busy += 1


def _hand_out(worker: subprocess.Popen[bytes], item: Item) -> None:
    assert worker.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # its end is noticed where it is read from
        worker.stdin.write(json.dumps(item).encode() + b"\n")


def serve(folder: str, parent: int) -> None:
    """Do what is asked on standard input, line by line, until the one who asks is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends us
    work = Work.open(Path(folder))
    for line in sys.stdin:
        try:
            for symbols in _seldom(work.do(json.loads(line))):
                if os.getppid() != parent:
                    return
                _say({"symbols": symbols, "done": False})
            _say({"symbols": 0, "done": True})
        except RecurraError as error:
            _say({"error": str(error)})
            return


def _seldom(symbols: Iterator[int]) -> Iterator[int]:
    """Add up what comes in a short while; the first comes at once, so that an orphan ends at once."""
    total, last = 0, time.monotonic()
    for count in symbols:
        total += count
        if time.monotonic() - last > QUIET_S:
            yield total
            total, last = 0, time.monotonic()
    yield total


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)
