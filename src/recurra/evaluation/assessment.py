"""What a model of a task scored, beside what the simplest ways score: plain words about who is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["LOWER_IS_BETTER", "Assessment"]

LOWER_IS_BETTER = frozenset({"loss_nats", "perplexity", "mse", "rmse", "mae", "mase", "crps"})
SHARES = frozenset({"accuracy", "exact"})
"""Metrics that are shares of so many trials: chance moves them by a known amount."""
PERCENTAGES = frozenset({"bleu", "chrf"})
"""Metrics from 0 to 100."""


@dataclass(frozen=True)
class Assessment:
    """What a model scored on examples.

    Args:
        task: lm, classify, tag, translate, caption or forecast.
        metrics: of the model, by name.
        baselines: of ways that learn little or nothing, by name; each has at least the main metric.
        main: name of the metric that is compared.
        examples: number of them.
        seconds: wall-clock time that the model took.
        details: what a task has beside numbers: ``confusion`` (``labels``, and ``counts``, rows the truth), ``classes``
            (precision, recall, f1 and support by label), ``predictions``, and ``trials``, how often the model was right
            or wrong, where that is not the number of examples.
    """

    task: str
    metrics: Mapping[str, float]
    baselines: Mapping[str, Mapping[str, float]]
    main: str
    examples: int
    seconds: float
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lower_is_better(self) -> bool:
        """Whether the main metric is an error."""
        return self.main in LOWER_IS_BETTER

    @property
    def doubt(self) -> float:
        """Two standard errors of the main metric: of a share, binomial; 0 where nothing is known."""
        trials = int(self.details.get("trials", self.examples))
        share = self.metrics[self.main]
        return 2 * math.sqrt(share * (1 - share) / trials) if self.main in SHARES and trials else 0.0

    @property
    def verdict(self) -> list[str]:
        """One sentence for each baseline: whether the model beats it."""
        return [self._compare(name, scores[self.main]) for name, scores in self.baselines.items()]

    @property
    def headline(self) -> str:
        """The sentence about the strongest of the baselines; without any, what the model scored."""
        if not self.baselines:
            return f"{self.main} {self._text(self.metrics[self.main])}"
        strongest = (min if self.lower_is_better else max)(self.baselines, key=lambda n: self.baselines[n][self.main])
        return self._compare(strongest, self.baselines[strongest][self.main])

    def as_mapping(self) -> dict[str, Any]:
        """Metrics by name, and all else under names of their own, as JSON holds them; predictions are left out."""
        told = {name: self.details[name] for name in ("confusion", "classes") if name in self.details}
        return {
            "task": self.task,
            **self.metrics,
            "main": self.main,
            "baselines": {name: dict(scores) for name, scores in self.baselines.items()},
            "verdict": self.verdict,
            "examples": self.examples,
            "seconds": self.seconds,
            **told,
        }

    def _compare(self, name: str, other: float) -> str:
        own = self.metrics[self.main]
        ahead = other - own if self.lower_is_better else own - other
        if not ahead > 0:
            return self._sentence("does not beat", name, other)
        if ahead >= self.doubt:
            return self._sentence("beats", name, other)
        trials = f"{self.details['trials']:,} steps" if "trials" in self.details else f"{self.examples:,} examples"
        return f"{self._sentence('does not clearly beat', name, other)}: so little may be chance with {trials}"

    def _sentence(self, verb: str, name: str, other: float) -> str:
        return f"{self.main} {self._text(self.metrics[self.main])} {verb} {_with_article(name)} ({self._text(other)})"

    def _text(self, value: float) -> str:
        if self.main in PERCENTAGES:
            return f"{value:.1f}"
        return f"{value:.4g}" if self.lower_is_better else f"{value:.3f}"


def _with_article(name: str) -> str:
    first = name.split()[0]
    return name if first.endswith("ing") or first in ("naive", "no") else f"the {name}"
