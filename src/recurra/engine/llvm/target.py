"""What instructions to generate: vector width, registers, and LLVM's machine for it."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm

__all__ = ["Target", "host_target", "machine"]


@dataclass(frozen=True)
class Target:
    """A kind of processor.

    Args:
        name: "avx512", "avx2" or "generic", as `recurra.engine.llvm.maths.Maths` knows them.
        vector_bits: width of a vector register.
        tiles: for n vectors of weights, the number of rows whose sums fit into registers beside them.
        cpu, features: as LLVM names them; empty for those of this machine.
    """

    name: str
    vector_bits: int
    tiles: tuple[int, int, int, int]
    cpu: str = ""
    features: str = ""

    def lanes(self, dtype: str) -> int:
        """Numbers in a vector."""
        return self.vector_bits // (32 if dtype == "float32" else 64)


MANY_REGISTERS, FEW_REGISTERS = (14, 12, 8, 6), (10, 5, 3, 2)

TARGETS = {
    "avx512": Target("avx512", 512, MANY_REGISTERS),
    "avx2": Target("avx2", 256, FEW_REGISTERS, "x86-64-v3", "+avx2,+fma,-avx512f"),
    "sse": Target("generic", 128, FEW_REGISTERS, "x86-64", ""),
    "neon": Target("generic", 128, MANY_REGISTERS),
}


@functools.cache
def initialise() -> None:
    """Prepare LLVM for this machine."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@functools.cache
def host_target() -> Target:
    """Return the target for this machine."""
    initialise()
    features = llvm.get_host_cpu_features()
    if platform.machine().lower() in ("arm64", "aarch64"):
        return TARGETS["neon"]
    if features.get("avx512f") and features.get("avx512dq") and features.get("avx512vl"):
        return TARGETS["avx512"]
    if features.get("avx2") and features.get("fma"):
        return Target("avx2", 256, FEW_REGISTERS)
    return TARGETS["sse"]


def machine(target: Target) -> Any:
    """Return LLVM's machine for a target."""
    initialise()
    features = target.features if target.cpu else llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu or llvm.get_host_cpu_name(), features=features, opt=3
    )
