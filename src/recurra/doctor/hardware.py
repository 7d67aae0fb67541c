"""Processor, memory, disk, clock and terminal."""

from __future__ import annotations

import math
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch

from recurra.doctor.findings import NOTE, OK, WRONG, Finding
from recurra.engine.llvm.peak import host_vector_unit
from recurra.engine.llvm.target import host_target
from recurra.engine.processor import processor
from recurra.memory import CGROUP, as_size, free_bytes, installed_bytes

__all__ = ["check_clock", "check_disk", "check_memory", "check_processor", "check_terminal", "check_vectors"]

LITTLE_MEMORY, LITTLE_DISK = 2**29, 2**30
SOME = 4
"""So many times that are still worth a word."""
EARLIEST, LATEST = 1735689600.0, 4102444800.0
"""The years 2025 and 2100, in seconds since 1970."""
CLOCKS_APART_S = 120.0


def check_processor() -> Finding:
    """Compare threads with the cores that this process may use."""
    cores = os.cpu_count() or 1
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota = _quota()
    allowed = min(mine, math.ceil(quota)) if quota else mine
    threads = torch.get_num_threads()
    limits = f", a quota of {quota:g}" if quota else ""
    text = f"{processor().name or 'unknown'}: {mine} of {cores} cores{limits}, {threads} threads"
    if threads > allowed:
        return Finding("processor", NOTE, text, f"more threads than cores slow each other down: --threads {allowed}")
    return Finding("processor", OK, text)


def _quota() -> float | None:
    """Return how many cores' time the control group allows, or None if it sets no limit."""
    try:
        limit, period = (CGROUP / "cpu.max").read_text(encoding="ascii").split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return None


def check_vectors() -> Finding:
    """Compare what the processor can with what the engine writes for it."""
    unit, target = host_vector_unit(), host_target()
    text = f"{unit.name}, {unit.lanes} float32 at once; the engine writes {target.vector_bits}-bit code ({target.name})"
    if target.vector_bits < 32 * unit.lanes:
        return Finding(
            "vectors", NOTE, text, "narrower than the processor: compiled loops are slower than they could be"
        )
    return Finding("vectors", OK, text)


def check_memory() -> Finding:
    """Look at what is free."""
    free, installed = free_bytes(), installed_bytes()
    text = f"{as_size(free)} free of {as_size(installed)}"
    if free < LITTLE_MEMORY:
        return Finding("memory", WRONG, text, "end other programs; small models alone fit into so little")
    return Finding("memory", NOTE if free < SOME * LITTLE_MEMORY else OK, text)


def check_disk(runs: Path) -> Finding:
    """Look at the room for runs, and write there."""
    folder = runs
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    text = f"{as_size(free)} free for {runs}/"
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"recurra")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        advice = f"run where you may write, or give train another --out; here it fails with: {error.strerror}"
        return Finding("disk", WRONG, f"{runs}/ cannot be written", advice)
    if free < LITTLE_DISK:
        return Finding("disk", WRONG, text, "make room: a run holds up to five copies of a model and its optimizer")
    return Finding("disk", NOTE if free < SOME * LITTLE_DISK else OK, f"{text}, writable")


def check_clock() -> Finding:
    """Compare the clock with sense, and with that of the file system."""
    now = time.time()
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    with tempfile.NamedTemporaryFile() as file:
        apart = abs(os.stat(file.name).st_mtime - now)
    if not EARLIEST < now < LATEST:
        return Finding("clock", WRONG, f"it says {shown}", "set it: times of files and logs mean nothing")
    if apart > CLOCKS_APART_S:
        return Finding("clock", NOTE, f"{shown}; the disk's is {apart:.0f} s off", "set both by the same time server")
    return Finding("clock", OK, shown)


def check_terminal() -> Finding:
    """Look whether texts can be shown."""
    streams = {"stdout": sys.__stdout__, "stderr": sys.__stderr__}  # behind whatever shows progress
    encodings = {name: stream.encoding for name, stream in streams.items() if stream is not None}
    bad = [f"{name} is {found}" for name, found in encodings.items() if found.lower().replace("-", "") != "utf8"]
    if bad:
        return Finding("terminal", WRONG, "; ".join(bad), "texts cannot be shown: export PYTHONUTF8=1, or LANG=C.UTF-8")
    return Finding("terminal", OK, f"UTF-8, {shutil.get_terminal_size().columns} columns")
