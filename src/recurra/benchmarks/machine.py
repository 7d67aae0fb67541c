"""The machine that a measurement belongs to."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import torch

__all__ = ["describe_machine"]

LIBRARIES = ("torch", "jax", "onnxruntime")


def describe_machine() -> dict[str, Any]:
    """Return processor, threads, versions, and the measured multiply-add peak of one thread and of all in use."""
    import llvmlite.binding as llvm

    from recurra.engine.llvm.peak import host_vector_unit, measure_peak

    threads = torch.get_num_threads()
    return {
        "processor": f"{platform.machine()} {llvm.get_host_cpu_name()}",
        "vectors": host_vector_unit().name,
        "cores": os.cpu_count(),
        "threads": threads,
        **{name: version for name in LIBRARIES if (version := _version(name)) is not None},
        "peak_gflops_1_thread": round(measure_peak(1), 1),
        "peak_gflops": round(measure_peak(threads), 1),
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
