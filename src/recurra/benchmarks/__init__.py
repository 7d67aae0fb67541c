"""Measurements of speed: ours and the peers on the same numbers, in one run, beside the peak of the machine."""

from recurra.benchmarks.engine import Result, Speed, cases, means, measure
from recurra.benchmarks.language import measure_generation, measure_training
from recurra.benchmarks.machine import describe_machine
from recurra.benchmarks.peers import contenders
from recurra.benchmarks.timing import geometric_mean, interleave, median_ratio
from recurra.benchmarks.tuning import TUNED_CELLS, choices_from
from recurra.benchmarks.work import MODES, Case

__all__ = [
    "MODES",
    "TUNED_CELLS",
    "Case",
    "Result",
    "Speed",
    "cases",
    "choices_from",
    "contenders",
    "describe_machine",
    "geometric_mean",
    "interleave",
    "means",
    "measure",
    "measure_generation",
    "measure_training",
    "median_ratio",
]
