"""How well a model predicts: loss, perplexity, accuracy, the surprisal of every token; tasks beside their baselines."""

from recurra.evaluation.assess import assess
from recurra.evaluation.assessment import Assessment
from recurra.evaluation.classification import assess_classifier
from recurra.evaluation.counted import assess_language_model
from recurra.evaluation.dynamic import DynamicConfig, GradientSizes, evaluate_dynamic, gradient_sizes
from recurra.evaluation.forecasts import backtest, baselines
from recurra.evaluation.ngrams import NgramModel
from recurra.evaluation.passages import Passage, TextScorer, TokenScore, score_texts
from recurra.evaluation.perplexity import Score, evaluate, measure
from recurra.evaluation.streaming import Scored, StreamScorer
from recurra.evaluation.surprisal import Surprisals, surprisals
from recurra.evaluation.tagging import assess_tagger
from recurra.evaluation.tuning import Tuned, tune
from recurra.evaluation.writing import assess_writer

__all__ = [
    "Assessment",
    "DynamicConfig",
    "GradientSizes",
    "NgramModel",
    "Passage",
    "Score",
    "Scored",
    "StreamScorer",
    "Surprisals",
    "TextScorer",
    "TokenScore",
    "Tuned",
    "assess",
    "assess_classifier",
    "assess_language_model",
    "assess_tagger",
    "assess_writer",
    "backtest",
    "baselines",
    "evaluate",
    "evaluate_dynamic",
    "gradient_sizes",
    "measure",
    "score_texts",
    "surprisals",
    "tune",
]
