"""The built-in corpus: numbers in words, after the Human Numbers of fastai."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["NAME", "VALID_FRACTION", "counting_text", "in_words", "split_point", "train_text", "valid_text"]

NAME = "counting"
VALID_FRACTION = 0.2

BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety"
_ONES, _TENS = BELOW_TWENTY.split(), TENS.split()


def in_words(n: int) -> str:
    """Return 1 <= n <= 9999 in English words: no hyphen, no "and", nothing said of what is zero."""
    if n < 20:
        return _ONES[n]
    for unit, name in ((1000, "thousand"), (100, "hundred")):
        if n >= unit:
            rest = n % unit
            return f"{_ONES[n // unit]} {name}{f' {in_words(rest)}' if rest else ''}"
    return f"{_TENS[n // 10]}{f' {_ONES[n % 10]}' if n % 10 else ''}"


def train_text() -> str:
    """Return 1 to 7999, one number per line."""
    return _lines(range(1, 8000))


def valid_text() -> str:
    """Return 8001 to 9999, one number per line."""
    return _lines(range(8001, 10000))


def counting_text() -> str:
    """Return all lines joined with `` . ``: 63,095 words, 30 of them distinct."""
    return " . ".join(line.strip() for line in (train_text() + valid_text()).splitlines())


def split_point(text: str, valid: float) -> int:
    """Return the position in `counting_text` behind the word that ends the first 1 - `valid` of all words."""
    words = text.split(" ")
    return len(" ".join(words[: int(len(words) * (1 - valid) + 1e-9)]))


def _lines(numbers: Iterable[int]) -> str:
    return "".join(f"{in_words(n)} \n" for n in numbers)
