"""Generations: moments of a training, each whole or not there, the two newest and the two newest lasting ones kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from recurra.checkpoint.files import named_failures, read_json
from recurra.checkpoint.manifest import MANIFEST, check_file, describe_files, read_sealed, sealed
from recurra.checkpoint.weights import pack, read_tensors
from recurra.errors import RunError
from recurra.files import sync, write_synced

__all__ = ["Generation", "Generations"]

KEPT = 2
"""So many of all, and so many of those that are lasting: whose values say ``"lasting": true``."""
TENSORS, VALUES = "tensors.safetensors", "values.json"


@dataclass(frozen=True)
class Generation:
    """A moment of training: named tensors, and plain values that JSON can hold."""

    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]


class Generations:
    """Numbered folders in `folder`.

    Args:
        logs: files that only ever grow; a generation knows how long they were, and is read with them cut back to that.
        identity: returns what a generation must say it belongs to, None for a run of an earlier version.
    """

    def __init__(self, folder: Path, logs: Sequence[Path], identity: Callable[[], str | None]) -> None:
        self.folder, self.logs, self.identity = folder, logs, identity

    def write(self, generation: Generation) -> None:
        """Add a generation under another name, and rename it once all of it is on the disk; drop outdated ones.

        Raises: RunError if it cannot be written; those before it are then untouched.
        """
        numbers = self.numbers()
        folder = self._path(numbers[0] + 1 if numbers else 0)
        scratch = self._scratch(folder)
        with named_failures(folder):
            try:
                self._clear()
                scratch.mkdir(parents=True)
                write_synced(scratch / TENSORS, [pack(generation.tensors)])
                write_synced(scratch / VALUES, [json.dumps(dict(generation.values)).encode()])
                write_synced(scratch / MANIFEST, [sealed(self._describe(scratch))])
                sync(scratch)
                os.rename(scratch, folder)
                sync(self.folder)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
        for number in self._outdated():
            shutil.rmtree(self._path(number), ignore_errors=True)

    def read(
        self, accept: Callable[[Mapping[str, Any]], bool] | None = None, *, cut: bool = True
    ) -> tuple[Generation, list[str]]:
        """Return the newest generation that is whole, and a line for all that was not as it should be.

        Newer ones are removed, and the logs are cut back to what they were. A generation whose logs were damaged since
        is passed over for an older one, which makes them again; where none is left, the damaged log is set aside.

        Args:
            accept: says by its values whether a generation will do; by default all do.
            cut: remove newer ones and cut the logs back; else all is left as it is, for who only reads along.
        Raises: RunError if no generation is whole.
        """
        notes: list[str] = []
        spoilt: list[tuple[int, dict[str, Any]]] = []
        for number in self.numbers():
            try:
                manifest = self._verify(self._path(number))
                if accept is not None and not accept(read_json(self._path(number) / VALUES)):
                    continue
                damage = self._damaged_logs(manifest)
                if not damage:
                    return self._take(number, manifest, cut), notes
                spoilt.append((number, manifest))
                notes.append(f"{damage[0]}; going back to the checkpoint before it")
            except RunError as error:
                notes.append(f"{error}; going back to the checkpoint before it")
        for number, manifest in spoilt[:1]:
            generation = self._take(number, manifest, cut)
            if not cut:
                return generation, notes
            names = ", ".join(str(log) for log in self._set_aside(manifest))
            return generation, [f"{names}: lines were lost or damaged; what is left is set aside, and it begins anew"]
        damage = [f" ({notes[0].split('; going back')[0]})"] if notes else [""]
        raise RunError(f"{self.folder.parent} holds no checkpoint to resume from{damage[0]}")

    def has_whole(self) -> bool:
        """Whether any generation is whole."""
        for number in self.numbers():
            try:
                self._verify(self._path(number))
            except RunError:
                continue
            return True
        return False

    def drop_newest(self) -> None:
        """Remove the newest generation, unless it is the only one."""
        numbers = self.numbers()
        if len(numbers) > 1:
            shutil.rmtree(self._path(numbers[0]), ignore_errors=True)

    def numbers(self) -> list[int]:
        """Numbers of the generations on disk, newest first."""
        names = (entry.name for entry in self.folder.iterdir()) if self.folder.is_dir() else iter(())
        return sorted((int(name) for name in names if name.isascii() and name.isdigit()), reverse=True)

    def _outdated(self) -> list[int]:
        numbers = self.numbers()
        lasting = [number for number in numbers if self._is_lasting(number)][:KEPT]
        return [number for number in numbers[KEPT:] if number not in lasting]

    def _is_lasting(self, number: int) -> bool:
        try:
            values = read_json(self._path(number) / VALUES)
        except RunError:
            return False
        return isinstance(values, dict) and values.get("lasting") is True

    def _take(self, number: int, manifest: Mapping[str, Any], cut: bool) -> Generation:
        folder = self._path(number)
        found = Generation(read_tensors(folder / TENSORS), read_json(folder / VALUES))
        if not cut:
            return found
        self._clear()
        for newer in self.numbers():
            if newer > number:
                shutil.rmtree(self._path(newer), ignore_errors=True)
        for log in self.logs:
            if log.is_file() and log.stat().st_size > manifest["logs"][log.name]:
                with named_failures(log):
                    os.truncate(log, manifest["logs"][log.name])
        return found

    def _describe(self, scratch: Path) -> dict[str, Any]:
        for log in self.logs:
            if log.exists():
                sync(log)
        sizes = {log.name: log.stat().st_size if log.exists() else 0 for log in self.logs}
        digests = {log.name: _digest(log, sizes[log.name]) for log in self.logs}
        return {
            **describe_files(scratch, (TENSORS, VALUES)),
            "logs": sizes,
            "log_sha256": digests,
            "run": self.identity(),
        }

    def _verify(self, folder: Path) -> dict[str, Any]:
        """Return the manifest of a generation that is whole. Raises: RunError if it is not."""
        run = self.identity()
        manifest = read_sealed(folder / MANIFEST, needs_seal=run is not None)
        logs = manifest.get("logs")
        if not (isinstance(logs, dict) and all(type(logs.get(log.name)) is int for log in self.logs)):
            raise RunError(f"{folder / MANIFEST} is damaged: it does not say how long the logs were")
        if manifest.get("run") != run:
            raise RunError(f"{folder} is damaged: it belongs to another run")
        for name in (TENSORS, VALUES):
            if name not in manifest["sha256"]:
                raise RunError(f"{folder / MANIFEST} is damaged: it has no digest of {name}")
            if wrong := check_file(folder, name, manifest):
                raise RunError(f"{folder / name} is damaged: {wrong}")
        return manifest

    def _damaged_logs(self, manifest: Mapping[str, Any]) -> list[str]:
        """Return a line for each log that no longer holds what it held."""
        found = []
        for log in self.logs:
            size, said = manifest["logs"][log.name], manifest.get("log_sha256", {}).get(log.name)
            have = log.stat().st_size if log.is_file() else 0
            if have < size:
                found.append(f"{log} is damaged: it is shorter than when the checkpoint was written")
            elif said is not None and _digest(log, size) != said:
                found.append(f"{log} is damaged: it is not what it was when the checkpoint was written")
        return found

    def _set_aside(self, manifest: Mapping[str, Any]) -> list[Path]:
        damaged = [log for log in self.logs if any(line.startswith(f"{log} ") for line in self._damaged_logs(manifest))]
        for log in damaged:
            if log.exists():
                aside, number = log.with_name(f"{log.name}.damaged"), 2
                while aside.exists():
                    aside, number = log.with_name(f"{log.name}.damaged-{number}"), number + 1
                with named_failures(log):
                    os.rename(log, aside)
        return damaged

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}"

    @staticmethod
    def _scratch(folder: Path) -> Path:
        return folder.with_name(f".{folder.name}.tmp")

    def _clear(self) -> None:
        """Remove what a write that was killed has left."""
        for left in self.folder.glob(".*.tmp"):
            shutil.rmtree(left, ignore_errors=True)


def _digest(log: Path, size: int) -> str:
    """Return the sha256 of the first bytes of a log."""
    if not size:
        return hashlib.sha256().hexdigest()
    with log.open("rb") as file:
        return hashlib.sha256(file.read(size)).hexdigest()
