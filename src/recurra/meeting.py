"""How processes that were started together find each other: through a store of keys, which one of them has."""

from __future__ import annotations

import json
import time
import uuid
from datetime import timedelta
from typing import Any

from recurra.errors import ProcessError

__all__ = ["meet"]

POLL_S = 0.05


def meet(store: Any, rank: int, size: int, patience: timedelta) -> str:
    """Agree on a name under which nothing has been said in the store before.

    torchrun keeps one store through all restarts, and what processes that are gone have said there is still in it: who
    believes it calls addresses at which nobody lives any more. So each process says a word that it has just made up;
    the first one repeats the words that it reads, under a name that it has just made up, until all have heard theirs.

    Args:
        store: of torch.distributed.
        patience: how long to wait for the others.
    Returns: the name, the same in all.
    Raises: ProcessError if the others do not come.
    """
    end = time.monotonic() + patience.total_seconds()
    return _lead(store, size, end) if rank == 0 else _follow(store, rank, size, end)


def _lead(store: Any, size: int, end: float) -> str:
    name, said = uuid.uuid4().hex, None
    while not all(store.check([f"{name}/{rank}"]) for rank in range(1, size)):
        _rest(end, size)
        words = [_read(store, f"word/{rank}") for rank in range(1, size)]
        if words != said:
            store.set("words", json.dumps([name, words]))
            said = words
    return name


def _follow(store: Any, rank: int, size: int, end: float) -> str:
    word = uuid.uuid4().hex
    while True:
        store.set(f"word/{rank}", word)  # again, for an earlier start of this process may write late
        found = _read(store, "words")
        name, words = json.loads(found) if found else ("", [])
        if len(words) == size - 1 and words[rank - 1] == word:
            store.set(f"{name}/{rank}", "1")
            return str(name)
        _rest(end, size)


def _read(store: Any, key: str) -> str:
    return store.get(key).decode() if store.check([key]) else ""


def _rest(end: float, size: int) -> None:
    if time.monotonic() > end:
        raise ProcessError(f"not all of the {size} processes have come; look at those that are missing")
    time.sleep(POLL_S)
