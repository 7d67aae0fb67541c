"""Scans in graphs of torch.compile: one operation each, with the results of the eager scan."""

import pytest
import torch
from functorch.compile import make_boxed_func
from torch import nn
from torch._dynamo.backends.common import aot_autograd
from torch._dynamo.testing import CompileCounterWithBackend

import recurra as rc
from recurra.cells.box import CELLS
from recurra.engine.compiled import make_plan
from recurra.engine.operator import is_traced
from recurra.engine.text import write_loop
from recurra.errors import EngineError
from recurra.state import named_leaves
from recurra.testing.tolerances import TOLERANCES

STEPS, ROWS = 5, 3
USUAL = ("gru", "lstm-layernorm", "mingru", "slstm")
RARE = sorted(set(CELLS) - set(USUAL))


@pytest.fixture(autouse=True)
def _nothing_is_compiled_yet():
    torch.manual_seed(0)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def inputs(features=4, steps=STEPS, rows=ROWS):
    return torch.randn(steps, rows, features, requires_grad=True)


def masks():
    reset = torch.zeros(STEPS, ROWS, dtype=torch.bool)
    reset[2, 0] = reset[3, 1] = True
    return {"lengths": torch.tensor([5, 4, 2]), "reset": reset}


def leaves_of(results):
    outputs, state = results
    return [outputs, *named_leaves(state).values()]


def assert_equal(found, expected, sources=()):
    """Compare results, and gradients of something that reads all of them."""
    found, expected = leaves_of(found), leaves_of(expected)
    torch.testing.assert_close(found, expected, **TOLERANCES[torch.float32])
    if sources:
        gradients = [
            torch.autograd.grad(sum(leaf.sin().sum() for leaf in leaves), sources, allow_unused=True)
            for leaves in (found, expected)
        ]
        torch.testing.assert_close(*gradients, **TOLERANCES[torch.float32])


class Recorded:
    """A backend of torch.compile that keeps the graphs, as they are before and after differentiation."""

    def __init__(self):
        self.forward, self.backward = [], []

    def __call__(self, graph, examples):
        def keep(where):
            def compiler(graph, examples):
                where.append(graph)
                return make_boxed_func(graph)

            return compiler

        return aot_autograd(fw_compiler=keep(self.forward), bw_compiler=keep(self.backward))(graph, examples)


def operations(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def count(graph, name):
    return operations(graph).count(f"recurra.{name}.default")


# The operation


def arguments_of(name, with_masks):
    """What the operation is given for a cell, with random numbers."""
    cell = CELLS[name](4, 4)
    plan = make_plan(cell, torch.zeros(2, 3, 4), cell.zero_state(3))
    loop = plan.loop(reset=with_masks, alive=with_masks, fresh_has_gradient=False)
    text, fed = write_loop(loop, tuple(plan.feeds)), plan.feeds

    def make(*shape):
        return torch.randn(*shape).mul_(0.3).requires_grad_()

    streams = []
    for number, array in enumerate(loop.graph.streams):
        shape = (STEPS * ROWS if array.per_step else ROWS, 4 if number in fed else array.width)
        is_mask = number in (loop.masked.reset, loop.masked.alive)
        streams.append(torch.randint(0, 2, shape).float() if is_mask else make(*shape))
        if number in loop.constant:
            streams[-1].requires_grad_(False)
    feeds = [make(loop.graph.streams[number].width, 4).detach().t().requires_grad_() for number in fed]
    vectors = [make(width) for width in loop.graph.vectors]
    blocks = [((w.blocks,) if w.blocks > 1 else ()) for w in loop.graph.weights]
    weights = [make(*b, w.rows, w.columns) for b, w in zip(blocks, loop.graph.weights, strict=True)]
    states = [make(ROWS, width) for width in loop.graph.carries]
    return [streams, feeds, vectors, weights, states, STEPS, ROWS, text]


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("with_masks", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("name", ["lstm", "gru-layernorm"])
def test_the_operation_is_what_torch_takes_it_for(name, with_masks, trains):
    torch.library.opcheck(torch.ops.recurra.scan.default, (*arguments_of(name, with_masks), trains))


def test_a_scan_that_kept_nothing_has_the_same_gradient():
    arguments = arguments_of("lstm", False)
    sources = [tensor for group in arguments[:5] for tensor in group]
    kept, lean = (torch.ops.recurra.scan(*arguments, trains)[:2] for trains in (True, False))
    gradients = [torch.autograd.grad(results[0].sin().sum(), sources, allow_unused=True) for results in (kept, lean)]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[0].__setitem__(0, a[0][0][:-1]),
        lambda a: a[1].__setitem__(0, a[1][0][:, :-1]),
        lambda a: a[2].pop(),
        lambda a: a[3].__setitem__(0, a[3][0][:-1]),
        lambda a: a[4].__setitem__(0, a[4][0].double()),
        lambda a: a.__setitem__(5, STEPS + 1),
        lambda a: a.__setitem__(6, 0),
    ],
    ids=["a stream", "a feed", "a vector", "a matrix", "a type", "steps", "rows"],
)
def test_tensors_that_do_not_fit_the_loop_are_refused(change):
    arguments = arguments_of("gru", False)
    change(arguments)
    with torch.no_grad(), pytest.raises(EngineError, match="reads"):
        torch.ops.recurra.scan(*arguments, False)


def test_tensors_with_numbers_are_not_traced():
    assert not is_traced([torch.zeros(1), nn.Parameter(torch.zeros(1))])
    with torch._subclasses.FakeTensorMode():
        assert is_traced([torch.zeros(1)])


# torch.compile


@pytest.mark.parametrize("name", [*USUAL, *(pytest.param(name, marks=pytest.mark.slow) for name in RARE)])
def test_a_compiled_function_scans_any_cell_of_the_box(name):
    cell, x, recorded = CELLS[name](4, 4), inputs(), Recorded()
    compiled = torch.compile(lambda x: rc.scan(cell, x), backend=recorded, fullgraph=True)
    assert_equal(compiled(x), rc.scan(cell, x, backend="loop"), [x, *cell.parameters()])
    assert [count(graph, "scan") for graph in recorded.forward] == [1]
    assert [count(graph, "scan_backward") for graph in recorded.backward] == [1]


def test_a_graph_without_gradients_holds_the_scan_and_no_step():
    cell, x, recorded = rc.cells.LSTM(4, 4), inputs(), Recorded()
    with torch.no_grad():
        assert_equal(torch.compile(lambda x: rc.scan(cell, x), backend=recorded)(x), rc.scan(cell, x))
    assert count(recorded.forward[0], "scan") == 1
    assert not [name for name in operations(recorded.forward[0]) if "tanh" in name or "sigmoid" in name]


@pytest.mark.parametrize(
    "options",
    [
        masks(),
        {**masks(), "reverse": True},
        {"reverse": True},
        {"backprop": rc.Truncated(2)},
        {"backend": "llvm"},
        {"backend": "loop"},
    ],
    ids=["masks", "masks, reversed", "reversed", "truncated", "llvm", "loop"],
)
def test_a_compiled_function_scans_with_any_option(options):
    cell, x = rc.cells.LSTM(4, 4), inputs()
    state = rc.cells.LSTMState(*torch.randn(2, ROWS, 4))
    compiled = torch.compile(lambda x, state: rc.scan(cell, x, state, **options), backend="aot_eager", fullgraph=True)
    assert_equal(compiled(x, state), rc.scan(cell, x, state, **options), [x, *cell.parameters()])


def test_lengths_that_do_not_fit_are_an_error_of_the_graph():
    cell, x = rc.cells.GRU(4, 4), inputs()
    compiled = torch.compile(lambda x, n: rc.scan(cell, x, lengths=n), backend="aot_eager", fullgraph=True)
    with pytest.raises(RuntimeError, match="lengths must lie in"):
        compiled(x, torch.tensor([1, 2, STEPS + 1]))


def test_sizes_of_time_and_batch_become_symbols():
    cell, counter = rc.cells.GRU(4, 4), CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(lambda x: rc.scan(cell, x), backend=counter, fullgraph=True, dynamic=True)
    made = []
    for steps, rows in ((5, 3), (6, 3), (9, 7), (2, 4)):
        x = inputs(steps=steps, rows=rows)
        assert_equal(compiled(x), rc.scan(cell, x), [x, *cell.parameters()])
        made.append(counter.frame_count)
    assert made[0] == made[-1]


class Inner(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.many, self.act, self.by_name = 0.5, (0.1, [0.2]), torch.tanh, {"a": 0.3}

    def forward(self, x):
        return self.act(x) * self.scale + self.many[1][0] + self.by_name["a"]


class Own(nn.Module):
    """A user's cell."""

    def __init__(self):
        super().__init__()
        self.inner, self.U, self.bias = Inner(), nn.Linear(4, 4), torch.arange(4.0)

    def step(self, x, h):
        h = self.inner(self.U(h) + x + self.bias)
        return 2 * h, h

    def zero_state(self, batch):
        return self.U.weight.new_zeros(batch, 4)


def change_number(cell, n):
    cell.inner.scale = 0.1 * n


def change_list(cell, n):
    cell.inner.many = (0.1, [0.1 * n])


def change_dictionary(cell, n):
    cell.inner.by_name["a"] = 0.1 * n


def change_function(cell, n):
    cell.inner.act = (torch.sigmoid, torch.relu, torch.sin)[n]


def change_module(cell, n):
    cell.U = nn.Linear(4, 4, bias=n != 1)


def change_tensor(cell, n):
    cell.bias = torch.full((4,), float(n))


QUICK = [change_number, change_function, change_module]
CHANGES = [*QUICK, *(pytest.param(c, marks=pytest.mark.slow) for c in (change_list, change_dictionary, change_tensor))]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_cell_that_changed_is_compiled_anew(change):
    cell, x = Own(), inputs()
    compiled = torch.compile(lambda x: rc.scan(cell, x), backend="aot_eager", fullgraph=True)
    for n in range(3):
        change(cell, n)
        assert_equal(compiled(x), rc.scan(cell, x, backend="loop"), [x, *cell.parameters()])


def test_a_cell_that_changes_in_the_compiled_function_has_its_new_steps():
    cell, x = Own(), inputs()

    def change_and_scan(x):
        cell.inner.act = torch.relu
        cell.inner.scale = 0.7
        return rc.scan(cell, x)

    found = torch.compile(change_and_scan, backend="aot_eager")(x)
    assert_equal(found, rc.scan(cell, x, backend="loop"))


def test_a_view_of_a_cell_that_is_made_in_the_compiled_function():
    cell, x = rc.cells.GRU(4, 4), inputs()

    def halved(x):
        return rc.scan(cell.bind(weight_hh_l0=cell.weight_hh_l0 * 0.5), x)

    compiled = torch.compile(halved, backend="aot_eager", fullgraph=True)
    assert_equal(compiled(x), halved(x), [x, *cell.parameters()])


def test_a_step_that_the_engine_cannot_compile_is_written_out():
    class Sorting(Own):
        def step(self, x, h):
            h = torch.sort(self.U(h) + x).values
            return h, h

    cell, x, recorded = Sorting(), inputs(), Recorded()
    compiled = torch.compile(lambda x: rc.scan(cell, x), backend=recorded, fullgraph=True)
    assert_equal(compiled(x), rc.scan(cell, x), [x, cell.U.weight])
    assert [count(graph, "scan") for graph in recorded.forward] == [0]


@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_transformations_of_torch_func_in_a_compiled_function(transform):
    cell, x = rc.cells.MGU(4, 4), inputs().detach()
    if transform == "vmap":
        x, transformed = torch.stack([x, -x]), torch.func.vmap(lambda x: rc.scan(cell, x)[0])
    else:
        transformed = torch.func.grad(lambda x: rc.scan(cell, x)[0].sin().sum())
    compiled = torch.compile(lambda x: transformed(x), backend="aot_eager")
    torch.testing.assert_close(compiled(x), transformed(x), **TOLERANCES[torch.float32])


MODULES = {
    "rnn": lambda: rc.nn.RNN(4, 5, nonlinearity="relu"),
    "gru": lambda: rc.nn.GRU(4, 5, num_layers=2, batch_first=True),
    "lstm": lambda: rc.nn.LSTM(4, 5, num_layers=2, bidirectional=True),
    "lstm, projected": lambda: rc.nn.LSTM(4, 5, proj_size=3, bias=False),
}
QUICK_MODULES, SLOW_MODULES = ("rnn", "lstm"), ("gru", "lstm, projected")
LAYERS = {"rnn": 1, "gru": 2, "lstm": 4, "lstm, projected": 1}


@pytest.mark.parametrize("name", [*QUICK_MODULES, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW_MODULES)])
def test_modules_in_torchs_shape_are_compiled_whole(name):
    module, x, recorded = MODULES[name](), inputs(), Recorded()
    with torch._dynamo.config.patch(allow_rnn=True):
        found = torch.compile(module, backend=recorded, fullgraph=True)(x)
    assert_equal(found, module(x), [x, *module.parameters()])
    assert [count(graph, "scan") for graph in recorded.forward] == [LAYERS[name]]
    with torch.no_grad(), torch._dynamo.config.patch(allow_rnn=True):
        assert_equal(torch.compile(module, backend=recorded, fullgraph=True)(x), module(x))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch.compile's own
def test_modules_in_torchs_shape_break_the_graph_unless_torch_allows_them():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = rc.nn.GRU(4, 5)

        def forward(self, x):
            return self.gru(2 * x)

    model, x = Model(), inputs()
    assert_equal(torch.compile(model, backend="aot_eager")(x), model(x), [x, *model.parameters()])


def test_a_stack_is_compiled_whole():
    stack = rc.nn.Stack([rc.cells.LSTM(4, 4), rc.cells.GRU(4, 4)], residual=True)
    x, recorded = inputs(), Recorded()
    assert_equal(torch.compile(stack, backend=recorded, fullgraph=True)(x), stack(x), [x, *stack.parameters()])
    assert [count(graph, "scan") for graph in recorded.forward] == [2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # inductor's own
@pytest.mark.parametrize("name", ["lstm", "gru", "slstm"])
def test_inductor_runs_what_stands_around_a_scan(name):
    cell, x = CELLS[name](4, 4), inputs()

    def fn(x, lengths, reset):
        outputs, state = rc.scan(cell, x * 2, lengths=lengths, reset=reset)
        return outputs.tanh() + 1, state

    compiled = torch.compile(fn, fullgraph=True)
    for given in (masks(), {"lengths": torch.tensor([1, 0, 5]), "reset": torch.ones(STEPS, ROWS, dtype=torch.bool)}):
        assert_equal(compiled(x, **given), fn(x, **given), [x, *cell.parameters()])
