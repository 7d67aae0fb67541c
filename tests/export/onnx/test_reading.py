"""Weights of ONNX nodes: ours and torch's, both forms of the GRU, and what is refused."""

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from recurra.cells import GRU, LSTM, Elman, OriginalGRU, PeepholeLSTM, make_cell
from recurra.errors import ConfigError, RunError
from recurra.export import OnnxModel, from_onnx, to_onnx, to_torch
from recurra.export.gates import GRU_OURS, GRU_ZRH, LSTM_IOFC, LSTM_OURS, reorder
from recurra.nn import Bidirectional, Stack
from recurra.testing.tolerances import TOLERANCES

I, H, T, B = 3, 4, 6, 2
CLOSE = TOLERANCES[torch.float32]
NAMES = {"lstm": LSTM, "lstm-peephole": PeepholeLSTM, "gru": GRU, "gru-original": OriginalGRU, "rnn": Elman}


def same_bits(ours, theirs):
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_what_we_wrote(name, bias, tmp_path):
    stack = Stack([make_cell(name, i, H, bias=bias) for i in (I, H)])
    to_onnx(stack, tmp_path / "out")
    for file in ("step.onnx", "sequence.onnx"):
        back = from_onnx(tmp_path / "out" / file)
        assert [type(cell) for cell in back.cells] == [NAMES[name]] * 2
        same_bits(back, stack)


@pytest.mark.parametrize("name", ["lstm", "gru-original"])
def test_layers_that_read_both_ways(name, tmp_path):
    layers = Bidirectional([(make_cell(name, i, H), make_cell(name, i, H)) for i in (I, 2 * H)])
    to_onnx(layers, tmp_path / "out")
    same_bits(from_onnx(tmp_path / "out" / "sequence.onnx"), layers)


def test_relu(tmp_path):
    to_onnx(make_cell("irnn", I, H), tmp_path / "out")
    (cell,) = from_onnx(tmp_path / "out" / "step.onnx").cells
    assert cell.phi is torch.relu


@given(data=st.data(), order=st.sampled_from([(LSTM_OURS, LSTM_IOFC), (GRU_OURS, GRU_ZRH), ("ifo", "iof")]))
def test_gates_there_and_back_are_the_same_bits(data, order):
    ours, theirs = order
    rows, columns = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    array = np.random.default_rng(data.draw(st.integers(0, 99))).standard_normal((len(ours) * rows, columns))
    there = reorder(array, ours, theirs)
    assert reorder(there, theirs, ours).tobytes() == array.tobytes()
    for gate in ours:
        block = there[theirs.index(gate) * rows :][:rows]
        np.testing.assert_array_equal(block, array[ours.index(gate) * rows :][:rows])
    assert torch.equal(reorder(torch.from_numpy(array), ours, theirs), torch.from_numpy(there))


def write_node(path, kind="GRU", directions=1, bias=True, change=None, **attributes):
    """Write a graph with one node, as others write them, and return its weights."""
    generator = np.random.default_rng(0)
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
    weights = {
        "W": generator.standard_normal((directions, gates * H, I)),
        "R": generator.standard_normal((directions, gates * H, H)),
        "B": generator.standard_normal((directions, 2 * gates * H)),
    }
    weights = {name: array.astype(np.float32) for name, array in weights.items()} | (change or {})
    node = helper.make_node(kind, ["x", "W", "R", "B" if bias else ""], ["y"], hidden_size=H, **attributes)
    graph = helper.make_graph(
        [node],
        "others",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [T, B, I])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [T, directions, B, H])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return model


CASES = [
    ("LSTM", {}, LSTM),
    ("GRU", {"linear_before_reset": 1}, GRU),
    ("GRU", {}, OriginalGRU),
    ("RNN", {"activations": ["Relu"]}, Elman),
]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(("kind", "attributes", "cell"), CASES)
def test_what_others_wrote(kind, attributes, cell, both, bias, tmp_path):
    import onnxruntime

    if both:
        attributes = attributes | {"direction": "bidirectional"}
        if "activations" in attributes:
            attributes["activations"] = attributes["activations"] * 2
    model = write_node(tmp_path / "x.onnx", kind, 1 + both, bias, **attributes)
    layers = from_onnx(tmp_path / "x.onnx")
    assert all(type(one) is cell for one in layers.cells)
    x = torch.randn(T, B, I)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (want,) = session.run(None, {"x": x.numpy()})
    with torch.no_grad():
        found, _ = layers(x, backend="loop")
    np.testing.assert_allclose(found, want.transpose(0, 2, 1, 3).reshape(T, B, -1), **CLOSE)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(("kind", "options"), [(nn.LSTM, {"num_layers": 2}), (nn.GRU, {"bidirectional": True})])
def test_what_torch_wrote(kind, options, dynamo, tmp_path):
    if dynamo:
        pytest.importorskip("onnxscript")
    module = kind(I, H, **options)
    torch.onnx.export(module, (torch.randn(T, B, I),), tmp_path / "x.onnx", dynamo=dynamo, verbose=False)
    same_bits(to_torch(from_onnx(tmp_path / "x.onnx")), module)


REFUSED = [
    ({"clip": 1.0}, ConfigError, "clip=1.0"),
    ({"kind": "LSTM", "input_forget": 1}, ConfigError, "input_forget=1"),
    ({"activations": ["Sigmoid", "Relu"]}, ConfigError, "activations"),
    ({"kind": "RNN", "activations": ["Affine"]}, ConfigError, "activations"),
    ({"direction": "reverse"}, ConfigError, "directions"),
    ({"change": {"W": np.zeros((1, 5, I), np.float32)}}, RunError, "where .* fits the others"),
    ({"change": {"B": np.zeros((1, 5), np.float32)}}, RunError, "where .* fits the others"),
    ({"change": {"R": np.zeros((1, 12, 4), np.int64)}}, RunError, "int64"),
    ({"change": {"W": np.zeros((0, 12, I), np.float32)}}, RunError, "no weights"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_what_is_refused(options, error, message, tmp_path):
    write_node(tmp_path / "x.onnx", **options)
    with pytest.raises(error, match=message):
        from_onnx(tmp_path / "x.onnx")


def test_weights_that_the_graph_computes_are_refused(tmp_path):
    model = write_node(tmp_path / "x.onnx")
    model.graph.initializer[0].name = "before"
    model.graph.node.insert(0, helper.make_node("Neg", ["before"], ["W"]))
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises(ConfigError, match="'W' that the graph computes; fold its constants first"):
        from_onnx(tmp_path / "x.onnx")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(RunError, match="No such file"):
        from_onnx(tmp_path / "none.onnx")
    write_node(tmp_path / "x.onnx")
    data = (tmp_path / "x.onnx").read_bytes()
    for name, damaged in (("empty", b""), ("text", b"no graph at all"), ("cut", data[: len(data) // 2])):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises((RunError, ConfigError)):
            from_onnx(tmp_path / name)
        (tmp_path / f"{name}-model").mkdir()
        (tmp_path / f"{name}-model" / "sequence.onnx").write_bytes(damaged)
        with pytest.raises(RunError, match="damaged, or no ONNX graph"):
            OnnxModel(tmp_path / f"{name}-model")


def test_numbers_beside_the_file_are_not_looked_for(tmp_path):
    """A file may name any other as the place of its numbers; none is opened."""
    model = write_node(tmp_path / "x.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/hostname")
    onnx.save(model, tmp_path / "x.onnx")
    with pytest.raises((RunError, ConfigError)):
        from_onnx(tmp_path / "x.onnx")
