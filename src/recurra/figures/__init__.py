"""Pictures of runs and of speeds, and what they show in words. The only room that draws."""

from recurra.figures.curves import plot_curves
from recurra.figures.learning import Panel, plot_learning
from recurra.figures.speeds import plot_speeds
from recurra.figures.verdict import verdict

__all__ = ["Panel", "plot_curves", "plot_learning", "plot_speeds", "verdict"]
