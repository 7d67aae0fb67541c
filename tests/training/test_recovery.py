"""Training that goes wrong: back to the last good moment, at a lower rate, the same way every time."""

import json
import math
import os
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import Corpus
from recurra.errors import DivergedError
from recurra.models import LanguageModel
from recurra.training import Reporter, Run, Trainer
from recurra.training.recovery import LOWERED, PROVEN_AFTER, Recovery, Setback, Watch

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 30


class Trouble(Reporter):
    """Breaks a step in the way that it is told, and presses Ctrl-C after others.

    A break is what the weights are multiplied by after a step, while the learning rate is above a factor of its own.
    """

    def __init__(self, breaks=(), stops=(), heals_at=0.6):
        self.breaks, self.stops, self.heals_at = dict(breaks), set(stops), heals_at
        self.trainer, self.notes = None, []

    def step(self, step, loss_nats, grad_norm):
        if step in self.breaks and self.trainer.recovery.factor > self.heals_at:
            with torch.no_grad():
                for p in self.trainer.model.parameters():
                    p.mul_(self.breaks[step])
        if step in self.stops:
            self.stops.discard(step)
            os.kill(os.getpid(), signal.SIGINT)

    def note(self, text):
        self.notes.append(text)


def trainer(out, reporter=None, **settings):
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="shells")
    torch.manual_seed(0)
    network = LanguageModel(corpus.vocabulary, cell="gru", hidden=8, dropout=0.2)
    settings = {"batch": 4, "backprop": "13", "epochs": 3, "threads": 1, "device": "cpu", **settings}
    made = Trainer(network, corpus, out=out, reporter=reporter or Trouble(), **settings)
    made.reporter.trainer = made
    return made


def setbacks(path):
    return [row["setback"] for row in Run.load(path).metrics if "setback" in row]


def everything(path):
    run = Run.load(path)
    generation, _ = run.directory.read_generation()
    used = {f"used.{name}": tensor for name, tensor in run.model.state_dict().items()}
    return {**generation.tensors, **used}, run.directory.metrics_file.read_bytes(), run.directory.samples_file.read_bytes()


def assert_same(a, b):
    tensors_a, *files_a = everything(a)
    tensors_b, *files_b = everything(b)
    assert files_a == files_b
    assert tensors_a.keys() == tensors_b.keys()
    assert all(torch.equal(tensor, tensors_b[name]) for name, tensor in tensors_a.items())


def test_weights_that_are_no_numbers_are_taken_back(tmp_path):
    trouble = Trouble({50: math.nan})
    fitted = trainer(tmp_path / "run", trouble)
    run = fitted.fit()
    (setback,) = setbacks(tmp_path / "run")
    assert setback == {
        "what": "loss is nan", "step": 51, "loss_nats": None, "grad_norm": None, "back_to": 45, "retry": 1,
        "lr_factor": LOWERED,
    }  # fmt: skip
    assert "step 51: loss is nan; back to step 45, learning rate x 0.5" in trouble.notes[-1]
    rows = [row for row in run.metrics if "loss_nats" in row]
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows}), "nothing is counted twice"
    assert rows[-1]["step"] == fitted.total_steps
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_the_epoch_of_every_test_here():
    """What the numbers of these tests rest on."""
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="shells")
    assert len(corpus.train) // (4 * 13) == 45
