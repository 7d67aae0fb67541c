"""A language model in few bytes does what the model with the dequantised weights does, whatever its cells."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import state as states
from recurra.cells import CELLS
from recurra.data import Corpus, build_tokenizer
from recurra.engine.quantised import dequantise_all, quantise_all
from recurra.errors import ConfigError
from recurra.evaluation import evaluate
from recurra.models import CachedLanguageModel, LanguageModel, QuantisedLanguageModel, search_texts
from recurra.testing.tolerances import TOLERANCES

ALPHABET = "abcdefghijklmnopqrstuvwxyz \n"
V = len(ALPHABET)
KINDS = ("bf16", "int8")
HIDDEN = 20  # neither a multiple of a vector, nor of what is read at once
CLOSE = TOLERANCES[torch.float32]


def pair(kind, **settings):
    """A model with dequantised weights, which defines what is right, and the one in few bytes."""
    torch.manual_seed(3)
    model = LanguageModel(build_tokenizer("char", [ALPHABET]), **{"hidden": HIDDEN, "layers": 2, **settings}).eval()
    stored = quantise_all(model.state_dict(), kind, {name for name, _ in model.named_parameters()})
    model.load_state_dict(dequantise_all(stored))
    return model, QuantisedLanguageModel(copy.deepcopy(model), stored)


def close(a, b):
    torch.testing.assert_close(a, b, **CLOSE)
    assert not torch.isnan(b).any()


def close_states(a, b):
    for one, other in zip(states.named_leaves(a).values(), states.named_leaves(b).values(), strict=True):
        close(one, other)


@pytest.mark.parametrize("cell", sorted(CELLS))
def test_every_cell(cell):
    model, small = pair(KINDS[sorted(CELLS).index(cell) % 2], cell=cell, layers=1)
    tokens = torch.randint(V, (7, 2), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        features, after = model.features(tokens, backend="loop")
        found, state = small.read(tokens)
        close(model.project(features.raw).flatten(0, 1), found.logits(torch.arange(14)))
        close_states(after, state)
        for rows in (1, 3, 17):  # a step in few bytes, and one that has too many rows for it
            now, then = small.zero_state(rows), model.zero_state(rows)
            for token in torch.randint(V, (3, rows), generator=torch.Generator().manual_seed(2)):
                logits, now = small.step(token, now)
                output, then = model.stack.step(model.embedding(token), then)
                close(model.project(output), logits)
            close_states(then, now)
    assert small._step.is_compiled
    assert not small._step.reason


@pytest.mark.parametrize(("cell", "kind"), [("gru", "bf16"), ("gru", "int8"), ("lstm-mogrifier", "int8")])
def test_a_step_reads_the_bytes_themselves(cell, kind):
    model, small = pair(kind, cell=cell, hidden=64)
    small.step(torch.tensor([1]), small.zero_state(1))
    assert small._step.is_compiled
    assert not small._kept
    placed = small._step._step.placed
    assert placed
    assert all(matrix.kind == kind for matrix in placed.values())
    asleep = [name for name, p in small.model.named_parameters() if torch.isnan(p).all()]
    assert set(asleep) == set(small._small)
    assert small.weight_bytes < sum(p.nbytes for p in model.parameters()) / {"bf16": 1.7, "int8": 2.4}[kind]


OPTIONS = [
    {"tie": True}, {"tie": True, "embedding": 24}, {"embedding": 8}, {"residual": True}, {"zoneout": 0.2},
    {"attention_window": 4}, {"weight_drop": 0.3, "dropout": 0.3, "embedding_dropout": 0.2},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_options_of_the_model(number):
    model, small = pair(KINDS[number % 2], cell="gru", **OPTIONS[number])
    tokens = torch.randint(V, (6, 3), generator=torch.Generator().manual_seed(1))
    reset = torch.zeros(6, 3, dtype=torch.bool)
    reset[3, 1] = True
    with torch.no_grad():
        features, _ = model.features(tokens, reset=reset, backend="loop")
        close(model.project(features.raw).flatten(0, 1), small.read(tokens, reset=reset)[0].logits(torch.arange(18)))
        output, then = model.stack.step(model.embedding(tokens[0]), model.zero_state(3))
        logits, now = small.step(tokens[0], small.zero_state(3))
    close(model.project(output), logits)
    close_states(then, now)


def test_a_tied_matrix_is_there_once():
    tied, loose = (pair("int8", cell="gru", tie=tie)[1] for tie in (True, False))
    assert "projection" not in tied._small
    assert "projection" in loose._small
    assert loose.weight_bytes - tied.weight_bytes == V * HIDDEN + 4 * V


@pytest.fixture(scope="module")
def small():
    return pair("int8", cell="gru")[1]


@settings(max_examples=20, deadline=None)
@given(data=st.data(), rows=st.integers(1, 3), length=st.integers(1, 9))
def test_a_window_is_the_fold_of_steps_however_it_is_cut(small, data, rows, length):
    tokens = torch.randint(V, (length, rows), generator=torch.Generator().manual_seed(length))
    cut = data.draw(st.integers(0, length))
    state, logits = small.zero_state(rows), []
    for token in tokens:
        made, state = small.step(token, state)
        logits.append(made)
    between = small.zero_state(rows)
    for piece in (tokens[:cut], tokens[cut:]):
        if len(piece):
            reading, between = small.read(piece, between)
            last = reading.logits(torch.arange(rows) + (len(piece) - 1) * rows)
    close(logits[-1], last)
    close_states(state, between)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_done_with_a_model(kind):
    model, small = pair(kind, cell="gru")
    torch.nn.init.normal_(model.bias)
    small.model.bias.data.copy_(model.bias)
    corpus = Corpus.from_text(ALPHABET * 20, tokenizer=model.vocabulary)
    for options in ({}, {"batch": 3}, {"reset_every": 5}):
        ours, theirs = (evaluate(each, corpus.train, **options) for each in (small, model))
        assert ours.loss_nats == pytest.approx(theirs.loss_nats, rel=CLOSE["rtol"])
    assert small.generate("abc", tokens=30, seed=4) == model.generate("abc", tokens=30, seed=4)
    ours, theirs = (search_texts(each, "abc", width=3, tokens=8)[0].text for each in (small, model))
    assert ours == theirs
    ours, theirs = (evaluate(CachedLanguageModel(each, size=9), corpus.train) for each in (small, model))
    assert ours.loss_nats == pytest.approx(theirs.loss_nats, rel=CLOSE["rtol"])


def test_labels_and_rows_beyond_the_vocabulary():
    _, small = pair("int8", cell="gru")
    for token in (V, -1):
        with pytest.raises(IndexError), torch.no_grad():
            small.step(torch.tensor([token] if token > 0 else [-V - 1]), small.zero_state(1))


class Odd(torch.nn.Module):
    """Computes with a square of its weights, which is no view of them, and with a product that has few inputs."""

    def __init__(self, input_size, hidden):
        super().__init__()
        self.input_size, self.output_size = input_size, hidden
        self.W = torch.nn.Parameter(torch.randn(hidden, input_size) / 4)
        self.U = torch.nn.Parameter(torch.randn(hidden, hidden) / 4)

    def step(self, x, state):
        h = torch.tanh(x @ (self.W * self.W).t() + torch.nn.functional.linear(state, self.U) + self.W.sum())
        return h, h

    def zero_state(self, batch):
        return self.W.new_zeros(batch, self.output_size)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_that_is_computed_with_stays_in_float32(kind):
    torch.manual_seed(0)
    model = LanguageModel(build_tokenizer("char", [ALPHABET]), cell="gru", hidden=HIDDEN, layers=1)
    model.stack.cells[0] = Odd(HIDDEN, HIDDEN)
    stored = quantise_all(model.eval().state_dict(), kind, {name for name, _ in model.named_parameters()})
    model.load_state_dict(dequantise_all(stored))
    small = QuantisedLanguageModel(copy.deepcopy(model), stored)
    with torch.no_grad():
        for token in torch.tensor([[1], [2], [3]]):
            close(model.step(token, model.zero_state(1))[0], small.step(token, small.zero_state(1))[0])
    assert small._kept == {"stack.cells.0.W"}


def test_training_is_refused_and_float32_is_no_form_of_it():
    model, small = pair("int8", cell="gru")
    with pytest.raises(ConfigError, match="for inference"):
        small.train()
    assert small.eval() is small
    assert not small.training
    with pytest.raises(ConfigError, match="none of the weights"):
        QuantisedLanguageModel(model, model.state_dict())
