"""A cell through time: `scan`, its reference loop, its kernels, and how far gradients travel."""

from recurra.engine.backprop import Full, Truncated, unroll
from recurra.engine.choice import BACKENDS, choose_path
from recurra.engine.explain import Explanation, explain
from recurra.engine.policies import (
    Checkpointed,
    Influenced,
    Online,
    RandomWindow,
    Schedule,
    Unbiased,
    parse_policy,
)
from recurra.engine.policy import Policy, Window
from recurra.engine.scan import scan

__all__ = [
    "BACKENDS",
    "Checkpointed",
    "Explanation",
    "Full",
    "Influenced",
    "Online",
    "Policy",
    "RandomWindow",
    "Schedule",
    "Truncated",
    "Unbiased",
    "Window",
    "choose_path",
    "explain",
    "parse_policy",
    "scan",
    "unroll",
]
