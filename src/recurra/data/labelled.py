"""Labelled texts for a language model: read from a table, split, and counted by label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recurra.data.examples.examples import Examples
from recurra.data.examples.faults import Faults
from recurra.data.examples.files import STDIN, ending, read_text
from recurra.data.examples.reading import JSON
from recurra.data.examples.splitting import split_examples
from recurra.data.examples.tables import Columns, Row, read_json_lines, read_table
from recurra.data.text import check_unicode
from recurra.data.tokenizers.labels import nearest_label
from recurra.errors import CorpusError, DataError

__all__ = ["check_labels", "find_labels", "read_labelled", "split_labelled", "training_order", "with_known_labels"]

SEED = 20
FEW = 10
"""As many labels are never too many for the texts."""


def read_labelled(source: str, columns: Columns, *, skip_bad: bool = False) -> Examples:
    """Read texts with their labels from a table: cells between tabs or commas, or lines of JSON.

    Args:
        source: a file, or ``-`` for standard input.
        columns: of texts and labels, by name or by number from 1. The texts are found by themselves if not asked for.
        skip_bad: leave out rows without a text or a label, instead of refusing them.
    Returns: examples whose inputs are texts and whose targets are labels.
    Raises: DataError if there is nothing to read, or a row cannot be used.
    """
    if source != "-" and Path(source).is_dir():
        raise DataError(f"{source} is a folder; --condition reads a table: give a .tsv, .csv or .jsonl file")
    content = read_text(source)
    name, kind = STDIN if source == "-" else Path(source).name, ending(source)
    lines_of_json = kind in JSON or (source == "-" and content.lstrip().startswith("{"))
    if lines_of_json:
        rows = read_json_lines(content, name, columns)
    else:
        rows = read_table(content, name, "," if kind == ".csv" else "\t", columns)
    examples = _usable(rows, name, skip_bad=skip_bad)
    if (columns.target or "").isdigit() and not lines_of_json and len(examples) > FEW:
        return replace(examples, notes=[*examples.notes, *_note_of_names(examples)])
    return examples


def check_labels(examples: Examples, name: str) -> Examples:
    """Return examples from memory, checked as those of a table are.

    Raises: DataError for the first that has no text or no label.
    """
    targets = examples.targets or [None] * len(examples)
    rows = [Row(*each) for each in zip(examples.inputs, targets, examples.places, strict=True)]
    return _usable(rows, name, skip_bad=False)


def split_labelled(examples: Examples, fraction: float, name: str) -> tuple[Examples, Examples]:
    """Split off a part to validate with, as examples to classify are.

    It is drawn, always the same, with an equal share of each label; equal texts stay together.

    Raises: DataError if all texts are equal.
    """
    train, valid = split_examples(examples, fraction, name=name, stratify=True)
    return examples.take(train), examples.take(valid)


def training_order(labels: Sequence[str], balance: float = 0.0) -> list[int]:
    """Return the numbers of texts in the order in which a model is to read them, drawn, but always the same.

    Texts that are each read afresh have no order, but in a table that is sorted by label, a row of the stream would
    read the same label for long. A label with n texts, where the most frequent has m, is read round(n (m / n)^balance)
    times an epoch: each of its texts equally often, give or take one.

    Args:
        labels: of the texts.
        balance: 0 reads each text once, 1 each label equally often.
    """
    random = np.random.default_rng(SEED)
    numbers: dict[str, list[int]] = {}
    for n in random.permutation(len(labels)):
        numbers.setdefault(labels[n], []).append(int(n))
    most, chosen = max(map(len, numbers.values()), default=0), list[int]()
    for each in numbers.values():
        times, more = divmod(round(len(each) * (most / len(each)) ** balance), len(each))
        chosen += each * times + each[:more]
    return [chosen[n] for n in random.permutation(len(chosen))]


def find_labels(labels: Sequence[str], name: str) -> list[str]:
    """Return the different labels of a part to train on, the most frequent first.

    Raises: DataError if there is one only, or hardly two texts have the same.
    """
    counts = Counter(labels)
    found = sorted(counts, key=lambda label: (-counts[label], label))
    if len(found) < 2:
        raise DataError(f"all texts of {name} have the label '{found[0]}'; give two labels or more, or no --condition")
    if len(found) > FEW and 2 * len(found) > len(labels):
        raise DataError(
            f"{name} has {len(found):,} labels for {len(labels):,} texts, such as '{found[0]:.40}' and "
            f"'{found[1]:.40}'; choose the column of labels with --condition, by name or by number"
        )
    return found


def with_known_labels(examples: Examples, known: Collection[str], notes: list[str], *, skip_bad: bool) -> Examples:
    """Return the examples whose labels are known; how many are left out is appended to `notes`.

    Raises: DataError for a label never seen in training, unless its texts are to be left out.
    """
    targets: Sequence[str] = examples.targets or ()
    unseen = Counter(label for label in targets if label not in known)
    if not unseen:
        return examples
    (first, _), *others = unseen.most_common()
    place = examples.places[targets.index(first)]
    more = "" if not others else " nor was one other" if len(others) == 1 else f" nor were {len(others):,} others"
    line = f"the label '{first}' was never seen in training{',' if others else ''}{more}"
    if not skip_bad:
        raise DataError(f"{place}: {line}{nearest_label(first, known)}; --skip-bad leaves such rows out")
    notes.append(f"left out {unseen.total():,} of {len(examples):,} texts: {line} (the first: {place})")
    return examples.take([number for number, label in enumerate(targets) if label in known])


def _usable(rows: Iterable[Row], name: str, *, skip_bad: bool) -> Examples:
    """Return examples of rows that have a text and a label each; other rows are refused, or left out."""
    faults, kept = Faults(skip_bad), list[Row]()
    for row in map(_as_texts, rows):
        fault = row.fault or _fault(row)
        if fault:
            faults.add(row.place, fault)
        else:
            kept.append(row._replace(target=row.target.strip()))
    notes = faults.settle()
    if not kept:
        raise DataError(f"{name} has no rows that can be used; give texts with labels")
    return Examples([row.input for row in kept], [row.target for row in kept], [row.place for row in kept], notes)


def _note_of_names(examples: Examples) -> list[str]:
    """Return a line if the first row of a table whose columns go by number looks as if it named them."""
    labels: Sequence[str] = examples.targets or ()
    if labels.count(labels[0]) > 1:
        return []
    return [
        f"{examples.places[0]}: '{examples.inputs[0]:.40}' is read as a text, and the only one with the label "
        f"'{labels[0]}'; if that line names the columns, choose them by name"
    ]


def _as_texts(row: Row) -> Row:
    """Write a label that JSON has as a number or a truth value as a text."""
    label = row.target
    if isinstance(label, int | float):
        return row._replace(target=str(label).lower() if isinstance(label, bool) else str(label))
    return row


def _fault(row: Row) -> str | None:
    """Return what is wrong with a row's text or label."""
    text, label = row.input, row.target
    if text is None or (isinstance(text, str) and not text.strip()):
        return "no text"
    if label is None or (isinstance(label, str) and not label.strip()):
        return "no label"
    if not isinstance(text, str) or not isinstance(label, str):
        return f"the {'label' if isinstance(text, str) else 'text'} is no text"
    if not label.strip().isprintable():
        return "a label with a line end, a tab or another character that is not shown"
    try:
        check_unicode(text, "the text")
    except CorpusError as error:
        return str(error).partition(";")[0]
    return None
