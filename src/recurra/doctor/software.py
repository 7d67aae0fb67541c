"""Versions, and what is installed of the extras."""

from __future__ import annotations

import platform
import re
from importlib import metadata

from recurra.doctor.findings import NOTE, OK, WRONG, Finding
from recurra.doctor.known import version_of

__all__ = ["PURPOSES", "check_extras", "check_libraries", "installed_versions"]

SHOWN = ("torch", "numpy", "llvmlite", "safetensors", "tokenizers")
PURPOSES = {
    "testing": "check_cell, for cells of your own",
    "tasks": "tables, sounds, pictures and their metrics",
    "control": "texts kept to a pattern, n-grams",
    "bench": "peers to measure against",
    "export": "ONNX and other formats",
    "corpora": "large corpora from Parquet and .zst",
    "hub": "data sets of Hugging Face by name",
}
"""What each extra is for."""
NOT_FOR_USERS = ("dev",)
REQUIREMENT = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?\s*\(?([^;)]*)\)?\s*(?:;\s*(.*))?$")


def _requirements() -> list[tuple[str, str, str]]:
    """Return (package, oldest version or nothing, extra or nothing) of all that recurra asks for."""
    found = []
    for text in metadata.requires("recurra") or ():
        match = REQUIREMENT.match(text)
        if match is None or match[1] == "recurra":
            continue
        oldest = re.search(r">=\s*([\w.]+)", match[2])
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", match[3] or "")
        found.append((match[1], oldest[1] if oldest else "", extra[1] if extra else ""))
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed_versions() -> dict[str, str]:
    """Return the versions of what recurra needs, as far as it is installed."""
    names = [package for package, _, extra in _requirements() if not extra]
    return {name: version for name in names if (version := _version(name)) is not None}


def _is_old(found: str | None, oldest: str) -> bool:
    return found is not None and bool(oldest) and version_of(found) < version_of(oldest)


def check_libraries() -> Finding:
    """Look for what recurra cannot do without."""
    versions, wrong = installed_versions(), []
    for package, oldest, extra in _requirements():
        if extra:
            continue
        if package not in versions:
            wrong.append(f"{package} is missing")
        elif _is_old(versions[package], oldest):
            wrong.append(f"{package} {versions[package]} is older than {oldest}")
    details = [f"{name} {version}" for name, version in sorted(versions.items())]
    if wrong:
        return Finding("libraries", WRONG, "; ".join(wrong), "pip install --upgrade recurra", details)
    shown = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
    return Finding("libraries", OK, f"Python {platform.python_version()}, {shown}", details=details)


def check_extras() -> Finding:
    """Look for what only some work needs: what is missing is worth knowing, what is too old is wrong."""
    extras: dict[str, list[str]] = {}
    old, details = [], []
    for package, oldest, extra in _requirements():
        if not extra or extra in NOT_FOR_USERS:
            continue
        found, missing = _version(package), extras.setdefault(extra, [])
        details.append(f"{extra}: {package} {found or 'is not installed'}")
        if found is None:
            missing.append(package)
        elif _is_old(found, oldest):
            old.append((extra, f"{package} {found} is older than {oldest}"))
    if old:
        names = ",".join(dict.fromkeys(extra for extra, _ in old))
        advice = f'pip install --upgrade "recurra[{names}]"'
        return Finding("extras", WRONG, "; ".join(text for _, text in old), advice, details)
    lacking = [extra for extra, missing in extras.items() if missing]
    if not lacking:
        return Finding("extras", OK, f"all there: {', '.join(extras)}", details=details)
    shown = "; ".join(f"{extra} ({PURPOSES.get(extra, 'more')}): {', '.join(extras[extra])}" for extra in lacking)
    advice = f'only if you need them: pip install "recurra[{",".join(lacking)}]"'
    return Finding("extras", NOTE, f"not installed: {shown}", advice, details)
