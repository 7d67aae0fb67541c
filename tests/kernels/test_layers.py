"""`recurra.nn.RNN / LSTM / GRU` on compiled loops are torch.nn's: results, final states, gradients."""

import sys

import pytest
import torch
from kernel_cases import FLOAT32, FLOAT64
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import recurra.nn as rnn
from recurra.engine import choice
from recurra.testing import TOLERANCES

# torch says once that a projection runs on its own kernel
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

T, B, I, H = 5, 3, 3, 5
KINDS = {
    "rnn-tanh": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": 2}),
}
FORMS = {
    "plain": {},
    "two-layers-batch-first": {"num_layers": 2, "batch_first": True},
    "both-ways": {"bidirectional": True, "bias": False},
    "both-ways-two-layers": {"bidirectional": True, "num_layers": 2, "batch_first": True},
    "two-layers-no-bias": {"num_layers": 2, "bias": False},
    "packed-both-ways": {"packed": True, "bidirectional": True},
    "packed-two-layers": {"packed": True, "num_layers": 2, "bias": False, "batch_first": True},
    "unbatched": {"unbatched": True, "num_layers": 2},
}


@pytest.fixture(autouse=True)
def paths(monkeypatch):
    """Compiled loops alone, and which paths were taken."""
    taken, choose = [], choice.choose_path

    def llvm(cell, inputs, state, backend="auto"):
        path = choose(cell, inputs, state, "llvm")
        taken.append(path.backend)
        return path

    monkeypatch.setattr(sys.modules["recurra.engine.scan"], "choose_path", llvm)
    return taken


def leaves(tree):
    return [leaf for part in tree for leaf in (leaves(part) if isinstance(part, tuple) else [part])]


def few():
    """Every form with two kinds at least."""
    for number, kind in enumerate(KINDS):
        for place, form in enumerate(FORMS):
            if kind == "lstm" or (number + place) % 4 == 0:
                yield kind, form, FLOAT64
        yield kind, "both-ways-two-layers", FLOAT32


@pytest.mark.parametrize(("kind", "form", "dtype"), [*few()], ids=lambda value: str(value).removeprefix("torch."))
def test_layers_on_compiled_loops_are_torchs(paths, kind, form, dtype):
    name, options = KINDS[kind][0], {**KINDS[kind][1], **FORMS[form]}
    is_packed, is_unbatched = options.pop("packed", False), options.pop("unbatched", False)
    ours, theirs = (getattr(room, name)(I, H, dtype=dtype, **options) for room in (rnn, nn))
    theirs.load_state_dict(ours.state_dict())
    is_batch_first = options.get("batch_first", False)
    x = torch.randn((T, I) if is_unbatched else (B, T, I) if is_batch_first else (T, B, I), dtype=dtype)
    x.requires_grad_()
    found = []
    for module in (ours, theirs):
        lengths = torch.tensor([5, 3, 1])
        outputs, last = module(pack_padded_sequence(x, lengths, is_batch_first) if is_packed else x)
        outputs = outputs.data if isinstance(outputs, PackedSequence) else outputs
        results = leaves((outputs, last))
        weights = [torch.linspace(0.5, 2, leaf.numel(), dtype=dtype).view(leaf.shape) for leaf in results]
        found.append((*results, *torch.autograd.grad(results, [x, *module.parameters()], weights)))
    torch.testing.assert_close(*found, **TOLERANCES[dtype])
    assert paths
