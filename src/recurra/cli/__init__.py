"""The command line."""

from recurra.cli.main import main

__all__ = ["main"]
