"""The run directory: atomic writes, digests, exact resume."""

from recurra.checkpoint.files import write_atomically
from recurra.checkpoint.run_directory import FORMAT, Generation, RunDirectory

__all__ = ["FORMAT", "Generation", "RunDirectory", "write_atomically"]
