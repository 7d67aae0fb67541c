"""Words with a label each, one word per line, as the shared tasks of CoNLL and Universal Dependencies have them."""

from __future__ import annotations

from recurra.data.examples.files import lines_of
from recurra.data.examples.tables import Columns, Row
from recurra.errors import DataError

__all__ = ["ENDINGS", "looks_like_conll", "read_conll"]

ENDINGS = frozenset({".conll", ".conllu", ".bio", ".iob", ".iob2", ".col"})
UNIVERSAL_WORD, UNIVERSAL_LABEL = 1, 3
"""Columns of Universal Dependencies, counted from 0: the form and its part of speech."""


def read_conll(text: str, name: str, columns: Columns, *, universal: bool = False) -> list[Row]:
    """Read sentences; a blank line ends one.

    Args:
        name: of the file, for messages.
        columns: numbers of columns, counted from 1; by default the first and the last.
        universal: the file is of Universal Dependencies: comments are left out, as are ranges and empty words.
    Returns: words and labels of each sentence; None for labels that are not there.
    Raises: DataError for a column that is no number.
    """
    word_at, label_at = (UNIVERSAL_WORD, UNIVERSAL_LABEL) if universal else (0, -1)
    word_at = _column(columns.input, word_at, name)
    label_at = _column(columns.target, label_at, name)
    needed = max(word_at, label_at) + 1 if label_at >= 0 else word_at + 2
    rows, words, labels = list[Row](), list[str](), list[str]()
    start, fault = 1, None
    for number, line in enumerate([*lines_of(text), ""], 1):
        if not line.strip():
            if words or fault:
                rows.append(Row(words, labels if len(labels) == len(words) else None, f"{name}, line {start}", fault))
            words, labels, fault = [], [], None
            continue
        cells = line.split("\t") if "\t" in line else line.split()
        if cells[0] == "-DOCSTART-" or (universal and (line.startswith("#") or not cells[0].isdigit())):
            continue
        if not words and fault is None:
            start = number
        if len(cells) >= needed:
            words.append(cells[word_at])
            labels.append(cells[label_at])
        elif len(cells) > word_at and not columns.labelled:
            words.append(cells[word_at])
        elif fault is None:
            start, fault = number, f"{len(cells)} columns where at least {needed} are needed"
    return rows


def looks_like_conll(text: str) -> bool:
    """Whether a text has several columns, equally many in each line: not so a sentence per line."""
    cells = {len(line.split("\t") if "\t" in line else line.split()) for line in lines_of(text) if line.strip()}
    return text.startswith("-DOCSTART-") or (len(cells) == 1 and cells != {1} and "\n\n" in text.replace("\r", ""))


def _column(asked: str | None, default: int, name: str) -> int:
    if asked is None:
        return default
    if not asked.isdecimal() or asked == "0":
        raise DataError(f"{name}: its columns have numbers, the first is 1, not '{asked}'")
    return int(asked) - 1
