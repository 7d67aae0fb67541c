"""Pictures of runs, of speeds and of what goes on inside a network. The only room that draws."""

from recurra.figures.attention import AttentionMap, plot_attention_map
from recurra.figures.budgets import plot_budgets
from recurra.figures.captions import Captioned, plot_captions
from recurra.figures.confusion import plot_confusion
from recurra.figures.costs import bytes_text, draw_memory, draw_time
from recurra.figures.curves import plot_curves
from recurra.figures.forecasts import BANDS, Fan, Trajectory, fan, plot_forecast
from recurra.figures.gates import Gate, draw_gates
from recurra.figures.gradients import Fade, draw_norms, draw_truncation
from recurra.figures.learning import Panel, plot_learning
from recurra.figures.marks import percent
from recurra.figures.portraits import Mark, draw_portrait
from recurra.figures.reach import Reach, plot_reach
from recurra.figures.retrieval import plot_precision_recall
from recurra.figures.spectra import Cloud, draw_eigenvalues, draw_exponents, draw_jacobians, draw_singular_values
from recurra.figures.speeds import plot_speeds
from recurra.figures.verdict import verdict

__all__ = [
    "BANDS",
    "AttentionMap",
    "Captioned",
    "Cloud",
    "Fade",
    "Fan",
    "Gate",
    "Mark",
    "Panel",
    "Reach",
    "Trajectory",
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
    "fan",
    "percent",
    "plot_attention_map",
    "plot_budgets",
    "plot_captions",
    "plot_confusion",
    "plot_curves",
    "plot_forecast",
    "plot_learning",
    "plot_precision_recall",
    "plot_reach",
    "plot_speeds",
    "verdict",
]
