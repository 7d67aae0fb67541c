"""Manifests: the digests of files beside them, under a digest of their own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recurra.checkpoint.files import read_json
from recurra.errors import RunError
from recurra.files import file_digest

__all__ = ["MANIFEST", "check_file", "describe_files", "read_sealed", "sealed", "twin_of"]

MANIFEST = "manifest.json"
SEAL = "seal"


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return a mapping as JSON that also holds the sha256 of all else that it holds, as ``seal``."""
    return json.dumps({**content, SEAL: _seal(content)}, indent=1).encode()


def read_sealed(path: Path, *, needs_seal: bool = True) -> dict[str, Any]:
    """Read what `sealed` made.

    Args:
        needs_seal: False takes manifests of earlier versions, too, which have no seal.
    Raises: RunError if it is missing or damaged.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("sha256"), dict):
        raise RunError(f"{path} is damaged: it is no manifest")
    said = content.get(SEAL)
    if said is None and not needs_seal:
        return content
    if said != _seal({name: value for name, value in content.items() if name != SEAL}):
        raise RunError(f"{path} is damaged: its seal is not that of what it says")
    return content


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return the digests and the sizes of files, by their names below a folder."""
    names = sorted(names)
    return {
        "sha256": {name: file_digest(folder / name) for name in names},
        "bytes": {name: (folder / name).stat().st_size for name in names},
    }


def check_file(folder: Path, name: str, manifest: Mapping[str, Any], *, largest: int | None = None) -> str | None:
    """Return what is wrong with a file of a manifest, or None.

    Args:
        largest: bytes up to which a file is read and its digest compared; of larger ones only the size is. Default all.
    """
    path = folder / name
    size = manifest.get("bytes", {}).get(name)
    try:
        if not path.is_file():
            return "it is not a file" if path.exists() else "it is missing"
        found = path.stat().st_size
        if size is not None and found != size:
            return f"it has {found:,} bytes instead of {size:,}"
        if largest is not None and found > largest:
            return None
        if file_digest(path) != manifest["sha256"][name]:
            return f"its digest is not the one in {MANIFEST}"
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"
    return None


def twin_of(folder: Path, name: str, manifest: Mapping[str, Any], others: Iterable[str]) -> Path | None:
    """Return a whole file below a folder that holds what a damaged one should hold, or None.

    Args:
        others: names of files that may.
    """
    wanted = manifest["sha256"].get(name)
    for other in others:
        path = folder / other
        try:
            if other != name and path.is_file() and file_digest(path) == wanted:
                return path
        except OSError:
            continue
    return None


def _seal(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
