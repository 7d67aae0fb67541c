"""Many to one: a label for a whole input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from recurra.config import check_probability
from recurra.data.examples import ExampleBatch, Input, Labels, Padded
from recurra.engine import Policy
from recurra.errors import DataError
from recurra.layers.pooling import Pooling, check_poolings
from recurra.layers.regularisation import RowDropout
from recurra.models.config import choose_config
from recurra.models.encoder import Encoder, EncoderConfig
from recurra.models.loss import Loss, label_loss
from recurra.models.prediction import predict_in_batches
from recurra.models.predictions import Classified

__all__ = ["ClassifierConfig", "SequenceClassifier"]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig(EncoderConfig):
    """Settings of a classifier, beside those of what reads.

    Args:
        pooling: how the steps become one row: last, mean, max, attention, or several joined by "+".
        output_dropout: probability of dropping a feature of that row; default as `dropout`.
        label_smoothing: share of a label that is spread over all of them in training.
    """

    pooling: str = "mean+max"
    output_dropout: float | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_poolings(self.pooling)
        check_probability(output_dropout=self.output_dropout or 0.0, label_smoothing=self.label_smoothing)


class SequenceClassifier(nn.Module):
    """Encoder, pooling over time, and a linear layer.

        p(label | x_1 … x_T) = softmax(V pool(encoder(x)) + b)

    Args:
        input: what is read.
        target: the labels.
        config: settings; or give them one by one as keywords.
    Raises: ConfigError for settings that do not fit.
    """

    def __init__(self, input: Input, target: Labels, config: ClassifierConfig | None = None, **settings: Any) -> None:
        super().__init__()
        self.input, self.target = input, target
        self.config = config = choose_config(ClassifierConfig, config, settings)
        self.encoder = Encoder(input, config)
        self.pooling = Pooling(
            config.pooling, self.encoder.output_size, both_ways=config.bidirectional and config.layers > 0
        )
        self.dropout = RowDropout(config.dropout if config.output_dropout is None else config.output_dropout)
        self.output = nn.Linear(self.pooling.output_size, len(target))

    def fit_input(self, encoded: Iterable[Any]) -> None:
        """Learn what the encoder has to know of the training part before training."""
        self.encoder.fit_input(encoded)

    def forward(
        self, inputs: Padded, *, backprop: Policy | None = None, backend: str = "auto"
    ) -> tuple[Tensor, Tensor | None]:
        """Return (logits (B, C), the weights (T, B) of the steps or None); arguments as `Encoder.forward`."""
        encoded = self.encoder(inputs, backprop=backprop, backend=backend)
        pooled, weights = self.pooling(encoded.outputs, encoded.lengths)
        return self.output(self.dropout(pooled)), weights

    def loss(
        self, batch: ExampleBatch, *, sampling: float = 0.0, backprop: Policy | None = None, backend: str = "auto"
    ) -> Loss:
        """Return the loss of a batch; in training mode, of smoothed labels.

        Args:
            batch: with targets (B,); -1 counts nothing.
            sampling: means nothing here: no label is read.
            backprop, backend: as in `recurra.scan`.
        Raises: DataError without targets.
        """
        if batch.targets is None:
            raise DataError("a loss needs labels; give examples with targets")
        logits, _ = self(batch.inputs, backprop=backprop, backend=backend)
        return label_loss(logits, batch.targets, self.config.label_smoothing if self.training else 0.0)

    def predict(
        self, inputs: Sequence[Any], *, batch: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> list[Classified]:
        """Return the label of each input, as a user knows them; arguments as `predict_in_batches`."""
        return predict_in_batches(self, self.input, inputs, self._classify, batch=batch, progress=progress)

    def _classify(self, inputs: Padded) -> list[Classified]:
        logits, weights = self(inputs)
        probabilities = logits.double().softmax(-1).cpu().numpy()
        attention: list[Any] = [None] * len(probabilities)
        if weights is not None:
            lengths = [len(weights)] * len(probabilities) if inputs.lengths is None else inputs.lengths.tolist()
            attention = [row[:length] for row, length in zip(weights.double().T.cpu().numpy(), lengths, strict=True)]
        return [
            Classified(self.target.names[int(p.argmax())], p, a) for p, a in zip(probabilities, attention, strict=True)
        ]
