"""What each way to back-propagate lets through, measured: a picture with a panel for each policy.

    python examples/policies.py
    python examples/policies.py --steps 60 --out reach.png

The network is a plain sum, h_t = h_{t-1} + w_t, whose weight w_t acts at step t alone. Every derivative of h_t by w_s
with s <= t is 1, so what a policy makes of it is what it does to gradients: 0 where it cuts, more than 1 where it
reweights.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn

import recurra as rc
from recurra.figures import Reach, plot_reach

DRAWS = 2000


class Sum(nn.Module):
    """h_t = h_{t-1} + W x_t, where x_t says which step it is."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.zeros(1, steps))

    def step(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        h = h + nn.functional.linear(x, self.W)
        return h, h

    def zero_state(self, batch: int) -> Tensor:
        return torch.zeros(batch, 1)


def reach(policy: rc.engine.Policy, steps: int, seed: int = 0) -> np.ndarray:
    """Return (T, T) the gradient of each output (row) by the weight of each step (column)."""
    torch.manual_seed(seed)
    cell, which_step = Sum(steps), torch.eye(steps).unsqueeze(1)
    outputs, _ = rc.scan(cell, which_step, backprop=policy)
    rows = [torch.autograd.grad(output.sum(), cell.W, retain_graph=True)[0][0] for output in outputs]
    return torch.stack(rows).double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw what each way to back-propagate lets through.")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", default="policies.png")
    parser.add_argument("--quick", action="store_true", help="few draws, for a test")
    arguments = parser.parse_args()
    steps, draws = arguments.steps, 20 if arguments.quick else DRAWS
    policies = [
        ("Full()", rc.Full(), "everything"),
        ("Truncated(10)", rc.Truncated(10), "nothing beyond a window's border"),
        ("Truncated(5, 15)", rc.Truncated(5, 15), "every 5 steps, back through 15"),
        ("RandomWindow(10)", rc.RandomWindow(10), "borders drawn anew each time"),
        ("Unbiased(10)", rc.Unbiased(10), "random cuts; what passes weighs more"),
        ('Checkpointed("1.2KB")', rc.Checkpointed("1.2KB"), "everything; most of it computed twice"),
        ("Online()", rc.Online(), "everything, without a history"),
    ]
    panels = [Reach(name, remark, reach(policy, steps, seed=3)) for name, policy, remark in policies]
    mean = np.mean([reach(rc.Unbiased(10), steps, seed) for seed in range(draws)], axis=0)
    panels.insert(5, Reach("Unbiased(10), mean", f"of {draws:,} draws: everything", mean))
    for panel in panels:
        lower = np.tril(np.ones_like(panel.factors)) > 0
        print(f"{panel.name:<22} passes {np.mean(panel.factors[lower] > 0):4.0%}, mean factor "
              f"{panel.factors[lower].mean():.2f}: {panel.remark}")  # fmt: skip
    plot_reach(
        panels, arguments.out, title="What gets back",
        subtitle="White: cut off. Grey line: a step's own loss. Blue: as it is. Orange: weighs more, up to 4 times.",
    )  # fmt: skip
    print(f"drawn: {arguments.out}")


if __name__ == "__main__":
    main()
