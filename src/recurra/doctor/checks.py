"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from recurra.cells.box import CELLS
from recurra.doctor import hardware, software
from recurra.doctor.engine import check_cache, check_compiler, check_parity, present_devices
from recurra.doctor.findings import Finding
from recurra.doctor.known import check_known

__all__ = ["examine"]


def examine(
    runs: Path = Path("runs"), progress: Callable[..., None] = lambda done, total, label: None
) -> Iterator[Finding]:
    """Yield what each check has found, the quick ones first.

    Args:
        runs: folder for runs, which need not exist.
        progress: told (done, total, label) while cells are compared, which takes longest.
    """
    devices = present_devices()
    yield software.check_libraries()
    yield software.check_extras()
    yield check_known(software.installed_versions(), _kinds(devices))
    yield hardware.check_processor()
    yield hardware.check_vectors()
    yield hardware.check_memory()
    yield hardware.check_disk(runs)
    yield hardware.check_clock()
    yield hardware.check_terminal()
    yield check_cache()
    yield check_compiler()
    total = sum(len(CELLS) * (1 if device == "mps" else 2) for device in devices)
    done = -1

    def tell(label: str) -> None:
        nonlocal done
        done += 1
        progress(done, total, label)

    for device in devices:
        yield check_parity(device, tell)


def _kinds(devices: list[str]) -> list[str]:
    """Return kinds of devices, with AMD's told from Nvidia's."""
    gpu = "rocm" if torch.version.hip else "cuda"
    return sorted({gpu if device.startswith("cuda") else device for device in devices})
