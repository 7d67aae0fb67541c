"""Graphs do in onnxruntime what modules do in torch, at other batches and lengths than they were written at."""

import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import recurra
from recurra.cells import CELLS, make_cell
from recurra.cells.lstm_projected import ProjectedLSTM
from recurra.data import build_tokenizer
from recurra.data.examples import Labels, NumbersInput, Padded, SoundInput, StepLabels, TextInput, pad
from recurra.engine import scan
from recurra.errors import ConfigError, RunError
from recurra.export import OnnxModel, to_onnx
from recurra.layers import WindowAttention
from recurra.models import LanguageModel, SequenceClassifier, SequenceTagger
from recurra.nn import LSTM, Bidirectional, Stack
from recurra.state import from_named, named_leaves
from recurra.testing.tolerances import TOLERANCES

I, H = 5, 6
T, B = 9, 4
CLOSE = TOLERANCES[torch.float32]
TEXTS = ["abcab", "ba", "cabbage"]


def random_state(module, rows=B):
    fresh = module.zero_state(rows)
    leaves = {name: leaf.detach() + torch.randn_like(leaf) * 0.3 for name, leaf in named_leaves(fresh).items()}
    return from_named(fresh, leaves)


def arrays(state):
    return {f"state.{name}" if name else "state": leaf.detach().numpy() for name, leaf in named_leaves(state).items()}


def check_scan(module, folder, *, lengths=None, run=scan):
    """Compare a sequence, and of cells its steps, from a state that is not fresh."""
    graphs, x, state = OnnxModel(folder), torch.randn(T, B, I), random_state(module)
    with torch.no_grad():
        outputs, final = run(module, x, state, lengths=lengths, backend="loop")
    found, after = graphs.scan(x.numpy(), arrays(state), lengths=lengths)
    np.testing.assert_allclose(found, outputs, **CLOSE)
    for name, leaf in arrays(final).items():
        np.testing.assert_allclose(after[name], leaf, **CLOSE)
    return graphs, x, state, outputs, final


@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name, tmp_path):
    torch.manual_seed(0)
    cell = make_cell(name, I, H)
    to_onnx(cell, tmp_path / "cell")
    graphs, x, state, outputs, final = check_scan(cell, tmp_path / "cell")
    carried = arrays(state)
    for t in range(T):
        output, carried = graphs.step(x[t].numpy(), carried)
        np.testing.assert_allclose(output, outputs[t], **CLOSE)
    for leaf, want in zip(carried.values(), named_leaves(final).values(), strict=True):
        np.testing.assert_allclose(leaf, want, **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "lstm-peephole", "gru", "gru-original", "rnn", "slstm"])
def test_lengths(name, tmp_path):
    cell = make_cell(name, I, H)
    to_onnx(cell, tmp_path / "cell", lengths=True)
    check_scan(cell, tmp_path / "cell", lengths=torch.tensor([3, T, 1, 0]))


@pytest.mark.parametrize("options", [{"bias": False}, {"nonlinearity": "relu"}])
def test_options_of_cells(options, tmp_path):
    cell = make_cell("rnn", I, H, **options)
    to_onnx(cell, tmp_path / "cell")
    check_scan(cell, tmp_path / "cell")


def operators(folder, name="sequence.onnx"):
    return [node.op_type for node in onnx.load(folder / name).graph.node]


@pytest.mark.parametrize(
    ("name", "operator"), [("lstm", "LSTM"), ("gru", "GRU"), ("gru-original", "GRU"), ("rnn", "RNN")]
)
def test_standard_cells_are_operators(name, operator, tmp_path):
    to_onnx(make_cell(name, I, H), tmp_path / "cell")
    assert operator in operators(tmp_path / "cell")
    assert "Scan" not in operators(tmp_path / "cell")


def test_what_derives_from_a_standard_cell_is_not_taken_for_one(tmp_path):
    cell = ProjectedLSTM(I, H, 3)
    to_onnx(cell, tmp_path / "cell")
    assert "Scan" in operators(tmp_path / "cell")
    check_scan(cell, tmp_path / "cell")


def test_a_cell_of_the_users_own_with_hostile_names(hostile, tmp_path):
    to_onnx(hostile, tmp_path / "cell", lengths=True)
    check_scan(hostile, tmp_path / "cell", lengths=torch.tensor([3, T, 1, 5]))
    graphs = OnnxModel(tmp_path / "cell")
    for name, leaf in arrays(hostile.zero_state(3)).items():
        np.testing.assert_array_equal(graphs.zero_state(3)[name], leaf)


def run_module(module, *given, **options):
    return module(*given, **options)


@pytest.mark.parametrize("options", [{}, {"residual": True}, {"zoneout": 0.3}, {"dropout": 0.5, "weight_drop": 0.5}])
@pytest.mark.parametrize("name", ["gru", "mgu"])
def test_stacks(name, options, tmp_path):
    stack = Stack([make_cell(name, I, H), make_cell(name, H, H)], **options).eval()
    lengths = torch.tensor([3, T, 1, 4])
    to_onnx(stack, tmp_path / "stack", lengths=True)
    check_scan(stack, tmp_path / "stack", lengths=lengths, run=run_module)


@pytest.mark.parametrize("window", [1, 4])
def test_attention_to_the_last_steps(window, tmp_path):
    stack = Stack([make_cell("lstm", I, H)], attention=WindowAttention(H, I, window)).eval()
    to_onnx(stack, tmp_path / "stack", lengths=True)
    graphs = OnnxModel(tmp_path / "stack")
    x, lengths = torch.randn(T, B, I), torch.tensor([3, T, 1, 4])
    with torch.no_grad():
        _, before = stack(torch.randn(2, B, I), backend="loop")
        outputs, final = stack(x, before, lengths=lengths, backend="loop")
    found, after = graphs.scan(x.numpy(), arrays(before), lengths=lengths)
    np.testing.assert_allclose(found, outputs, **CLOSE)
    for name, leaf in arrays(final).items():
        np.testing.assert_allclose(after[name], leaf, **CLOSE)


@pytest.mark.parametrize("name", ["lstm", "mgu"])
def test_layers_that_read_both_ways(name, tmp_path):
    layers = Bidirectional([(make_cell(name, i, H), make_cell(name, i, H)) for i in (I, 2 * H)]).eval()
    to_onnx(layers, tmp_path / "both")
    graphs, *_ = check_scan(layers, tmp_path / "both", lengths=torch.tensor([3, T, 1, 4]), run=run_module)
    with pytest.raises(ConfigError, match="reads whole inputs"):
        graphs.step(np.zeros((2, I)))


@pytest.mark.parametrize("kind", [LSTM, nn.LSTM])
def test_modules_of_torch(kind, tmp_path):
    module = kind(I, H, num_layers=2)
    to_onnx(module, tmp_path / "lstm")
    x = torch.randn(T, B, I)
    with torch.no_grad():
        np.testing.assert_allclose(OnnxModel(tmp_path / "lstm").scan(x.numpy())[0], module(x)[0], **CLOSE)


def language_model(**settings):
    torch.manual_seed(0)
    vocabulary = build_tokenizer("char", "tokens \0 \x1b \"quoted\" 'and' \u202e <b>&amp;</b> ☃")
    return LanguageModel(vocabulary, **{"hidden": 8, "layers": 2, **settings}).eval()


@pytest.mark.parametrize(
    "settings", [{"cell": "lstm"}, {"cell": "mgu", "tie": True}, {"cell": "gru", "residual": True}]
)
def test_language_models_in_two_calls_and_in_one(settings, tmp_path):
    model = language_model(**settings)
    to_onnx(model, tmp_path / "model")
    graphs = OnnxModel(tmp_path / "model")
    tokens = torch.randint(len(model.vocabulary), (T, B))
    with torch.no_grad():
        logits, _ = model(tokens)
    whole, end = graphs.scan(tokens.numpy())
    np.testing.assert_allclose(whole, logits, **CLOSE)
    first, state = graphs.scan(tokens[:4].numpy())
    kept = {name: leaf.copy() for name, leaf in state.items()}
    second, after = graphs.scan(tokens[4:].numpy(), state)
    np.testing.assert_allclose(np.concatenate([first, second]), whole, **CLOSE)
    for name, leaf in end.items():
        np.testing.assert_allclose(after[name], leaf, **CLOSE)
        np.testing.assert_array_equal(state[name], kept[name])  # a state is a value


def test_what_the_files_tell(tmp_path):
    model = language_model(cell="gru")
    facts = to_onnx(model, tmp_path / "model")
    assert facts["step.onnx"].startswith("tokens, state.0.h, state.1.h -> logits, next_state.0.h")
    assert 0 < facts["largest_difference"] < 1e-5
    for name in ("step.onnx", "sequence.onnx"):
        file = onnx.load(tmp_path / "model" / name)
        told = {each.key: each.value for each in file.metadata_props}
        assert told["recurra_version"] == recurra.__version__
        assert told["kind"] == "language model"
        assert told["cell"] == "gru"
        assert json.loads(told["vocabulary"]) == model.vocabulary.names
        assert {each.version for each in file.opset_import} == {facts["opset"]}
        axes = [d.dim_param for d in file.graph.input[0].type.tensor_type.shape.dim]
        assert axes == (["batch"] if name == "step.onnx" else ["time", "batch"])


@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention", "mean+max"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_classifiers(pooling, bidirectional, tmp_path):
    torch.manual_seed(0)
    input = TextInput(build_tokenizer("char", TEXTS))
    settings = {"hidden": 4, "layers": 2, "pooling": pooling, "bidirectional": bidirectional}
    model = SequenceClassifier(input, Labels(["bad", "good", "so so"]), **settings).eval()
    to_onnx(model, tmp_path / "model")
    rows = pad([input.encode(text) for text in TEXTS])
    with torch.no_grad():
        logits, _ = model(rows)
    graphs = OnnxModel(tmp_path / "model")
    assert graphs.metadata["labels"] == ["bad", "good", "so so"]
    values = np.where(
        np.arange(7)[:, None] < rows.lengths.numpy(), rows.values.numpy(), 1
    )  # what is past ends is not read
    np.testing.assert_allclose(graphs.scan(values, lengths=rows.lengths)[0], logits, **CLOSE)


@pytest.mark.parametrize("settings", [{}, {"layers": 0, "bidirectional": False}])
def test_taggers_of_numbers(settings, tmp_path):
    torch.manual_seed(0)
    model = SequenceTagger(NumbersInput(2), StepLabels(["a", "b"]), **{"hidden": 4, "cell": "gru", **settings}).eval()
    model.fit_input([np.random.default_rng(0).normal(3, 5, (20, 2))])
    to_onnx(model, tmp_path / "model")
    x, lengths = torch.randn(T, B, 2) * 5, torch.tensor([3, T, 1, 4])
    with torch.no_grad():
        want = model(Padded(x, lengths))
    found, _ = OnnxModel(tmp_path / "model").scan(x.numpy(), lengths=lengths)
    np.testing.assert_allclose(found, want, **CLOSE)


@pytest.mark.parametrize(
    "settings", [{"centre": True}, {"stride": 2, "pooling": "last"}, {"stride": 3, "centre": True}]
)
def test_classifiers_of_sounds(settings, tmp_path):
    torch.manual_seed(0)
    input, labels = SoundInput(rate=8000, mels=8), Labels(["a", "b"])
    model = SequenceClassifier(input, labels, hidden=4, **settings).eval()
    model.fit_input([np.random.default_rng(0).normal(3, 5, (20, 8))])
    to_onnx(model, tmp_path / "model")
    x, lengths = torch.randn(T, B, 8) * 5, torch.tensor([3, T, 1, 4])
    with torch.no_grad():
        want, _ = model(Padded(x, lengths))
    found, _ = OnnxModel(tmp_path / "model").scan(x.numpy(), lengths=lengths)
    np.testing.assert_allclose(found, want, **CLOSE)


def test_what_cannot_be_written_leaves_nothing(twisted, tmp_path):
    broken = make_cell("lstm", I, H)
    with torch.no_grad():
        broken.W[0, 0] = torch.nan
    for module, message in (
        (twisted, "Twisted cannot be written as an ONNX graph: the engine does not know aten.special_bessel_j0"),
        (make_cell("lstm", I, H).double(), "float32"),
        (broken, "'weight_ih_l0' holds numbers that are not finite"),
        (nn.Linear(2, 2), "Linear is not written as ONNX graphs"),
        ("a text", "a module of torch is exported, not str"),
    ):
        with pytest.raises(ConfigError, match=message):
            to_onnx(module, tmp_path / "out")
        assert list(tmp_path.iterdir()) == []


class Shifty(nn.Module):
    """Counts how often it is called, which no graph shows."""

    input_size = I

    def __init__(self):
        super().__init__()
        self.calls = 0

    def zero_state(self, batch):
        return torch.zeros(batch, I)

    def step(self, x, state):
        self.calls += 1
        h = torch.tanh(x + state) * (2.0 if self.calls > 6 else 1.0)
        return h, h


def test_a_graph_that_does_something_else_is_not_written(tmp_path):
    with pytest.raises(RunError, match="differs from the model by"):
        to_onnx(Shifty(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(RunError, match="exists already"):
        to_onnx(make_cell("lstm", I, H), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_the_mode_of_the_module_stays(tmp_path):
    model = language_model().train()
    to_onnx(model, tmp_path / "model")
    assert model.training
