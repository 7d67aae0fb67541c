"""A preparation that is under way: its folder, and the pieces of work that any process can do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from recurra.data.preparing.config import PrepareConfig
from recurra.data.preparing.encoding import Encoder
from recurra.data.preparing.parts import Task
from recurra.data.preparing.planning import Segment
from recurra.data.preparing.reading import Stretch, clip, read_job
from recurra.data.preparing.sources import Source
from recurra.data.preparing.survey import Survey
from recurra.data.preparing.writing import finished_shards, write_file, write_shards
from recurra.data.store_index import dtype_for
from recurra.data.tokenizers import KINDS, Tokenizer, load_tokenizer
from recurra.errors import CorpusError

__all__ = ["PARTS", "Plan", "Work"]

PARTS = ("train", "valid")


class Plan(NamedTuple):
    """What is read, and how.

    Args:
        config: with the kind of tokenizer filled in.
        sources, jobs: of the files, and in a second set of those to validate with, if there are any.
        given: digest of the vocabulary that is there already.
    """

    config: PrepareConfig
    sources: list[list[Source]]
    jobs: list[list[list[Segment]]]
    given: str | None


class Work:
    """The folder of a preparation.

    Args:
        folder: which holds ``store``, to be the store, and ``work``, which goes in the end.
        plan: what is to be done.
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan, self.store, self.folder = plan, folder / "store", folder / "work"
        self.tokenizer_file = self.store / "tokenizer.json"
        kind = plan.config.tokenizer
        assert kind is not None
        self.kind: type[Tokenizer] = KINDS[kind]

    @classmethod
    def open(cls, folder: Path) -> Work:
        """Read the plan of a folder."""
        values = json.loads((folder / "work" / "plan.json").read_bytes())
        sources = [[Source(*source) for source in each] for each in values["sources"]]
        jobs = [[[Segment(*segment) for segment in job] for job in each] for each in values["jobs"]]
        return cls(folder, Plan(PrepareConfig(**values["config"]), sources, jobs, values["given"]))

    # -- surveying ------------------------------------------------------------------------------------------------

    def stretches(self, which: int, job: int, left_out: list[str] | None = None) -> Iterator[Stretch]:
        """Read a job of the files, 0, or of the files to validate with, 1."""
        return read_job(self.plan.jobs[which][job], self.plan.sources[which], self.kind, left_out)

    def survey_file(self, which: int, job: int) -> Path:
        """Return where the survey of a job is kept."""
        return self.folder / "survey" / f"{which}-{job:05d}.json"

    def survey(self, which: int, job: int) -> Iterator[int]:
        """Survey a job, unless that was done."""
        file = self.survey_file(which, job)
        if file.exists():
            return
        survey, left_out = Survey(self.kind.kind, counted=self.counted), list[str]()
        yield from survey.read(self.stretches(which, job, left_out))
        survey.left_out = len(left_out)
        write_file(file, json.dumps(survey.as_mapping(), ensure_ascii=False).encode("utf-8", "surrogatepass"))

    @property
    def counted(self) -> bool:
        """Whether symbols are counted for a vocabulary."""
        return self.plan.given is None

    # -- writing --------------------------------------------------------------------------------------------------

    @property
    def tasks_file(self) -> Path:
        """Where it is written down which tasks each part has, and whether its documents are closed."""
        return self.folder / "tasks.json"

    @cached_property
    def tasks(self) -> dict[str, tuple[int, bool, list[Task]]]:
        """Of each part the set that it reads, whether its documents are closed, and its tasks."""
        values = json.loads(self.tasks_file.read_bytes())
        return {
            part: (which, closed, [Task(*task) for task in tasks]) for part, (which, closed, tasks) in values.items()
        }

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The vocabulary, once it is made."""
        return load_tokenizer(self.tokenizer_file)

    def read(self, which: int, task: Task) -> Iterator[Stretch]:
        """Read what a task covers."""
        for number, stretch in enumerate(clip(self.stretches(which, task.job), task.skip, task.stop)):
            yield stretch._replace(begins=True) if task.fresh and not number else stretch

    def write(self, part: str, number: int) -> Iterator[int]:
        """Write the shards of a task that are not there yet."""
        which, closed, tasks = self.tasks[part]
        encoder = Encoder(self.tokenizer, dtype_for(len(self.tokenizer)), closed=closed)
        yield from write_shards(
            self.read(which, tasks[number]), encoder, records=self.folder / part, shards=self.store / part,
            task=number, shard_tokens=self.plan.config.shard_tokens,
        )  # fmt: skip

    def finished(self, part: str, number: int) -> list[Any]:
        """Return the shards of a task that are whole."""
        itemsize = dtype_for(len(self.tokenizer)).itemsize
        return finished_shards(self.folder / part, self.store / part, number, itemsize)

    def do(self, item: Sequence[Any]) -> Iterator[int]:
        """Do a piece of work, yielding symbols on the way."""
        what, where, number = item
        try:
            yield from self.survey(int(where), int(number)) if what == "survey" else self.write(where, int(number))
        except OSError as error:
            raise CorpusError(
                f"cannot write {error.filename or self.store}: {error.strerror or error}; make room, and repeat the "
                f"command, which goes on where it stopped"
            ) from None
