"""Section 3: what a step does to a state."""

from __future__ import annotations

import math
from statistics import median

from recurra.figures import Cloud, draw_eigenvalues, draw_exponents, draw_jacobians, draw_singular_values
from recurra.inspection.lyapunov import Lyapunov
from recurra.inspection.page.parts import Chart, Section
from recurra.inspection.spectrum import JacobianSpectrum, MatrixSpectrum, Spectrum
from recurra.inspection.words import steps

__all__ = ["spectrum_section"]

MOST_LAYERS = 8


def spectrum_section(spectrum: Spectrum | None) -> Section:
    """Eigenvalues, singular values, Jacobians and Lyapunov exponents."""
    heading = "Spectrum"
    if spectrum is None:
        return Section("spectrum", heading, missing="The spectra of this cell could not be computed.")
    charts: list[Chart] = []
    if spectrum.matrices:
        charts += [_eigenvalues(spectrum.matrices), _singular_values(spectrum.matrices)]
    if spectrum.jacobians:
        charts.append(_jacobians(spectrum.jacobians))
    if spectrum.lyapunov is not None and spectrum.lyapunov.exponents:
        charts.append(_exponents(spectrum.lyapunov))
    return Section(
        "spectrum",
        heading,
        lead=(
            "A gradient that travels back over k steps is multiplied by k matrices. Whether it dies or grows is "
            "decided by their size: below 1 it shrinks, above 1 it grows."
        ),
        charts=charts,
    )


def _clouds(matrices: list[MatrixSpectrum]) -> list[Cloud]:
    return [Cloud(m.layer + 1, m.name, m.eigenvalues, m.singular_values, m.radius) for m in matrices]


def _eigenvalues(matrices: list[MatrixSpectrum]) -> Chart:
    title = "Eigenvalues of the recurrent weights"
    largest = max(matrices, key=lambda matrix: matrix.radius)
    outside = sum(matrix.radius > 1 for matrix in matrices)
    count = "The matrix reaches" if outside == len(matrices) == 1 else f"{outside} of {len(matrices)} reach"
    return Chart(
        title,
        "Each dot is a direction that the matrix stretches by its distance from the centre and turns by its angle; the "
        f"circle is 1. {count} beyond it; the largest radius ρ is {largest.radius:.2f}, of {largest.name} in layer "
        f"{largest.layer + 1}. Gates and tanh shrink again what the weights stretch.",
        draw_eigenvalues(_clouds(matrices), title=title),
    )


def _singular_values(matrices: list[MatrixSpectrum]) -> Chart:
    title = "Singular values of the recurrent weights"
    top = max(matrices, key=lambda matrix: max(matrix.singular_values, default=0.0))
    return Chart(
        title,
        "How much a matrix can stretch a vector at most, then at right angles to that, and so on. Flat lines treat "
        f"all directions alike; steep ones see few. The largest is {max(top.singular_values, default=0.0):.2f}, of "
        f"{top.name} in layer {top.layer + 1}.",
        draw_singular_values(_clouds([m for m in matrices if m.layer < MOST_LAYERS]), title=title),
    )


def _jacobians(jacobians: list[JacobianSpectrum]) -> Chart:
    title = "Steps along the text"
    shown = jacobians[:MOST_LAYERS]
    radii = [radius for jacobian in jacobians for radius in jacobian.radii]
    norms = [norm for jacobian in jacobians for norm in jacobian.norms]
    return Chart(
        title,
        f"What {len(jacobians[0].radii)} single steps of real text do to a small change of the state. Orange: the most "
        f"that one step can stretch it, {median(norms):.2f} in the median. Blue: what the same step does if repeated "
        f"for long, {median(radii):.2f}. Left of 1 changes shrink, right of 1 they grow.",
        draw_jacobians([(j.layer + 1, j.radii, j.norms) for j in shown], title=title),
    )


def _exponents(lyapunov: Lyapunov) -> Chart:
    title = "Lyapunov exponents"
    largest = lyapunov.exponents[0]
    if largest < 0:
        half = math.log(2) / -largest
        meaning = f"two states that differ a little differ half as much after {half:,.3g} steps"
    else:
        meaning = "two states that differ a little never meet again"
    shown = f"{largest:+.3f} ± {lyapunov.errors[0]:.3f}".replace("-", "−")
    return Chart(
        title,
        f"The rates at which small differences grow or shrink on the way through {steps(lyapunov.steps)} of text, by "
        f"direction; bars are two standard errors. The largest, {shown}, says that {meaning}.",
        draw_exponents(lyapunov.exponents, lyapunov.errors, title=title),
    )
