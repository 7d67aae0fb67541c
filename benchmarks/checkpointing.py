"""Memory and time of checkpointed back-propagation beside full back-propagation; prints JSON.

python benchmarks/checkpointing.py [--cell lstm --hidden 256 --rows 8 --steps 10000] [--budgets 24MB 64MB] [--rounds 5]

Each policy runs in fresh processes of its own, interleaved, and is measured after a first run. Memory is the process's
resident size at its highest beyond what the caller holds anyway: inputs, outputs and the gradients of both.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import threading
import time

import torch

import recurra as rc
from recurra.engine import parse_policy
from recurra.engine.native.workspace import release

PAGE = 4096
EVERY_S = 0.002


class Peak(threading.Thread):
    """Looks at the resident size again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.highest, self.is_done = 0, threading.Event()

    def run(self) -> None:
        while not self.is_done.wait(EVERY_S):
            self.highest = max(self.highest, resident())


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


def measure(policy_text: str, cell: str, hidden: int, rows: int, steps: int) -> dict[str, float]:
    """Return seconds and bytes of one scan, forward and backward, in this process."""
    torch.manual_seed(0)
    policy, layer = parse_policy(policy_text), rc.cells.make_cell(cell, hidden, hidden)
    x = torch.randn(steps, rows, hidden)

    def run(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = x.detach().requires_grad_()
        outputs, _ = rc.scan(layer, x, backprop=policy)
        gradient = torch.ones_like(outputs)
        outputs.backward(gradient)
        return x, outputs, gradient

    run(x[: min(steps, 2000)])
    release()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    before, peak, start = resident(), Peak(), time.perf_counter()
    peak.start()
    _, outputs, gradient = run(x)
    seconds = time.perf_counter() - start
    peak.is_done.set()
    peak.join()
    callers = x.nbytes + outputs.nbytes + gradient.nbytes
    return {"seconds": seconds, "bytes": peak.highest - before - callers}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cell", default="lstm")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--budgets", nargs="+", default=["24MB", "64MB"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.one:
        print(json.dumps(measure(a.one, a.cell, a.hidden, a.rows, a.steps)))
        return
    sizes = [f"--{name}={getattr(a, name)}" for name in ("cell", "hidden", "rows", "steps")]
    policies = ["full", *(f"checkpointed:{budget}" for budget in a.budgets)]
    found: dict[str, list[dict[str, float]]] = {policy: [] for policy in policies}
    for n in range(a.rounds):
        for policy in policies:
            print(f"round {n + 1} of {a.rounds}: {policy}", file=sys.stderr)
            done = subprocess.run(
                [sys.executable, __file__, f"--one={policy}", *sizes], check=True, stdout=subprocess.PIPE, text=True
            )
            found[policy].append(json.loads(done.stdout))
    result = {}
    for policy, runs in found.items():
        of_full = [(run, full) for run, full in zip(runs, found["full"], strict=True)]
        result[policy] = {
            "seconds": statistics.median(run["seconds"] for run in runs),
            "mib": statistics.median(run["bytes"] for run in runs) / 2**20,
            "time_of_full": statistics.median(run["seconds"] / full["seconds"] for run, full in of_full),
            "memory_of_full": statistics.median(run["bytes"] / full["bytes"] for run, full in of_full),
        }
    print(json.dumps({"cell": a.cell, "hidden": a.hidden, "rows": a.rows, "steps": a.steps, "policies": result}))


if __name__ == "__main__":
    main()
