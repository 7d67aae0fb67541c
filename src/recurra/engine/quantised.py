"""Weights in one or two bytes instead of four, for inference: what they are, and how they are stored.

Each output channel o of a matrix, a row of its numbers side by side, is written on a scale of its own::

    s_o = max_i |w_oi| / 127,    q_oi = round(w_oi / s_o) in -127 ... 127,    w_oi ~ s_o q_oi        (int8)

so that ``|w_oi - s_o q_oi| <= s_o / 2``; round is to the nearest, ties to even. bfloat16 keeps the first 16 of the 32
bits, rounded the same way, and needs no scale: ``|w - w'| <= 2^-8 |w|``. Activations stay float32 in both, so that a
product is computed as ``s_o Σ_i q_oi x_i``.

Vectors (biases, peepholes, gains) stay float32, and so do matrices with few inputs per channel, whose scales would take
up what the rest saves. An embedding has a channel for each token; tied to the output layer, it is one matrix, and that
channel is the output layer's as well.

Source: symmetric scales per channel Krishnamoorthi 2018 (arXiv:1806.08342), section 2.3 and 3.1; weights alone, with
activations left as they are, Dettmers et al. 2022 (arXiv:2208.07339), section 2.1; bfloat16 Kalamkar et al. 2019
(arXiv:1905.12322).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from recurra.errors import ConfigError

__all__ = ["WEIGHTS", "Quantised", "dequantise_all", "quantise", "quantise_all", "split", "weights_of"]

WEIGHTS = {"float32": torch.float32, "bf16": torch.bfloat16, "int8": torch.int8}
"""What weights may be stored as, by name."""

FEWEST_INPUTS = 16
"""Inputs of a channel below which a matrix stays float32."""

LARGEST = 127
SCALE = ".scale"
"""Behind the name of a matrix, the name of its scales."""


class Quantised(NamedTuple):
    """A matrix (..., O, I) in few bytes.

    Args:
        values: int8 or bfloat16, contiguous.
        scales: (..., O) float32 of int8 values; None of others.
    """

    values: Tensor
    scales: Tensor | None

    def dequantise(self) -> Tensor:
        """Return the matrix (..., O, I) in float32 that is meant."""
        wide = self.values.float()
        return wide if self.scales is None else wide.mul_(self.scales.unsqueeze(-1))

    def channel(self, number: int) -> Tensor:
        """Return one channel of a matrix (O, I) in float32, (1, I): what a step asks of an embedding."""
        wide = self.values[number : number + 1].float()
        return wide if self.scales is None else wide.mul_(self.scales[number])

    def channels(self, channels: Tensor | slice) -> Quantised:
        """Return some channels of a matrix (O, I), by number."""
        return Quantised(self.values[channels], None if self.scales is None else self.scales[channels])


def quantise(w: Tensor, kind: str) -> Quantised:
    """Return a matrix (..., O, I) float32 as "int8", on a scale per channel, or as "bf16".

    Raises: ConfigError if a number is not finite, or would not be.
    """
    if kind == "bf16":
        values, scales = w.to(torch.bfloat16), None
    else:
        # a channel of zeros, or nearly so, gets the smallest scale that divides without loss
        scales = (w.abs().amax(-1) / LARGEST).clamp_min(torch.finfo(torch.float32).tiny)
        values = (w / scales.unsqueeze(-1)).round_().clamp_(-LARGEST, LARGEST)
    if not torch.isfinite(values).all():
        raise ConfigError(f"a weight is not a finite number in {kind}; such a model is not right in float32 either")
    return Quantised(values.to(WEIGHTS[kind]).contiguous(), scales)


def quantise_all(tensors: Mapping[str, Tensor], kind: str, names: Collection[str]) -> dict[str, Tensor]:
    """Return what to store of a model's tensors by name, with the scales of each matrix beside it.

    Args:
        names: of the tensors that are parameters; others stay as they are.
    Raises: ConfigError if a weight is not finite, or no matrix is there that gets smaller.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name in names and tensor.ndim > 1 and tensor.dtype == torch.float32 and tensor.shape[-1] >= FEWEST_INPUTS:
            values, scales = quantise(tensor, kind)
            stored[name] = values
            if scales is not None:
                stored[name + SCALE] = scales
        else:
            stored[name] = tensor
    if all(tensor.dtype != WEIGHTS[kind] for tensor in stored.values()):
        raise ConfigError(f"no matrix of this model has {FEWEST_INPUTS} inputs or more, so nothing gets smaller")
    return stored


def split(stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Quantised]]:
    """Tell what is stored as it is from what is quantised. Raises: ConfigError for a matrix without its scales."""
    plain, quantised = dict(stored), {}
    for name, tensor in stored.items():
        if tensor.dtype == torch.bfloat16:
            quantised[name] = Quantised(plain.pop(name), None)
        elif tensor.dtype == torch.int8:
            scales = plain.pop(name + SCALE, None)
            if scales is None or scales.shape != tensor.shape[:-1] or scales.dtype != torch.float32:
                raise ConfigError(
                    f"the matrix '{name}' is int8, but the scales of its {len(tensor):,} channels are not there"
                )
            quantised[name] = Quantised(plain.pop(name), scales)
    return plain, quantised


def dequantise_all(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model in float32 from what is stored."""
    plain, quantised = split(stored)
    return plain | {name: matrix.dequantise() for name, matrix in quantised.items()}


def weights_of(stored: Mapping[str, Tensor]) -> str:
    """Return what the weights are stored as, a name of `WEIGHTS`."""
    kinds = {tensor.dtype for tensor in stored.values()}
    return next((name for name, dtype in WEIGHTS.items() if name != "float32" and dtype in kinds), "float32")
