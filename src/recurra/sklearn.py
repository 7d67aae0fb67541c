"""The models of the tasks with the interface of scikit-learn: `fit`, `predict`, `score`, pipelines, grid search."""

from recurra.estimators import Captioner, EncoderDecoder, SequenceClassifier, SequenceTagger

__all__ = ["Captioner", "EncoderDecoder", "SequenceClassifier", "SequenceTagger"]
