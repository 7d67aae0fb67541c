"""A cell through time: `scan`, its reference loop, its kernels, and how far gradients travel."""

from recurra.engine.backprop import Full, Policy, Truncated, parse_policy, unroll
from recurra.engine.choice import BACKENDS
from recurra.engine.explain import Explanation, explain
from recurra.engine.scan import scan

__all__ = [
    "BACKENDS",
    "Explanation",
    "Full",
    "Policy",
    "Truncated",
    "explain",
    "parse_policy",
    "scan",
    "unroll",
]
