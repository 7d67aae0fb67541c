"""A cell through time: `scan`, its reference loop, its kernels, and how far gradients travel."""

from recurra.engine.backprop import Full, Policy, Truncated, parse_policy, unroll
from recurra.engine.choice import BACKENDS, choose_path
from recurra.engine.explain import Explanation, explain
from recurra.engine.scan import scan

__all__ = [
    "BACKENDS",
    "Explanation",
    "Full",
    "Policy",
    "Truncated",
    "choose_path",
    "explain",
    "parse_policy",
    "scan",
    "unroll",
]
