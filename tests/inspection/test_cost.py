"""Bytes are those that autograd says it saved, and grow in a line."""

import dataclasses
import json

import pytest
import torch

from recurra.data import Corpus
from recurra.errors import ConfigError, CorpusError
from recurra.inspection import cost
from recurra.inspection.cost import measure_cost
from recurra.inspection.kept import kept_bytes
from recurra.models import LanguageModel

TEXT = "how much wood would a woodchuck chuck if a woodchuck could chuck wood? " * 20
ROWS, HIDDEN = 3, 16
FLOAT = 4  # bytes
LINEAR = 0.01  # of what is predicted: nothing but sizes of tensors is added up


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="lstm", hidden=HIDDEN, layers=2)
    return model, torch.from_numpy(corpus.train.ids.astype("int64"))


def test_what_torch_saves_is_counted_once_each(setting):
    """On the reference loop all is saved by torch itself, which calls hooks when it does."""
    model, tokens = setting
    saved, ours = {}, [*model.parameters()]
    apart = {p.untyped_storage().data_ptr() for p in ours}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        features, _ = model.features(tokens[:30].reshape(10, 3), backend="loop")
        nats = model.nats(features.raw, tokens[1:31].reshape(10, 3))
    expected = sum(t.untyped_storage().nbytes() for address, t in saved.items() if address not in apart)
    features, _ = model.features(tokens[:30].reshape(10, 3), backend="loop")
    nats = model.nats(features.raw, tokens[1:31].reshape(10, 3))
    assert kept_bytes(nats, apart_from=ours) == expected > 0
    assert kept_bytes(nats.detach()) == 0


def test_what_a_compiled_scan_keeps_is_counted_as_well(setting):
    """Its histories of h and c, at least, and no more than the reference loop's."""
    model, tokens = setting
    sizes = {}
    for backend in ("llvm", "loop"):
        features, _ = model.features(tokens[:300].reshape(100, ROWS), backend=backend)
        sizes[backend] = kept_bytes(features.raw, apart_from=model.parameters())
    histories = 2 * 2 * 100 * ROWS * HIDDEN * FLOAT
    assert histories < sizes["llvm"] < sizes["loop"] < 10 * histories


def test_a_functions_own_tensors_are_counted_and_shared_memory_once():
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.more = {"a": [torch.zeros(100)], "b": (x, torch.zeros(10))}
            return x * 2

        @staticmethod
        def backward(ctx, gradient):
            return gradient

    x = torch.zeros(50, requires_grad=True)
    assert kept_bytes(Keeps.apply(x)) == (50 + 100 + 10) * FLOAT
    assert kept_bytes(Keeps.apply(x), apart_from=[x]) == (100 + 10) * FLOAT


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "slstm"])
def test_memory_grows_in_a_line(setting, cell):
    _, tokens = setting
    model = LanguageModel(setting[0].vocabulary, cell=cell, hidden=HIDDEN)
    found = measure_cost(model, tokens, rows=ROWS, windows=(128, 16, 8, 32, 16))
    assert found.rows == ROWS
    assert [point.window for point in found.points] == [8, 16, 32, 128]
    for point in found.points:
        assert point.memory_bytes == pytest.approx(point.predicted_bytes, rel=LINEAR)
        assert point.memory_bytes > point.window * ROWS * HIDDEN * FLOAT
        assert point.loss_bytes > 0
        assert 0 < point.seconds_per_token < 1
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_measuring_again_gives_the_same_bytes(setting):
    model, tokens = setting
    one, other = (
        [(p.memory_bytes, p.loss_bytes) for p in measure_cost(model, tokens, rows=64, windows=(16, 256)).points]
        for _ in range(2)
    )
    assert one == other


def test_windows_that_need_too_much_are_left_out(setting, monkeypatch):
    model, tokens = setting
    monkeypatch.setattr(cost, "_free_bytes", lambda: 1e6)
    points = measure_cost(model, tokens, rows=ROWS, windows=(8, 16, 10_000)).points
    assert [point.window for point in points] == [8, 16]


def test_nothing_of_the_model_is_changed(setting):
    model, tokens = setting
    random = torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    measure_cost(model, tokens, rows=1, windows=(4,))
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_measured_is_told(setting):
    model, tokens = setting
    assert measure_cost(model, tokens[:2], rows=2, windows=(8,)).points[0].memory_bytes > 0
    with pytest.raises(CorpusError, match="at least 1"):
        measure_cost(model, tokens[:0], rows=1)
    with pytest.raises(ConfigError, match="'rows' must be at least 1"):
        measure_cost(model, tokens, rows=0)
    frozen = LanguageModel(model.vocabulary, hidden=4).requires_grad_(False)
    with pytest.raises(ConfigError, match="none of its parameters is trained"):
        measure_cost(frozen, tokens, rows=1)
