"""The models of the tasks as estimators of scikit-learn; public as `recurra.sklearn`."""

from recurra.libraries import need

need("sklearn")

from recurra.estimators.examples import Captioner, EncoderDecoder, SequenceClassifier, SequenceTagger  # noqa: E402
from recurra.estimators.forecaster import Forecaster  # noqa: E402

__all__ = ["Captioner", "EncoderDecoder", "Forecaster", "SequenceClassifier", "SequenceTagger"]
