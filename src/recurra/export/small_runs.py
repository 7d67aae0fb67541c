"""A run whose weights take one or two bytes each: for inference, read by every command."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from recurra.checkpoint import RunDirectory
from recurra.config import as_mapping
from recurra.engine.quantised import quantise_all
from recurra.errors import RunError
from recurra.training import Run

__all__ = ["copy_description", "write_bf16", "write_int8"]

VOCABULARY = (
    "tokenizer.json",
    "input.json",
    "input.tokenizer.json",
    "target.json",
    "target.tokenizer.json",
    "series.json",
)
"""Files that say how what a model reads and says becomes numbers; each task has some of them."""


def write_int8(run: Run, folder: Path) -> dict[str, Any]:
    """Write a run with a matrix's weights as int8 on a scale per channel; see `recurra.engine.quantised`."""
    return _write(run, folder, "int8")


def write_bf16(run: Run, folder: Path) -> dict[str, Any]:
    """Write a run with a matrix's weights as bfloat16."""
    return _write(run, folder, "bf16")


def copy_description(run: Run, folder: Path) -> None:
    """Copy the files that say how text and other data become numbers, and what was measured in training."""
    for name in (*VOCABULARY, run.directory.metrics_file.name):
        if (run.path / name).is_file():
            shutil.copyfile(run.path / name, folder / name)


def _write(run: Run, folder: Path, kind: str) -> dict[str, Any]:
    """Raises: RunError if the weights are quantised already; ConfigError if they cannot be."""
    if run.stored != "float32":
        raise RunError(f"{run.path} holds weights in {run.stored} already; export the run that it was made from")
    tensors = run.directory.read_model()
    stored = quantise_all(tensors, kind, {name for name, _ in run.model.named_parameters()})
    directory = RunDirectory(folder)
    directory.write_config(as_mapping(run.config))
    run.directory.verify()  # what is copied gets digests of its own
    copy_description(run, folder)
    for source in (run.directory.tokens, run.directory.examples):
        if source.is_dir():
            shutil.copytree(source, folder / source.name)
    directory.write_manifest()
    directory.write_model(stored)
    before, after = run.directory.model_file.stat().st_size, directory.model_file.stat().st_size
    matrices = sum(tensor.dtype != tensors[name].dtype for name, tensor in stored.items() if name in tensors)
    return {"weights": kind, "matrices": matrices, "bytes_before": before, "bytes_after": after}
