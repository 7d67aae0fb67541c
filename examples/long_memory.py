"""A dependency of a hundred steps: which ways to back-propagate learn it, and which cells.

    python examples/long_memory.py
    python examples/long_memory.py --tasks copy --seed 1 --out long_memory.png

Two tasks whose answer lies more than 20 steps back, however one looks at it:

adding      120 numbers in [0, 1), two of the first 20 marked; at the end, their sum. To answer 1 always gives a squared
            error of 1/6. In the usual form a marker may stand near the end, and a window of 20 learns half of it.
copying     one of eight symbols, then blanks; after 100 of them, which it was. To guess gives log 8 nats.

Sources: Hochreiter & Schmidhuber 1997; an IRNN for adding Le, Jaitly & Hinton 2015; a forget gate for long spans
Tallec & Ollivier 2018.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

import recurra as rc
from recurra.figures import Curve, plot_learning

DELAY, FIRST, SYMBOLS = 100, 20, 8
HIDDEN, ROWS, WINDOW = 64, 64, 20
PIECE = 25
"""Optimizer steps that are one point of a curve."""


class Task(NamedTuple):
    """A task.

    Args:
        draw: gives inputs (T, B, I) and answers (B, ...) of so many rows.
        loss: of the readout of the last output (B, O) against the answers.
        chance: loss of who sees nothing.
    """

    draw: Callable[[int], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    sizes: tuple[int, int]
    chance: float
    cell: str
    lr: float
    steps: int


def draw_adding(rows: int) -> tuple[Tensor, Tensor]:
    values, marks = torch.rand(FIRST + DELAY, rows), torch.zeros(FIRST + DELAY, rows)
    half, row = FIRST // 2, torch.arange(rows)
    one, other = torch.randint(half, (rows,)), half + torch.randint(half, (rows,))
    marks[one, row] = marks[other, row] = 1
    return torch.stack([values, marks], -1), values[one, row] + values[other, row]


def draw_copying(rows: int) -> tuple[Tensor, Tensor]:
    symbols = torch.randint(SYMBOLS, (rows,))
    inputs = torch.zeros(DELAY + 2, rows, SYMBOLS + 1)
    inputs[0, :, :SYMBOLS] = one_hot(symbols, SYMBOLS).float()
    inputs[-1, :, SYMBOLS] = 1  # now
    return inputs, symbols


TASKS = {
    "adding": Task(draw_adding, lambda o, y: mse_loss(o[:, 0], y), (2, 1), 1 / 6, "irnn", 1e-3, 1000),
    "copying": Task(draw_copying, cross_entropy, (SYMBOLS + 1, SYMBOLS), math.log(SYMBOLS), "lstm", 5e-3, 500),
}
POLICIES = [rc.Full(), rc.Checkpointed("2MB"), rc.Unbiased(50), rc.Truncated(WINDOW)]


def make_cell(name: str, input_size: int) -> nn.Module:
    """Build a cell; an LSTM whose units forget after 1 to 100 steps, log-uniformly."""
    cell = rc.cells.make_cell(name, input_size, HIDDEN)
    if name == "lstm":
        with torch.no_grad():
            spans = torch.log(torch.empty(HIDDEN).uniform_(1, DELAY - 1))
            cell.b[:HIDDEN], cell.b[HIDDEN : 2 * HIDDEN] = -spans, spans
            cell.b_U[: 2 * HIDDEN] = 0
    return cell


def train(task: Task, name: str, policy: rc.engine.Policy, steps: int, seed: int) -> tuple[list[float], float]:
    """Return the mean losses of pieces of the training, and the loss on 2,000 new sequences."""
    torch.manual_seed(seed)
    cell, readout = make_cell(name, task.sizes[0]), nn.Linear(HIDDEN, task.sizes[1])
    parameters = [*cell.parameters(), *readout.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=task.lr)
    losses = []
    for _ in range(steps):
        inputs, answers = task.draw(ROWS)
        outputs, _ = rc.scan(cell, inputs, backprop=policy)
        loss = task.loss(readout(outputs[-1]), answers)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        inputs, answers = task.draw(2000)
        final = task.loss(readout(rc.scan(cell, inputs)[0][-1]), answers).item()
    return [sum(losses[k : k + PIECE]) / len(losses[k : k + PIECE]) for k in range(0, steps, PIECE)], final


def main() -> None:
    parser = argparse.ArgumentParser(description="Learn dependencies of a hundred steps in several ways.")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, help="optimizer steps; default 1000 for adding, 500 for copying")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of the CPU; small networks gain nothing from more")
    parser.add_argument("--out", default="long_memory.png")
    parser.add_argument("--quick", action="store_true", help="few steps, for a test")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    curves: dict[str, list[Curve]] = {}
    print(f"{'task':<8} {'cell':<5} {'policy':<22} {'loss':>7} {'of chance':>9} {'seconds':>8}")
    for name in arguments.tasks:
        task = TASKS[name]
        steps = 30 if arguments.quick else arguments.steps or task.steps
        for cell, policy in [*((task.cell, policy) for policy in POLICIES), ("rnn", rc.Full())]:
            start = time.monotonic()
            losses, final = train(task, cell, policy, steps, arguments.seed)
            share, seconds = final / task.chance, time.monotonic() - start
            label = type(policy).__name__
            print(f"{name:<8} {cell:<5} {label:<22} {final:>7.4f} {share:>9.2f} {seconds:>8.0f}", flush=True)
            shown = label if cell == task.cell else f"{label}, tanh"
            at = [min(PIECE * (k + 1), steps) for k in range(len(losses))]
            curves.setdefault(f"{name}, {task.cell}", []).append(Curve(shown, at, [v / task.chance for v in losses]))
    plot_learning(
        curves, arguments.out, title="A dependency of a hundred steps",
        subtitle=f"Loss as a share of chance. Truncated is a window of {WINDOW}; tanh is a plain network.",
    )  # fmt: skip
    print(f"drawn: {arguments.out}")


if __name__ == "__main__":
    main()
