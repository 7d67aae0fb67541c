"""The formats that a run is exported to, by name, and the folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from recurra.config import check_choice
from recurra.errors import RunError
from recurra.files import new_folder
from recurra.training import Run

__all__ = ["FORMATS", "Exported", "Format", "export_run"]


class Exported(NamedTuple):
    """What was written, and what was measured of it before it was declared done.

    Args:
        folder: where it is.
        files: bytes of each file in it, by name.
        facts: what the format tells of it, by name: numbers and short texts.
    """

    folder: Path
    files: dict[str, int]
    facts: dict[str, Any]


class Format(NamedTuple):
    """A way to write a run for others.

    Args:
        summary: what it is, for the help.
        writer: ``"module:function"`` of a function ``(run, folder, **options) -> facts`` that fills an empty folder.
            It raises where the run cannot be written, or where what it wrote does not do as the model does.
        options: names of the options that mean something to it.
    """

    summary: str
    writer: str
    options: tuple[str, ...] = ()

    def load(self) -> Callable[..., dict[str, Any]]:
        """Import the function that writes."""
        module, _, name = self.writer.partition(":")
        found: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        return found


FORMATS: dict[str, Format] = {
    "onnx": Format("ONNX graphs of one step and of a sequence", "recurra.export.onnx.writing:write_run", ("lengths",)),
    "hf": Format("the layout of Hugging Face's hub", "recurra.export.hugging_face:write_folder"),
    "int8": Format("a run whose weights take a byte each, for inference", "recurra.export.small_runs:write_int8"),
    "bf16": Format("a run whose weights take two bytes each, for inference", "recurra.export.small_runs:write_bf16"),
}
"""By the name that ``recurra export --to`` knows them by."""


def export_run(run: Run, to: str, out: str | Path, **options: Any) -> Exported:
    """Write a run in another format.

    Args:
        to: a name in `FORMATS`.
        out: the folder, which must not exist yet. It appears whole, when all in it was verified, or not at all.
        options: of the format.
    Raises: ConfigError for an unknown format; RunError for a folder that exists or cannot be written; else as the
        format says.
    """
    check_choice(FORMATS, to=to)
    out = Path(out)
    with new_folder(out, RunError) as scratch:
        facts = FORMATS[to].load()(run, scratch, **options)
    return Exported(out, {path.name: path.stat().st_size for path in sorted(out.iterdir()) if path.is_file()}, facts)
