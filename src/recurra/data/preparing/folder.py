"""The folder of a preparation: begun, gone on with, locked while it is worked on, renamed in the end."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from recurra.config import as_mapping
from recurra.data.preparing.config import PrepareConfig
from recurra.data.preparing.planning import plan_jobs
from recurra.data.preparing.sources import find_sources
from recurra.data.preparing.work import PARTS, Plan, Work
from recurra.data.preparing.writing import write_file
from recurra.data.tokenizers import Tokenizer, load_tokenizer
from recurra.errors import CorpusError
from recurra.files import sync, try_lock

__all__ = ["Preparation", "finished", "given_vocabulary", "plan", "plan_digest"]


def given_vocabulary(where: str) -> Tokenizer:
    """Load the vocabulary of a run directory, a store, or a file."""
    path = Path(where)
    return load_tokenizer(path / "tokenizer.json" if path.is_dir() else path)


def plan(files: Sequence[str], config: PrepareConfig, given: Tokenizer | None) -> tuple[Plan, list[str]]:
    """Find what is to be read, and cut it into jobs; also a line for whatever is left out."""
    raw, anywhere = config.tokenizer == "byte", config.tokenizer in ("byte", "char")
    sets = [files] if isinstance(config.valid, float) else [files, [config.valid]]
    found = [find_sources(names, raw=raw, column=config.input) for names in sets]
    sources = [each for each, _ in found]
    jobs = [plan_jobs(each, anywhere=anywhere) for each in sources]
    notes = [note for _, each in found for note in each]
    return Plan(config, sources, jobs, None if given is None else given.digest), notes


def _as_mapping(plan: Plan) -> dict[str, Any]:
    return {**plan._asdict(), "config": as_mapping(plan.config)}


def plan_digest(plan: Plan) -> str:
    """Return the sha256 of settings and inputs, in hexadecimal."""
    return hashlib.sha256(json.dumps(_as_mapping(plan)).encode()).hexdigest()


def finished(target: Path, plan: Plan) -> bool:
    """Tell whether the store is there, made from the same files in the same way.

    Raises: CorpusError if something else is there.
    """
    if not target.exists():
        return False
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads((target / "corpus.json").read_bytes())["prepared"]["plan"] == plan_digest(plan):
            shutil.rmtree(_unfinished(target), ignore_errors=True)
            return True
    raise CorpusError(f"{target} exists already, and was not made from these files in this way; choose another --out")


def _unfinished(target: Path) -> Path:
    return target.with_name(f"{target.name}.unfinished")


class Preparation:
    """Work on a store: as a context manager it holds the folder, which stays until the store is whole.

    Args:
        target: the store to be.
        plan: what goes into it.
    Raises: CorpusError if the folder was begun for something else, or another process is working on it.
    """

    def __init__(self, target: Path, plan: Plan) -> None:
        self.target, self.plan, self.folder = target, plan, _unfinished(target)
        self.work = Work(self.folder, plan)
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> Self:
        for path in (*(self.work.store / part for part in PARTS), *(self.work.folder / part for part in PARTS)):
            path.mkdir(parents=True, exist_ok=True)
        (self.work.folder / "survey").mkdir(exist_ok=True)
        self._lock = self._locked()
        try:
            self._begin()
        except BaseException:
            self._lock.close()
            raise
        return self

    def _begin(self) -> None:
        """Write the plan down, or compare it with the one that is there."""
        file = self.work.folder / "plan.json"
        data = json.dumps(_as_mapping(self.plan)).encode()
        if not file.exists():
            write_file(file, data)
        elif file.read_bytes() != data:
            raise CorpusError(f"{self.folder} was begun {self._difference(file)}; remove it to begin anew")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def _locked(self) -> IO[bytes]:
        lock = (self.work.folder / "lock").open("wb")
        if not try_lock(lock.fileno()):
            lock.close()
            raise CorpusError(f"another process is preparing {self.target}; wait for it")
        return lock

    def _difference(self, file: Path) -> str:
        """Say what is not as it was, in a few words."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            before, now = json.loads(file.read_bytes()), json.loads(json.dumps(_as_mapping(self.plan)))
            for field in dataclasses.fields(PrepareConfig):
                was, wanted = before["config"].get(field.name), now["config"].get(field.name)
                if was != wanted:
                    return f"with {field.name} {was}, not {wanted}"
            for was, wanted in zip(before["sources"], now["sources"], strict=False):
                for old, new in zip(was, wanted, strict=False):
                    if old[0] == new[0] and old != new:
                        return f"before {old[0]} changed"
        return "from other files"

    def check_unchanged(self) -> None:
        """Raise CorpusError if a file has changed while it was read."""
        for each in self.plan.sources:
            for source in each:
                if source.format == "dataset":
                    continue
                now = os.stat(source.name)
                if (now.st_size, str(now.st_mtime_ns)) != (source.size, source.stamp):
                    raise CorpusError(
                        f"{source.name} changed while it was read; remove {self.folder} and prepare it again"
                    )

    def finish(self) -> None:
        """Give the store its name, and remove all else."""
        for path in (*(self.work.store / part for part in PARTS), self.work.store):
            sync(path)
        os.rename(self.work.store, self.target)
        sync(self.target.parent)
        shutil.rmtree(self.folder, ignore_errors=True)
