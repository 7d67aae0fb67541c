"""Spectra of a network: of its recurrent weights, of its Jacobians along a text, and its Lyapunov exponents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.config import check_at_least
from recurra.errors import DivergedError
from recurra.inspection.jacobian import StateMap, spectral_radius
from recurra.inspection.lyapunov import Lyapunov, exponents_of
from recurra.inspection.subject import layers_of, read_pieces
from recurra.inspection.weights import recurrent_blocks
from recurra.state import map_leaves

__all__ = ["JacobianSpectrum", "MatrixSpectrum", "Spectrum", "measure_spectrum"]

CONTEXT = 128
"""Steps of text that are read before a Jacobian is taken."""
EXPONENTS, ROWS, WARMUP, STEPS = 8, 6, 64, 160


@dataclass(frozen=True)
class MatrixSpectrum:
    """Spectrum of a square block of the recurrent weights.

    Args:
        layer: from the bottom, from 0.
        name: such as ``U_f``.
        eigenvalues: (real, imaginary), largest modulus first.
        singular_values: largest first.
        radius: largest modulus of the eigenvalues.
    """

    layer: int
    name: str
    eigenvalues: list[tuple[float, float]]
    singular_values: list[float]
    radius: float


@dataclass(frozen=True)
class JacobianSpectrum:
    """Spectra of d s_t / d s_{t-1} of a layer, at steps spread over a text.

    Args:
        radii: largest modulus of the eigenvalues, by step.
        norms: largest singular value, by step: how much a step can lengthen a small difference, or a gradient.
    """

    layer: int
    radii: list[float]
    norms: list[float]


@dataclass(frozen=True)
class Spectrum:
    """All spectra of a network; `lyapunov`, of the whole of it along the text, is None if its state diverges."""

    matrices: list[MatrixSpectrum]
    jacobians: list[JacobianSpectrum]
    lyapunov: Lyapunov | None


def measure_spectrum(model: Any, tokens: Tensor, *, samples: int = 16) -> Spectrum:
    """Measure the spectra of a network that reads a text.

    Args:
        model: a `LanguageModel`; or any cell or stack.
        tokens: (N,) int64 of a text; for a cell, what it reads, (N, I) float.
        samples: steps at which Jacobians are taken, spread over the text, 128 steps after a fresh start each.
    Raises: EngineError if torch cannot differentiate the step; CorpusError, ShapeError for tokens that cannot be read.
    """
    check_at_least(1, samples=samples)
    text, spots = read_pieces(model, tokens, ROWS, WARMUP + STEPS), read_pieces(model, tokens, samples, CONTEXT)
    with torch.inference_mode(False), torch.random.fork_rng(devices=[]):  # a user's step may draw
        step = StateMap(text.cell, text.inputs[0])
        return Spectrum(
            matrices=_matrices(step, text.inputs[0, :1]),
            jacobians=_jacobians(step, spots.inputs),
            lyapunov=_exponents(step, text.inputs),
        )


@torch.no_grad()
def _matrices(step: StateMap, x: Tensor) -> list[MatrixSpectrum]:
    found = []
    x = x.to(step.dtype)
    for n, layer in enumerate(layers_of(step.cell)):
        for name, block in recurrent_blocks(layer, x).items():
            values = torch.linalg.eigvals(block)
            values = values[values.abs().argsort(descending=True)]
            pairs = list(zip(values.real.tolist(), values.imag.tolist(), strict=True))
            singular = torch.linalg.svdvals(block).tolist()
            found.append(MatrixSpectrum(n, name, pairs, singular, float(values[0].abs())))
        x, _ = layer.step(x, map_leaves(step.cast, layer.zero_state(1)))
    return found


def _jacobians(step: StateMap, inputs: Tensor) -> list[JacobianSpectrum]:
    """The blocks of the diagonal are the layers' own: what a layer hands up meets no state of its own again."""
    rows, layers = inputs.shape[1], layers_of(step.cell)
    before = step.fresh(rows)
    if len(inputs) > 1:
        before = step.walk(inputs[:-1], before)[-1]
    widths = [step.flatten(layer.zero_state(1)).shape[1] for layer in layers]
    spectra = [JacobianSpectrum(n, [], []) for n in range(len(layers))]
    for row in range(rows):
        (jacobian,) = step.jacobian(inputs[-1, row : row + 1], before[row : row + 1])
        ends = torch.tensor(widths).cumsum(0).tolist()
        for spectrum, width, end in zip(spectra, widths, ends, strict=True):
            block = jacobian[end - width : end, end - width : end]
            if width and torch.isfinite(block).all():
                spectrum.radii.append(spectral_radius(block))
                spectrum.norms.append(float(torch.linalg.matrix_norm(block, 2)))
    return spectra


def _exponents(step: StateMap, inputs: Tensor) -> Lyapunov | None:
    length, rows = inputs.shape[:2]
    warmup = min(WARMUP, length // 4)
    try:
        return exponents_of(step, inputs, step.fresh(rows), count=EXPONENTS, steps=length - warmup, warmup=warmup)
    except DivergedError:
        return None
