"""Examples: inputs of any kind with what is to be said about them, read, checked, split and put into batches."""

from recurra.data.examples.batches import ExampleBatch, Padded, pad
from recurra.data.examples.config import TASKS, DatasetConfig
from recurra.data.examples.dataset import Dataset
from recurra.data.examples.examples import Examples
from recurra.data.examples.formats import input_from_mapping, load_formats, save_formats, target_from_mapping
from recurra.data.examples.inputs import Input, NumbersInput, TextInput
from recurra.data.examples.pictures import PictureInput, read_picture
from recurra.data.examples.reading import read_examples
from recurra.data.examples.sound import SoundInput, read_sound
from recurra.data.examples.store import load_examples, save_examples
from recurra.data.examples.streams import BucketStream, encode
from recurra.data.examples.targets import Labels, StepLabels, Target, TextTarget

__all__ = [
    "TASKS",
    "BucketStream",
    "Dataset",
    "DatasetConfig",
    "ExampleBatch",
    "Examples",
    "Input",
    "Labels",
    "NumbersInput",
    "Padded",
    "PictureInput",
    "SoundInput",
    "StepLabels",
    "Target",
    "TextInput",
    "TextTarget",
    "encode",
    "input_from_mapping",
    "load_examples",
    "load_formats",
    "pad",
    "read_examples",
    "read_picture",
    "read_sound",
    "save_examples",
    "save_formats",
    "target_from_mapping",
]
