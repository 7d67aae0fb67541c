"""Several processes that train one model together, on one machine or on many."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from recurra.environment import GIVEN, is_one_of_several
from recurra.errors import ConfigError, ProcessError
from recurra.meeting import meet
from recurra.share import Share
from recurra.state import batch_size, from_named, map_leaves, named_leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALONE", "Processes", "join"]

S = TypeVar("S")

WAIT_S = 600.0
"""How long a process waits for what another one has to add; the environment variable RECURRA_WAIT_S replaces it."""

LOCAL = (("LOCAL_RANK", "0"), ("LOCAL_WORLD_SIZE", "1"))
"""Which process of how many on this machine it is, and what that is where nothing is said."""


class Processes:
    """This process among those that train together. Alone, nothing is sent and torch.distributed is never asked.

    Args:
        rank, size: which of how many processes this is.
        local_rank, local_size: which of how many on this machine.
        patient: group of all of them for what may take hours, such as reading a corpus.
    """

    def __init__(
        self, rank: int = 0, size: int = 1, *, local_rank: int = 0, local_size: int = 1, patient: Any = None
    ) -> None:
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = local_rank, local_size
        self._patient = patient

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks for all."""
        return self.rank == 0

    @property
    def several(self) -> bool:
        """Whether there are others."""
        return self.size > 1

    def share(self, rows: int) -> Share:
        """Return which of so many rows are read here."""
        return Share.of(self.rank, self.size, rows)

    def part(self, stream: Any) -> Any:
        """Return a stream of batches with the rows that are read here."""
        return stream.part(self.rank, self.size) if self.several else stream

    # -- what all have to call together ---------------------------------------------------------------------------

    def add_up(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all processes, in place: the same bits in all, and the same ones every time."""
        if self.several:
            with _together():
                torch.distributed.all_reduce(tensor)
        return tensor

    def add(self, *numbers: float) -> list[float]:
        """Return the sums over all processes, in float64; of no numbers, it only waits for all."""
        if not self.several:
            return list(numbers)
        return self.add_up(torch.tensor(numbers, dtype=torch.float64)).tolist()

    def tell(self, value: Any = None) -> Any:
        """Return what the first process says, however long it takes to say it."""
        if not self.several:
            return value
        box = [value if self.first else None]
        with _together():
            torch.distributed.broadcast_object_list(box, group=self._patient)
        return box[0]

    def wait(self) -> None:
        """Wait until all have come here, however long it takes."""
        self.tell()

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process do something, then the others: it writes and removes what they read."""
        if not self.first:
            self.wait()
        try:
            yield
        finally:
            if self.first:
                self.wait()

    def own_rows(self, state: S) -> S:
        """Return the rows of a state that are read here; others need not be asked for that."""
        if not self.several or state is None:
            return state
        rows = batch_size(state) or 0
        own = self.share(rows).own
        return map_leaves(lambda leaf: leaf[own].contiguous(), state)

    def all_rows(self, state: S) -> S:
        """Return the whole state, of which each process has the rows of its share."""
        if not self.several or state is None:
            return state
        leaves = {name: leaf.detach().cpu().contiguous() for name, leaf in named_leaves(state).items()}
        if not leaves:
            return state
        rows = [int(count) for count in self.gather(torch.tensor([batch_size(state) or 0])).flatten()]
        most = max(rows)
        found: dict[str, Tensor] = {}
        for name, leaf in leaves.items():
            # as bytes, which every kind of number is made of, and equally many from each
            padded = torch.cat([leaf, leaf.new_zeros(most - len(leaf), *leaf.shape[1:])])
            every = self.gather(padded.reshape(-1).view(torch.uint8)).view(leaf.dtype)
            parts = every.reshape(self.size, most, *leaf.shape[1:])
            found[name] = torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])
        return from_named(map_leaves(Tensor.cpu, state), found)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return (N, ...) the tensors of all processes, which are of one shape."""
        parts = [torch.empty_like(tensor) for _ in range(self.size)]
        with _together():
            torch.distributed.all_gather(parts, tensor)
        return torch.stack(parts)


ALONE = Processes()
"""The only process."""


@contextmanager
def join(environment: Mapping[str, str] | None = None) -> Iterator[Processes]:
    """Join the processes that torchrun, or `recurra train --processes`, has started, and leave them at the end.

    On processors gradients travel by gloo, on graphics cards by nccl; all else travels by gloo.
    Raises: ConfigError if what the environment says makes no sense; ProcessError if the others cannot be reached.
    """
    environment = os.environ if environment is None else environment
    if not is_one_of_several(environment):
        yield ALONE
        return
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local_rank, local_size = (int(environment.get(name, given)) for name, given in LOCAL)
        patience = timedelta(seconds=float(environment.get("RECURRA_WAIT_S", WAIT_S)))
    except ValueError as error:
        names = ", ".join((*GIVEN, *(name for name, _ in LOCAL), "RECURRA_WAIT_S"))
        raise ConfigError(f"the environment of this process is wrong ({error}); look at {names}") from None
    if size == 1:
        yield Processes(local_rank=local_rank, local_size=local_size)
        return
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    on_cards = torch.cuda.is_available() and dist.is_nccl_available()
    with _together():
        store, _, _ = next(rendezvous("env://", rank, size, timeout=patience))
        store = PrefixStore(meet(store, rank, size, patience), store)
        backend = "cpu:gloo,cuda:nccl" if on_cards else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
        patient = dist.new_group(backend="gloo", timeout=timedelta(days=7))
    yield Processes(rank, size, local_rank=local_rank, local_size=local_size, patient=patient)
    # Not after an error: the others may be gone, and would be waited for.
    dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    """Turn what torch says where another process is lost into one line."""
    try:
        yield
    except RuntimeError as error:  # all of torch.distributed's are
        reason = str(error).splitlines()[0].rstrip(".")
        raise ProcessError(f"another process of this training cannot be reached any more: {reason}") from error
