"""Memory that scans use again: what one leaves for its backward pass, the next one writes over.

The system hands out large pieces of memory page by page, cleared, and takes them back at once: half a millisecond for
each megabyte that a scan keeps. So the pieces of the last scans are kept, up to a limit.
"""

from __future__ import annotations

import math
import threading
from collections import deque

import torch
from torch import Tensor

__all__ = ["LIMIT_BYTES", "Loan", "release"]

LIMIT_BYTES = 256 << 20
"""Memory that is kept at most while no scan uses it."""

LARGE_BYTES = 1 << 20  # smaller pieces are no work for the system

_lock = threading.Lock()
_free: deque[Tensor] = deque()


class Loan:
    """A tensor of this shape, uninitialised; its memory goes back when the loan is dropped."""

    def __init__(self, *shape: int, dtype: torch.dtype) -> None:
        size = math.prod(shape)
        if size * dtype.itemsize < LARGE_BYTES:
            self.tensor = torch.empty(shape, dtype=dtype)
            return
        self._memory = _take(size, dtype)
        self.tensor = self._memory[:size].view(shape)

    @classmethod
    def of(cls, tensor: Tensor) -> Loan:
        """Return a loan of somebody's own tensor, which nobody takes back."""
        loan = cls.__new__(cls)
        loan.tensor = tensor
        return loan

    def keep(self) -> Tensor:
        """Return the tensor and let its memory go with it, not back."""
        self.__dict__.pop("_memory", None)
        return self.tensor

    def __del__(self) -> None:
        memory = self.__dict__.get("_memory")
        if memory is not None:
            _give_back(memory)


def release() -> None:
    """Give all memory that is kept for later scans back to the system."""
    with _lock:
        _free.clear()


def _take(size: int, dtype: torch.dtype) -> Tensor:
    with _lock:
        for memory in reversed(_free):  # the last one used is the warmest
            if memory.dtype == dtype and size <= memory.numel() <= 2 * size:
                _remove(memory)
                return memory
    with torch.inference_mode(False):  # a tensor of that mode could not be written outside it
        return torch.empty(_rounded(size), dtype=dtype)


def _rounded(size: int) -> int:
    """Return a size that others will ask for, too: 1, 1.5, 2, 3, 4, 6 ... The system gives what is touched alone."""
    power = 1 << max(size - 1, 0).bit_length()
    return power if size > 3 * power // 4 else 3 * power // 4


def _give_back(memory: Tensor) -> None:
    if not _lock.acquire(blocking=False):  # perhaps by this very thread, in which the collector runs
        return
    try:
        _free.append(memory)
        while sum(m.numel() * m.element_size() for m in _free) > LIMIT_BYTES:
            _free.popleft()
    finally:
        _lock.release()


def _remove(memory: Tensor) -> None:
    for place, found in enumerate(_free):
        if found is memory:
            del _free[place]
            return
