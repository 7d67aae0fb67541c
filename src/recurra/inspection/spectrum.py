"""Spectra: results alone, until the measures are merged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recurra.errors import RecurraError
from recurra.inspection.lyapunov import Lyapunov

__all__ = ["JacobianSpectrum", "MatrixSpectrum", "Spectrum", "measure_spectrum"]


@dataclass(frozen=True)
class MatrixSpectrum:
    """One square block of the recurrent weights."""

    layer: int
    name: str
    eigenvalues: list[tuple[float, float]]
    singular_values: list[float]
    radius: float


@dataclass(frozen=True)
class JacobianSpectrum:
    """The step's Jacobian along real text."""

    layer: int
    radii: list[float]
    norms: list[float]


@dataclass(frozen=True)
class Spectrum:
    """All of it."""

    matrices: list[MatrixSpectrum]
    jacobians: list[JacobianSpectrum]
    lyapunov: Lyapunov | None


def measure_spectrum(model: Any, tokens: Any, **options: Any) -> Spectrum:
    """Not here yet."""
    raise RecurraError("not here yet")
