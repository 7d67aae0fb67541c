"""What a vocabulary lacks of a new text, to be appended behind what it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.data.tokenizers.base import Tokenizer

__all__ = ["new_names"]


def new_names(
    tokenizer: Tokenizer, texts: Sequence[str], valid: Sequence[str], vocab: int | None, unknown: str, end: str
) -> list[str]:
    """Return the names to append: unseen symbols of `texts`, the most frequent first, then the specials it needs.

    Args:
        valid: if it holds symbols that neither the tokenizer nor `texts` have, there is an unknown token, and words
            that `texts` have once are not appended: read as unknown, they keep alive what the model knows of those.
        vocab: largest number of tokens in the end, specials included; then the most frequent are taken.
        unknown, end: names of the unknown token and of the end of a text; empty where there is to be none.
    Raises: ConfigError if `vocab` is smaller than what is there already.
    """
    counts = sum((tokenizer.unseen(text) for text in texts), Counter[str]())
    is_missing = any(symbol not in counts and symbol != end for text in valid for symbol in tokenizer.unseen(text))
    wants_unknown = counts.pop(unknown, 0) > 0 or is_missing
    ranked = sorted(counts, key=lambda symbol: (-counts[symbol], symbol))
    if tokenizer.kind == "word" and is_missing and vocab is None:
        ranked = [symbol for symbol in ranked if counts[symbol] > 1]
    known = tokenizer.ids
    ends = [end] if end and end not in known else []
    ranked = [symbol for symbol in ranked if symbol not in ends]
    if vocab is not None and len(known) + len(ranked) + len(ends) > vocab:
        wants_unknown = True
    specials = [unknown, *ends] if wants_unknown and unknown and unknown not in known else ends
    if vocab is None:
        return ranked + specials
    room = vocab - len(known) - len(specials)
    if room < 0:
        raise ConfigError(
            f"'vocab' is {vocab:,}, but the vocabulary that is to grow has {len(known):,} tokens"
            f"{f' and needs {len(specials)} more' if specials else ''}; take a larger one, or leave it out"
        )
    return ranked[:room] + specials
