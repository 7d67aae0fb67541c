"""What a text may be, as an automaton that reads its bytes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.decoding.probing import MOST_SECONDS, MOST_STATES, can_compile
from recurra.errors import ConfigError
from recurra.libraries import need

__all__ = ["DEAD", "START", "Automaton", "automaton_of_pattern", "avoiding", "body_of", "both"]

DEAD, START = 0, 1
"""The state from which nothing is accepted, and the one before the first byte."""
NOTHING = 256
"""The id that the library takes for the end of a text; the others are the bytes."""
LARGEST_REPETITION = 10_000
STATES_OF_CLASSES = {r"\p": 300, r"\P": 300, r"\w": 300, r"\W": 300, r"\d": 40, r"\D": 40, r"\s": 10, r"\S": 10, ".": 8}
"""States that one character of a class takes, about: characters beyond ASCII are several bytes."""
PART = re.compile(r"\\[pP]\{[^}]*\}|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{[\d,]+\}|.", re.DOTALL)
"""A part of a pattern: an escaped character, a class, a count, or any other character."""
MARKS = {"^", "$", r"\A", r"\z", r"\b", r"\B", r"\<", r"\>"}
"""What stands for a place and not for a character."""


class Automaton(NamedTuple):
    """A deterministic automaton over bytes, with S states.

    Args:
        next: (S, 256) int32, the state after a byte.
        accepting: (S,) bool, whether a text may end there.
    """

    next: NDArray[np.int32]
    accepting: NDArray[np.bool_]


def automaton_of_pattern(pattern: str, *, trailing_space: bool = False) -> Automaton:
    """Return what accepts the texts that match a regular expression from their first character to their last.

    Args:
        pattern: in the dialect of Rust's regex library, without look-around, back-references and word boundaries. The
            zero character is never matched.
        trailing_space: whether one space behind the match is accepted, too.
    Raises: ConfigError if it is none, or too large; DataError if outlines-core is not installed.
    """
    library = need("outlines_core")
    body = body_of(pattern)
    whole = f"(?:{body}){' ?' if trailing_space else ''}\\x00"
    if _may_explode(PART.findall(body)) and not can_compile(whole):
        raise ConfigError(
            f"the pattern {_short(pattern)} takes more than {MOST_SECONDS} s, 1 GiB or {MOST_STATES:,} states to "
            f"compile; repeat less behind * and +, or choose narrower classes"
        )
    byte_tokens = library.Vocabulary(NOTHING, {bytes([byte]): [byte] for byte in range(256)})
    # By itself, as brackets that close what they did not open could make sense in others. Then with a zero character
    # behind it: the library gives up longer matches for shorter ones, and so there is no match but the whole.
    _compile(library, pattern, body, library.Vocabulary(NOTHING, {b"a": [0]}))
    index = _compile(library, pattern, whole, byte_tokens)
    if index is None:
        raise ConfigError(f"the pattern {_short(pattern)} cannot be matched: after some beginnings nothing may follow")
    transitions, finals = index.get_transitions(), index.get_final_states()
    first = index.get_initial_state()
    number = {state: n for n, state in enumerate([first, *(s for s in transitions if s != first)], START)}
    table = np.full((len(number) + 1, 256), DEAD, np.int32)
    accepting = np.zeros(len(table), np.bool_)
    for state, row in transitions.items():
        going = [(byte, number[after]) for byte, after in row.items() if 0 < byte < NOTHING]
        table[number[state], [byte for byte, _ in going]] = [after for _, after in going]
        accepting[number[state]] = row.get(0) in finals
    return Automaton(table, accepting)


def body_of(pattern: str) -> str:
    """Return a pattern without the ^ and $ around it, which say nothing where the whole text is matched.

    Raises: ConfigError for such marks inside, and for repetitions that are too large.
    """
    parts = PART.findall(pattern)
    start, stop = int(parts[:1] == ["^"]), len(parts) - (parts[-1:] == ["$"])
    parts = parts[start:stop]
    if marks := sorted(MARKS & set(parts)):
        raise ConfigError(
            f"the pattern {_short(pattern)} has {marks[0]} inside; leave it out: all of a text is matched"
        )
    if _largest_repetition(parts) > LARGEST_REPETITION:
        raise ConfigError(
            f"the pattern {_short(pattern)} repeats something more than {LARGEST_REPETITION:,} times, where a class "
            f"such as \\w or \\p{{L}} counts 300: write [a-z] instead, or fewer"
        )
    return "".join(parts)


def avoiding(texts: Sequence[str]) -> Automaton:
    """Return what accepts every text that holds none of these.

    Source: Aho & Corasick 1975.
    """
    if not all(texts):
        raise ConfigError("a text to ban must not be empty")
    children: list[dict[int, int]] = [{}, {}]
    banned = {DEAD}
    for text in texts:
        state = START
        for byte in text.encode():
            if byte not in children[state]:
                children[state][byte] = len(children)
                children.append({})
            state = children[state][byte]
        banned.add(state)
    table = np.full((len(children), 256), START, np.int32)
    table[DEAD] = DEAD
    suffix = {START: START}
    # From the shortest beginnings of the texts to the longest: each goes on like its longest true end, but for its own.
    for state in _by_depth(children):
        if state != START:
            table[state] = table[suffix[state]]
        for byte, child in children[state].items():
            suffix[child] = int(table[state, byte]) if state != START else START
            table[state, byte] = child
            if suffix[child] in banned:
                banned.add(child)
    lost = sorted(banned)
    table[np.isin(table, lost)] = DEAD
    table[lost] = DEAD
    accepting = np.ones(len(table), np.bool_)
    accepting[lost] = False
    return Automaton(table, accepting)


def both(one: Automaton, other: Automaton) -> Automaton:
    """Return what accepts the texts that both accept."""
    width = len(other.accepting)
    numbers = {START * width + START: START}
    pairs = [DEAD, START * width + START]
    rows = [np.full(256, DEAD, np.int32)]
    # Pairs are numbered as they are found; the loop ends when none is new.
    while len(rows) < len(pairs):
        a, b = divmod(pairs[len(rows)], width)
        after = one.next[a].astype(np.int64) * width + other.next[b]
        after[(one.next[a] == DEAD) | (other.next[b] == DEAD)] = DEAD
        found, places = np.unique(after, return_inverse=True)
        for pair in found.tolist():
            if pair != DEAD and pair not in numbers:
                numbers[pair] = len(pairs)
                pairs.append(pair)
        rows.append(np.array([numbers.get(pair, DEAD) for pair in found.tolist()], np.int32)[places])
    firsts, seconds = np.divmod(np.array(pairs), width)
    accepting = one.accepting[firsts] & other.accepting[seconds]
    accepting[DEAD] = False
    return Automaton(np.stack(rows), accepting)


def _by_depth(children: list[dict[int, int]]) -> list[int]:
    """Return the states of a tree, those nearest to its root first."""
    order = [START]
    for state in order:
        order.extend(children[state].values())
    return order


def _compile(library: Any, pattern: str, body: str, vocabulary: Any) -> Any:
    """Return the library's index, or None for a pattern or vocabulary that leaves it without a way to go on."""
    try:
        return library.Index(body, vocabulary)
    except ValueError as error:
        if "Found no transitions" in str(error):
            return None
        raise ConfigError(
            f"the pattern {_short(pattern)} is no regular expression that can be used here; look for brackets that are "
            f"not closed, look-around and back-references"
        ) from None


def _largest_repetition(parts: Sequence[str]) -> int:
    """Return how often, at most, counted repetitions inside each other write out the same part of a pattern."""
    opened, last, most = [1], 1, 1
    for part in parts:
        if part == "(":
            opened.append(1)
        elif part == ")" and len(opened) > 1:
            last = opened.pop()
        elif len(part) > 1 and part[0] == "{":
            last *= max([int(count[:12]) for count in re.findall(r"\d+", part)], default=1)
        elif part not in "*+?":
            last = _states(part)
        opened[-1] = max(opened[-1], last)
        most = max(most, *opened)
    return most


def _may_explode(parts: Sequence[str]) -> bool:
    """Whether a pattern repeats so much, or so much behind what has no end, that it is to be tried first."""
    most = _largest_repetition(parts)
    endless = any(part in "*+" or (part[0] == "{" and part[-2:] == ",}") for part in parts)
    return max(most, len(parts)) > 1000 or (endless and max(most, len(parts) // 10) > 4)


def _states(part: str) -> int:
    """Return about how many states a part of a pattern takes once."""
    inside = [size for name, size in STATES_OF_CLASSES.items() if len(name) > 1 and name in part]
    if part.startswith("[^") or part == ".":
        inside.append(STATES_OF_CLASSES["."])
    return max(inside, default=1)


def _short(pattern: str) -> str:
    return repr(pattern if len(pattern) <= 60 else pattern[:57] + "...")
