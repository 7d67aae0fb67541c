"""Where the training part ends and the validation part begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from recurra.data.preparing.reading import Stretch
from recurra.data.text import LONGEST_WORD, Text, without_damage

__all__ = ["Cut", "Task", "find_cut", "plan_tasks"]


class Task(NamedTuple):
    """A job, or what of it belongs to a part.

    Args:
        job: its number.
        skip, stop: symbols of the job between which it is read; to its end where `stop` is None.
        fresh: it is the first of its part, and begins as if with a document.
    """

    job: int
    skip: int
    stop: int | None
    fresh: bool


class Cut(NamedTuple):
    """Where a corpus is cut in two.

    Args:
        position: symbols before it.
        documents: that begin before it.
        torn: the last of those goes on behind it.
    """

    position: int
    documents: int
    torn: bool


def plan_tasks(sizes: Sequence[int], start: int, stop: int | None) -> list[Task]:
    """Return what is to be read of jobs of these sizes, between two positions."""
    tasks, at = list[Task](), 0
    for job, size in enumerate(sizes):
        end = at + size
        if size and end > start and (stop is None or at < stop):
            until = None if stop is None or stop >= end else stop - at
            tasks.append(Task(job, max(0, start - at), until, not tasks))
        at = end
    return tasks


def find_cut(position: int, surveys: Sequence[dict[str, Any]], read: Any, *, whole_words: bool) -> Cut:
    """Find the place to cut at or behind a position: not through a word, nor through the bytes of a character.

    Args:
        position: in symbols.
        surveys: of the jobs.
        read: returns the stretches of a job.
    """
    at, documents, first = 0, 0, 0
    for survey in surveys:
        if position < at + survey["symbols"]:
            break
        at, documents, first = at + survey["symbols"], documents + survey["documents"], first + 1
    else:
        return Cut(at, documents, False)
    texts = _texts(read(job) for job in range(first, len(surveys)))
    for text, begins, ends in texts:
        documents += begins
        if position >= at + len(text):
            at += len(text)
            continue
        if position == at:  # between two texts, which is no place within a word
            return Cut(position, documents - begins, not begins)
        window = text
        while not ends and len(window) < position - at + LONGEST_WORD:
            more, _, ends = next(texts, (text[:0], False, True))
            window += more  # type: ignore[operator]
        cut = without_damage(window, position - at, whole_words)
        return Cut(at + cut, documents, not ends or cut < len(window))
    return Cut(at, documents, False)


def _texts(jobs: Iterable[Iterable[Stretch]]) -> Iterator[tuple[Text, bool, bool]]:
    for stretches in jobs:
        for texts, begins, ends in stretches:
            for number, text in enumerate(texts):
                yield text, begins or number > 0, ends or number < len(texts) - 1
