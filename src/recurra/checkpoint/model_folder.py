"""A trained model in the layout of Hugging Face's hub, read as a run directory is.

::

    config.json             what the model is, and all settings of the run, for us under "recurra"
    model.safetensors       weights, as in a run directory
    tokenizer.json          vocabulary, of a language model; of other tasks the files of the run by their names
    tokenizer_config.json   what other software asks of a tokenizer
    metrics.jsonl           what was measured in training
    README.md               the model card
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from recurra.checkpoint.files import read_json, write_atomically
from recurra.checkpoint.run_directory import FORMAT, RunDirectory
from recurra.errors import RunError

__all__ = ["MODEL_TYPE", "ModelFolder", "open_model"]

MODEL_TYPE = "recurra"
SETTINGS = "recurra"


class ModelFolder(RunDirectory):
    """A folder whose settings are in config.json; all else is where a run directory has it, as far as it is there."""

    @property
    def config_file(self) -> Path:
        """Settings."""
        return self.path / "config.json"

    def write_config(self, settings: Mapping[str, Any], **about: Any) -> None:
        """Write what is known of a model anywhere, and under a name of ours the settings of the run."""
        described = {"model_type": MODEL_TYPE, **about, SETTINGS: {"format": FORMAT, **settings}}
        write_atomically(self.config_file, (json.dumps(described, indent=2, ensure_ascii=False) + "\n").encode())

    def read_config(self) -> dict[str, Any]:
        """Return the settings. Raises: RunError if damaged, not ours, or of a later version."""
        described = read_json(self.config_file)
        found = described.get("model_type") if isinstance(described, dict) else None
        if found != MODEL_TYPE:
            raise RunError(f"{self.config_file} describes a model of type {found!r}, not one of {MODEL_TYPE}")
        settings = described.get(SETTINGS)
        if not isinstance(settings, dict) or not isinstance(settings.get("format"), int):
            raise RunError(f"{self.config_file} is damaged: its '{SETTINGS}' holds no settings; export the run again")
        if settings["format"] > FORMAT:
            raise RunError(f"{self.path} has format {settings['format']}, newer than the {FORMAT} read here; upgrade")
        return {name: value for name, value in settings.items() if name != "format"}

    def write_model(self, tensors: Mapping[str, Tensor], *, spare: bool = False) -> None:
        """Write the weights, said to be torch's; other software asks for that, and knows no second copy."""
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        write_atomically(self.model_file, save(plain, metadata={"format": "pt"}))


def open_model(path: str | os.PathLike[str]) -> RunDirectory:
    """Open a run directory, or a folder of Hugging Face's layout.

    Raises: RunError if it is neither, or of a later version.
    """
    folder = Path(path)
    if (folder / "config.json").is_file() and not (folder / "config.toml").is_file():
        return ModelFolder.open(folder)
    return RunDirectory.open(folder)
