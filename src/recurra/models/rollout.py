"""One step of a forecast: say what comes, then take what came, or, where nobody knows, what was said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from recurra.layers import Stack
from recurra.models.distributions import Distribution, spread

__all__ = ["Rollout", "RolloutState", "RolloutStep"]

STEPS_OF_SCALE = 3.0
"""The scale is three times a step's usual movement, so that what happened a day ago is a number near 1."""

SMALLEST = 0.01
"""The smallest scale, in units of the values: a series that stands still has none of its own."""


class RolloutState(NamedTuple):
    """What is carried from step to step, B rows, in standard units.

    Args:
        inner: of the cells.
        values: (B, D · R) the last R values, target by target, the newest last.
        movement: (B, D) mean absolute change from step to step, the past forgotten by and by.
        known: (B, 1) whether the newest value was observed (1) or is the model's own (0).
    """

    inner: Any
    values: Tensor
    movement: Tensor
    known: Tensor


class RolloutStep(NamedTuple):
    """What goes into a step, B rows; a scan reads it with time in front.

    Args:
        value: (B, D) what is observed; anything where nothing is.
        known: (B, 1) 1 where it is, 0 where the model goes on with what it said.
        covariates: (B, K) known of this step.
        noise: (B, D) what is drawn for a value that is not known: 0 gives its mean.
        mask: (B, H) of the outputs of the cells, dropout.
    """

    value: Tensor
    known: Tensor
    covariates: Tensor
    noise: Tensor
    mask: Tensor


class Rollout(nn.Module):
    """A cell around cells: it forecasts a step, and observes it or goes on with its own forecast.

        f_t = [(y_{t-l} - y_{t-1}) / s for all lags l,  covariates_t,  known_{t-1}]
        h_t = stack(f_t, h_{t-1})
        raw_t = A h_t + a + (V f_t, 0 …)
        y_t = observed value, or  y_{t-1} + s (raw_t)_0 + noise_t · spread
        s = 3 m_{t-1},   m_t = m_{t-1} + ρ (|y_t - y_{t-1}| - m_{t-1})   where y_t is observed

    With `relative`, all it sees and says is measured from the last value, in units of the movement: a series moved up
    or stretched gives the forecast moved up or stretched. Otherwise it sees the last value too, and s stays as given.
    V is a linear autoregression beside the network; it and A start at zero, so the first forecast is the last value.

    Args:
        stack: of cells, reading `Rollout.width` features.
        distribution: of a value.
        lags: steps back from the forecast step, at least 1; the largest is R.
        targets, covariates: D and K.
        relative: as above.
    Source: the linear part beside the network Lai et al. 2018 (LSTNet); lags as inputs Salinas et al. 2020 (DeepAR).
    """

    def __init__(
        self,
        stack: Stack,
        distribution: Distribution,
        lags: Sequence[int],
        targets: int,
        covariates: int,
        relative: bool,
    ) -> None:
        super().__init__()
        self.stack = stack
        self.distribution = distribution
        self.targets = targets
        self.relative = relative
        self.memory = max(lags)
        self._spans = _spans(self.memory - lag for lag in lags if lag > 1)
        width = self.width(lags, targets, covariates, relative)
        self.read_out = nn.Linear(stack.output_size, distribution.size * targets)
        self.linear = nn.Linear(width, targets, bias=False)
        for weight in (self.read_out.weight, self.read_out.bias, self.linear.weight):
            nn.init.zeros_(weight)
        with torch.no_grad():
            self.read_out.bias[targets:] = distribution.narrow

    @staticmethod
    def width(lags: Sequence[int], targets: int, covariates: int, relative: bool) -> int:
        """Return the number of features that the cells read."""
        return targets * (len([lag for lag in lags if lag > 1]) + (not relative)) + covariates + 1

    def zero_state(self, batch: int) -> RolloutState:
        """Return a state without a past: all values zero. A forecast starts from `start`."""
        like = self.read_out.weight
        values = like.new_zeros(batch, self.targets * self.memory)
        known = like.new_ones(batch, 1)
        return RolloutState(self.stack.zero_state(batch), values, like.new_zeros(batch, self.targets), known)

    def start(self, values: Tensor, movement: Tensor | None = None) -> RolloutState:
        """Return the state after values (R, B, D) of which nothing else is known.

        Args:
            movement: (D,) default the mean absolute change of the values.
        """
        steps, rows, targets = values.shape
        seen = (values[1:] - values[:-1]).abs().mean(0) if steps > 1 else torch.zeros_like(values[0])
        movement = seen if movement is None else movement.expand(rows, targets)
        flat = values.permute(1, 2, 0).reshape(rows, targets * steps)
        return RolloutState(self.stack.zero_state(rows), flat, movement.contiguous(), values.new_ones(rows, 1))

    def step(self, x: RolloutStep, state: RolloutState) -> tuple[Tensor, RolloutState]:
        """One step of B rows -> what is said of its value, (B, (2 + P) · D): value before, scale, raw; next state."""
        value, known, covariates, noise, mask = x
        inner, values, movement, trusted = state
        size = self.targets
        past = values.split(self.memory, 1)
        last = torch.cat([one[:, -1:] for one in past], 1)
        scale = torch.clamp(STEPS_OF_SCALE * movement, min=SMALLEST)
        features = self._features(past, last, scale, covariates, trusted)
        output, inner = self.stack.step(features, inner)
        raw = self.read_out(output * mask)
        location = raw[:, :size] + self.linear(features)
        raw = torch.cat([location, raw[:, size:]], 1)
        own = last + scale * location
        if self.distribution.spreads:
            own = own + noise * spread(raw[:, size : 2 * size], scale)
        new = torch.where(known > 0, value, own)
        if self.relative:
            movement = movement + known * ((new - last).abs() - movement) / self.memory
        moved = [part for n, one in enumerate(past) for part in (one[:, 1:], new[:, n : n + 1])]
        return torch.cat([last, scale, raw], 1), RolloutState(inner, torch.cat(moved, 1), movement, known)

    def _features(
        self, past: Sequence[Tensor], last: Tensor, scale: Tensor, covariates: Tensor, trusted: Tensor
    ) -> Tensor:
        parts = []
        for n, one in enumerate(past):
            zero, unit = last[:, n : n + 1], scale[:, n : n + 1]
            parts += [(one[:, start:end] - zero) / unit for start, end in self._spans]
        parts += [covariates, trusted]
        if not self.relative:
            parts.append(last)
        return torch.cat(parts, 1)


def _spans(places: Any) -> tuple[tuple[int, int], ...]:
    """Join neighbouring places into (start, end)."""
    spans: list[tuple[int, int]] = []
    for place in sorted(places):
        if spans and spans[-1][1] == place:
            spans[-1] = (spans[-1][0], place + 1)
        else:
            spans.append((place, place + 1))
    return tuple(spans)
