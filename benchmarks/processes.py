"""What a step of training takes with one process and with several: computing, adding up gradients, reading.

Prints JSON: steps per second; milliseconds per step of reading a batch, of forward and backward, of the all-reduce and
of the update; size of the gradients and the bandwidth at which they are added up, 2 (N - 1) / N of them from and to
each process; the same for buffers of other sizes. One thread in each process.

    python benchmarks/processes.py --processes 2 --hidden 512 --batch 64 --window 64
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from typing import Any

import torch

from recurra.data import Corpus
from recurra.models import LanguageModel
from recurra.processes import Processes, join
from recurra.share import sharing
from recurra.state import detach
from recurra.training import TrainingConfig
from recurra.training.language import make_stream, objective
from recurra.training.together import add_up

SIZES = (2**10, 2**14, 2**18, 2**20, 2**22, 2**24)
"""Numbers in float32 that are added up for the curve of bandwidth."""


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Train for a while as one of the processes."""
    torch.set_num_threads(1)
    with join() as processes:
        torch.manual_seed(0)
        corpus = Corpus.from_text("".join(map(chr, torch.randint(32, 96, (400_000,)).tolist())), tokenizer="char")
        model = LanguageModel(corpus.vocabulary, cell=options.cell, hidden=options.hidden, layers=options.layers)
        config = TrainingConfig(batch=options.batch, backprop=str(options.window), shuffle=False)
        optimizer = torch.optim.AdamW(model.parameters(), fused=True)
        stream = processes.part(make_stream(corpus.train, config, 0))
        took: dict[str, list[float]] = defaultdict(list)
        state = None
        for k in range(options.steps + 3):
            marks = [time.perf_counter()]
            batch = stream[k]
            marks.append(time.perf_counter())
            with sharing(batch.share):
                loss, nats, state = objective(model, config, batch, state)
                optimizer.zero_grad()
                loss.backward()
            state = detach(state)
            marks.append(time.perf_counter())
            processes.add()  # who is early waits here, not in the all-reduce
            marks.append(time.perf_counter())
            add_up(model, processes, nats)
            marks.append(time.perf_counter())
            optimizer.step()
            marks.append(time.perf_counter())
            if k >= 3:
                parts = zip(("input", "compute", "waiting", "all_reduce", "update"), marks, marks[1:], strict=False)
                for name, start, end in parts:
                    took[name].append(1e3 * (end - start))
                took["step"].append(1e3 * (marks[-1] - marks[0]))
        medians = {f"{name}_ms": round(statistics.median(times), 3) for name, times in took.items()}
        size = sum(p.numel() * p.element_size() for p in model.parameters())
        found = {"processes": processes.size, "gradient_bytes": size, **medians}
        found["steps_per_s"] = round(1e3 / medians["step_ms"], 3)
        if processes.several:
            found["all_reduce_gb_per_s"] = round(_moved(size, processes) / medians["all_reduce_ms"] / 1e6, 3)
            found["all_reduces"] = [_all_reduce(numbers, processes) for numbers in SIZES]
        return found


def _moved(size: int, processes: Processes) -> float:
    return 2 * (processes.size - 1) / processes.size * size


def _all_reduce(numbers: int, processes: Processes) -> dict[str, float]:
    buffer, times = torch.ones(numbers), []
    for _ in range(10):
        processes.add()
        start = time.perf_counter()
        processes.add_up(buffer)
        times.append(time.perf_counter() - start)
        buffer.fill_(1.0)
    median = statistics.median(times)
    gb_per_s = round(_moved(4 * numbers, processes) / median / 1e9, 3)
    return {"bytes": 4 * numbers, "ms": round(1e3 * median, 3), "gb_per_s": gb_per_s}


def main() -> None:
    """Measure one process, then several."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cell", default="lstm")
    for name, default in (("hidden", 512), ("layers", 1), ("batch", 64), ("window", 64), ("steps", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    if "RANK" in os.environ:
        found = work(options)
        if os.environ["RANK"] == "0":
            print(json.dumps(found))
        return
    rows = []
    for size in (1, options.processes):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        given = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started = []
        for rank in range(size):
            more = {name: str(value) for name, value in {**given, "RANK": rank, "LOCAL_RANK": rank}.items()}
            environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", **more}
            started.append(subprocess.Popen([sys.executable, *sys.argv], env=environment, stdout=subprocess.PIPE))
        rows.append(json.loads(started[0].communicate()[0]))
        for process in started:
            process.wait()
    speed_up = round(rows[1]["steps_per_s"] / rows[0]["steps_per_s"], 3)
    print(json.dumps({"settings": vars(options), "measured": rows, "speed_up": speed_up}, indent=1))


if __name__ == "__main__":
    main()
