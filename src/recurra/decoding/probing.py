"""Whether a pattern can be compiled at all, found out where it can do no harm."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache

__all__ = ["MOST_SECONDS", "MOST_STATES", "can_compile"]

MOST_SECONDS = 10
MOST_BYTES = 2**30
MOST_STATES = 20_000

PROBE = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
from outlines_core import Index, Vocabulary
pattern = sys.argv[1].encode("latin-1").decode("unicode_escape")
try:
    index = Index(pattern, Vocabulary(256, {bytes([b]): [b] for b in range(256)}))
    sys.exit(len(index.get_transitions()) > int(sys.argv[3]))
except ValueError:
    pass
"""


@lru_cache(256)
def can_compile(pattern: str) -> bool:
    """Return whether an automaton of a pattern takes less than some seconds, a gibibyte and some thousand states.

    The library has no limit of its own: an expression such as ``.*a.{20}`` needs a state for every subset of what may
    follow, and would fill the memory of whoever compiles it. So another process tries.
    """
    escaped = pattern.encode("unicode_escape").decode("latin-1")
    try:
        result = subprocess.run(
            [sys.executable, "-I", "-c", PROBE, escaped, str(MOST_BYTES), str(MOST_STATES)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0
