"""A cell of your own: write the equations of one step, have them checked, train with them.

    python examples/own_cell.py
    python examples/own_cell.py --text shakespeare.txt --steps 2000

The cell is the minimal gated unit of Zhou et al. 2016, a GRU with a single gate:

    f_t = σ(W_f x_t + U_f h_{t-1} + b_f)
    n_t = tanh(W_n x_t + U_n (f_t ⊙ h_{t-1}) + b_n)
    h_t = (1 - f_t) ⊙ h_{t-1} + f_t ⊙ n_t
"""

from __future__ import annotations

import argparse
from typing import NamedTuple

import torch
from torch import Tensor, nn, sigmoid, tanh

import recurra as rc


class State(NamedTuple):
    """The visible part h, (B, H)."""

    h: Tensor


class MinimalGatedUnit(nn.Module):
    """Any torch module with `step` and `zero_state` is a cell."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.W = nn.Linear(input_size, 2 * hidden_size)
        self.U_f = nn.Linear(hidden_size, hidden_size, bias=False)
        self.U_n = nn.Linear(hidden_size, hidden_size, bias=False)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        f, n = self.W(x).chunk(2, -1)
        f = sigmoid(f + self.U_f(state.h))
        n = tanh(n + self.U_n(f * state.h))
        h = (1 - f) * state.h + f * n
        return h, State(h)

    def zero_state(self, batch: int) -> State:
        return State(self.U_f.weight.new_zeros(batch, self.U_f.in_features))


def follow_a_running_mean(steps: int) -> float:
    """Train the cell by itself: read noise, tell its running mean. Returns the last squared error."""
    cell, readout = MinimalGatedUnit(1, 32), nn.Linear(32, 1)
    optimizer = torch.optim.Adam([*cell.parameters(), *readout.parameters()], lr=1e-2)
    for _ in range(steps):
        x = torch.randn(20, 16, 1)  # (T, B, I): time first
        mean = x.cumsum(0) / torch.arange(1, 21).reshape(-1, 1, 1)
        outputs, _ = rc.scan(cell, x)
        error = (readout(outputs) - mean).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    return error.item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Check a cell of one's own and train with it.")
    parser.add_argument("--text", help="a text file; without one, numbers in words")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    args = parser.parse_args()
    steps = 3 if args.quick else args.steps

    torch.manual_seed(0)
    rc.testing.check_cell(MinimalGatedUnit, input_size=3, examples=2 if args.quick else 10)
    print(f"the cell keeps all {len(rc.testing.LAWS)} laws")
    print(rc.explain(MinimalGatedUnit(3, 4)))
    print(f"running mean: squared error {follow_a_running_mean(steps):.4f}")

    # A model names its cell as module:Class, so that a run can be loaded again; this file is the module own_cell.
    corpus = rc.Corpus.from_file(args.text) if args.text else rc.Corpus.counting()
    model = rc.LanguageModel(corpus.vocabulary, cell="own_cell:MinimalGatedUnit", hidden=64)
    run = rc.Trainer(model, corpus, backprop=rc.Truncated(32), batch=32, steps=steps).fit()
    print(f"{run.path}: {run.verdict}")
    print(run.model.generate(tokens=100))


if __name__ == "__main__":
    main()
