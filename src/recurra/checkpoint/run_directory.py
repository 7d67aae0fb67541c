"""What a training run leaves on disk, and what every other command reads.

::

    config.toml         resolved settings
    model.safetensors   weights: the best by validation, else the last
    tokenizer.json      the vocabulary, and
    tokens/             the corpus as token stores: of a language model; other tasks write files of their own
    metrics.jsonl       one line per report; the same bits for the same seed
    timing.jsonl        what is not reproducible: seconds, tokens per second
    report/             pictures and samples
    training/           two generations of all that resuming needs, and two more that last longer
"""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import tomli_w
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from recurra.checkpoint.files import append_text, file_digest, named_failures, read_json, sync, write_atomically
from recurra.errors import RunError

__all__ = ["FORMAT", "Generation", "RunDirectory"]

FORMAT = 1
"""Version of the layout; a run directory of a later version is refused."""

KEPT_GENERATIONS = 2
"""So many of all generations, and so many of those that are lasting: whose values say ``"lasting": true``."""


@dataclass(frozen=True)
class Generation:
    """A moment of training: named tensors, and plain values that JSON can hold."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class RunDirectory:
    """A run directory at `path`. Knows files, not what they mean to a trainer."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

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
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Open an existing run directory. Raises: RunError if it is none, or of a later version."""
        run = cls(path)
        if not run.path.is_dir():
            raise RunError(f"there is no run directory at {path}; `recurra train` makes one")
        if not run.config_file.is_file():
            raise RunError(f"{path} is not a run directory: it holds no config.toml")
        run.read_config()
        return run

    def check_free(self) -> None:
        """Raise RunError if something is at the path already, so that nothing is overwritten."""
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise RunError(f"{self.path} exists already; choose another --out, or continue with --resume {self.path}")

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
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read {self.config_file}: {error}") from error
        version = settings.pop("format", None)
        if not isinstance(version, int):
            raise RunError(f"{self.config_file} names no format version; it was not written by recurra")
        if version > FORMAT:
            raise RunError(
                f"{self.path} has format {version}, newer than the {FORMAT} that this recurra reads; upgrade"
            )
        return settings

    def write_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the weights to use."""
        write_atomically(self.model_file, save(_plain(tensors)))

    def read_model(self) -> dict[str, Tensor]:
        """Return the weights to use. Raises: RunError if they are missing or damaged."""
        return _read_tensors(self.model_file)

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

    def _log_sizes(self) -> dict[str, int]:
        return {file.name: file.stat().st_size if file.exists() else 0 for file in self._logs()}

    def _cut_logs(self, folder: Path) -> None:
        sizes = read_json(folder / "manifest.json")["logs"]
        for file in self._logs():
            if self._log_sizes()[file.name] < sizes[file.name]:
                raise RunError(f"{file} is shorter than when {folder} was written; it was damaged")
        for file in self._logs():
            if file.exists():
                with named_failures(file):
                    os.truncate(file, sizes[file.name])

    def _logs(self) -> tuple[Path, Path]:
        return self.metrics_file, self.samples_file

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl."""
        if not self.metrics_file.exists():
            return []
        try:
            lines = self.metrics_file.read_text(encoding="utf-8").splitlines()
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise RunError(f"{self.metrics_file} is damaged: {error}") from error

    def write_generation(self, generation: Generation) -> None:
        """Add a generation: files first, the manifest with their digests last; older ones than two are removed."""
        numbers = self._generations()
        folder = self.training / f"{(numbers[0] + 1 if numbers else 0):06d}"
        with named_failures(folder):
            try:
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                write_atomically(folder / "tensors.safetensors", save(_plain(generation.tensors)))
                write_atomically(folder / "values.json", json.dumps(dict(generation.values)).encode())
                for log in self._logs():
                    if log.exists():
                        sync(log)
                digests = {file.name: file_digest(file) for file in sorted(folder.iterdir())}
                write_atomically(
                    folder / "manifest.json",
                    json.dumps({"sha256": digests, "logs": self._log_sizes()}, indent=1).encode(),
                )
                sync(folder)
                sync(self.training)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        for number in self._outdated():
            shutil.rmtree(self.training / f"{number:06d}", ignore_errors=True)

    def _outdated(self) -> list[int]:
        numbers = self._generations()[KEPT_GENERATIONS:]
        lasting = [number for number in self._generations() if self._is_lasting(number)][:KEPT_GENERATIONS]
        return [number for number in numbers if number not in lasting]

    def _is_lasting(self, number: int) -> bool:
        try:
            values = read_json(self.training / f"{number:06d}" / "values.json")
        except RunError:
            return False
        return isinstance(values, dict) and values.get("lasting") is True

    def read_generation(
        self, accept: Callable[[Mapping[str, Any]], bool] | None = None
    ) -> tuple[Generation, list[str]]:
        """Return the newest generation that is whole, and a line for every newer one that is not.

        Newer ones are removed. The files that only ever grow are cut back to what they were when it was written.

        Args:
            accept: says by its values whether a generation will do; by default all do.
        Raises: RunError if none is whole.
        """
        notes: list[str] = []
        for number in self._generations():
            folder = self.training / f"{number:06d}"
            try:
                self._verify(folder)
                values = read_json(folder / "values.json")
                if accept is not None and not accept(values):
                    continue
                tensors = _read_tensors(folder / "tensors.safetensors")
                self._cut_logs(folder)
                for newer in self._generations():
                    if newer > number:
                        shutil.rmtree(self.training / f"{newer:06d}", ignore_errors=True)
                return Generation(tensors, values), notes
            except RunError as error:
                notes.append(f"{error}; going back to the checkpoint before it")
        damage = f" ({notes[0].split('; going back')[0]})" if notes else ""
        raise RunError(f"{self.path} holds no checkpoint to resume from{damage}")

    def drop_newest_generation(self) -> None:
        """Remove the newest generation, unless it is the only one."""
        numbers = self._generations()
        if len(numbers) > 1:
            shutil.rmtree(self.training / f"{numbers[0]:06d}", ignore_errors=True)

    def _generations(self) -> list[int]:
        """Numbers of the generations on disk, newest first."""
        names = (entry.name for entry in self.training.iterdir()) if self.training.is_dir() else iter(())
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    @staticmethod
    def _verify(folder: Path) -> None:
        manifest = read_json(folder / "manifest.json")
        digests = manifest.get("sha256") if isinstance(manifest, dict) else None
        if not (isinstance(digests, dict) and isinstance(manifest.get("logs"), dict)):
            raise RunError(f"{folder / 'manifest.json'} is damaged")
        for name, digest in digests.items():
            if not (folder / name).is_file() or file_digest(folder / name) != digest:
                raise RunError(f"{folder / name} is damaged: its digest is not the one in the manifest")


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        # Copies are aligned as torch aligns its own: kernels may round differently on memory that is not.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        reason = "it does not exist" if isinstance(error, FileNotFoundError) else f"it is damaged ({error})"
        raise RunError(f"cannot read {path}: {reason}") from error
