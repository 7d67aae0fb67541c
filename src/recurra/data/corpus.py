"""A text made ready for training: its tokenizer, a training part and a validation part."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from recurra.config import as_mapping, from_mapping
from recurra.data import counting, labelled
from recurra.data.config import BUILT_IN, DataConfig
from recurra.data.examples.examples import Examples
from recurra.data.examples.tables import Columns
from recurra.data.store import FORMAT, Tokens
from recurra.data.stored import Store, is_store
from recurra.data.text import Documents, Text, check_unicode, read_documents, split_documents
from recurra.data.tokenizers import Tokenizer, build_tokenizer, check_seen, load_tokenizer, with_labels
from recurra.errors import ConfigError, CorpusError
from recurra.files import new_folder

__all__ = ["Corpus"]


class Corpus:
    """Tokens to train on and tokens to validate with, memory-mapped, and the tokenizer that made them.

    Args:
        name: what runs are named after.
        tokenizer: made from the training part alone; also called `vocabulary`.
        train, valid: the two parts; `valid` may be empty.
        config: what it was made from.
        notes: lines that a user should read: files left out, symbols never seen in training.
    Attributes:
        store: what it was read from, if that was prepared.
    """

    def __init__(
        self,
        name: str,
        tokenizer: Tokenizer,
        train: Tokens,
        valid: Tokens,
        config: DataConfig,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.tokenizer, self.train, self.valid = name, tokenizer, train, valid
        self.config, self.notes = config, list(notes)
        self.store: Store | None = None

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer."""
        return self.tokenizer

    def __repr__(self) -> str:
        return f"<corpus {self.name}: {len(self.train):,} + {len(self.valid):,} tokens, {self.tokenizer!r}>"

    @classmethod
    def build(cls, config: DataConfig, *, tokenizer: Tokenizer | None = None, grow: bool = False) -> Corpus:
        """Read and tokenise what `config` describes.

        Args:
            tokenizer: use this one, of an earlier run, instead of making a vocabulary.
            grow: let it grow by what the training part has and it lacks, to `vocab` tokens at most.
        Raises: CorpusError if the text cannot be used; VocabularyError if most of a part is unseen.
        """
        if is_store(config.source):
            return _from_store(config, tokenizer, grow=grow)
        config = config.resolved()
        if config.condition is not None:
            if config.source in BUILT_IN:
                raise ConfigError(f"'condition' needs a table of labelled texts, not {config.source}; give a file")
            columns = Columns(config.input, config.condition)
            examples = labelled.read_labelled(config.source, columns, skip_bad=config.skip_bad)
            held = None
            if isinstance(config.valid, str):
                held = labelled.read_labelled(config.valid, columns, skip_bad=config.skip_bad)
            return cls._assemble_labelled(_name_of(config.source), examples, held, config, tokenizer, grow=grow)
        raw = (tokenizer.kind if tokenizer else config.tokenizer) == "byte"
        if config.source not in BUILT_IN:
            documents = read_documents(config.source, raw=raw)
            return cls._assemble(_name_of(config.source), documents, config, tokenizer, grow=grow)
        text = counting.counting_text()
        documents = Documents([text.encode() if raw else text], [])
        cut = counting.split_point(text, config.valid) if isinstance(config.valid, float) else None
        return cls._assemble(config.source, documents, config, tokenizer, cut, grow=grow)

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        tokenizer: str | Tokenizer = "char",
        vocab: int | None = None,
        valid: float | str | os.PathLike[str] = 0.1,
        grow: bool = False,
        **table: Any,
    ) -> Corpus:
        """Read a text file, a folder of text files (each a document), or ``-`` for standard input.

        Args:
            tokenizer: a kind, or the tokenizer of an earlier run.
            grow: let that tokenizer grow by what the training part has and it lacks.
            table: `condition`, `input`, `balance` and `skip_bad` of `DataConfig`, to read a table of labelled texts.
        """
        source = os.path.join(".", path) if path in BUILT_IN else os.fspath(path)
        kind, given = _kind_and_tokenizer(tokenizer, grow)
        settings = {"source": source, "tokenizer": kind, "valid": _fraction_or_path(valid), **table}
        config = from_mapping(DataConfig, settings if vocab is None else {**settings, "vocab": vocab})
        return cls.build(config, tokenizer=given, grow=grow)

    @classmethod
    def from_text(
        cls,
        text: str | Sequence[str],
        *,
        tokenizer: str | Tokenizer = "char",
        vocab: int | None = None,
        valid: float | str | os.PathLike[str] = 0.1,
        name: str = "text",
        grow: bool = False,
    ) -> Corpus:
        """Take a text, or several documents, from memory; other arguments as `from_file`."""
        kind, given = _kind_and_tokenizer(tokenizer, grow)
        texts = [check_unicode(each, name) for each in ([text] if isinstance(text, str) else text)]
        documents = Documents([each.encode() for each in texts] if kind == "byte" else list(texts), [])
        config = DataConfig(source=name, tokenizer=kind, vocab=vocab, valid=_fraction_or_path(valid))
        return cls._assemble(name, documents, config, given, grow=grow)

    @classmethod
    def from_bytes(cls, data: bytes, *, valid: float | str | os.PathLike[str] = 0.1, name: str = "bytes") -> Corpus:
        """Take any bytes from memory, each of them a token."""
        config = DataConfig(source=name, tokenizer="byte", valid=_fraction_or_path(valid))
        return cls._assemble(name, Documents([data], []), config)

    @classmethod
    def from_examples(
        cls,
        examples: Examples,
        *,
        tokenizer: str = "char",
        vocab: int | None = None,
        valid: float | Examples = 0.1,
        balance: float = 0.0,
        name: str = "examples",
    ) -> Corpus:
        """Take labelled texts from memory: inputs are the texts, targets the labels that come before them.

        Args:
            valid: a fraction of each label's texts to validate with, or examples of their own.
            balance: how often texts of rare labels are repeated, as in `DataConfig`.
        Raises: DataError if one has no text or no label, or there is one label only.
        """
        held = None
        if isinstance(valid, Examples):
            held = labelled.check_labels(valid, f"the validation part of {name}")
        fraction = 0.0 if isinstance(valid, Examples) else float(valid)
        config = DataConfig(
            source=name, tokenizer=tokenizer, vocab=vocab, valid=fraction, condition="label", balance=balance
        )
        return cls._assemble_labelled(name, labelled.check_labels(examples, name), held, config)

    @classmethod
    def counting(cls) -> Corpus:
        """Make the built-in corpus: numbers in words, 50,476 + 12,619 tokens, 30 words."""
        return cls.build(DataConfig())

    @classmethod
    def _assemble(
        cls,
        name: str,
        documents: Documents,
        config: DataConfig,
        tokenizer: Tokenizer | None = None,
        cut: int | None = None,
        grow: bool = False,
    ) -> Corpus:
        """Split into parts, make the vocabulary from the first, and tokenise both."""
        kind = tokenizer.kind if tokenizer else config.tokenizer or "char"
        texts, notes = documents
        if not any(texts):
            raise CorpusError(f"{name} is empty; give a text to learn from")
        train, valid = texts, list[Text]()
        if isinstance(config.valid, str):
            valid, more = read_documents(config.valid, raw=kind == "byte")
            notes = notes + more
        elif config.valid:
            if cut is None:
                cut = int(sum(map(len, texts)) * (1 - config.valid) + 1e-9)
            train, valid = split_documents(texts, cut, whole_words=kind in ("word", "bpe"))
        torn = not isinstance(config.valid, str) and len(train) + len(valid) > len(texts)
        several = len(texts) > 1 or len(valid) > 1
        return cls._complete(name, (train, valid), config, tokenizer, notes, several=several, torn=torn, grow=grow)

    @classmethod
    def _assemble_labelled(
        cls,
        name: str,
        examples: Examples,
        valid: Examples | None,
        config: DataConfig,
        tokenizer: Tokenizer | None = None,
        *,
        grow: bool = False,
    ) -> Corpus:
        """Split off a validation part unless there is one, find the labels in the rest, and tokenise both."""
        notes, drawn = [*examples.notes, *(valid.notes if valid else ())], valid is None
        if valid is None:
            fraction = config.valid if isinstance(config.valid, float) else 0.0
            examples, valid = labelled.split_labelled(examples, fraction, name)
        known = set(examples.targets or ()) if tokenizer is None else set(tokenizer.labels)
        train = labelled.with_known_labels(examples, known, notes, skip_bad=config.skip_bad)
        valid = labelled.with_known_labels(valid, known, notes, skip_bad=config.skip_bad or drawn)
        kind = tokenizer.kind if tokenizer else config.tokenizer
        texts = [[text.encode() if kind == "byte" else text for text in part.inputs] for part in (train, valid)]
        labels = [part.targets or [] for part in (train, valid)]
        return cls._complete(
            name, (texts[0], texts[1]), config, tokenizer, notes, several=True, grow=grow, labels=labels
        )

    @classmethod
    def _complete(
        cls,
        name: str,
        parts: tuple[Sequence[Text], Sequence[Text]],
        config: DataConfig,
        tokenizer: Tokenizer | None,
        notes: list[str],
        *,
        several: bool,
        torn: bool = False,
        grow: bool = False,
        labels: Sequence[Sequence[str]] = (),
    ) -> Corpus:
        """Make the vocabulary from the first part, and tokenise both.

        Args:
            several: there is more than one document.
            torn: the last document of the first part goes on in the second.
            labels: of the documents of both parts, where they have some.
        """
        train, valid = parts
        texts, is_training = [_strings(part) for part in parts], tokenizer is None or grow
        if tokenizer and grow:
            tokenizer = tokenizer.grown(texts[0], valid=texts[1], vocab=config.vocab, end=several)
        if tokenizer:
            notes = notes + _lines(
                check_seen(tokenizer, train, f"the training part of {name}" if config.valid else name)
            )
        else:
            kind = config.tokenizer or "char"
            tokenizer = build_tokenizer(kind, texts[0], valid=texts[1], vocab=config.vocab, end=several)
            if labels:
                tokenizer = with_labels(tokenizer, labelled.find_labels(labels[0], name))
        if labels and is_training:
            order = labelled.training_order(labels[0], config.balance)
            train, labels = [train[n] for n in order], ([labels[0][n] for n in order], labels[1])
        before = labels or (None, None)
        training = _tokenise(train, tokenizer, torn, labels=before[0])
        validation = _tokenise(valid, tokenizer, labels=before[1])
        if len(training) < 2 or len(validation) == 1:
            raise CorpusError(
                f"{name} gives {len(training)} + {len(validation)} tokens to train and to validate with; each part "
                f"needs at least 2: give a longer text"
            )
        notes = notes + _lines(check_seen(tokenizer, valid, f"the validation part of {name}"))
        return cls(name, tokenizer, training, validation, config, notes)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write tokenizer and parts into a new folder, which appears whole or not at all.

        Of a corpus that was read from a store only where that is, and what it holds, is written.

        Raises: CorpusError if the folder exists or cannot be written.
        """
        with new_folder(folder, CorpusError) as scratch:
            if self.store is not None:
                about = {"version": FORMAT, "name": self.name, "config": as_mapping(self.config), "notes": []}
                text = json.dumps({**about, "store": self.store.as_mapping()}, indent=1)
                (scratch / "corpus.json").write_text(text, encoding="utf-8")
                return
            self.tokenizer.save(scratch / "tokenizer.json")
            for part, tokens in (("train", self.train), ("valid", self.valid)):
                (scratch / part).mkdir()
                tokens.write(scratch / part)
            about = {"version": FORMAT, "name": self.name, "config": as_mapping(self.config), "notes": self.notes}
            (scratch / "corpus.json").write_text(json.dumps(about, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, verify: bool = False) -> Corpus:
        """Open what `save` wrote; the tokens stay on disk until they are used.

        Args:
            verify: read all of it once and compare digests.
        Raises: CorpusError or VocabularyError if it is missing, damaged or of a newer version.
        """
        path = Path(folder)
        try:
            about = json.loads((path / "corpus.json").read_bytes())
            if about["version"] not in (1, FORMAT):
                raise CorpusError(
                    f"{path} is a corpus of version {about['version']}, this recurra reads {FORMAT}; upgrade recurra"
                )
            name, notes, config = about["name"], about["notes"], from_mapping(DataConfig, about["config"])
        except CorpusError:
            raise
        except OSError as error:
            raise CorpusError(f"{path} is no saved corpus: {error.strerror or error}; make it from its text") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            raise CorpusError(f"the corpus {path} is damaged: corpus.json; make it again from its text") from None
        store = None
        if "store" in about:
            path = (store := Store.from_mapping(about["store"], path)).check()
        tokenizer = load_tokenizer(path / "tokenizer.json")
        train, valid = (Tokens.open(path / part, verify=verify) for part in ("train", "valid"))
        corpus = cls(name, tokenizer, train, valid, config, notes)
        corpus.store = store
        return corpus


def _from_store(config: DataConfig, tokenizer: Tokenizer | None, *, grow: bool) -> Corpus:
    """Open a prepared store; what is asked for beside must be what it was prepared with."""
    corpus = Corpus.load(config.source)
    for name in ("tokenizer", "vocab", "valid", "condition"):
        wanted, has = getattr(config, name), getattr(corpus.config, name)
        if wanted not in (None, has):
            raise ConfigError(f"{config.source} was prepared with {name} {has}, not {wanted}; leave out --{name}")
    if tokenizer is not None and tokenizer.digest != corpus.tokenizer.digest:
        raise ConfigError(
            f"{config.source} has another vocabulary than the run; prepare it with --vocabulary and the path of the run"
        )
    corpus.config = replace(corpus.config, source=config.source)
    corpus.store = Store.of(Path(config.source), (len(corpus.train), len(corpus.valid)))
    return corpus


def _tokenise(
    texts: Sequence[Text], tokenizer: Tokenizer, torn: bool = False, *, labels: Sequence[str] | None = None
) -> Tokens:
    """Encode documents; each but a single or torn one is closed by the end of text. Labels stand before them."""
    parts, starts, position = [], [0], 0
    ends = tokenizer.end is not None and (labels is not None or len(texts) + torn > 1)
    for number, text in enumerate(texts):
        ids = tokenizer.encode(text)
        closed = ends and not (torn and number == len(texts) - 1)
        before = [] if labels is None else [np.array([tokenizer.labels[labels[number]]], np.int32)]
        parts += [*before, ids, np.array([tokenizer.end], np.int32)] if closed else [ids]
        position += len(before) + len(ids) + closed
        starts.append(position)
    return Tokens.in_scratch(
        parts,
        vocab=len(tokenizer),
        documents=starts[:-1] if ends and texts else [0],
        num_chars=_num_chars(texts, tokenizer),
        labelled=labels is not None,
    )


def _num_chars(texts: Sequence[Text], tokenizer: Tokenizer) -> int | None:
    """Count the characters that tokens stand for: not those of symbols that are left out."""
    try:
        total = sum(len(text if isinstance(text, str) else text.decode()) for text in texts)
    except UnicodeDecodeError:
        return None
    if not tokenizer.can_miss or tokenizer.unknown is not None:
        return total
    return total - sum(len(symbol) * times for text in texts for symbol, times in tokenizer.unseen(text).items())


def _kind_and_tokenizer(tokenizer: str | Tokenizer, grow: bool) -> tuple[str, Tokenizer | None]:
    if isinstance(tokenizer, Tokenizer):
        return tokenizer.kind, tokenizer
    if grow:
        raise ConfigError(f"only a tokenizer that is there can grow, not the kind '{tokenizer}'; leave grow out")
    return tokenizer, None


def _lines(line: str | None) -> list[str]:
    return [line] if line else []


def _strings(texts: Sequence[Text]) -> list[str]:
    return [text for text in texts if isinstance(text, str)]


def _fraction_or_path(valid: float | str | os.PathLike[str]) -> float | str:
    return float(valid) if isinstance(valid, int | float) else os.fspath(valid)


def _name_of(source: str) -> str:
    return "stdin" if source == "-" else Path(source).resolve().stem
