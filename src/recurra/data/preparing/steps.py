"""From files to a store, step by step; each leaves on disk what the next begins with."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recurra.config import from_mapping
from recurra.data.preparing.assembling import assemble
from recurra.data.preparing.config import PrepareConfig
from recurra.data.preparing.folder import Preparation, finished, given_vocabulary, plan
from recurra.data.preparing.parts import Cut, find_cut, plan_tasks
from recurra.data.preparing.sampling import sample
from recurra.data.preparing.survey import MOST_WORDS, Survey, build_from_counts
from recurra.data.preparing.work import PARTS, Work
from recurra.data.preparing.workers import do_all
from recurra.data.preparing.writing import write_file
from recurra.data.tokenizers import BpeTokenizer, Tokenizer, build_tokenizer
from recurra.errors import ConfigError, CorpusError

__all__ = ["Prepared", "Progress", "prepare"]

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Prepared:
    """What was made.

    Args:
        path: the store, for `Corpus.load` and ``recurra train``.
        vocabulary: number of tokens that there are.
        train_tokens, valid_tokens: length of the parts.
        documents: in both.
        notes: lines that a user should read.
    """

    path: Path
    vocabulary: int
    train_tokens: int
    valid_tokens: int
    documents: int
    notes: list[str]


def prepare(
    files: Sequence[str | os.PathLike[str]] | str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    processes: int = 1,
    progress: Progress | None = None,
    **settings: Any,
) -> Prepared:
    """Tokenise files of any size into a store, in memory that does not grow with them.

    A command that was killed is repeated, and goes on from its last whole shard; it gives the same bytes as one that
    was not, whatever `processes` is. Until all is done, everything is in ``OUT.unfinished``.

    Args:
        files: texts, ``.jsonl`` and ``.parquet``, the first two also as ``.gz`` and ``.zst``; folders of those;
            ``hf:NAME`` of a data set. A file of text is one document; a line of JSON, or a row, is one.
        out: folder to make.
        processes: that work side by side.
        progress: called with (symbols done, in all, what is being done).
        settings: of `PrepareConfig`.
    Raises: CorpusError for files that cannot be used, or have changed since; ConfigError for settings.
    """
    names = [os.fspath(file) for file in ([files] if isinstance(files, str | os.PathLike) else files)]
    if processes < 1:
        raise ConfigError(f"'processes' must be at least 1, not {processes}")
    if not names:
        raise ConfigError("there is nothing to prepare; give files, folders, or hf:NAME")
    given_settings = {
        name: os.fspath(value) if isinstance(value, os.PathLike) else value
        for name, value in settings.items()
        if value is not None
    }
    config = from_mapping(PrepareConfig, given_settings)
    given = None if config.vocabulary is None else given_vocabulary(config.vocabulary)
    planned, notes = plan(names, config.resolved(given.kind if given else None), given)
    target = Path(out)
    try:
        if finished(target, planned):
            return _summary(target)
        with Preparation(target, planned) as preparation:
            _Steps(preparation.work, preparation.folder, processes, progress or (lambda *done: None)).run(given, notes)
            preparation.check_unchanged()
            preparation.finish()
    except OSError as error:
        raise CorpusError(
            f"cannot write {error.filename or target}: {error.strerror or error}; make room, and repeat the command, "
            f"which goes on where it stopped"
        ) from None
    return _summary(target)


def _summary(path: Path) -> Prepared:
    about = json.loads((path / "corpus.json").read_bytes())
    made = about["prepared"]
    train, valid = made["tokens"]
    return Prepared(path, made["vocabulary"], train, valid, made["documents"], about["notes"])


class _Steps:
    """Survey, parts, vocabulary, tokens, index."""

    def __init__(self, work: Work, folder: Path, processes: int, progress: Progress) -> None:
        self.work, self.folder, self.processes, self.progress = work, folder, processes, progress
        self.config = work.plan.config

    def run(self, given: Tokenizer | None, notes: list[str]) -> None:
        """Do whatever is not done yet."""
        if not self.work.tasks_file.exists():
            surveys = self._survey()
            train, valid, closed = self._parts(surveys)
            several = sum(survey["documents"] for survey in surveys[0]) > 1 or closed[1]
            tokenizer = given or self._vocabulary(train, valid, surveys, end=several)
            if not len(tokenizer):
                raise CorpusError("these files hold nothing but white space; give a text to learn from")
            tokenizer.save(self.work.tokenizer_file)
            self.work.tokenizer = tokenizer
            which = 1 if len(surveys) > 1 else 0
            empty = sum(survey["left_out"] for each in surveys for survey in each)
            more = [f"{empty:,} rows without a text were left out"] if empty else []
            if self.forgotten:
                more.append(f"there are more than {MOST_WORDS:,} different words: rare ones were counted approximately")
            tasks = {"train": [0, closed[0], train], "valid": [which, closed[1], valid]}
            about = {"notes": [*notes, *more], "torn": self.torn}
            write_file(self.folder / "work" / "about.json", json.dumps(about).encode())
            write_file(self.work.tasks_file, json.dumps(tasks).encode())
        self._write()
        about = json.loads((self.folder / "work" / "about.json").read_bytes())
        assemble(self.work, self.folder, about["notes"], torn=about["torn"], given=given is not None)

    forgotten = torn = False

    def _survey(self) -> list[list[dict[str, Any]]]:
        if (self.config.valid and isinstance(self.config.valid, float)) or self._learned:
            return self._surveyed()
        return [
            [self._glimpse(which, job) for job in range(len(jobs))] for which, jobs in enumerate(self.work.plan.jobs)
        ]

    @property
    def _learned(self) -> bool:
        """Whether a vocabulary is made of what is read."""
        return self.work.plan.given is None and self.config.tokenizer != "byte"

    def _glimpse(self, which: int, job: int) -> dict[str, Any]:
        """Survey as much of a job as tells whether it has several documents: nothing is to be cut or learned."""
        survey = Survey(self.work.kind.kind, counted=False)
        segments = self.work.plan.jobs[which][job]
        if all(self.work.plan.sources[which][segment.source].format == "text" for segment in segments):
            survey.documents = sum(segment.start == 0 for segment in segments)
            survey.symbols = 1
            return survey.as_mapping()
        for _ in survey.read(self.work.stretches(which, job)):
            if survey.documents > 1:
                break
        return survey.as_mapping()

    def _surveyed(self) -> list[list[dict[str, Any]]]:
        items = [("survey", which, job) for which, jobs in enumerate(self.work.plan.jobs) for job in range(len(jobs))]
        missing = [item for item in items if not self.work.survey_file(item[1], item[2]).exists()]
        self._do(missing, sum(source.size for each in self.work.plan.sources for source in each), "surveying")
        surveys: list[list[dict[str, Any]]] = [[] for _ in self.work.plan.jobs]
        for _, which, job in items:
            surveys[which].append({**self._read_survey(which, job), "counts": {}})
        if not any(survey["symbols"] for survey in surveys[0]):
            raise CorpusError("there is no text in these files; give a text to learn from")
        return surveys

    def _read_survey(self, which: int, job: int) -> dict[str, Any]:
        survey: dict[str, Any] = json.loads(self.work.survey_file(which, job).read_bytes())
        return survey

    def _parts(self, surveys: list[list[dict[str, Any]]]) -> tuple[list[Any], list[Any], tuple[bool, bool]]:
        """Return the tasks of both parts, and whether their documents are closed."""
        sizes, documents = [survey["symbols"] for survey in surveys[0]], sum(s["documents"] for s in surveys[0])
        if len(surveys) > 1:
            more, count = [survey["symbols"] for survey in surveys[1]], sum(s["documents"] for s in surveys[1])
            return plan_tasks(sizes, 0, None), plan_tasks(more, 0, None), (documents > 1, count > 1)
        total, cut = sum(sizes), Cut(sum(sizes), documents, False)
        assert isinstance(self.config.valid, float)
        if self.config.valid:
            position = int(total * (1 - self.config.valid) + 1e-9)
            cut = find_cut(
                position, surveys[0], lambda job: self.work.stretches(0, job),
                whole_words=self.config.tokenizer in ("word", "bpe"),
            )  # fmt: skip
        self.torn = cut.torn
        behind = documents - cut.documents + cut.torn
        train, valid = plan_tasks(sizes, 0, cut.position), plan_tasks(sizes, cut.position, None)
        return train, valid, (documents > 1 and cut.documents + cut.torn > 1, behind > 1)

    def _vocabulary(
        self, train: list[Any], valid: list[Any], surveys: list[list[dict[str, Any]]], *, end: bool
    ) -> Tokenizer:
        kind, vocab, which = str(self.config.tokenizer), self.config.vocab, len(surveys) - 1
        if kind == "byte":
            return build_tokenizer(kind, [], end=end)
        if kind == "bpe":
            self.progress(0, 1, "learning pairs")
            texts = sample(self.work, train, sum(survey["symbols"] for survey in surveys[0]))
            return BpeTokenizer.build(texts, vocab=vocab, end=end)
        found, found_valid = self._count(0, train), self._count(which, valid)
        self.forgotten = found.counts.forgotten
        return build_from_counts(kind, found.counts, found_valid.counts, vocab=vocab, end=end)

    def _count(self, which: int, tasks: list[Any]) -> Survey:
        """Add up the surveys of jobs; one that is cut in two is surveyed again, as far as the part has it."""

        def each() -> Any:
            for task in tasks:
                if not task.skip and task.stop is None:
                    yield self._read_survey(which, task.job)
                    continue
                survey = Survey(self.work.kind.kind, counted=True)
                for _ in survey.read(self.work.read(which, task)):
                    pass
                yield survey.as_mapping()

        return Survey.total(self.work.kind.kind, each())

    def _write(self) -> None:
        items = [(part, number) for part in PARTS for number in range(len(self.work.tasks[part][2]))]
        missing = [
            ("write", part, number)
            for part, number in items
            if not ((found := self.work.finished(part, number)) and found[-1].last)
        ]
        self._do(missing, sum(source.size for each in self.work.plan.sources for source in each), "tokenising")

    def _do(self, items: list[Any], total: int, what: str) -> None:
        done = 0

        def tell(symbols: int) -> None:
            nonlocal done
            done += symbols
            self.progress(done, max(total, done), what)

        if items:
            do_all(self.work, self.folder, items, self.processes, tell)
