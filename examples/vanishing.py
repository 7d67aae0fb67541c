"""Why gradients vanish and explode: one network with its recurrent matrix scaled, and what is left of a gradient.

    python examples/vanishing.py
    python examples/vanishing.py --radii 0.9 1.1 --nonlinearity relu

In the linear regime a gradient that goes back k steps is multiplied k times by the recurrent matrix: its norm changes
by log(spectral radius) nats per step (Bengio, Simard & Frasconi 1994; Pascanu, Mikolov & Bengio 2013). Inputs are small
here, so that tanh is almost its argument; with --input 1 the slopes of tanh come on top, and gradients shrink faster.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import nn

import recurra as rc
from recurra.inspection.flow import flow_by_lag, state_gradients

HIDDEN, ROWS = 64, 16


def network(radius: float, nonlinearity: str, orthogonal: bool) -> rc.cells.Elman:
    """Return an Elman network whose recurrent matrix has this spectral radius."""
    cell = rc.cells.Elman(HIDDEN, HIDDEN, nonlinearity=nonlinearity).double()
    with torch.no_grad():
        (nn.init.orthogonal_ if orthogonal else nn.init.normal_)(cell.U)
        cell.U.mul_(radius / torch.linalg.eigvals(cell.U).abs().max())
        cell.b.zero_()
        cell.b_U.zero_()
    return cell


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how a gradient changes on its way back through time.")
    parser.add_argument("--radii", type=float, nargs="+", default=[0.5, 0.9, 1.0, 1.1, 2.0])
    parser.add_argument("--nonlinearity", choices=["tanh", "relu"], default="tanh")
    parser.add_argument("--matrix", choices=["orthogonal", "gaussian"], default="orthogonal")
    parser.add_argument("--input", type=float, default=1e-12, help="standard deviation of the inputs")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--quick", action="store_true", help="few steps, for a test")
    arguments = parser.parse_args()
    steps = 20 if arguments.quick else arguments.steps
    print(f"{'radius':>6} {'log(radius)':>12} {'measured':>10} {f'left after {steps}':>15}")
    for radius in arguments.radii:
        torch.manual_seed(0)
        cell = network(radius, arguments.nonlinearity, arguments.matrix == "orthogonal")
        inputs = arguments.input * torch.randn(steps, ROWS, HIDDEN, dtype=torch.float64)
        flow = flow_by_lag(0, state_gradients(cell, inputs)[0])
        slope = "" if flow.slope_nats_per_step is None else f"{flow.slope_nats_per_step:+.3f}"
        print(f"{radius:>6g} {math.log(radius):>+12.3f} {slope:>10} {flow.norms[-1]:>15.3g}  {flow.rate}")


if __name__ == "__main__":
    main()
