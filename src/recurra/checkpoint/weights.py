"""Files of tensors that know whether they are whole: safetensors with a digest of all tensors in the header."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from recurra.errors import RunError
from recurra.state import digest_tensors

__all__ = ["pack", "read_tensors", "read_weights"]

NOTE = "recurra"
"""The one entry of the header's metadata: several would come in any order, and the same tensors give other bytes."""


def pack(tensors: Mapping[str, Tensor], *, run: str | None = None, seal: bool = False) -> bytes:
    """Return tensors as the bytes of a safetensors file.

    Args:
        run: what they belong to.
        seal: note that, and the digest of the tensors, in the header.
    """
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return save(plain, {NOTE: f"sha256 {_digest(plain)} run {run}"} if seal else None)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises: RunError if it is missing or damaged."""
    try:
        # Copies are aligned as torch aligns its own: kernels may round differently on memory that is not.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read {path}: {_reason(path, error)}") from error


def read_weights(path: Path, *, run: str | None = None) -> dict[str, Tensor]:
    """Read a safetensors file and compare its digest, where it has one.

    Args:
        run: what the tensors must belong to; None for a run of an earlier version, whose files say nothing of it.
    Raises: RunError if it is missing, damaged, or of another run.
    """
    tensors = read_tensors(path)
    try:
        with safe_open(path, "pt") as file:
            note = (file.metadata() or {}).get(NOTE)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot read {path}: {_reason(path, error)}") from error
    if note is not None or run is not None:
        digest, _, owner = (note or "").removeprefix("sha256 ").partition(" run ")
        if digest != _digest(tensors):
            raise RunError(f"{path} is damaged: its digest is not that of its tensors")
        if owner != str(run):
            raise RunError(f"{path} belongs to another run")
    return tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    return digest_tensors(dict(sorted(tensors.items())))


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it does not exist"
    if path.is_dir():
        return "it is a folder"
    return f"it is damaged ({error})" if isinstance(error, SafetensorError) else str(error)
