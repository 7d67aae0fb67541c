"""Predictions of docs/scale.md: the time of a step on graphics cards that nobody here has, by the model of that page.

    python benchmarks/cards.py

Prints a line of JSON for each model, number of rows on each card, and number of cards. The constants and their sources
are on that page. Numbers are of 16 bits, their sums and the gradients that are added up of 32.
"""

from __future__ import annotations

import json
from typing import NamedTuple

FLOPS = 0.5 * 989.4e12
"""Half of the peak of dense products in bfloat16."""
MEMORY = 0.8 * 3.35e12
"""Bytes per second, four fifths of the peak."""
ON_CHIP = 30e6
"""Bytes of registers and shared memory that can hold the recurrent weights from step to step."""
STEP_FORWARD_S, STEP_BACKWARD_S = 2.0e-6, 3.1e-6
"""The shortest step of a recurrence."""
BUS = {8: 370e9, 64: 350e9}
"""Bytes per second of an all-reduce, for each card."""
MESSAGE_S = {8: 0.12e-3, 64: 0.3e-3}
HOST_S = 1e-3
STEPS = 128
TOKENS = 1e12


class Model(NamedTuple):
    """Layers of an LSTM with a tied embedding."""

    name: str
    layers: int
    hidden: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        return self.layers * 8 * self.hidden**2 + self.vocabulary * self.hidden


MODELS = (Model("medium", 3, 1024, 32_768), Model("large", 8, 4096, 50_000))


def predict(model: Model, rows: int, cards: int) -> dict[str, float]:
    """Return the milliseconds of the parts of a step."""
    L, H, V, T = model.layers, model.hidden, model.vocabulary, STEPS
    weights = 2 * 4 * H * H
    shortest = max(2 * rows * H * 4 * H / FLOPS, weights / MEMORY if weights > ON_CHIP else 0.0)
    parts = {
        # three products with W, and the gradient of U, for which all steps are there
        "outside": 8 * rows * T * H * 4 * H * L / FLOPS,
        "loop": L * T * (max(STEP_FORWARD_S, shortest) + max(STEP_BACKWARD_S, shortest)),
        "loss": 6 * rows * T * H * V / FLOPS + 4 * 2 * rows * T * V / MEMORY,
        "update": 28 * model.parameters / MEMORY,
        "all_reduce": MESSAGE_S[cards] + 2 * (cards - 1) / cards * 4 * model.parameters / BUS[cards]
        if cards > 1
        else 0.0,
        "host": HOST_S,
    }
    return {name: round(1e3 * seconds, 2) for name, seconds in parts.items()}


def main() -> None:
    """Print the predictions."""
    for model in MODELS:
        for rows in (64, 256):
            for cards in (1, 8, 64):
                parts = predict(model, rows, cards)
                step_s = sum(parts.values()) / 1e3
                tokens = rows * STEPS * cards / step_s
                row = {
                    "model": model.name,
                    "rows": rows,
                    "cards": cards,
                    "ms": parts,
                    "step_ms": round(1e3 * step_s, 1),
                }
                print(json.dumps(row | {"tokens_per_s": f"{tokens:.3g}", "days": round(TOKENS / tokens / 86400, 2)}))


if __name__ == "__main__":
    main()
