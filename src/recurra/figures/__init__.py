"""Pictures of runs, of speeds and of what goes on inside a network. The only room that draws."""

from recurra.figures.costs import bytes_text, draw_memory, draw_time
from recurra.figures.curves import plot_curves
from recurra.figures.gates import Gate, draw_gates
from recurra.figures.gradients import Fade, draw_norms, draw_truncation
from recurra.figures.learning import Panel, plot_learning
from recurra.figures.marks import percent
from recurra.figures.portraits import Mark, draw_portrait
from recurra.figures.reach import Reach, plot_reach
from recurra.figures.spectra import Cloud, draw_eigenvalues, draw_exponents, draw_jacobians, draw_singular_values
from recurra.figures.speeds import plot_speeds
from recurra.figures.verdict import verdict

__all__ = [
    "Cloud",
    "Fade",
    "Gate",
    "Mark",
    "Panel",
    "Reach",
    "bytes_text",
    "draw_eigenvalues",
    "draw_exponents",
    "draw_gates",
    "draw_jacobians",
    "draw_memory",
    "draw_norms",
    "draw_portrait",
    "draw_singular_values",
    "draw_time",
    "draw_truncation",
    "percent",
    "plot_curves",
    "plot_learning",
    "plot_reach",
    "plot_speeds",
    "verdict",
]
