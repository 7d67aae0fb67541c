"""The texts from which pairs of bytes are learned: all of them, or pieces spread evenly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from recurra.data.preparing.parts import Task

if TYPE_CHECKING:
    from recurra.data.preparing.work import Work

__all__ = ["SAMPLE", "sample"]

SAMPLE = 1 << 23
"""Characters from which pairs are learned; more of them change few pairs."""


def sample(work: Work, tasks: list[Task], total: int) -> Iterator[str]:
    """Yield the texts of the training part, of a long one as many stretches, spread evenly, as make up `SAMPLE`.

    Args:
        total: symbols of the whole corpus.
    """
    seen = taken = 0
    for task in tasks:
        for stretch in work.read(0, task):
            length = sum(map(len, stretch.texts))
            if taken * total <= seen * SAMPLE or total <= SAMPLE:
                taken += length
                yield from (text for text in stretch.texts if isinstance(text, str))
            seen += length
