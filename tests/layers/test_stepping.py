"""A few steps without gradients take the quick way: torch.nn's results, and no staleness."""

import copy
import itertools
import pickle
import threading

import pytest
import torch
from torch import nn

import recurra.nn as rnn
from recurra.engine import step
from recurra.layers import stepping

# torch says once that a projection runs on its own kernel
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

I, H, P = 5, 19, 3
KINDS = {
    "rnn-tanh": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": P}),
}


@pytest.fixture
def calls(monkeypatch):
    """Addresses that were called natively."""
    made, enter = [], stepping.enter()
    monkeypatch.setattr(stepping, "enter", lambda: lambda address: (made.append(address), enter(address)))
    return made


def pair(kind, dtype=torch.float32, **options):
    name, more = KINDS[kind]
    ours, theirs = (getattr(room, name)(I, H, dtype=dtype, **more, **options) for room in (rnn, nn))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def some_hx(module, *rows):
    layers, options = module.num_layers * (2 if module.bidirectional else 1), {"dtype": module.weight_ih_l0.dtype}
    h = torch.randn(layers, *rows, module.proj_size or H, **options)
    return (h, torch.randn(layers, *rows, H, **options)) if isinstance(module, nn.LSTM) else h


def kinds_and_options():
    """One form of each layer in both types, with and without biases; the other forms of all but LSTM are slow."""
    for kind, num_layers, bidirectional, bias in itertools.product(KINDS, (1, 2), (False, True), (True, False)):
        usual = kind == "lstm" or ((num_layers == 1) == (not bidirectional) and (bias or num_layers == 1))
        name = f"{kind}-{num_layers}-{'bidirectional' if bidirectional else 'forward'}-{'bias' if bias else 'no-bias'}"
        dtype = torch.float32 if bias else torch.float64
        marks = [] if usual else pytest.mark.slow
        yield pytest.param(kind, num_layers, bidirectional, bias, dtype, id=name, marks=marks)


@pytest.mark.parametrize(("kind", "num_layers", "bidirectional", "bias", "dtype"), [*kinds_and_options()])
def test_a_step_equals_torch(kind, num_layers, bidirectional, bias, dtype, close, calls):
    for batch_first, with_hx in itertools.product((False, True), (False, True)):
        ours, theirs = pair(
            kind, dtype, bias=bias, num_layers=num_layers, bidirectional=bidirectional, batch_first=batch_first
        )
        for shape, rows in (((1, 1, I), (1,)), ((1, I), ()), ((6, 1, I) if batch_first else (1, 6, I), (6,))):
            x = torch.randn(shape, dtype=dtype)
            hx = some_hx(ours, *rows) if with_hx else None
            before = copy.deepcopy((x, hx))
            with torch.inference_mode():
                found, wanted = ours(x, hx), theirs(x, hx)
            close(found, wanted)
            if hx is not None:
                close((x, hx), before)
    assert len(calls) == 12


@pytest.mark.parametrize("kind", KINDS)
def test_several_steps_equal_torch(kind, close, calls):
    ours, theirs = pair(kind, num_layers=2)
    for shape in ((2, 1, I), (5, 3, I), (4, I)):
        x = torch.randn(shape)
        with torch.no_grad():
            close(ours(x), theirs(x))
    assert len(calls) == 3


def test_a_chain_of_steps_equals_the_sequence(close):
    ours, theirs = pair("gru", num_layers=2)
    x, hx, outputs = torch.randn(30, 2, I), None, []
    with torch.inference_mode():
        for t in range(30):
            output, hx = ours(x[t : t + 1], hx)
            outputs.append(output)
        close((torch.cat(outputs), hx), theirs(x))


def test_two_threads_equal_one(monkeypatch, close):
    monkeypatch.setattr(step, "BYTES_PER_THREAD", 1)
    ours, theirs = pair("lstm", num_layers=2)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            hx = None
            for _ in range(20):
                x = torch.randn(1, 1, I)
                found, wanted = ours(x, hx), theirs(x, hx)
                close(found, wanted)
                hx = found[1]
    finally:
        torch.set_num_threads(threads)


CHANGES = {
    "optimizer": lambda m: optimizer_step(m),
    "load_state_dict": lambda m: m.load_state_dict({n: p + 0.1 for n, p in m.state_dict().items()}),
    "copy": lambda m: m.weight_hh_l0.copy_(torch.randn(4 * H, H)),
    "bias": lambda m: m.bias_hh_l0.add_(1.0),
    "data": lambda m: m.weight_hh_l0.data.mul_(2.0),
    "other data": lambda m: setattr(m.weight_ih_l0, "data", torch.randn(4 * H, I)),
    "parameter": lambda m: setattr(m, "weight_hh_l0", nn.Parameter(torch.randn(4 * H, H))),
    "not contiguous": lambda m: setattr(m.weight_hh_l0, "data", torch.randn(H, 4 * H).t()),
    "numpy": lambda m: m.weight_ih_l0.detach().numpy().fill(0.25),
    "double": lambda m: m.double(),
}


def optimizer_step(module):
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(module.parameters(), lr=0.1).step()


@pytest.mark.parametrize("change", CHANGES)
def test_changed_weights_are_noticed(change, close):
    ours, theirs = pair("lstm")
    x, hx = torch.randn(1, 1, I), some_hx(ours, 1)
    with torch.no_grad():
        before = ours(x, hx)[0]
        CHANGES[change](ours)
        dtype = ours.weight_ih_l0.dtype
        theirs.to(dtype).load_state_dict(ours.state_dict())
        x, hx = x.to(dtype), tuple(leaf.to(dtype) for leaf in hx)
        found = ours(x, hx)
        close(found, theirs(x, hx))
        assert not torch.allclose(found[0].float(), before) or change == "double"
        close(ours(x, hx), theirs(x, hx))


def test_results_are_fresh(close):
    ours, _ = pair("lstm")
    with torch.no_grad():
        outputs, (h, c) = ours(torch.randn(1, 1, I))
        kept = copy.deepcopy((outputs, h, c))
        ours(torch.randn(1, 1, I), (h, c))
        close((outputs, h, c), kept)
        outputs.zero_()
        assert h.abs().max() > 0


def test_memory_that_was_used_before_does_not_show(close, calls):
    ours, theirs = pair("lstm-projected", num_layers=2)
    x = torch.randn(1, 2, I)
    with torch.no_grad():
        ours(x)
        for space in ours._stepper._forms[x.shape].free:
            for arrays in space.memory.values():
                for array in arrays:
                    array.fill_(float("nan"))
        close(ours(x), theirs(x))


def test_several_python_threads_may_call_at_once():
    ours, theirs = pair("gru", num_layers=2)
    inputs = [torch.randn(1, 1, I) for _ in range(4)]
    failures = []

    def work(x):
        with torch.no_grad():
            hx = None
            wanted, last = theirs(x.repeat(200, 1, 1))
            for t in range(200):
                output, hx = ours(x, hx)
                if not torch.allclose(output[0], wanted[t], atol=1e-5):
                    failures.append(t)
            if not torch.allclose(hx, last, atol=1e-5):
                failures.append("state")

    threads = [threading.Thread(target=work, args=(x,)) for x in inputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_what_is_unusual_goes_the_ordinary_way(calls):
    ours, _ = pair("lstm", num_layers=2, dropout=0.5)
    x = torch.randn(1, 1, I)
    ours(x)  # gradients
    with torch.no_grad():
        ours.train()(x)  # dropout
        ours.eval()
        ours(torch.randn(40, 1, I))  # long
        ours(x, lengths=torch.tensor([1]))
        ours(x, reset=torch.tensor([[True]]))
        ours(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([1])))
        nn.utils.parametrizations.weight_norm(ours, "weight_hh_l0")
        ours(x)
        assert not calls


def test_hooks_are_called(calls):
    ours, _ = pair("gru")
    seen = []
    ours.register_forward_hook(lambda module, args, results: seen.append(results[0]))
    with torch.no_grad():
        results = ours(torch.randn(1, 1, I))
    assert seen[0] is results[0]
    assert calls


@pytest.mark.parametrize(
    ("x", "hx"),
    [
        (torch.zeros(1, 1, I + 1), None),
        (torch.zeros(1, 1, I, dtype=torch.float64), None),
        (torch.zeros(1, 1, I), torch.zeros(1, 2, H)),
        (torch.zeros(1, 1, I), torch.zeros(1, H)),
        (torch.zeros(1, I), torch.zeros(1, 1, H)),
        (torch.zeros(I), None),
    ],
)
def test_what_does_not_fit_is_refused_as_torch_refuses_it(x, hx):
    ours, theirs = pair("gru")
    with torch.no_grad():
        ours(torch.zeros(1, 1, I))
        ours(torch.zeros(1, I))
        with pytest.raises((RuntimeError, ValueError)) as wanted:
            theirs(x, hx)
        with pytest.raises(type(wanted.value)):
            ours(x, hx)


def test_inputs_may_lie_anywhere_in_memory(close):
    ours, theirs = pair("lstm")
    x = torch.randn(I, 3, 1).permute(2, 1, 0)
    hx = tuple(torch.randn(H, 3, 1).permute(2, 1, 0) for _ in range(2))
    with torch.no_grad():
        close(ours(x, hx), theirs(x, hx))


def test_copies_step_on_their_own(close):
    ours, _ = pair("gru")
    x = torch.randn(1, 1, I)
    with torch.no_grad():
        before = ours(x)
        for other in (copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))):
            close(other(x), before)
            other.weight_hh_l0.zero_()
            other.bias_ih_l0.add_(1.0)
            assert not torch.allclose(other(x)[0], before[0])
            close(ours(x), before)


def test_inference_tensors_as_weights(close):
    with torch.inference_mode():
        ours, theirs = pair("gru")
        x = torch.randn(1, 1, I)
        close(ours(x), theirs(x))
        ours.weight_hh_l0.mul_(2.0)
        theirs.load_state_dict(ours.state_dict())
        close(ours(x), theirs(x))


def test_a_functional_call_uses_its_tensors(close):
    ours, _ = pair("gru")
    x = torch.randn(1, 1, I)
    other, _ = pair("gru")
    with torch.no_grad():
        ours(x)
        found = torch.func.functional_call(ours, dict(other.named_parameters()), (x,))
        close(found, other(x))
        batch = torch.func.vmap(lambda one: ours(one)[0], randomness="error")(torch.randn(3, 1, 1, I))
        assert batch.shape == (3, 1, 1, H)
