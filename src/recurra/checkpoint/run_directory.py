"""What a training run leaves on disk, and what every other command reads.

::

    config.toml         resolved settings
    model.safetensors   weights: the best by validation, else the last
    tokenizer.json      the vocabulary, and
    tokens/             the corpus as token stores: of a language model; other tasks write files of their own
    manifest.json       digests of all that is written once, above
    metrics.jsonl       one line per report; the same bits for the same seed
    timing.jsonl        what is not reproducible: seconds, tokens per second
    report/             pictures and samples
    training/           two generations of all that resuming needs, and two more that last longer
    spare/              second copies of settings, digests, and of weights that no generation holds
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import tomli_w
from torch import Tensor

from recurra.checkpoint.files import append_text, named_failures, write_atomically
from recurra.checkpoint.generations import Generation, Generations
from recurra.checkpoint.making import MARKER, is_being_made, is_unfinished, making
from recurra.checkpoint.manifest import MANIFEST, check_file, describe_files, read_sealed, sealed, twin_of
from recurra.checkpoint.weights import pack, read_weights
from recurra.errors import RunError
from recurra.files import file_digest

__all__ = ["FORMAT", "RunDirectory"]

FORMAT = 1
"""Version of the layout; a run directory of a later version is refused."""

READ_QUICKLY = 256 * 2**20
"""Bytes of a file whose digest is compared whenever it is used; of larger ones only when a run is resumed."""


class RunDirectory:
    """A run directory at `path`. Knows files, not what they mean to a trainer."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._verified: set[str] = set()

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> Self:
        """Make a new, empty run directory. Raises: RunError if something is there already."""
        run = cls(path)
        run.check_free()
        with named_failures(run.path):
            for folder in (run.path, run.report, run.training):
                folder.mkdir(parents=True, exist_ok=True)
        return run

    @classmethod
    @contextlib.contextmanager
    def making(cls, path: str | os.PathLike[str]) -> Iterator[Self]:
        """Give a new run directory, to be filled within; nothing takes it for one before the end.

        An exception removes it. Where a process was killed within, the same may be done again at the same path.
        Raises: RunError if something else is there already, or another process is at it.
        """
        run = cls(path)
        run.check_free()
        with making(run.path, run.report, run.training):
            yield run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an existing run directory.

        Raises: RunError if it is none, of a later version, or its settings are damaged.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(f"there is no run directory at {path}; `recurra train` makes one")
        if run.is_unfinished:
            raise RunError(
                f"{path} was never finished: its making was cut short; the command that began it begins it again"
            )
        if not run.config_file.exists() and run.manifest is None:
            raise RunError(f"{path} is not a run directory: it holds no config.toml")
        run.verify(run.config_file.name)
        run.read_config()
        return run

    def check_free(self) -> None:
        """Raise RunError if something is at the path already, so that nothing is overwritten."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())) and not self.is_unfinished:
            raise RunError(f"{self.path} exists already; choose another --out, or continue with --resume {self.path}")

    @property
    def is_unfinished(self) -> bool:
        """Whether its making was cut short, or goes on."""
        return is_unfinished(self.path)

    @property
    def is_free(self) -> bool:
        """Whether nothing is there but what a making that was cut short has left."""
        return not self.path.exists() or (self.is_unfinished and not is_being_made(self.path))

    @property
    def config_file(self) -> Path:
        """Settings."""
        return self.path / "config.toml"

    @property
    def model_file(self) -> Path:
        """Weights to use."""
        return self.path / "model.safetensors"

    @property
    def tokenizer_file(self) -> Path:
        """Vocabulary."""
        return self.path / "tokenizer.json"

    @property
    def tokens(self) -> Path:
        """Folder of token stores."""
        return self.path / "tokens"

    @property
    def examples(self) -> Path:
        """Folder of examples, or of series."""
        return self.path / "examples"

    @property
    def report(self) -> Path:
        """Folder of pictures and samples."""
        return self.path / "report"

    @property
    def training(self) -> Path:
        """Folder of generations."""
        return self.path / "training"

    @property
    def spare(self) -> Path:
        """Folder of second copies."""
        return self.path / "spare"

    @property
    def manifest_file(self) -> Path:
        """Digests of what is written once."""
        return self.path / MANIFEST

    @property
    def metrics_file(self) -> Path:
        """One JSON line per report."""
        return self.path / "metrics.jsonl"

    def write_config(self, settings: Mapping[str, Any]) -> None:
        """Write the resolved settings under the version of the layout."""
        write_atomically(self.config_file, tomli_w.dumps({"format": FORMAT, **settings}).encode())

    def read_config(self) -> dict[str, Any]:
        """Return the settings without the version. Raises: RunError if damaged or of a later version."""
        try:
            settings = tomllib.loads(self.config_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RunError(f"cannot read {self.config_file}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"cannot read {self.config_file}: {error}") from error
        version = settings.pop("format", None)
        if not isinstance(version, int):
            raise RunError(f"{self.config_file} names no format version; it was not written by recurra")
        if version > FORMAT:
            raise RunError(
                f"{self.path} has format {version}, newer than the {FORMAT} that this recurra reads; upgrade"
            )
        return settings

    def write_model(self, tensors: Mapping[str, Tensor], *, spare: bool = False) -> None:
        """Replace the weights to use.

        Args:
            spare: keep a second copy, as no generation holds them.
        """
        data = pack(tensors, run=self.identity, seal=True)
        if spare:
            with named_failures(self.spare):
                self.spare.mkdir(exist_ok=True)
            write_atomically(self.spare_file, data)
        write_atomically(self.model_file, data)

    def read_model(self) -> dict[str, Tensor]:
        """Return the weights to use. Raises: RunError if they are missing, damaged, or another run's."""
        try:
            return read_weights(self.model_file, run=self.identity)
        except RunError as error:
            if not self._generations.has_whole():
                raise
            raise RunError(f"{error}; recurra train --resume {self.path} writes it again") from error

    def mend_model(self, last: Mapping[str, Tensor]) -> str | None:
        """Write the weights to use again if they are damaged, or their second copy if that is.

        Args:
            last: weights to use where both are damaged.
        Returns: a line that says what was done, or None.
        """
        try:
            weights = read_weights(self.model_file, run=self.identity)
        except RunError as error:
            try:
                self.write_model(read_weights(self.spare_file, run=self.identity))
            except RunError:
                self.write_model(last)
                return f"{error}; the best weights are lost, and it now holds those of the newest checkpoint"
            return f"{error}; written again from its second copy"
        try:
            read_weights(self.spare_file, run=self.identity)
        except RunError:
            self.write_model(weights, spare=True)
        return None

    @property
    def model_digest(self) -> str:
        """The sha256 of the weights to use, in hexadecimal."""
        return file_digest(self.model_file)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a line to metrics.jsonl."""
        append_text(self.metrics_file, json.dumps(dict(row)) + "\n")

    def append_timing(self, row: Mapping[str, Any]) -> None:
        """Add a line to timing.jsonl."""
        append_text(self.path / "timing.jsonl", json.dumps(dict(row)) + "\n")

    @property
    def samples_file(self) -> Path:
        """Generated samples, one per epoch."""
        return self.report / "samples.txt"

    def append_sample(self, text: str) -> None:
        """Add a sample to the report."""
        append_text(self.samples_file, text)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl."""
        if not self.metrics_file.exists():
            return []
        try:
            lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
            rows = [json.loads(line) for line in lines]
        except OSError as error:
            raise RunError(f"cannot read {self.metrics_file}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:
            raise RunError(f"{self.metrics_file} is damaged: {error}") from error
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise RunError(f"{self.metrics_file} is damaged: line {number} is no report of a step")
        return rows

    @cached_property
    def _generations(self) -> Generations:
        return Generations(self.training, (self.metrics_file, self.samples_file), lambda: self.identity)

    def write_generation(self, generation: Generation) -> None:
        """Add a generation; of older ones only two, and two lasting ones, are kept."""
        self._generations.write(generation)

    def read_generation(
        self, accept: Callable[[Mapping[str, Any]], bool] | None = None, *, cut: bool = True
    ) -> tuple[Generation, list[str]]:
        """Return the newest generation that is whole, and a line for all that was damaged.

        Newer ones are removed. The files that only ever grow are cut back to what they were when it was written.

        Args:
            accept: says by its values whether a generation will do; by default all do.
            cut: do that to newer ones and to the files; else all is left as it is, for who only reads along.
        Raises: RunError if none is whole.
        """
        return self._generations.read(accept, cut=cut)

    def drop_newest_generation(self) -> None:
        """Remove the newest generation, unless it is the only one."""
        self._generations.drop_newest()

    @property
    def spare_file(self) -> Path:
        """Second copy of weights that no generation holds."""
        return self.spare / self.model_file.name

    # -- what is written once -------------------------------------------------------------------------------------

    def write_manifest(self) -> None:
        """Note the digests of all files that are there, logs, weights, report, training and spare aside.

        A run keeps the identity that it once had, so that this also accepts a file that was changed on purpose.
        """
        apart = (self.report, self.training, self.spare)
        names = [
            path.relative_to(self.path).as_posix()
            for path in self.path.rglob("*")
            if path.is_file() and not any(path.is_relative_to(folder) for folder in apart)
        ]
        others = {MARKER, MANIFEST, self.model_file.name, self.metrics_file.name, "timing.jsonl"}
        content = describe_files(self.path, set(names) - others)
        identity = self.identity or hashlib.sha256(json.dumps(content["sha256"]).encode()).hexdigest()
        manifest = sealed({"format": FORMAT, "run": identity, **content})
        with named_failures(self.spare):
            self.spare.mkdir(exist_ok=True)
        write_atomically(self.spare / MANIFEST, manifest)
        write_atomically(self.spare / self.config_file.name, self.config_file.read_bytes())
        write_atomically(self.manifest_file, manifest)
        self.__dict__.pop("manifest", None)

    @cached_property
    def manifest(self) -> dict[str, Any] | None:
        """What `write_manifest` has noted; None in a run of an earlier version. Raises: RunError if it is damaged."""
        spare = self.spare / MANIFEST
        if not self.manifest_file.exists() and not spare.exists():
            return None
        try:
            return read_sealed(self.manifest_file)
        except RunError as error:
            try:
                read_sealed(spare)
            except RunError:
                raise error from None
            raise RunError(f"{error}; its copy is whole: cp {spare} {self.manifest_file}") from error

    @property
    def identity(self) -> str | None:
        """What weights and generations of the run say that they belong to; None in a run of an earlier version."""
        return None if self.manifest is None else self.manifest.get("run")

    def verify(self, *names: str, largest: int | None = None) -> None:
        """Compare files with the manifest.

        Args:
            names: of files or folders below the run directory; default all that is written once.
            largest: bytes up to which a file is read; of larger ones only the size is compared. Default all.
        Raises: RunError for the first that is missing or damaged, with what there is to be done.
        """
        manifest = self.manifest
        if manifest is None:
            return
        for name in manifest["sha256"]:
            if name in self._verified or (names and not any(name == n or name.startswith(f"{n}/") for n in names)):
                continue
            if wrong := check_file(self.path, name, manifest, largest=largest):
                raise RunError(f"{self.path / name} is damaged: {wrong}; {self._remedy(name, manifest)}")
            self._verified.add(name)

    def verify_settings(self) -> None:
        """Compare the files beside ``config.toml`` with the manifest; folders of data are left out."""
        if self.manifest is not None:
            self.verify(*(name for name in self.manifest["sha256"] if "/" not in name))

    def verify_data(self) -> None:
        """Compare the folders of data with the manifest, of large files only the sizes."""
        self.verify(self.tokens.name, self.examples.name, largest=READ_QUICKLY)

    def _remedy(self, name: str, manifest: Mapping[str, Any]) -> str:
        """Say what brings a damaged file back."""
        copies = [f"{self.spare.name}/{self.config_file.name}", *manifest["sha256"]]
        if twin := twin_of(self.path, name, manifest, copies):
            return f"its copy is whole: cp {twin} {self.path / name}"
        with contextlib.suppress(RunError):
            spare = self.spare / MANIFEST
            if check_file(self.path, name, read_sealed(spare)) is None:
                return f"or {self.manifest_file} is another run's: cp {spare} {self.manifest_file}"
        works = "; what needs no training data, such as generate, still works" if "/" in name else ""
        return f"copy it from another copy of the run, or train again{works}"
