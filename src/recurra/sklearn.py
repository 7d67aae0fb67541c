"""The models of the tasks with the interface of scikit-learn: `fit`, `predict`, `score`, pipelines, grid search."""

from recurra.estimators import Captioner, EncoderDecoder, Forecaster, SequenceClassifier, SequenceTagger

__all__ = ["Captioner", "EncoderDecoder", "Forecaster", "SequenceClassifier", "SequenceTagger"]
