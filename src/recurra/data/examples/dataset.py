"""A data set of examples made ready for training: how to read and write, what to train on, what to validate with."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from recurra.config import as_mapping, from_mapping
from recurra.data.examples.config import DatasetConfig
from recurra.data.examples.examples import Examples
from recurra.data.examples.formats import load_formats, save_formats
from recurra.data.examples.inputs import Input, TextInput
from recurra.data.examples.preparing import check_targets, make_input, make_target, unseen_note
from recurra.data.examples.reading import name_of, read_source
from recurra.data.examples.splitting import count_shared, split_examples
from recurra.data.examples.store import load_examples, save_examples
from recurra.data.examples.streams import BucketStream, Encoded, encode
from recurra.data.examples.targets import Labels, StepLabels, Target, TextTarget
from recurra.errors import ConfigError, CorpusError, DataError, RecurraError
from recurra.files import new_folder

__all__ = ["Dataset"]

FORMAT = 1
Progress = Callable[[int, int], None]


class Dataset:
    """Examples to train on and examples to validate with, and how both become numbers.

    Args:
        name: what runs are named after.
        config: what it was made from.
        input, target: made from the training part alone.
        train, valid: the two parts; `valid` may be empty.
        notes: lines that a user should read: what was chosen, left out or never seen in training.
    """

    def __init__(
        self,
        name: str,
        config: DatasetConfig,
        input: Input,
        target: Target,
        train: Examples,
        valid: Examples,
        notes: Sequence[str] = (),
    ) -> None:
        self.name, self.config, self.input, self.target = name, config, input, target
        self.train, self.valid, self.notes = train, valid, list(notes)

    def __repr__(self) -> str:
        parts = f"{len(self.train):,} + {len(self.valid):,} examples"
        return f"<data set {self.name}: {parts}, {self.input.kind} -> {self.target.kind}>"

    @classmethod
    def build(cls, config: DatasetConfig, *, progress: Progress | None = None) -> Dataset:
        """Read what `config` describes, split it, and make vocabularies from the training part.

        Args:
            progress: called with how many sounds or pictures were read, and of how many.
        Raises: DataError if the examples cannot be used.
        """
        source = read_source(config, progress=progress)
        valid: float | Examples = 0.0
        if isinstance(config.valid, str):
            valid = read_source(config, source=config.valid, input=source.input, progress=progress).examples
        else:
            valid = config.valid
        return cls._assemble(name_of(config.source), config, source.examples, valid, source.input)

    @classmethod
    def from_examples(
        cls,
        examples: Examples,
        *,
        task: str,
        valid: float | Examples = 0.1,
        name: str = "examples",
        input: Input | None = None,
        **settings: Any,
    ) -> Dataset:
        """Take examples from memory.

        Args:
            valid: a fraction of them to validate with, or examples of their own.
            input: how to read them, for sounds; by default what fits them.
            settings: others of `DatasetConfig`, such as ``tokenizer="char"``.
        """
        fraction = valid if isinstance(valid, int | float) else 0.0
        config = from_mapping(DatasetConfig, {"task": task, "source": name, "valid": fraction, **settings})
        return cls._assemble(name, config, examples, config.valid if isinstance(valid, int | float) else valid, input)

    @classmethod
    def _assemble(
        cls,
        name: str,
        config: DatasetConfig,
        examples: Examples,
        valid: float | str | Examples,
        input: Input | None,
    ) -> Dataset:
        """Split into parts, make input and target from the first, and check the second against them."""
        notes = list(examples.notes)
        if len(examples) < 2:
            raise DataError(f"{name} has {len(examples)} examples that can be used; training needs at least 2")
        check_targets(config.task, examples)
        if isinstance(valid, Examples):
            check_targets(config.task, valid)
            train, validation = examples, valid
            notes += [note for note in valid.notes if note not in notes]
            shared = count_shared(train, validation)
            notes += [f"{shared:,} of {len(valid):,} validation inputs are in the training part too"] if shared else []
        else:
            stratify, lowercase = config.task == "classify", config.lowercase
            parts = split_examples(examples, float(valid), name=name, stratify=stratify, lowercase=lowercase)
            train, validation = (examples.take(part) for part in parts)
        input = make_input(config, train, notes) if input is None else input
        target = make_target(config, train, notes)
        if isinstance(target, Labels):
            validation = _without_unseen_labels(
                validation, target, config.skip_bad, notes, drawn=not isinstance(valid, Examples)
            )
        for tokenized, raws, where in ((input, validation.inputs, "inputs"), (target, validation.targets, "targets")):
            if isinstance(tokenized, TextInput | TextTarget) and raws:
                lowercase = isinstance(tokenized, TextInput) and tokenized.lowercase
                note = unseen_note(tokenized.tokenizer, raws, f"the validation {where}", lowercase)
                notes += [note] if note else []
        dataset = cls(name, config, input, target, train, validation, notes)
        _ = dataset.encoded  # so that an example that cannot be used is refused here
        return dataset

    @cached_property
    def encoded(self) -> dict[str, list[Encoded]]:
        """What `encode` makes of the two parts, ``train`` and ``valid``."""
        parts = {"train": self.train, "valid": self.valid}
        return {part: encode(examples, self.input, self.target) for part, examples in parts.items()}

    def stream(
        self, *, batch: int, seed: int = 0, epoch: int = 0, shuffle: bool = True, part: str = "train"
    ) -> BucketStream:
        """Return batches of like length, by number; the same for the same seed and epoch.

        Args:
            batch: rows B.
            shuffle: False sorts all by length, for validation.
            part: train or valid.
        """
        return BucketStream(
            self.encoded[part], self.input, self.target, rows=batch, seed=seed, epoch=epoch, shuffle=shuffle
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write everything into a new folder, which appears whole or not at all.

        Raises: CorpusError if the folder exists or cannot be written.
        """
        with new_folder(folder, CorpusError) as scratch:
            save_formats(scratch, self.input, self.target)
            for part, examples in (("train", self.train), ("valid", self.valid)):
                (scratch / part).mkdir()
                save_examples(scratch / part, examples)
            about = {"version": FORMAT, "name": self.name, "config": as_mapping(self.config), "notes": self.notes}
            (scratch / "dataset.json").write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Dataset:
        """Read what `save` wrote. Raises: DataError if it is missing, damaged or of a newer version."""
        path = Path(folder)
        try:
            about = json.loads((path / "dataset.json").read_bytes())
            version, name, notes = about["version"], about["name"], about["notes"]
            config = from_mapping(DatasetConfig, about["config"]) if version == FORMAT else None
        except OSError as error:
            raise DataError(f"{path} is no saved data set: {error.strerror or error}; make it again") from None
        except (ValueError, KeyError, TypeError, RecursionError, ConfigError):
            raise DataError(f"the data set {path} is damaged: dataset.json; make it again from its source") from None
        if config is None:
            raise DataError(f"{path} is a data set of version {version}, this recurra reads {FORMAT}; upgrade recurra")
        input, target = load_formats(path)
        train, valid = (load_examples(path / part) for part in ("train", "valid"))
        dataset = cls(name, config, input, target, train, valid, notes)
        try:
            _ = dataset.encoded
        except RecurraError as error:
            raise DataError(f"the data set {path} is damaged: {error}; make it again from its source") from None
        return dataset


def _without_unseen_labels(
    valid: Examples, labels: Labels, skip_bad: bool, notes: list[str], *, drawn: bool
) -> Examples:
    """Return the examples whose labels training has; those that a random draw has cut off are always left out.

    Raises: DataError for others, unless they are to be left out.
    """
    if valid.targets is None:
        raise DataError("the validation part has no labels; give it some, or a fraction as --valid")
    unseen, bad = Counter[str](), list[int]()
    for number, target in enumerate(valid.targets):
        missing = [label for label in (target if isinstance(labels, StepLabels) else [target]) if label not in labels]
        unseen.update(missing)
        bad += [number] if missing else []
    if not bad:
        return valid
    names = ", ".join(f"'{label}' {count:,}" for label, count in unseen.most_common(5))
    more = f" and {len(unseen) - 5:,} others" if len(unseen) > 5 else ""
    them = "example has a label" if len(bad) == 1 else "examples have labels"
    line = f"{len(bad):,} validation {them} never seen in training: {names}{more} (the first: {valid.places[bad[0]]})"
    if not skip_bad and not drawn:
        raise DataError(f"{line}; have them in the training part too, or --skip-bad leaves them out")
    notes.append(f"left out: {line}")
    left_out = set(bad)
    return valid.take([number for number in range(len(valid)) if number not in left_out])
