"""The run directory: atomic writes, digests, exact resume."""

from recurra.checkpoint.files import named_failures, read_json, understood, write_atomically
from recurra.checkpoint.generations import Generation
from recurra.checkpoint.run_directory import FORMAT, RunDirectory

__all__ = ["FORMAT", "Generation", "RunDirectory", "named_failures", "read_json", "understood", "write_atomically"]
