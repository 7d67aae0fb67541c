"""From the features of every step to those of a whole row."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recurra.config import check_choice
from recurra.errors import ConfigError
from recurra.layers.padding import valid_steps

__all__ = ["POOLINGS", "Pooling"]


class _Last(nn.Module):
    """What each direction gives at its last step: forwards the row's last, backwards its first."""

    def __init__(self, size: int, both_ways: bool) -> None:
        super().__init__()
        self.output_size = size
        self.forwards = size // 2 if both_ways else size

    def forward(self, outputs: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
        rows = torch.arange(outputs.shape[1], device=outputs.device)
        last = outputs[lengths.to(outputs.device) - 1, rows, : self.forwards]
        return torch.cat([last, outputs[0, :, self.forwards :]], -1), None


class _Mean(nn.Module):
    """The mean over a row's steps."""

    def __init__(self, size: int, both_ways: bool) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, outputs: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
        return _kept(outputs, lengths, 0).sum(0) / lengths.to(outputs).unsqueeze(-1), None


class _Max(nn.Module):
    """The maximum of each feature over a row's steps."""

    def __init__(self, size: int, both_ways: bool) -> None:
        super().__init__()
        self.output_size = size

    def forward(self, outputs: Tensor, lengths: Tensor) -> tuple[Tensor, None]:
        return _kept(outputs, lengths, -torch.inf).amax(0), None


class _Attention(nn.Module):
    """A mean weighed by what a learned query finds: a_t = softmax_t(v · tanh(W h_t + b)), Σ_t a_t h_t."""

    def __init__(self, size: int, both_ways: bool) -> None:
        super().__init__()
        self.output_size = size
        self.key = nn.Linear(size, size)
        self.query = nn.Linear(size, 1, bias=False)

    def forward(self, outputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        weights = _kept(self.query(torch.tanh(self.key(outputs))), lengths, -torch.inf).softmax(0)
        return (weights * _kept(outputs, lengths, 0)).sum(0), weights.squeeze(-1)


def _kept(outputs: Tensor, lengths: Tensor, filling: float) -> Tensor:
    """Return outputs (T, B, F) with a filling past the end of each row."""
    return outputs.masked_fill(~valid_steps(lengths, len(outputs), outputs.device).unsqueeze(-1), filling)


POOLINGS: dict[str, type[_Last | _Mean | _Max | _Attention]] = {
    "last": _Last,
    "mean": _Mean,
    "max": _Max,
    "attention": _Attention,
}
"""Ways to make one row of many steps, by name."""


class Pooling(nn.Module):
    """One way to make one row of many steps, or several side by side.

    Args:
        names: of `POOLINGS`, joined by "+": ``"mean+max"``.
        size: features O of a step.
        both_ways: the second half of a step's features was read backwards.
    Attributes:
        output_size: features P of a row.
    Raises: ConfigError for an unknown name, or one that stands there twice.
    Source: attention Yang et al. 2016; mean and max side by side Howard & Ruder 2018.
    """

    def __init__(self, names: str, size: int, *, both_ways: bool = False) -> None:
        super().__init__()
        self.parts = nn.ModuleList(POOLINGS[name](size, both_ways) for name in check_poolings(names))
        self.output_size = size * len(self.parts)

    def forward(self, outputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor | None]:
        """Make one row of many steps; what lies past a row's end does not matter.

        Args:
            outputs: (T, B, O).
            lengths: (B,) int, at least 1.
        Returns: ((B, P), the weights (T, B) of attention or None where there is none).
        """
        found = [part(outputs, lengths) for part in self.parts]
        return torch.cat([pooled for pooled, _ in found], -1), next((w for _, w in found if w is not None), None)


def check_poolings(names: str) -> list[str]:
    """Return the names in ``"mean+max"``.

    Raises: ConfigError for an unknown name, or one that stands there twice.
    """
    parts = names.split("+")
    for name in parts:
        check_choice(POOLINGS, pooling=name)
    if len(set(parts)) < len(parts):
        raise ConfigError(f"pooling '{names}' names one way twice; leave one out")
    return parts
