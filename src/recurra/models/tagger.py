"""Many to many, aligned: a label for each step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from recurra.config import check_probability
from recurra.data.examples import ExampleBatch, Input, Padded, StepLabels
from recurra.engine import Policy
from recurra.errors import ConfigError, DataError
from recurra.layers import LockedDropout
from recurra.models.config import choose_config
from recurra.models.encoder import Encoder, EncoderConfig
from recurra.models.loss import Loss, label_loss
from recurra.models.prediction import predict_in_batches
from recurra.models.predictions import Tagged

__all__ = ["SequenceTagger", "TaggerConfig"]


@dataclass(frozen=True, kw_only=True)
class TaggerConfig(EncoderConfig):
    """Settings of a tagger, beside those of what reads.

    Args:
        output_dropout: probability of dropping a feature before the labels, locked over time; default as `dropout`.
        label_smoothing: share of a label that is spread over all of them in training.
    """

    output_dropout: float | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_probability(output_dropout=self.output_dropout or 0.0, label_smoothing=self.label_smoothing)


class SequenceTagger(nn.Module):
    """Encoder and a linear layer at every step.

        p(label_t | x_1 … x_T) = softmax(V encoder(x)_t + b)

    Args:
        input: what is read.
        target: the labels.
        config: settings; or give them one by one as keywords.
    Raises: ConfigError for settings that do not fit.
    """

    def __init__(self, input: Input, target: StepLabels, config: TaggerConfig | None = None, **settings: Any) -> None:
        super().__init__()
        self.input, self.target = input, target
        self.config = config = choose_config(TaggerConfig, config, settings)
        if config.stride != 1:
            raise ConfigError(f"a tagger says something about every step; 'stride' must be 1, not {config.stride}")
        self.encoder = Encoder(input, config)
        self.dropout = LockedDropout(config.dropout if config.output_dropout is None else config.output_dropout)
        self.output = nn.Linear(self.encoder.output_size, len(target))

    def fit_input(self, encoded: Iterable[Any]) -> None:
        """Learn what the encoder has to know of the training part before training."""
        self.encoder.fit_input(encoded)

    def forward(self, inputs: Padded, *, backprop: Policy | None = None, backend: str = "auto") -> Tensor:
        """Return logits (T, B, C); arguments as `Encoder.forward`."""
        encoded = self.encoder(inputs, backprop=backprop, backend=backend)
        logits: Tensor = self.output(self.dropout(encoded.outputs))
        return logits

    def loss(
        self, batch: ExampleBatch, *, sampling: float = 0.0, backprop: Policy | None = None, backend: str = "auto"
    ) -> Loss:
        """Return the loss of a batch; in training mode, of smoothed labels.

        Args:
            batch: with targets (T, B); -1 counts nothing.
            sampling: means nothing here: no label is read.
            backprop, backend: as in `recurra.scan`.
        Raises: DataError without targets, or with others than one for each step.
        """
        if batch.targets is None:
            raise DataError("a loss needs labels; give examples with targets")
        logits = self(batch.inputs, backprop=backprop, backend=backend)
        if batch.targets.shape != logits.shape[:2]:
            raise DataError(
                f"inputs have {tuple(logits.shape[:2])} steps and rows, labels {tuple(batch.targets.shape)}; "
                "give one label for each step"
            )
        return label_loss(logits, batch.targets, self.config.label_smoothing if self.training else 0.0)

    def predict(
        self, inputs: Sequence[Any], *, batch: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> list[Tagged]:
        """Return the labels of each input, as a user knows them; arguments as `predict_in_batches`."""
        return predict_in_batches(self, self.input, inputs, self._tag, batch=batch, progress=progress)

    def _tag(self, inputs: Padded) -> list[Tagged]:
        probabilities, labels = (found.cpu().numpy() for found in self(inputs).double().softmax(-1).max(-1))
        lengths = [len(labels)] * inputs.rows if inputs.lengths is None else inputs.lengths.tolist()
        return [
            Tagged([self.target.names[n] for n in labels[:length, row]], probabilities[:length, row])
            for row, length in enumerate(lengths)
        ]
