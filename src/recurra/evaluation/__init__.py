"""How well a model predicts: loss, perplexity, accuracy, and the surprisal of every token."""

from recurra.evaluation.perplexity import Score, evaluate, measure
from recurra.evaluation.surprisal import Surprisals, surprisals

__all__ = ["Score", "Surprisals", "evaluate", "measure", "surprisals"]
