"""A run in the layout of Hugging Face's hub: a folder that `recurra` reads as it reads a run, and others can show."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from recurra.checkpoint import ModelFolder
from recurra.config import as_mapping
from recurra.errors import RunError
from recurra.export.model_card import model_card
from recurra.export.small_runs import copy_description
from recurra.training import Run

__all__ = ["read_back", "write_folder"]

DTYPES = {"float32": "float32", "bf16": "bfloat16", "int8": "float32"}
"""What ``torch_dtype`` says: the type that is computed with where weights are int8."""


def write_folder(run: Run, folder: Path) -> dict[str, Any]:
    """Write config.json, the weights as they are stored, the vocabulary, and a model card into an empty folder.

    What was written is read back and compared, bit for bit.

    Raises: RunError if what is read back is another model.
    """
    directory = ModelFolder(folder)
    vocabulary = getattr(run.model, "vocabulary", None)
    about: dict[str, Any] = {
        "architectures": [type(run.model).__name__],
        "torch_dtype": DTYPES[run.stored],
        "recurra_version": version("recurra"),
    }
    if run.stored == "int8":
        about["quantization_config"] = {
            "quant_method": "recurra",
            "bits": 8,
            "symmetric": True,
            "scales": "per channel",
        }
    if vocabulary is not None:
        about |= {"vocab_size": len(vocabulary), "tokenizer_kind": vocabulary.kind}
    copy_description(run, folder)
    directory.write_config(as_mapping(run.config), **about)
    directory.write_model(run.directory.read_model())
    if vocabulary is not None:
        described = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids"],
        }
        specials = {"unk_token": vocabulary.unknown, "eos_token": vocabulary.end}
        described |= {name: vocabulary.names[token] for name, token in specials.items() if token is not None}
        text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    (folder / "README.md").write_text(model_card(run), encoding="utf-8")
    read_back(run, folder)
    return {"architecture": type(run.model).__name__, "weights": run.stored, "read_back": "bit for bit"}


def read_back(run: Run, folder: Path) -> None:
    """Read a folder. Raises: RunError unless its settings, weights and vocabulary are those of a run, bit for bit."""
    again = Run.load(folder, cell=run.config.model.cell)
    if again.config != run.config:
        raise RunError(f"the settings that were read back from {folder} are others than those of {run.path}")
    ours, theirs = run.directory.read_model(), again.directory.read_model()
    same = ours.keys() == theirs.keys() and all(
        ours[name].dtype == theirs[name].dtype and torch.equal(_bits(ours[name]), _bits(theirs[name])) for name in ours
    )
    if not same:
        raise RunError(f"the weights that were read back from {folder} are others than those of {run.path}")
    vocabulary = getattr(run.model, "vocabulary", None)
    if vocabulary is not None and vocabulary.digest != again.model.vocabulary.digest:
        raise RunError(f"the vocabulary that was read back from {folder} is another than that of {run.path}")


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor: numbers that are none are equal, too, if they are the same bits."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor
