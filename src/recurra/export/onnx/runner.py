"""Exported graphs, run by onnxruntime with states that are values."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.errors import ConfigError, RunError, ShapeError
from recurra.export.onnx.subject import LENGTHS
from recurra.libraries import need

__all__ = ["SEQUENCE", "STEP", "OnnxModel"]

STEP, SEQUENCE = "step.onnx", "sequence.onnx"

State = dict[str, NDArray[Any]]


class OnnxModel:
    """What `to_onnx` wrote, run by onnxruntime on the CPU.

    A state is a mapping from the names of its leaves to arrays (B, ...). It goes in and comes out, and is not changed.

    Args:
        folder: with ``sequence.onnx``, and ``step.onnx`` if the model can be taken step by step.
        threads: that onnxruntime computes with; default its own choice.
    Attributes:
        metadata: what the files tell of the model: kind, cell, vocabulary, version of recurra, start of the state.
    Raises: RunError for files that are missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], *, threads: int | None = None) -> None:
        folder = Path(folder)
        self._sequence = _session(folder / SEQUENCE, threads)
        self._step = _session(folder / STEP, threads) if (folder / STEP).exists() else None
        told = self._sequence.get_modelmeta().custom_metadata_map
        self.metadata: dict[str, Any] = {name: _json_or_text(text) for name, text in told.items()}
        if not isinstance(self.metadata.get("state"), dict):
            raise RunError(f"{folder / SEQUENCE} was not written by recurra export: it tells nothing of a state")
        self._inputs = [value.name for value in self._sequence.get_inputs()]
        self._leaves = {leaf["name"]: leaf for leaf in self.metadata["state"].values()}

    def zero_state(self, batch: int) -> State:
        """Return the state that a fresh stream starts from, B rows."""
        return {
            name: np.broadcast_to(np.float32(leaf["start"]).reshape(-1), (batch, int(np.prod(leaf["shape"]))))
            .reshape(batch, *leaf["shape"])
            .copy()
            for name, leaf in self._leaves.items()
        }

    def step(self, input: Any, state: Mapping[str, Any] | None = None) -> tuple[NDArray[Any], State]:
        """Take one step: tokens (B,) or numbers (B, I), and a state -> output (B, O), the next state.

        Raises: ConfigError if the model is not taken step by step; as `scan`.
        """
        if self._step is None:
            raise ConfigError(f"a {self.metadata['kind']} reads whole inputs; use scan")
        return self._run(self._step, np.asarray(input), state, 0, {})

    def scan(self, input: Any, state: Mapping[str, Any] | None = None, *, lengths: Any = None) -> tuple[Any, State]:
        """Read a sequence: tokens (T, B) or numbers (T, B, I), and a state -> output, the state after it.

        Args:
            lengths: (B,) int, where each row ends, of a model that reads that; default at T.
        Raises: ShapeError for an empty batch or sequence, or sizes that do not fit; ConfigError for lengths that the
            model does not read.
        """
        input = np.asarray(input)
        more = {}
        if LENGTHS in self._inputs:
            whole = np.full(input.shape[1:2], len(input))
            more[LENGTHS] = _checked_lengths(whole if lengths is None else lengths, input)
        elif lengths is not None:
            raise ConfigError("this graph does not read lengths; export it with them: --lengths")
        return self._run(self._sequence, input, state, 1, more)

    def _run(
        self, session: Any, input: NDArray[Any], state: Mapping[str, Any] | None, axis: int, more: State
    ) -> tuple[Any, State]:
        source = session.get_inputs()[0]
        if input.ndim != len(source.shape) or not input.size:
            raise ShapeError(f"the input is {input.shape}, and should be {tuple(source.shape)} with no size 0")
        batch = input.shape[axis]
        state = self.zero_state(batch) if state is None else state
        if set(state) != set(self._leaves):
            raise ShapeError(f"the state holds {sorted(state)} where {sorted(self._leaves)} was expected")
        for name, leaf in state.items():
            wanted = (batch, *self._leaves[name]["shape"])
            if np.shape(leaf) != wanted:
                raise ShapeError(f"'{name}' is {np.shape(leaf)}, and should be {wanted}")
        feeds = {source.name: input.astype(_NUMBERS[source.type], copy=False), **state, **more}
        output, *leaves = session.run(None, feeds)
        return output, dict(zip(self._leaves, leaves, strict=True))


_NUMBERS: dict[str, Any] = {"tensor(int64)": np.int64, "tensor(float)": np.float32}


def _checked_lengths(lengths: Any, input: NDArray[Any]) -> NDArray[Any]:
    found = np.asarray(lengths, np.int64)
    if found.shape != input.shape[1:2] or (found < 0).any() or (found > len(input)).any():
        raise ShapeError(f"lengths are one number for each of {input.shape[1]} rows, from 0 to {len(input)}")
    return found


def _session(path: Path, threads: int | None) -> Any:
    """Open a graph. Raises: RunError if it is missing or damaged."""
    runtime = need("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # onnxruntime has a class for each fault, and tells all in the message
        raise RunError(f"{path} is damaged, or no ONNX graph: {' '.join(str(error).split())[:200]}") from error


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
