"""Settings of the forecaster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from recurra.config import check_at_least, check_choice, check_probability
from recurra.errors import ConfigError
from recurra.models.distributions import DISTRIBUTIONS

__all__ = ["ForecasterConfig"]

FEEDS = ("mean", "sample")
SCALINGS = ("window", "training")
FEW_LAGS, SEASONS_BACK = 5, 7


@dataclass(frozen=True, kw_only=True)
class ForecasterConfig:
    """Settings of a forecaster.

    Args:
        cell, hidden, layers: of the network.
        dropout: share of its outputs left out, the same at all steps.
        distribution: gaussian, student (heavy tails) or quantiles.
        lags: steps back from each forecast step whose values the network sees, separated by commas; auto: those of one
            season and one more, and whole seasons up to the seventh; where the context is shorter than that, those
            next to the step and to whole seasons before it; without a season, 5.
        scaling: window measures everything from the last value, in units of how much the series has moved lately;
            training by mean and deviation of the training part, where levels mean something: a wall, a speed of 0.
        feed: what stands for values to come: mean, trained over the whole horizon, quantiles from the distribution of
            each step; or sample, trained on the next step, quantiles counted among drawn paths.
    """

    cell: str = "gru"
    hidden: int = 32
    layers: int = 1
    dropout: float = 0.0
    distribution: str = "gaussian"
    lags: str = "auto"
    scaling: str = "window"
    feed: str = "mean"

    def __post_init__(self) -> None:
        check_at_least(1, hidden=self.hidden, layers=self.layers)
        check_probability(dropout=self.dropout)
        check_choice(DISTRIBUTIONS, distribution=self.distribution)
        check_choice(SCALINGS, scaling=self.scaling)
        check_choice(FEEDS, feed=self.feed)
        if self.feed == "sample" and not DISTRIBUTIONS[self.distribution].spreads:
            raise ConfigError(f"{self.distribution} cannot be drawn from; use distribution gaussian or feed mean")

    def steps_back(self, season: int, context: int) -> tuple[int, ...]:
        """Return the lags for a season and a context.

        Raises: ConfigError for lags that are no numbers, or reach as far back as the context.
        """
        if self.lags == "auto":
            every: Iterable[int] = range(1, (season + 1 if season > 1 else FEW_LAGS) + 1)
            if season > 1 and context < SEASONS_BACK * season:
                every = (1, 2, season, season + 1)  # a short series cannot teach the use of more
            seasons = (season * n for n in range(1, SEASONS_BACK + 1)) if season > 1 else ()
            found = sorted({lag for lag in (*every, *seasons) if lag <= max(1, context * 4 // 5)})
        else:
            try:
                found = sorted({int(lag) for lag in self.lags.split(",")})
            except ValueError:
                raise ConfigError(f"'lags' is auto or numbers such as 1,2,24, not {self.lags!r}") from None
            if found[0] < 1 or found[-1] >= context:
                raise ConfigError(f"lags lie between 1 and the context, {context}, which is longer; not {self.lags}")
        return tuple(found)
