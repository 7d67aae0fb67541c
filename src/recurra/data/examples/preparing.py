"""From examples to the input and the target that fit them: vocabularies and names of classes, from training alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from recurra.data.examples.config import DatasetConfig
from recurra.data.examples.examples import Examples
from recurra.data.examples.inputs import Input, NumbersInput, TextInput, as_text
from recurra.data.examples.pictures import PictureInput
from recurra.data.examples.sound import SoundInput
from recurra.data.examples.targets import Labels, StepLabels, Target, TextTarget
from recurra.data.tokenizers import Tokenizer, build_tokenizer
from recurra.errors import ConfigError, DataError

__all__ = ["check_targets", "make_input", "make_target", "unseen_note"]

MANY_PAIRS, PAIR_VOCAB = 5000, 8000
"""Texts from which byte pairs are worth their while, and how many tokens they then are."""


def make_input(config: DatasetConfig, train: Examples, notes: list[str]) -> Input:
    """Return the input that fits the training part; what was chosen by default is appended to `notes`.

    Raises: DataError for inputs of no known kind; ConfigError for a tokenizer that does not fit them.
    """
    first = train.inputs[0]
    if isinstance(first, np.ndarray) and first.dtype == np.uint8:
        shape = (*first.shape, 1)[:3]
        return PictureInput(*shape)
    if isinstance(first, np.ndarray) and first.ndim == 1 and config.rate is not None:
        return SoundInput(config.rate, config.mels)
    if isinstance(first, np.ndarray) or (
        isinstance(first, Sequence) and not isinstance(first, str) and _numeric(first)
    ):
        shape = np.shape(first)
        return NumbersInput(shape[1] if len(shape) == 2 else 1)
    if not isinstance(first, str | list | tuple):
        raise DataError(f"{train.places[0]}: an input is a text, a list or an array, not {type(first).__name__}")
    kind, vocab = config.tokenizer, config.vocab
    if kind is None:
        kind, reason = _input_kind(config.task, train.inputs)
        vocab = vocab or (PAIR_VOCAB if kind == "bpe" else None)
        notes.append(f"inputs are read by {kind}: {reason}")
    if config.task == "tag":
        _check_steps(kind, train)
    texts = [as_text(raw, kind, config.lowercase) for raw in train.inputs]
    return TextInput(build_tokenizer(kind, texts, vocab=vocab, unknown=True), lowercase=config.lowercase)


def make_target(config: DatasetConfig, train: Examples, notes: list[str]) -> Target:
    """Return the target that fits the training part; what was chosen by default is appended to `notes`.

    Raises: DataError if there is nothing to tell apart.
    """
    targets = train.targets
    if targets is None:
        raise DataError(f"the examples of {config.source} have no targets; training needs them")
    if config.task in ("classify", "tag"):
        labels = Labels.of(targets) if config.task == "classify" else StepLabels.of(l for each in targets for l in each)
        if len(labels) < 2:
            raise DataError(
                f"the training part of {config.source} has one label only, '{labels.names[0]}'; give at least two"
            )
        return labels
    kind, vocab = config.target_tokenizer, config.target_vocab
    if kind is None:
        if config.task == "caption":
            kind, reason = "word", "captions are made of words"
        else:
            kind, reason = _pair_kind(targets)
        vocab = vocab or (PAIR_VOCAB if kind == "bpe" else None)
        notes.append(f"targets are written by {kind}: {reason}")
    return TextTarget(build_tokenizer(kind, list(targets), vocab=vocab, end=True))


def check_targets(task: str, examples: Examples) -> None:
    """Raise DataError unless every target is a text, or to tag a list of them."""
    for place, target in zip(examples.places, examples.targets or [], strict=False):
        each = [target] if task != "tag" or isinstance(target, str) else target
        if not isinstance(each, Sequence) or not all(isinstance(label, str) for label in each):
            wanted = "labels are texts" if task == "tag" else "a target is a text"
            raise DataError(f"{place}: {wanted}, not {target!r:.40}; make texts of them with str")


def unseen_note(tokenizer: Tokenizer, raws: Sequence[Any], where: str, lowercase: bool = False) -> str | None:
    """Return one line that counts the symbols of texts that the vocabulary lacks; None where it lacks none."""
    if not tokenizer.can_miss:
        return None
    unseen, total = Counter[str](), 0
    for raw in raws:
        shown = as_text(raw, tokenizer.kind, lowercase)
        unseen.update(tokenizer.unseen(shown))
        total += len(tokenizer.lookup(shown))
    if not unseen:
        return None
    names = ", ".join(f"{symbol!r} {count:,}" for symbol, count in unseen.most_common(5))
    more = f" and {len(unseen) - 5:,} others" if len(unseen) > 5 else ""
    fate = "left out" if tokenizer.unknown is None else "read as <unk>"
    line = f"{unseen.total():,} of {total:,} {tokenizer.unit} in {where} are not in the vocabulary"
    return f"{line} and are {fate}: {names}{more}"


def _input_kind(task: str, inputs: Sequence[Any]) -> tuple[str, str]:
    """Choose the tokenizer of inputs, and say why."""
    if task == "translate":
        return _pair_kind(inputs)
    if not isinstance(inputs[0], str):
        single = all(len(word) == 1 for words in inputs for word in words)
        return ("char", "they are lists of characters") if single else ("word", "they are lists of words")
    if task == "tag":
        return "char", "they have a label for each character"
    mean = _mean_words(inputs)
    return "word" if mean >= 2 else "char", f"they have {mean:.1f} words on average"


def _pair_kind(texts: Sequence[Any]) -> tuple[str, str]:
    """Choose the tokenizer of one side of pairs, and say why."""
    if len(texts) <= MANY_PAIRS:
        return "char", f"there are not more than {MANY_PAIRS:,} of them"
    mean = _mean_words(texts)
    return "bpe" if mean >= 2 else "char", f"there are {len(texts):,} of them, of {mean:.1f} words on average"


def _mean_words(texts: Sequence[Any]) -> float:
    return sum(len(text.split() if isinstance(text, str) else text) for text in texts) / len(texts)


def _check_steps(kind: str, train: Examples) -> None:
    """Raise ConfigError if the tokenizer does not make one token of what has one label."""
    for raw in train.inputs:
        characters = isinstance(raw, str) or all(len(word) == 1 for word in raw)
        if kind == "word" and isinstance(raw, str):
            raise ConfigError("there is a label for each character; to tag them, leave out --tokenizer or take char")
        if kind == "char" and not characters:
            raise ConfigError("there is a label for each word; to tag them, leave out --tokenizer or take word")


def _numeric(values: Sequence[Any]) -> bool:
    first = values[0] if len(values) else None
    return isinstance(first, int | float | np.number | list | tuple | np.ndarray)
