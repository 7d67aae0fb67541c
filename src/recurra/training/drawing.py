"""Pictures of an assessment, in the report of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recurra.data.examples import Examples
from recurra.evaluation import Assessment

__all__ = ["draw_assessment"]


def draw_assessment(model: Any, examples: Examples, assessment: Assessment, folder: Path, name: str) -> list[Path]:
    """Draw what a model said about examples, and return the files."""
    return []
