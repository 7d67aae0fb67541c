"""`to_onnx`: a folder with the graph of a step and the graph of a sequence, verified before it is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from torch import nn

from recurra.data import Tokenizer
from recurra.errors import ConfigError, RunError
from recurra.export.onnx.models import subject_of
from recurra.export.onnx.nodes import OPSET
from recurra.export.onnx.runner import SEQUENCE, STEP
from recurra.export.onnx.verifying import largest_difference
from recurra.files import new_folder
from recurra.models.modes import evaluating
from recurra.training import Run

__all__ = ["to_onnx", "write_run"]


def to_onnx(module: nn.Module, folder: str | os.PathLike[str], *, lengths: bool = False) -> dict[str, Any]:
    """Write a module as ONNX graphs, ``step.onnx`` and ``sequence.onnx``, for any batch and any length.

        step:      tokens (B,) or input (B, I), state … (B, …)         -> logits or output (B, O), next_state …
        sequence:  tokens (T, B) or input (T, B, I), state …, lengths  -> logits or output (T, B, O), next_state …

    The leaves of the state are inputs ``state.PATH`` and outputs ``next_state.PATH``, PATH as in
    `recurra.state.named_leaves`. LSTM, GRU (both forms), peephole LSTM and Elman's network become operators of ONNX;
    any other cell, a user's own included, becomes the graph of its own step, and its sequence a Scan of that. A
    classifier, a tagger and layers that read both ways have no step graph.

    Before the folder is there, both graphs are run in onnxruntime at several sizes and compared with the module.

    Args:
        module: a `LanguageModel`, `SequenceClassifier` or `SequenceTagger`, a stack, layers that read both ways, a
            cell, or an RNN, LSTM or GRU of torch.nn or ours, which then reads (T, B, I); in float32 on a CPU. It is
            exported as it is in evaluation mode.
        folder: which must not exist; it appears whole, or not at all.
        lengths: of what carries a state, shall the sequence read where rows end, too? What reads whole inputs always
            does.
    Returns: what was measured, ``largest_difference``; ``opset``; the inputs and outputs of each file.
    Raises: ConfigError for what cannot be written, with the operation in the way; RunError if the folder exists, cannot
        be written, or holds graphs that do not do what the module does; DataError if onnx is not installed.
    """
    with new_folder(folder, RunError) as scratch:
        return _write(module, scratch, lengths)


def write_run(run: Run, folder: Path, *, lengths: bool = False) -> dict[str, Any]:
    """Fill a folder with the graphs of a run's model, and its tokenizer. Raises: as `to_onnx`."""
    if lengths and run.config.task != "lm":
        raise ConfigError(f"a run of --task {run.config.task} always reads lengths; leave out --lengths")
    facts = _write(run.model, folder, lengths)
    tokenizer = getattr(run.model, "vocabulary", None) or getattr(getattr(run.model, "input", None), "tokenizer", None)
    if isinstance(tokenizer, Tokenizer):
        tokenizer.save(folder / "tokenizer.json")
    return facts


def _write(module: nn.Module, folder: Path, lengths: bool) -> dict[str, Any]:
    if not isinstance(module, nn.Module):
        raise ConfigError(f"a module of torch is exported, not {type(module).__name__}")
    with evaluating(module):
        subject = subject_of(module, lengths)
        graphs = {SEQUENCE: subject.sequence()}
        if subject.has_step:
            graphs[STEP] = subject.step()
        told, facts = subject.metadata(), {}
        for name, nodes in graphs.items():
            model = nodes.model(name.removesuffix(".onnx"), told)
            (folder / name).write_bytes(model.SerializeToString())
            given, results = (", ".join(v.name for v in values) for values in (model.graph.input, model.graph.output))
            facts[name] = f"{given} -> {results}"
        difference = largest_difference(subject, folder)
    return {"opset": OPSET, "largest_difference": difference, **facts}
