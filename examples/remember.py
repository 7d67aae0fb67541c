"""How long does a cell remember? One symbol is shown, noise follows, and at the end the symbol is asked for.

    python examples/remember.py
    python examples/remember.py --cells rnn lstm:8 --delays 100 200 --steps 1000

Prints the share of right answers on sequences that were not trained on; guessing gives one in eight. The difficulty of
keeping something over many steps by gradient descent is that of Bengio, Simard & Frasconi 1994; the LSTM's additive
memory (Hochreiter & Schmidhuber 1997) and the identity start of the IRNN (Le, Jaitly & Hinton 2015) are two answers.
An LSTM keeps something from the start only if its forget gate is open then: `lstm:5` has a forget bias of 5, which
forgets about 0.7 % a step at first, where the usual bias of 1 forgets 27 %.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

import recurra as rc

SYMBOLS, HIDDEN, ROWS = 8, 64, 64


def draw(delay: int, rows: int) -> tuple[Tensor, Tensor]:
    """Return inputs (delay + 1, rows, SYMBOLS), a symbol and then noise, and the symbols (rows,)."""
    symbols = torch.randint(SYMBOLS, (rows,))
    noise = 0.1 * torch.randn(delay, rows, SYMBOLS)
    return torch.cat([one_hot(symbols, SYMBOLS).float().unsqueeze(0), noise]), symbols


def make_cell(name: str) -> nn.Module:
    """Build a cell by name; a number behind a colon is its forget bias."""
    name, _, bias = name.partition(":")
    return rc.cells.make_cell(name, SYMBOLS, HIDDEN, **({"forget_bias": float(bias)} if bias else {}))


def accuracy_after_training(name: str, delay: int, steps: int) -> float:
    torch.manual_seed(0)
    cell, readout = make_cell(name), nn.Linear(HIDDEN, SYMBOLS)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2e-3)
    for _ in range(steps):
        inputs, symbols = draw(delay, ROWS)
        outputs, _ = rc.scan(cell, inputs)
        loss = cross_entropy(readout(outputs[-1]), symbols)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with torch.no_grad():
        inputs, symbols = draw(delay, 1000)
        outputs, _ = rc.scan(cell, inputs)
        return (readout(outputs[-1]).argmax(-1) == symbols).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare how long cells remember.")
    parser.add_argument("--cells", nargs="+", default=["rnn", "irnn", "lstm", "lstm:5"])
    parser.add_argument("--delays", nargs="+", type=int, default=[5, 20, 80])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    args = parser.parse_args()

    print("delay " + "".join(f"{name:>12}" for name in args.cells))
    for delay in args.delays:
        print(f"{delay:<6}", end="")
        for name in args.cells:
            print(f"{accuracy_after_training(name, delay, 2 if args.quick else args.steps):>12.3f}", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
