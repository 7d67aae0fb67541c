"""The run directory: atomic writes, digests, exact resume."""

from recurra.checkpoint.files import named_failures, read_json, understood, write_atomically
from recurra.checkpoint.generations import Generation
from recurra.checkpoint.model_folder import MODEL_TYPE, ModelFolder, open_model
from recurra.checkpoint.run_directory import FORMAT, RunDirectory

__all__ = [
    "FORMAT",
    "MODEL_TYPE",
    "Generation",
    "ModelFolder",
    "RunDirectory",
    "named_failures",
    "open_model",
    "read_json",
    "understood",
    "write_atomically",
]
