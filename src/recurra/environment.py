"""What a launcher, such as torchrun, says to each process in its environment. Loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = ["GIVEN", "has_restarted", "is_follower", "is_one_of_several", "launched"]

GIVEN = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables that together mean that there is a launcher."""


def is_one_of_several(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether this process was started as one of several, by torchrun or `recurra train --processes`."""
    return all(name in environment for name in GIVEN)


def is_follower(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether there is a process before this one, which speaks for all."""
    return is_one_of_several(environment) and environment["RANK"] != "0"


def has_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether processes of this job were started before."""
    return environment.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def launched(environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what names the job of this process; None where nothing does, or where it may be another job's name.

    A job that torchrun was given no name for is called "none", as all such are: only a restart is known to be the same.
    """
    job = environment.get("TORCHELASTIC_RUN_ID") if is_one_of_several(environment) else None
    return None if job == "none" and not has_restarted(environment) else job
