"""What models read: any kind of input, through a frontend and recurrent layers, to features of every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.cells import make_cell
from recurra.config import check_at_least, check_choice, check_probability
from recurra.data.examples import Input, Padded
from recurra.engine import Policy
from recurra.errors import ConfigError
from recurra.layers import Bidirectional, LockedDropout, Stack
from recurra.layers.frontends import Frontend, NumbersFrontend, PictureFrontend, SoundFrontend, TokenFrontend
from recurra.layers.padding import zero_padding
from recurra.models.config import MAX_LAYERS

__all__ = ["Encoded", "Encoder", "EncoderConfig"]


OF_ONE_KIND = {
    "embedding_std": "text",
    "word_dropout": "text",
    "centre": "sound",
    "mask": "sound",
    "stride": "sound",
    "blocks": "picture",
    "shift": "picture",
}
"""Settings that mean something for one kind of input alone."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Settings of what reads.

    Args:
        cell: name of a cell in the box, or ``pkg.module:Class`` for one of the user's own.
        hidden: units of each layer, and of each direction.
        layers: recurrent layers; none with 0.
        bidirectional: read forwards and backwards.
        embedding: features of a token, or of a place of a picture; default as `hidden`.
        embedding_std: standard deviation of the tokens' embedding at the start.
        dropout: probability of dropping a feature before, between and after the layers, locked over time.
        input_dropout: the same before the layers alone; default as `dropout`.
        embedding_dropout: probability of dropping a token of the vocabulary, wherever it occurs.
        word_dropout: probability that a token is read as the unknown one.
        weight_drop: probability of dropping a recurrent weight, drawn once per batch.
        centre: subtract from sounds and numbers each row's own mean over time: better for voices, microphones and
            levels that training has not, worse where the level tells something.
        mask: largest share of a sound's time, and of its frequencies, that a mask hides; there are two of each.
        stride: frames of a sound that are read as one step.
        blocks: of convolutions over pictures; default as many as leave at most 64 places.
        shift: largest share of height and width by which pictures are moved in training.
    """

    cell: str = "lstm"
    hidden: int = 128
    layers: int = 1
    bidirectional: bool = True
    embedding: int | None = None
    embedding_std: float = 0.3
    dropout: float = 0.3
    input_dropout: float | None = None
    embedding_dropout: float = 0.0
    word_dropout: float = 0.0
    weight_drop: float = 0.0
    centre: bool = False
    mask: float = 0.0
    stride: int = 1
    blocks: int | None = None
    shift: float = 0.0

    def __post_init__(self) -> None:
        check_at_least(1, hidden=self.hidden, embedding=self.embedding, stride=self.stride, blocks=self.blocks)
        check_at_least(0, layers=self.layers, embedding_std=self.embedding_std)
        if self.layers > MAX_LAYERS:
            raise ConfigError(f"'layers' must be at most {MAX_LAYERS}, not {self.layers}")
        check_probability(
            dropout=self.dropout,
            input_dropout=self.input_dropout or 0.0,
            embedding_dropout=self.embedding_dropout,
            word_dropout=self.word_dropout,
            weight_drop=self.weight_drop,
            mask=self.mask,
            shift=self.shift,
        )


class Encoded(NamedTuple):
    """What was read.

    Args:
        outputs: (T, B, O) features of each step, zero past a row's end; of pictures T places.
        lengths: (B,) int64, valid steps of each row.
        state: after reading: a tuple over layers, of pairs (forward, backward) where layers read both ways.
    """

    outputs: Tensor
    lengths: Tensor
    state: Any


class Encoder(nn.Module):
    """A frontend for the kind of input, locked dropout, and recurrent layers.

    Args:
        input: what is read.
        config: settings.
    Attributes:
        output_size: features O of a step.
        places: of every picture; None for inputs of different lengths.
    Raises: ConfigError for settings that do not fit the input or the cell.
    """

    def __init__(self, input: Input, config: EncoderConfig) -> None:
        super().__init__()
        check_choice(FRONTENDS, input=input.kind)
        for name, kind in OF_ONE_KIND.items():
            if kind != input.kind and getattr(config, name) != EncoderConfig.__dataclass_fields__[name].default:
                raise ConfigError(f"'{name}' is for inputs of kind {kind}, and this model reads {input.kind}")
        self.frontend = FRONTENDS[input.kind](input, config)
        self.dropout = LockedDropout(config.dropout if config.input_dropout is None else config.input_dropout)
        self.layers, self.output_size = _make_layers(self.frontend.output_size, config)
        self.places = len(self.frontend.places) if isinstance(self.frontend, PictureFrontend) else None

    def fit_input(self, encoded: Iterable[Any]) -> None:
        """Learn what the frontend has to know of the training part before training, such as means of features."""
        self.frontend.fit(encoded)

    def forward(self, inputs: Padded, *, backprop: Policy | None = None, backend: str = "auto") -> Encoded:
        """Read a batch.

        Args:
            inputs: B rows, side by side.
            backprop, backend: as in `recurra.scan`.
        """
        x, lengths = self.frontend(inputs.values, inputs.lengths)
        x = self.dropout(x)
        if self.layers is None:
            return Encoded(zero_padding(x, lengths), lengths, ())
        # without padding there is nothing to keep apart, and less to compute
        given = None if bool((lengths == len(x)).all()) else lengths
        outputs, state = self.layers(x, lengths=given, backprop=backprop, backend=backend)
        return Encoded(outputs, lengths, state)


def _make_layers(width: int, config: EncoderConfig) -> tuple[Stack | Bidirectional | None, int]:
    """Return the layers that read features of some width, if there are any, and the width of what comes out."""
    if not config.layers:
        return None, width
    directions = 2 if config.bidirectional else 1
    sizes = [width]
    layers: list[list[nn.Module]] = []
    for _ in range(config.layers):
        layers.append([make_cell(config.cell, sizes[-1], config.hidden) for _ in range(directions)])
        sizes.append(directions * _output_size(layers[-1][0], sizes[-1]))
    noise: Any = {"dropout": config.dropout, "weight_drop": config.weight_drop}
    if config.bidirectional:
        return Bidirectional([(forward, backward) for forward, backward in layers], **noise), sizes[-1]
    return Stack([cell for (cell,) in layers], **noise), sizes[-1]


@torch.no_grad()
def _output_size(cell: Any, width: int) -> int:
    """Ask a cell by one step: one of the user's own need not tell its size."""
    output, _ = cell.step(torch.zeros(1, width), cell.zero_state(1))
    return int(output.shape[-1])


def _read_tokens(input: Any, config: EncoderConfig) -> Frontend:
    return TokenFrontend(
        len(input.tokenizer),
        config.embedding or config.hidden,
        unknown=input.tokenizer.unknown,
        embedding_dropout=config.embedding_dropout,
        word_dropout=config.word_dropout,
        std=config.embedding_std,
    )


def _read_picture(input: Any, config: EncoderConfig) -> Frontend:
    size = input.channels, input.height, input.width
    return PictureFrontend(size, config.embedding or config.hidden, blocks=config.blocks, shift=config.shift)


FRONTENDS: dict[str, Callable[[Any, EncoderConfig], Frontend]] = {
    "text": _read_tokens,
    "numbers": lambda input, config: NumbersFrontend(input.features, centre=config.centre),
    "sound": lambda input, config: SoundFrontend(
        input.mels, mask=config.mask, stride=config.stride, centre=config.centre
    ),
    "picture": _read_picture,
}
"""How each kind of input is read, by the name of the kind."""
