"""Cells of a user's own, sequences to read, and runs."""

from typing import NamedTuple

import pytest
import torch
from torch import nn

from recurra.cli import main
from recurra.training import Run

TEXT = "the cat sat on the mat, and the dog sat on the log; the cat saw the dog.\n" * 40
QUICK = ["--hidden", "24", "--cell", "gru", "--threads", "1"]


class HostileState(NamedTuple):
    """Leaves named as graphs name other things, in other alphabets, and of several axes."""

    input: torch.Tensor
    output: torch.Tensor
    lengths: torch.Tensor
    χώρος: torch.Tensor


class Hostile(nn.Module):
    """A user's cell in plain PyTorch that starts from learned numbers."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.W = nn.Linear(input_size, hidden_size)
        self.U = nn.Linear(hidden_size, hidden_size, bias=False)
        self.norm = nn.LayerNorm(hidden_size)
        self.first = nn.Parameter(torch.linspace(-1, 1, hidden_size))

    def zero_state(self, batch):
        zeros = self.first.new_zeros
        return HostileState(
            self.first.expand(batch, -1), zeros(batch, self.hidden_size), zeros(batch), zeros(batch, 2, 3) + 0.5
        )

    def step(self, x, state):
        h = torch.tanh(self.norm(self.W(x) + self.U(state.input)))
        cells = torch.where(state.χώρος > 0.2, state.χώρος * 0.9, state.χώρος + 0.3)
        return h * 2, HostileState(h, h + state.output * 0.5, state.lengths + h.sum(-1), cells)


class Twisted(nn.Module):
    """A user's cell with an operation that the engine does not know."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.W = nn.Linear(input_size, hidden_size)

    def zero_state(self, batch):
        return self.W.weight.new_zeros(batch, self.hidden_size)

    def step(self, x, state):
        h = torch.special.bessel_j0(self.W(x) + state)
        return h, h


@pytest.fixture
def hostile():
    torch.manual_seed(0)
    return Hostile(5, 6)


@pytest.fixture
def twisted():
    return Twisted(5, 6)


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of a language model that has a few matrices."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cats.txt").write_text(TEXT)
    options = [*QUICK, "--batch", "4", "--backprop", "16", "--steps", "30"]
    assert main(["train", str(folder / "cats.txt"), "--out", str(folder / "cats"), *options]) == 0
    return Run.load(folder / "cats")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A run that tells two kinds of texts apart."""
    folder = tmp_path_factory.mktemp("classifier")
    rows = [f"{text}\t{label}" for label, text in (("cat", "the cat sat"), ("dog", "a dog ran"))] * 30
    (folder / "pets.tsv").write_text("\n".join(rows) + "\n")
    options = [*QUICK, "--task", "classify", "--epochs", "4", "--lr", "0.01"]
    assert main(["train", str(folder / "pets.tsv"), "--out", str(folder / "pets"), *options]) == 0
    return Run.load(folder / "pets")
