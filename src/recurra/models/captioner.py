"""Picture to text: a convolution net reads, a decoder writes what is to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recurra.models.encoder_decoder import EncoderDecoder, EncoderDecoderConfig

__all__ = ["Captioner", "CaptionerConfig"]


@dataclass(frozen=True, kw_only=True)
class CaptionerConfig(EncoderDecoderConfig):
    """Settings of what describes pictures: those of `EncoderDecoderConfig`, with other defaults.

    Args:
        layers: recurrent layers over the places of a picture, row by row; by default none.
    """

    layers: int = 0


class Captioner(EncoderDecoder):
    """A convolution net, a decoder that starts from all its places, and attention to them.

        p(y | picture) = Π_t p(y_t | y_1 … y_{t-1}, places(picture))

    Args:
        input: pictures.
        target: texts, with an end.
        config: settings; or give them one by one as keywords.
    Source: Vinyals et al. 2015, "Show and tell"; attention to places, and the start, Xu et al. 2015.
    """

    Config: ClassVar[type[EncoderDecoderConfig]] = CaptionerConfig
