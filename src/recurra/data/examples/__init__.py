"""Examples: inputs of any kind with what is to be said about them, read, checked, split and put into batches."""

from recurra.data.examples.batches import ExampleBatch, Padded, pad
from recurra.data.examples.examples import Examples
from recurra.data.examples.inputs import Input, NumbersInput, TextInput
from recurra.data.examples.targets import Labels, StepLabels, Target, TextTarget

__all__ = [
    "ExampleBatch",
    "Examples",
    "Input",
    "Labels",
    "NumbersInput",
    "Padded",
    "StepLabels",
    "Target",
    "TextInput",
    "TextTarget",
    "pad",
]
