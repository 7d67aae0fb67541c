"""What a reader sees in a text, token by token: positions, quotes, brackets, capitals."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import torch
from torch import Tensor

from recurra.data import Tokenizer

__all__ = ["readable_features"]

QUOTES = {"“": "”", "«": "»", "‘": "’", "„": "“", "「": "」", "『": "』"}
BRACKETS = {"(": ")", "[": "]", "{": "}"}
STRAIGHT = "\"'"


def readable_features(tokenizer: Tokenizer, ids: list[int]) -> dict[str, Tensor]:
    """Return what can be said of a text after each of its tokens, (T,) float64 by name.

    Positions are counted in tokens. All that a feature says is known once the token is read, but for "end of a word",
    which a model can only foresee. A character that is spread over several tokens counts with its last.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(piece) for piece in (tokenizer.decode_bytes([token]) for token in ids)]
    after = [text[:1] for text in texts[1:]] + [""]
    marks = _inside(texts)
    found: dict[str, list[float]] = {
        "position in line": _count_since(texts, lambda text: "\n" in text),
        "position in word": _count_since(texts, lambda text: not _is_word(text[-1:])),
        "inside quotes": [quoted for quoted, _ in marks],
        "inside brackets": [bracketed for _, bracketed in marks],
        "after a space": [float(before[-1:].isspace()) for before in ["", *texts[:-1]]],
        "space": [float(text[-1:].isspace()) for text in texts],
        "capital letter": [float(any(c.isupper() for c in text)) for text in texts],
        "digit": [float(any(c.isdigit() for c in text)) for text in texts],
        "end of a word": [
            float(_is_word(t[-1:]) and bool(n) and not _is_word(n)) for t, n in zip(texts, after, strict=True)
        ],
    }
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in found.items()}


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "'"


def _count_since(texts: list[str], ends: Callable[[str], bool]) -> list[float]:
    count, counts = 0, []
    for text in texts:
        count = 0 if ends(text) else count + 1
        counts.append(float(count))
    return counts


def _inside(texts: list[str]) -> list[tuple[float, float]]:
    """Return for each token whether a quotation and a bracket are open after any of its characters.

    A blank line closes both: one forgotten mark must not turn the rest of the text inside out.
    """
    whole = "".join(texts)
    at, closing, depth, states = 0, "", 0, []
    for text in texts:
        quoted, bracketed = bool(closing) and not text, depth > 0 and not text
        for c in text:
            before, after = whole[at - 1 : at], whole[at + 1 : at + 2]
            if closing and c == closing and not (c == "'" and after.isalnum()):
                closing = ""
            elif not closing and c in QUOTES:
                closing = QUOTES[c]
            elif not closing and c in STRAIGHT and not before.isalnum() and after and not after.isspace():
                closing = c
            elif c in BRACKETS:
                depth += 1
            elif c in BRACKETS.values():
                depth = max(0, depth - 1)
            elif c == "\n" and before == "\n":
                closing, depth = "", 0
            quoted, bracketed, at = quoted or bool(closing), bracketed or depth > 0, at + 1
        states.append((float(quoted), float(bracketed)))
    return states
