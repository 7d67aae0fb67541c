"""Labels as tokens: what a text is conditioned on stands before it, and is no text itself."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tokenizers import Tokenizer as Backend

from recurra.errors import nearest

if TYPE_CHECKING:
    from recurra.data.tokenizers.base import Tokenizer

__all__ = ["label_of", "nearest_label", "with_labels"]

# No text has a token of this form: characters are one long, and words, bytes and pairs of them hold no space.
BEFORE, AFTER = "<label: ", ">"
MOST_SHOWN = 20


def label_of(name: str) -> str | None:
    """Return the label that a token of this name stands for; None if it is none."""
    return name[len(BEFORE) : -len(AFTER)] if name.startswith(BEFORE) else None


def with_labels(tokenizer: Tokenizer, labels: Sequence[str]) -> Tokenizer:
    """Return a tokenizer with a token for each label behind all others, ``<label: French>`` for ``French``.

    They are part of the vocabulary, not added tokens: those would be found inside texts.
    """
    description = json.loads(tokenizer.backend.to_str())
    vocabulary = description["model"]["vocab"]
    for label in labels:
        vocabulary.setdefault(f"{BEFORE}{label}{AFTER}", len(vocabulary))
    return type(tokenizer)(Backend.from_str(json.dumps(description)))


def nearest_label(label: str, known: Collection[str]) -> str:
    """Return what to say of a label that is not known: which is near, or some of those that there are."""
    near = nearest(label, known)
    if "did you mean" in near:
        return f"{near} ({len(known):,} labels)"
    shown = ", ".join(sorted(known)[:MOST_SHOWN])
    return f"; known: {shown}" + (f" and {len(known) - MOST_SHOWN:,} others" if len(known) > MOST_SHOWN else "")
