"""Pictures of runs, and what they show in words. The only room that draws."""

from recurra.figures.curves import plot_curves
from recurra.figures.verdict import verdict

__all__ = ["plot_curves", "verdict"]
