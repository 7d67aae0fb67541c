"""How well a model predicts: loss, perplexity, accuracy, the surprisal of every token; tasks beside their baselines."""

from recurra.evaluation.assessment import Assessment
from recurra.evaluation.perplexity import Score, evaluate, measure
from recurra.evaluation.surprisal import Surprisals, surprisals

__all__ = ["Assessment", "Score", "Surprisals", "evaluate", "measure", "surprisals"]
