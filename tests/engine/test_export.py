"""Models with scans, exported by torch.export: one operation for each, and nothing else of the cell."""

import io
import subprocess
import sys

import pytest
import torch
from torch import nn

import recurra as rc
from recurra.state import named_leaves
from recurra.testing.tolerances import TOLERANCES

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")  # torch.export's own

STEPS, ROWS = 5, 3


def masks():
    reset = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[2, 0] = reset[3, 1] = True
    return {"lengths": torch.tensor([5, 4, 2]), "reset": reset}


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float32])


def operations(program):
    return [str(node.target) for node in program.graph.nodes if node.op == "call_function"]


class Own(nn.Module):
    """A user's cell."""

    def __init__(self):
        super().__init__()
        self.U, self.bias = nn.Linear(4, 4), torch.arange(4.0)

    def step(self, x, h):
        h = torch.tanh(self.U(h) + x + self.bias)
        return 2 * h, h

    def zero_state(self, batch):
        return self.U.weight.new_zeros(batch, 4)


class Tagger(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.out = cell, nn.Linear(4, 2)

    def forward(self, x, lengths, reset):
        outputs, state = rc.scan(self.cell, x, lengths=lengths, reset=reset)
        return self.out(outputs), tuple(named_leaves(state).values())


class Layers(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = rc.nn.LSTM(4, 5, num_layers=2, bidirectional=True)

    def forward(self, x, lengths, reset):
        return self.lstm(x, lengths=lengths, reset=reset)


def saved_and_loaded(program):
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    buffer.seek(0)
    return torch.export.load(buffer)


def own():
    return Tagger(Own())


@pytest.mark.parametrize(
    ("make", "layers", "strict"),
    [
        pytest.param(own, 1, False, id="own cell, traced"),
        pytest.param(own, 1, True, id="own cell, strict", marks=pytest.mark.slow),
        pytest.param(Layers, 4, False, id="nn.LSTM, traced", marks=pytest.mark.slow),
        pytest.param(Layers, 4, True, id="nn.LSTM, strict"),
    ],
)
def test_an_exported_model_holds_each_scan_as_one_operation(make, layers, strict):
    model, x = make(), torch.randn(STEPS, ROWS, 4)
    program = torch.export.export(model, (x,), masks(), strict=strict)
    assert operations(program).count("recurra.scan.default") == layers
    assert not [name for name in operations(program) if "tanh" in name or "sigmoid" in name]
    for exported in (program, program.run_decompositions(), saved_and_loaded(program)):
        assert_equal(exported.module()(x, **masks()), model(x, **masks()))


def test_an_exported_model_serves_any_time_and_batch():
    model, x, given = Tagger(rc.cells.GRU(4, 4)), torch.randn(STEPS, ROWS, 4), masks()
    sizes = {"T": torch.export.Dim("T", min=1), "B": torch.export.Dim("B", min=1)}
    shapes = {"x": {0: sizes["T"], 1: sizes["B"]}, "lengths": {0: sizes["B"]}, "reset": {0: sizes["T"], 1: sizes["B"]}}
    program = torch.export.export(model, (x,), given, dynamic_shapes=shapes)
    for steps, rows in ((9, 7), (1, 1), (4, 2)):
        x = torch.randn(steps, rows, 4)
        given = {"lengths": torch.randint(0, steps + 1, (rows,)), "reset": torch.rand(steps, rows) < 0.3}
        assert_equal(program.module()(x, **given), model(x, **given))


def test_an_exported_model_can_be_trained():
    model, x = Tagger(rc.cells.LSTM(4, 4)), torch.randn(STEPS, ROWS, 4, requires_grad=True)
    exported = torch.export.export(model, (x.detach(),), masks()).module()
    found, expected = exported(x, **masks()), model(x, **masks())
    sources = [dict(exported.named_parameters()), dict(model.named_parameters())]
    gradients = []
    for (outputs, _), parameters in zip((found, expected), sources, strict=True):
        gradient = torch.autograd.grad(outputs.sin().sum(), [x, *parameters.values()], allow_unused=True)
        gradients.append(dict(zip(["x", *parameters], gradient, strict=True)))
    assert gradients[0].keys() == gradients[1].keys()
    torch.testing.assert_close(*gradients, **TOLERANCES[torch.float32])


@pytest.mark.parametrize(
    "imports",
    ["import torch, recurra", pytest.param("import recurra.engine, torch", marks=pytest.mark.slow)],
)
def test_an_exported_model_runs_where_its_cell_is_unknown(tmp_path, imports):
    model, x = Tagger(Own()), torch.randn(STEPS, ROWS, 4)
    torch.export.save(torch.export.export(model, (x,), masks()), tmp_path / "model.pt2")
    outputs, _ = model(x, **masks())
    torch.save({"x": x, "outputs": outputs.detach(), **masks()}, tmp_path / "tensors.pt")
    program = f"""
{imports}
given = torch.load({str(tmp_path / "tensors.pt")!r}, weights_only=True)
expected = given.pop("outputs")
model = torch.export.load({str(tmp_path / "model.pt2")!r}).module()
with torch.no_grad():
    torch.testing.assert_close(model(given.pop("x"), **given)[0], expected)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
