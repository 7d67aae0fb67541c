"""From what is read to the features that recurrent layers read: words, sounds, numbers, pictures.

Every frontend is a module ``(values, lengths) -> (features (T, B, F), lengths (B,))`` with the attribute `output_size`,
F, and the method `fit`, which learns from encoded inputs of the training part what is no matter of gradients.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from recurra.config import check_at_least, check_probability
from recurra.errors import ConfigError, DataError
from recurra.layers.padding import zero_padding
from recurra.layers.regularisation import embedding_dropout
from recurra.share import draw_rows

__all__ = ["Frontend", "NumbersFrontend", "PictureFrontend", "SoundFrontend", "TokenFrontend"]

MASKS = 2
"""Masks of each kind, over time and over frequencies, as in the policies LD and SM of Park et al. 2019."""

MOST_PLACES = 64
"""Places of a picture, unless the number of blocks is told."""

CONVOLUTION_GROUPS = 8


class Frontend(nn.Module):
    """What frontends have in common.

    Attributes:
        output_size: features F.
    """

    output_size: int

    def fit(self, encoded: Iterable[Any]) -> None:
        """Learn from encoded inputs of the training part; nothing, unless a frontend says so."""


class TokenFrontend(Frontend):
    """Embedded tokens.

    Args:
        tokens: size V of the vocabulary.
        features: of a token.
        unknown: id of the unknown token, for `word_dropout`.
        embedding_dropout: probability of dropping a token of the vocabulary, wherever it occurs.
        word_dropout: probability, in training, that a token is read as the unknown one: what teaches a model what to
            make of words that it has never seen.
        std: standard deviation of the embedding at the start.
    Source: word dropout Iyyer et al. 2015, Dozat & Manning 2017.
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        *,
        unknown: int | None = None,
        embedding_dropout: float = 0.0,
        word_dropout: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        check_probability(embedding_dropout=embedding_dropout, word_dropout=word_dropout)
        if word_dropout and unknown is None:
            raise ConfigError("word_dropout needs a vocabulary with an unknown token; build it with one, or leave it 0")
        self.embedding = nn.Embedding(tokens, features)
        nn.init.normal_(self.embedding.weight, std=std)
        self.unknown = unknown
        self.embedding_dropout = embedding_dropout
        self.word_dropout = word_dropout
        self.output_size = features

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (T, B) int64 -> features (T, B, F)."""
        if self.training and self.word_dropout and self.unknown is not None:
            steps, rows = tokens.shape
            chance = draw_rows(lambda rows: torch.rand(steps, rows, device=tokens.device), rows, 1)
            unknown = chance < self.word_dropout
            tokens = tokens.masked_fill(unknown, self.unknown)
        return embedding_dropout(self.embedding, tokens, self.embedding_dropout, self.training), lengths


class NumbersFrontend(Frontend):
    """Numbers, normalised: each feature of the training part has mean 0 and standard deviation 1.

    Args:
        features: F.
        centre: then subtract each row's own mean over its steps, so that a level which a whole row shares, such as that
            of a voice or a microphone, is not seen.
    Source: cepstral mean normalisation, Atal 1974.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, *, centre: bool = False) -> None:
        super().__init__()
        self.centre = centre
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.output_size = features

    @torch.no_grad()
    def fit(self, encoded: Iterable[Any]) -> None:
        """Measure mean and standard deviation over all steps of sequences (T, F); what is constant keeps its size."""
        count, total, squares = 0, 0.0, 0.0
        origin = None
        for sequence in encoded:
            values = np.asarray(sequence, np.float64)
            origin = values[0] if origin is None else origin  # squares of small numbers lose less
            values = values - origin
            count, total, squares = count + len(values), total + values.sum(0), squares + (values**2).sum(0)
        if origin is None:
            raise DataError("there is nothing to measure the mean of; give at least one sequence")
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean**2, 0))
        mean = mean + origin
        constant = std <= np.finfo(np.float32).eps * np.abs(mean)
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(np.where(constant, 1, std)))

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """values (T, B, F) -> the same, normalised; zero past the end of a row."""
        x = zero_padding((values.to(self.mean.dtype) - self.mean) / self.std, lengths)
        if self.centre:
            x = zero_padding(x - x.sum(0) / lengths.to(x).unsqueeze(-1), lengths)
        return x, lengths


class SoundFrontend(NumbersFrontend):
    """Log-mel frames, normalised; in training with stretches of time and of frequencies hidden.

    Args:
        mels: F of a frame.
        mask: largest share of a row's steps, and of its mels, that each of two masks hides in training, by the mean.
        stride: frames that are read as one step, side by side.
        centre: as for numbers.
    Source: SpecAugment, Park et al. 2019; frames side by side Chan et al. 2016, Sak et al. 2015.
    """

    def __init__(self, mels: int, *, mask: float = 0.0, stride: int = 1, centre: bool = False) -> None:
        check_probability(mask=mask)
        check_at_least(1, stride=stride)
        super().__init__(mels, centre=centre)
        self.mask = mask
        self.stride = stride
        self.output_size = mels * stride

    def forward(self, values: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """values (T, B, F) -> (⌈T / stride⌉, B, stride · F) and the lengths of that."""
        x, lengths = super().forward(values, lengths)
        if self.training and self.mask:
            x = self._hide(x, lengths)
        if self.stride == 1:
            return x, lengths
        steps = -(-len(x) // self.stride)
        x = nn.functional.pad(x, (0, 0, 0, 0, 0, steps * self.stride - len(x)))
        return x.unflatten(0, (steps, self.stride)).transpose(1, 2).flatten(2), -(-lengths // self.stride)

    def _hide(self, x: Tensor, lengths: Tensor) -> Tensor:
        steps, rows, mels = x.shape
        for _ in range(MASKS):
            time = _stretch(lengths.to(x), self.mask, steps)
            frequencies = _stretch(x.new_full((rows,), mels), self.mask, mels)
            x = x.masked_fill(time.unsqueeze(-1) | frequencies.T, 0)
        return x


def _stretch(sizes: Tensor, share: float, length: int) -> Tensor:
    """Draw a stretch in each of B rows of some size, of up to a share of it: (length, B) bool."""
    width, start = (draw_rows(lambda rows: torch.rand_like(sizes[:1].expand(rows)), len(sizes), 0) for _ in range(2))
    width = (width * (share * sizes + 1)).floor()
    start = (start * (sizes - width + 1)).floor()
    at = torch.arange(length, device=sizes.device).unsqueeze(1)
    return (at >= start) & (at < start + width)


class PictureFrontend(Frontend):
    """A small convolution net: a picture as a sequence of places, row by row from the top left.

        blocks of  convolution 3 × 3, group normalisation, ReLU, maximum of 2 × 2;
        then the mean colour of each place, which normalisation takes away, and where it is, learned

    Args:
        size: (C, H, W) of the pictures.
        features: F of a place.
        blocks: each halves height and width, rounded up; default as many as leave at most 64 places, at least one.
        shift: largest share of height and width by which pictures are moved in training, their edges repeated.
    Source: group normalisation Wu & He 2018.
    """

    def __init__(
        self, size: tuple[int, int, int], features: int, *, blocks: int | None = None, shift: float = 0.0
    ) -> None:
        super().__init__()
        check_at_least(1, blocks=blocks)
        check_probability(shift=shift)
        self.shift = shift
        channels, height, width = size
        layers: list[nn.Module] = []
        count = 0
        while count != blocks and (blocks is not None or not count or height * width > MOST_PLACES):
            layers += [_block(channels, features)]
            channels, height, width, count = features, -(-height // 2), -(-width // 2), count + 1
        self.layers = nn.Sequential(*layers)
        self.colour = nn.Conv2d(size[0], features, 1)
        self.grid = height, width
        self.places = nn.Parameter(torch.zeros(height * width, 1, features))
        self.size = size
        self.output_size = features

    def forward(self, pictures: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """pictures (B, C, H, W) in 0 … 1 -> (H' · W', B, F), and lengths that are all the same."""
        if self.training and self.shift:
            pictures = _moved(pictures, self.shift)
        pictures = pictures.to(self.places.dtype) - 0.5
        x = self.layers(pictures) + self.colour(adaptive_avg_pool2d(pictures, self.grid))
        x = x.flatten(2).permute(2, 0, 1) + self.places
        return x, torch.full((x.shape[1],), len(x), dtype=torch.int64)


def _moved(pictures: Tensor, shift: float) -> Tensor:
    """Move each of the pictures (B, C, H, W) by whole pixels, up to a share of its height and width."""
    rows = len(pictures)
    index = []
    for size in pictures.shape[2:]:
        most = int(shift * size)
        by = draw_rows(partial(_moves, -most, most, pictures.device), rows, 0)
        index.append((torch.arange(size, device=pictures.device) + by).clamp(0, size - 1))
    down, across = index
    row = torch.arange(rows, device=pictures.device).reshape(-1, 1, 1)
    return pictures.permute(0, 2, 3, 1)[row, down.unsqueeze(2), across.unsqueeze(1)].permute(0, 3, 1, 2)


def _moves(least: int, most: int, device: torch.device, rows: int) -> Tensor:
    return torch.randint(least, most + 1, (rows, 1), device=device)


def _block(channels: int, features: int) -> nn.Module:
    groups = CONVOLUTION_GROUPS if features % CONVOLUTION_GROUPS == 0 else 1
    return nn.Sequential(
        nn.Conv2d(channels, features, 3, padding=1, bias=False),
        nn.GroupNorm(groups, features),
        nn.ReLU(),
        nn.MaxPool2d(2, ceil_mode=True),
    )
