"""Policies as they are written on the command line."""

from __future__ import annotations

from recurra.engine.backprop import Full, Truncated
from recurra.engine.policies.checkpointed import Checkpointed
from recurra.engine.policies.online import Online
from recurra.engine.policies.random_window import RandomWindow
from recurra.engine.policies.unbiased import Unbiased
from recurra.engine.policy import Policy
from recurra.errors import BackpropError, nearest

__all__ = ["parse_policy"]

NAMES = ("truncated", "random", "unbiased", "online", "full", "checkpointed")
FORMS = "64, truncated:K1,K2, random:N, unbiased:N, online, full[:SPAN] or checkpointed:64MB[:SPAN]"


def parse_policy(text: str) -> Policy:
    """Read a policy: ``64``, ``truncated:16,64``, ``random:70``, ``unbiased:50``, ``online``, ``full:1024``,
    ``checkpointed:64MB:4096``.

    Raises: BackpropError for anything else.
    """
    name, _, argument = text.strip().partition(":")
    try:
        return _read(name, argument)
    except ValueError as error:
        if isinstance(error, BackpropError):
            raise
        hint = nearest(name, NAMES) if name.isalpha() and name not in NAMES else ""
        raise BackpropError(f"cannot read '{text}' as a way to back-propagate{hint}; write {FORMS}") from None


def _read(name: str, argument: str) -> Policy:
    if name == "full":
        return Full(int(argument)) if argument else Full()
    if name == "truncated":
        return Truncated(*map(int, _parts(argument, 2)))
    if name == "random":
        return RandomWindow(int(argument))
    if name == "unbiased":
        n, *alpha = _parts(argument, 2)
        return Unbiased(int(n), *map(float, alpha))
    if name == "online":
        return Online(int(argument)) if argument else Online()
    if name == "checkpointed":
        memory, _, span = argument.partition(":")
        return Checkpointed(memory, int(span)) if span else Checkpointed(memory)
    if argument:
        raise ValueError(name)
    return Truncated(int(name))


def _parts(text: str, most: int) -> list[str]:
    parts = text.split(",")
    if len(parts) > most:
        raise ValueError(text)
    return parts
