"""torch's elastic launcher for the processes of one machine, and what it says of them."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

from torch.distributed.elastic.agent.server.api import WorkerSpec
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous.registry import get_rendezvous_handler

__all__ = ["make_agent"]

HERE = "127.0.0.1"


class Agent(LocalElasticAgent):
    """Starts the processes anew when one is lost, but not where another start would end as the last one did.

    Args:
        final: exit statuses after which there is no other start.
        lost: exit status of those that have only lost another one.
    """

    def __init__(self, *args: Any, final: Sequence[int], lost: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.final, self.lost = final, lost

    def finish(self) -> int:
        """Run to the end and return the exit status."""
        result = self.run()
        if result is None or not result.is_failed():
            return 0
        statuses = [failure.exitcode for failure in result.failures.values()]
        return next((status for status in self.final if status in statuses), 1)

    def _monitor_workers(self, worker_group: Any) -> Any:
        result = super()._monitor_workers(worker_group)
        if result.is_failed():
            statuses = {rank: failure.exitcode for rank, failure in result.failures.items()}
            if any(status in self.final for status in statuses.values()):
                self._remaining_restarts = 0  # it has said why
            else:
                print(f"recurra: {self._lost(statuses)}", file=sys.stderr, flush=True)
        return result

    def _lost(self, statuses: dict[int, int]) -> str:
        """Say which process was lost: those that have only lost it do not count."""
        # ended by a signal, then by a fault of its own; the rest were stopped for that
        stopped = (self.lost, -signal.SIGTERM)
        first = min(statuses, key=lambda rank: (statuses[rank] in stopped, statuses[rank] >= 0, rank))
        status, spec = statuses[first], self._worker_group.spec
        if status < 0:
            how = f"was killed ({signal.Signals(-status).name})"
        elif status == self.lost:
            how = "lost another one"
        else:
            how = f"failed with status {status}"
        done = spec.max_restarts - self._remaining_restarts
        then = (
            f"all start again from the last checkpoint, restart {done + 1} of {spec.max_restarts}"
            if self._remaining_restarts
            else "there are no restarts left; continue the run with --resume"
        )
        return f"process {first} of {self._worker_group.spec.local_world_size} {how}; {then}"


def make_agent(
    command: Sequence[str],
    *,
    processes: int,
    restarts: int,
    job: str,
    poll_s: float,
    logs: Any,
    final: Sequence[int],
    lost: int,
) -> Agent:
    """Return an agent that runs a command in several processes, which meet on this machine's own address.

    Args:
        job: names them, and is the same after every restart.
        poll_s: seconds from one look at them to the next.
        logs: torch's settings of where output goes.
        final, lost: as for `Agent`.
    """
    # torch writes pages about a lost process, of which we say one line.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    meeting = RendezvousParameters(
        backend="c10d", endpoint="localhost:0", run_id=job, min_nodes=1, max_nodes=1, local_addr=HERE
    )
    spec = WorkerSpec(
        role="train",
        local_world_size=processes,
        entrypoint=command[0],
        args=tuple(command[1:]),
        rdzv_handler=get_rendezvous_handler(meeting),
        max_restarts=restarts,
        monitor_interval=poll_s,
        local_addr=HERE,
    )
    return Agent(spec, logs, final=final, lost=lost)
