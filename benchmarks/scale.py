"""A model of the time of an optimizer step, from what its parts take on this machine, beside what it takes.

    torchrun --standalone --nproc-per-node 1 benchmarks/scale.py
    torchrun --standalone --nproc-per-node 2 benchmarks/scale.py

docs/scale.md explains the model. Prints JSON: for each shape of a language model the constants of this machine, as
measured at other sizes, the predicted parts, and the predicted and the measured milliseconds of a step.
One thread in each process; all processes measure at the same time, as they would compute.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import nn

import recurra as rc
from recurra.data import build_tokenizer
from recurra.layers import projected_cross_entropy
from recurra.models import LanguageModel
from recurra.processes import Processes, join
from recurra.training.together import add_up

BYTES = 4
ROUNDS = 7


class Shape(NamedTuple):
    """A language model of one LSTM layer, its embedding as wide, and a window of all rows."""

    rows: int
    steps: int
    hidden: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        H, V = self.hidden, self.vocabulary
        return 8 * H * H + 8 * H + 2 * H * V + V


SHAPES = (Shape(64, 64, 512, 100), Shape(32, 128, 256, 100), Shape(32, 64, 256, 5000))


class Machine(NamedTuple):
    """What one of the processes does in a second, or takes for one of something.

    Args:
        flops: of large matrix products, outside the loop over time.
        logit_s: of a softmax and its gradient, for each logit.
        update_s: of clipping and AdamW, for each parameter.
        message_s, byte_s: of adding up gradients: for each time, and for each byte that is sent.
    """

    flops: float
    logit_s: float
    update_s: float
    message_s: float
    byte_s: float


def seconds(call: Callable[[], Any], processes: Processes) -> float:
    """Return the median time of a call, all processes doing it at the same time."""
    times = []
    for round in range(ROUNDS + 2):
        processes.add()
        begin = time.perf_counter()
        call()
        if round > 1:
            times.append(time.perf_counter() - begin)
    return statistics.median(times)


def measure_machine(processes: Processes) -> Machine:
    """Measure what does not depend on the shape."""
    N, inputs, outputs = 1024, 384, 1536
    x, W, dz = torch.randn(N, inputs), torch.randn(outputs, inputs), torch.randn(N, outputs)
    flops = 6 * N * inputs * outputs / seconds(lambda: (x @ W.t(), dz @ W, dz.t() @ x), processes)
    classes, width = 2000, 128
    features = torch.randn(N, width, requires_grad=True)
    V = torch.randn(classes, width, requires_grad=True)
    targets = torch.randint(classes, (N,))
    loss_s = seconds(lambda: projected_cross_entropy(features, V, None, targets).backward(), processes)
    logit_s = max(0.0, loss_s - 6 * N * classes * width / flops) / (N * classes)
    return Machine(flops, logit_s, _update_seconds(processes), *_message_seconds(processes))


def _update_seconds(processes: Processes) -> float:
    parameters = [nn.Parameter(torch.randn(1024, 1024)) for _ in range(3)]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    for parameter in parameters:
        parameter.grad = torch.randn(1024, 1024)

    def update() -> None:
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return seconds(update, processes) / (3 * 2**20)


def _message_seconds(processes: Processes) -> tuple[float, float]:
    if not processes.several:
        return 0.0, 0.0
    taken = []
    for width in (16, 1448):
        layer = nn.Linear(width, width, bias=False)
        layer.weight.grad = torch.ones(width, width)
        taken.append(seconds(lambda layer=layer: add_up(layer, processes, 0.0), processes))
    sent = 2 * (processes.size - 1) / processes.size * BYTES
    byte_s = (taken[1] - taken[0]) / (sent * (1448**2 - 16**2))
    return taken[0], byte_s


def step_of_the_loop(rows: int, hidden: int, machine: Machine, processes: Processes) -> float:
    """Return the seconds of one step of the recurrence, forward and backward, without the products outside of it."""
    cell = rc.cells.LSTM(hidden, hidden)

    def scan(steps: int) -> float:
        x, cotangent = torch.randn(steps, rows, hidden, requires_grad=True), torch.randn(steps, rows, hidden)

        def call() -> None:
            outputs, _ = rc.scan(cell, x)
            torch.autograd.grad(outputs, [x, *cell.parameters()], cotangent)

        return seconds(call, processes)

    return (scan(48) - scan(16)) / 32 - 6 * rows * hidden * 4 * hidden / machine.flops


def predict(shape: Shape, machine: Machine, loop_s: float, processes: int) -> dict[str, float]:
    """Return the seconds of the parts of a step, by the model."""
    rows, T, H, V = shape.rows / processes, shape.steps, shape.hidden, shape.vocabulary
    sent = 2 * (processes - 1) / processes * BYTES * shape.parameters
    return {
        "outside": 6 * rows * T * H * 4 * H / machine.flops,
        "loop": T * loop_s,
        "loss": 6 * rows * T * H * V / machine.flops + rows * T * V * machine.logit_s,
        "update": shape.parameters * machine.update_s,
        "all_reduce": machine.message_s + sent * machine.byte_s,
    }


def measure(shape: Shape, processes: Processes) -> float:
    """Return the seconds of a whole step."""
    alphabet = "".join(chr(0x4E00 + n) for n in range(shape.vocabulary))
    torch.manual_seed(0)
    width = {"hidden": shape.hidden, "embedding": shape.hidden}
    model = LanguageModel(build_tokenizer("char", [alphabet]), cell="lstm", **width)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tokens = torch.randint(shape.vocabulary, (shape.steps + 1, shape.rows // processes.size))

    def step() -> None:
        loss, _ = model.loss(tokens[:-1], tokens[1:])
        optimizer.zero_grad()
        loss.backward()
        add_up(model, processes, loss.detach())
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return seconds(step, processes)


def main() -> None:
    """Measure the constants, predict, and measure."""
    torch.set_num_threads(1)
    with join() as processes:
        rows = []
        for shape in SHAPES:
            # beside each shape anew: the machine may be shared
            machine = measure_machine(processes)
            loop_s = step_of_the_loop(shape.rows // processes.size, shape.hidden, machine, processes)
            parts = predict(shape, machine, loop_s, processes.size)
            measured, predicted = measure(shape, processes), sum(parts.values())
            row = {**shape._asdict(), "parts_ms": {name: round(1e3 * part, 2) for name, part in parts.items()}}
            row |= {"predicted_ms": round(1e3 * predicted, 1), "measured_ms": round(1e3 * measured, 1)}
            rows.append({**row, "ratio": round(predicted / measured, 3), "constants": machine._asdict()})
        if processes.first:
            print(json.dumps({"processes": processes.size, "steps": rows}, indent=1))


if __name__ == "__main__":
    main()
