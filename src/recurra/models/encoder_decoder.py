"""Text to text: an encoder reads, a decoder writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from recurra.config import check_at_least, check_choice, check_probability
from recurra.data.examples import ExampleBatch, Input, Padded, TextTarget
from recurra.decoding import Beam
from recurra.engine import Policy
from recurra.errors import DataError
from recurra.layers import ATTENTIONS
from recurra.models.bridge import Bridge
from recurra.models.config import choose_config
from recurra.models.decoder import Decoder, DecoderState
from recurra.models.encoder import Encoded, Encoder, EncoderConfig
from recurra.models.loss import Loss
from recurra.models.prediction import predict_in_batches
from recurra.models.predictions import Alternative, Written
from recurra.models.writing import Script, write_by_beam, write_greedily

__all__ = ["EncoderDecoder", "EncoderDecoderConfig"]

NO_ATTENTION = "none"
SPARE = 10


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig(EncoderConfig):
    """Settings of what reads and writes, beside those of what reads.

    Args:
        attention: additive, dot, or none.
        decoder_hidden: units of each layer of the decoder; default those of the encoder, both directions together.
        decoder_layers: of the decoder; default as `layers`, at least 1.
        summary: let the decoder see a summary of what was read at every step.
        tie: share the weights of the decoder's embedding and its output layer.
        label_smoothing: share of a token that is spread over the vocabulary in training.
        max_length: most tokens of a text, its end included; default the longest of training, or twice the input and
            10, whichever is more.
    """

    attention: str = "additive"
    decoder_hidden: int | None = None
    decoder_layers: int | None = None
    summary: bool = False
    tie: bool = False
    label_smoothing: float = 0.0
    max_length: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice([*ATTENTIONS, NO_ATTENTION], attention=self.attention)
        check_at_least(
            1, decoder_hidden=self.decoder_hidden, decoder_layers=self.decoder_layers, max_length=self.max_length
        )
        check_probability(label_smoothing=self.label_smoothing)


class EncoderDecoder(nn.Module):
    """An encoder, a decoder that starts from its state, and attention between them.

        p(y | x) = Π_t p(y_t | y_1 … y_{t-1}, encoder(x))

    Args:
        input: what is read.
        target: texts, with an end.
        config: settings; or give them one by one as keywords.
    Raises: ConfigError for settings that do not fit.
    Source: Sutskever, Vinyals & Le 2014; Bahdanau, Cho & Bengio 2015; Luong, Pham & Manning 2015.
    """

    Config: ClassVar[type[EncoderDecoderConfig]] = EncoderDecoderConfig
    longest: Tensor

    def __init__(
        self, input: Input, target: TextTarget, config: EncoderDecoderConfig | None = None, **settings: Any
    ) -> None:
        super().__init__()
        self.input, self.target = input, target
        self.config = config = choose_config(self.Config, config, settings)
        self.encoder = Encoder(input, config)
        directions = 2 if config.bidirectional and config.layers else 1
        hidden = config.decoder_hidden or config.hidden * directions
        summary = hidden if config.summary else 0
        self.decoder = Decoder(
            len(target),
            target.end,
            places=None if config.attention == NO_ATTENTION else self.encoder.output_size,
            summary=summary,
            cell=config.cell,
            hidden=hidden,
            layers=config.decoder_layers or max(config.layers, 1),
            embedding=config.embedding or config.hidden,
            attention=config.attention,
            tie=config.tie,
            dropout=config.dropout,
            input_dropout=config.input_dropout,
            embedding_dropout=config.embedding_dropout,
            weight_drop=config.weight_drop,
            label_smoothing=config.label_smoothing,
        )
        layers = self.encoder.layers
        whole = torch.zeros(1, self.encoder.output_size * (self.encoder.places or 1))
        given = (whole,) if layers is None else layers.zero_state(1)
        self.bridge = Bridge(given, self.decoder.stack.zero_state(1), summary)
        self.register_buffer("longest", torch.zeros((), dtype=torch.int64))

    def fit_input(self, encoded: Iterable[Any]) -> None:
        """Learn what the encoder has to know of the training part before training."""
        self.encoder.fit_input(encoded)

    def start(self, inputs: Padded, *, backprop: Policy | None = None, backend: str = "auto") -> DecoderState:
        """Read inputs of B rows and return the state from which their texts are written.

        The first token to be read by `step` is ``target.end``. Arguments as `Encoder.forward`.
        """
        encoded = self.encoder(inputs, backprop=backprop, backend=backend)
        fresh = self.decoder.stack.zero_state(len(encoded.lengths))
        states, summary = self.bridge(_states(encoded, self.encoder.places, backprop), fresh)
        return self.decoder.start(states, encoded.outputs, encoded.lengths, summary)

    def step(self, token: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Read one token per row: token (B,) int64 and B rows -> logits (B, V) of the next, next state.

        Without dropout, as in evaluation mode; equal to reading the whole text at once.
        """
        return self.decoder.step(token, state)

    def forward(self, inputs: Padded, tokens: Tensor) -> Tensor:
        """Return logits (S, B, V) of each next token of texts (S, B), of which the first is ``target.end``."""
        reading = self.decoder.read(tokens, self.start(inputs))
        return self.decoder.project(reading.features)

    def loss(
        self, batch: ExampleBatch, *, sampling: float = 0.0, backprop: Policy | None = None, backend: str = "auto"
    ) -> Loss:
        """Return the loss of a batch of known texts (S, B); in training mode, of smoothed tokens.

        Args:
            sampling: probability that the decoder reads what it would have drawn itself, see `Decoder.loss`.
            backprop, backend: as in `recurra.scan`.
        Raises: DataError without targets.
        """
        if batch.targets is None:
            raise DataError("a loss needs texts; give examples with targets")
        if self.training:
            self.longest.clamp_(min=len(batch.targets))
        state = self.start(batch.inputs, backprop=backprop, backend=backend)
        return self.decoder.loss(batch.targets, state, sampling=sampling, backprop=backprop, backend=backend)

    def predict(
        self,
        inputs: Sequence[Any],
        *,
        beam: int | Beam | None = None,
        batch: int = 64,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Written]:
        """Write the text of each input, as a user knows them; other arguments as `predict_in_batches`.

        Args:
            beam: how to search for it, or only how wide; by default the most likely token is taken each time.
        Raises: ConfigError for a beam wider than the vocabulary.
        """
        beam = Beam(width=beam) if isinstance(beam, int) else beam
        if beam is not None:
            beam.check_vocabulary(len(self.target))
        write = partial(self._write, beam=beam)
        return predict_in_batches(self, self.input, inputs, write, batch=batch, progress=progress)

    def _write(self, inputs: Padded, beam: Beam | None = None) -> list[Written]:
        state, longest = self.start(inputs), self._most_tokens(inputs)
        if beam is None:
            scripts = [[script] for script in write_greedily(self.decoder, state, longest)]
        else:
            scripts = write_by_beam(self.decoder, state, longest, beam)
        return [self._written(*pair) for pair in zip(scripts, _places(state, inputs.rows), strict=True)]

    def _most_tokens(self, inputs: Padded) -> Tensor:
        """Return (B,) the most tokens of each row's text, whatever stands beside it."""
        read = torch.zeros(inputs.rows, dtype=torch.int64) if inputs.lengths is None else inputs.lengths
        most = torch.maximum(2 * read.to(self.longest.device) + SPARE, self.longest)
        return most if self.config.max_length is None else torch.full_like(most, self.config.max_length)

    def _written(self, scripts: Sequence[Script], places: int) -> Written:
        script, *others = scripts
        tokens = script.tokens.tolist()
        attention = None if script.weights is None else script.weights[:, :places].double().cpu().numpy()
        symbols = [self.target.tokenizer.symbol(token) for token in tokens]
        ranked = [Alternative(self.target.decode(other.tokens.tolist()), other.nats) for other in others]
        return Written(self.target.decode(tokens), script.nats, symbols, attention, ranked)


def _states(encoded: Encoded, places: int | None, backprop: Policy | None) -> tuple[Any, ...]:
    """Return the states of the encoder's layers.

    Where there are none: all places of a picture (B, T · O), or of other inputs the mean of all steps (B, O).
    """
    if not encoded.state and places is not None:
        return (encoded.outputs.transpose(0, 1).flatten(1),)
    if not encoded.state:  # steps past a row's end are zero
        return (encoded.outputs.sum(0) / encoded.lengths.to(encoded.outputs).unsqueeze(-1),)
    return tuple(encoded.state) if backprop is None else tuple(_value(layer, backprop) for layer in encoded.state)


def _value(layer: Any, backprop: Policy) -> Any:
    """Return a layer's state, or its pair of them, without what a policy carries beside it."""
    return tuple(map(backprop.value, layer)) if type(layer) is tuple else backprop.value(layer)


def _places(state: DecoderState, rows: int) -> list[int]:
    """Return how many places each row has to look at."""
    return state.memory.lengths.tolist() if state.memory else [0] * rows
