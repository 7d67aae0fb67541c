"""A dependency 100 steps long: which ways of back-propagation learn it, and which cells.

    python examples/long_memory.py
    python examples/long_memory.py --task adding --steps 1000 --seeds 0 1 2

Two tasks of 120 steps. In both, all that matters is in the first 20 steps, and the loss is in the last 20:

adding  Each step shows a random number and a mark. Two steps are marked, one of the first ten and one of the next ten;
        at the end, 100 steps later or more, the sum of their numbers is asked for. Saying 1 always, the mean, costs
        1/6. (Hochreiter & Schmidhuber 1997. There a mark may stand near the end; here none may, so that no short window
        ever sees one and the answer at once.)
copy    Three symbols out of eight are shown, then nothing for 114 steps, then a signal; at it and after it the symbols
        are asked for, one by one, each shown once it was asked for. Guessing costs log 8. (Arjovsky, Shah & Bengio
        2016. There none is shown while it is recalled.)

`Truncated(20)` reads the same sequences and carries the state through all of them, but the gradient of a loss in the
last window goes back to the start of that window only, 100 steps after all that matters. `Full` goes back all the way;
`Checkpointed` does so in a third of the memory. `Unbiased(50)` cuts at random and gives what passes uncut more weight,
so that its gradient is the full one on average.

All runs of a seed see the same sequences, and all of a cell start from the same weights. The LSTM's memory cells start
with time constants from 1 to 100 steps (Tallec & Ollivier 2018, "chrono"): a cell that forgets at once would receive no
gradient from far back by any policy, as Elman's network shows (Bengio, Simard & Frasconi 1994).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

import recurra as rc
from recurra.figures import Panel, plot_learning

LENGTH, EARLY = 120, 20
SYMBOLS, SHOWN = 8, 3
HIDDEN, ROWS, LEARNING_RATE, LONGEST = 32, 64, 1e-2, 100
LEARNED, AT_CHANCE = 0.25, 0.9
"""Shares of the loss of guessing, below and above which a task counts as learned and as not learned."""


@dataclass(frozen=True)
class Task:
    """Inputs and outputs per step, the loss of guessing, and functions that draw sequences and compute the loss."""

    title: str
    unit: str
    inputs: int
    outputs: int
    chance: float
    draw: Callable[[int, Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]


def draw_adding(rows: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Return numbers and marks (LENGTH, rows, 2), and sums (rows,)."""
    numbers = torch.rand(LENGTH, rows, generator=random)
    first, second = torch.randint(EARLY // 2, (2, rows), generator=random)
    marks = one_hot(first, LENGTH) + one_hot(second + EARLY // 2, LENGTH)
    inputs = torch.stack([numbers, marks.T.float()], dim=-1)
    return inputs, inputs.prod(-1).sum(0)


def adding_loss(outputs: Tensor, sums: Tensor) -> Tensor:
    return mse_loss(outputs[-1, :, 0], sums)


def draw_copy(rows: int, random: Generator) -> tuple[Tensor, Tensor]:
    """Return symbols, nothing, a signal and again all symbols but one (LENGTH, rows, SYMBOLS + 1), and the symbols."""
    symbols = torch.randint(SYMBOLS, (SHOWN, rows), generator=random)
    inputs = torch.zeros(LENGTH, rows, SYMBOLS + 1)
    inputs[:SHOWN] = one_hot(symbols, SYMBOLS + 1)
    inputs[-SHOWN, :, SYMBOLS] = 1
    inputs[1 - SHOWN :] = inputs[: SHOWN - 1]
    return inputs, symbols


def copy_loss(outputs: Tensor, symbols: Tensor) -> Tensor:
    return cross_entropy(outputs[-SHOWN:].flatten(0, 1), symbols.flatten())


TASKS = {
    "adding": Task("The sum of two marked numbers", "squared error", 2, 1, 1 / 6, draw_adding, adding_loss),
    "copy": Task(
        "Three symbols, recalled", "nats per symbol", SYMBOLS + 1, SYMBOLS, math.log(SYMBOLS), draw_copy, copy_loss
    ),
}
CONTENDERS = {
    "LSTM, full": ("lstm", rc.Full()),
    "LSTM, checkpointed": ("lstm", rc.Checkpointed("4MB")),
    "LSTM, unbiased": ("lstm", rc.Unbiased(50)),
    "LSTM, truncated at 20": ("lstm", rc.Truncated(20)),
    "Elman tanh, full": ("rnn", rc.Full()),
}


def make_cell(name: str, inputs: int) -> nn.Module:
    """Build a cell; an LSTM with f_t = 1 - i_t = 1 - 1/τ at rest, τ from 1 to LONGEST steps.

    Source: Tallec & Ollivier 2018, eq. 16.
    """
    cell = rc.cells.make_cell(name, inputs, HIDDEN)
    if name == "lstm":
        with torch.no_grad():
            tau = torch.empty(HIDDEN).uniform_(1, LONGEST - 1)
            cell.b_U[: 2 * HIDDEN] = 0
            cell.b[: 2 * HIDDEN] = torch.cat([-tau.log(), tau.log()])
    return cell


def train(
    task: Task, cell_name: str, policy: rc.engine.Policy, steps: int, seed: int, rows: int
) -> tuple[list[float], float]:
    """Return the loss at every step, and at the end that on sequences that were not trained on."""
    torch.manual_seed(seed)
    random = Generator().manual_seed(seed)
    cell, readout = make_cell(cell_name, task.inputs), nn.Linear(HIDDEN, task.outputs)
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    losses = []
    for step in range(1, steps + 1):
        inputs, answers = task.draw(rows, random)
        outputs, _ = rc.scan(cell, inputs, backprop=policy)
        loss = task.loss(readout(outputs), answers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 250 == 0:
            print(f"  step {step:,}: {sum(losses[-50:]) / 50:.4f}", flush=True)
    with torch.no_grad():
        inputs, answers = task.draw(32 * rows, random)
        outputs, _ = rc.scan(cell, inputs)
        return losses, task.loss(readout(outputs), answers).item()


def judge(share: float) -> str:
    """Name a loss, given as a share of that of guessing."""
    return "learned" if share < LEARNED else "at chance" if share > AT_CHANCE else "in part"


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn what happened 100 steps ago, or fail to.")
    parser.add_argument("--task", choices=TASKS, help="one of the two")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("long_memory.png"), help="picture of the first seed")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that it runs")
    args = parser.parse_args()
    steps, rows = (3, 4) if args.quick else (args.steps, ROWS)

    table = [f"{'task':<8}{'trained':<24}{'seed':>4}{'loss':>9}{'chance':>9}{'share':>7}{'seconds':>9}"]
    panels = []
    for name in [args.task] if args.task else TASKS:
        task, curves = TASKS[name], {}
        for seed in args.seeds:
            for label, (cell, policy) in CONTENDERS.items():
                print(f"{name}, {label}, seed {seed}", flush=True)
                start = time.perf_counter()
                losses, loss = train(task, cell, policy, steps, seed, rows)
                seconds = time.perf_counter() - start
                share = loss / task.chance
                table.append(
                    f"{name:<8}{label:<24}{seed:>4}{loss:>9.4f}{task.chance:>9.4f}{share:>7.2f}{seconds:>9.0f}"
                    f"  {judge(share)}"
                )
                curves.setdefault(label, losses)
        panels.append(Panel(task.title, task.unit, task.chance, curves))
    print("", *table, sep="\n")
    subtitle = f"{LENGTH} steps; what matters is in the first {EARLY}, what is asked in the last {EARLY}"
    plot_learning(panels, args.out, title="A dependency 100 steps long", subtitle=subtitle)


if __name__ == "__main__":
    main()
