"""What damage, chance and malice make of files, and what may come of reading them."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from recurra.errors import RecurraError

__all__ = ["cases", "mutated", "mutated_text", "survives"]

LONGEST_S = 30.0
"""Of CPU time: how busy the machine is says nothing about a reader."""
MOST_BYTES = 3 * 2**30
"""Address space that a reader may take beside what the process has."""

NASTY = (
    b"\x00", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\r", b"\n\n", b"\x1f\x8b", b"PK\x03\x04",
    b"99999999999999999999999", b"-1", b"1e400", b"NaN", b"Infinity", b"null", b"true", b"{}", b"[]", b'""',
    b"[" * 3000, b'{"a":' * 3000, b"a" * 30000, b"\xef\xbb\xbf", b"../" * 20, b"=" * 40, b"\\", b'"', b"\t" * 50,
    b"18446744073709551616", b"9223372036854775807", b"2147483648", b"0.1e-999", b"'", b"%s%n", b"__import__",
)  # fmt: skip
"""Pieces that readers trip over: ends of other encodings, numbers beyond all bounds, nesting, long lines."""

FORBIDDEN = ("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen",
             "socket.connect", "urllib.Request")  # fmt: skip
"""What reading a file never does."""

CAMPAIGN = os.environ.get("RECURRA_HYPOTHESIS") == "campaign"

_watching: list[str] = []
_found: list[str] = []


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _watching and event in FORBIDDEN:
        _found.append(event)


sys.addaudithook(_watch)


def cases(number: int) -> settings:
    """Try so many files; fifteen times as many, others every time, in the campaign."""
    return settings(max_examples=number * 15 if CAMPAIGN else number, suppress_health_check=list(HealthCheck))


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw a file like a whole one: cut, flipped, spliced, repeated, or with something nasty in it."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("cut", "flip", "set", "insert", "nasty", "remove", "repeat", "number")))
        at = draw(st.integers(0, len(data)))
        if kind == "cut":
            del data[at:]
        elif kind == "flip" and at < len(data):
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=8))
        elif kind == "nasty":
            data[at : at + draw(st.integers(0, 8))] = draw(st.sampled_from(NASTY))
        elif kind == "remove":
            del data[at : at + draw(st.integers(1, 40))]
        elif kind == "repeat":
            piece = bytes(data[at : at + draw(st.integers(1, 60))])
            data[at:at] = piece * draw(st.integers(1, 20))
        elif kind == "number":
            _change_number(
                data, at, draw(st.sampled_from((b"0", b"-1", b"1" + b"0" * 30, b"1e99", b"null", b'"x"', b"[]")))
            )
    return bytes(data)


def mutated_text(whole: str) -> st.SearchStrategy[str]:
    """Draw a text like a whole one, as `mutated` does."""
    return mutated(whole.encode()).map(lambda data: data.decode("utf-8", "replace"))


def _change_number(data: bytearray, at: int, number: bytes) -> None:
    """Replace the first number behind a place."""
    digits = b"0123456789"
    start = next((n for n in range(at, len(data)) if data[n] in digits), None)
    if start is not None:
        stop = next((n for n in range(start, len(data)) if data[n] not in digits), len(data))
        data[start:stop] = number


def survives(read: Callable[[], Any], *, allowed: Sequence[str] = ()) -> Any:
    """Call a reader: it gives something, or an error of ours in one line; in some seconds, in bounded memory.

    Args:
        allowed: events that are forbidden to others.
    Returns: what it gave, or the error.
    """
    _count()
    _found.clear()
    with _limits():
        _watching.append("")
        try:
            result = read()
        except RecurraError as error:
            result = error
        finally:
            _watching.pop()
    if isinstance(result, RecurraError):
        assert len(str(result).splitlines()) == 1, f"an error is not one line: {result!s:.300}"
    assert not set(_found) - set(allowed), f"reading a file led to {_found}"
    return result


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    def too_long(number: int, frame: Any) -> None:
        raise TimeoutError(f"a reader took more than {LONGEST_S} s")

    with open("/proc/self/statm", encoding="ascii") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGPROF, too_long)
    faulthandler.dump_traceback_later(20 * LONGEST_S, exit=True)  # for what holds on to the interpreter
    signal.setitimer(signal.ITIMER_PROF, LONGEST_S)
    resource.setrlimit(resource.RLIMIT_AS, (size + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGPROF, handler)


def _count() -> None:
    """Count a case, where the campaign asks for it."""
    if path := os.environ.get("RECURRA_HOSTILE_COUNT"):
        with open(path, "ab") as file:
            file.write(b".")
