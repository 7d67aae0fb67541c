"""`recurra.nn.RNN / LSTM / GRU` are torch.nn's: results, gradients, names, errors."""

import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import recurra.nn as rnn
from recurra import cells
from recurra.engine import scan
from recurra.errors import ShapeError
from recurra.state import map_leaves

# torch says once that a projection runs on its own kernel; torch.nn.LSTM says the same
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")

T, B, I, H, P = 5, 3, 3, 5, 2
LENGTHS = torch.tensor([3, 5, 2])
KINDS = {
    "rnn-tanh": ("RNN", {}),
    "rnn-relu": ("RNN", {"nonlinearity": "relu"}),
    "gru": ("GRU", {}),
    "lstm": ("LSTM", {}),
    "lstm-projected": ("LSTM", {"proj_size": P}),
}


def pair(kind, dtype=torch.float64, **options):
    """One of ours and torch's with the same weights."""
    name, more = KINDS[kind]
    ours, theirs = (getattr(room, name)(I, H, dtype=dtype, **more, **options) for room in (rnn, nn))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def some_hx(module, *rows):
    layers = module.num_layers * (2 if module.bidirectional else 1)
    options = {"dtype": module.weight_ih_l0.dtype, "requires_grad": True}
    h = torch.randn(layers, *rows, module.proj_size or H, **options)
    return (h, torch.randn(layers, *rows, H, **options)) if isinstance(module, nn.LSTM) else h


def leaves_of(hx):
    return [] if hx is None else [hx] if isinstance(hx, torch.Tensor) else list(hx)


def plain(outputs):
    return outputs.data if isinstance(outputs, PackedSequence) else outputs


def all_forms():
    """Everything together in float64; in float32, of which each form has programs of its own, `-m slow` tries most."""
    ways = [[False, True]] * 5
    for kind, form, two, bias, both_ways, batch_first, with_hx in itertools.product(
        KINDS, ["batch", "unbatched", "packed", "packed-unsorted"], *ways
    ):
        for dtype in (torch.float32, torch.float64):
            options = {"num_layers": 1 + two, "bias": bias, "bidirectional": both_ways, "batch_first": batch_first}
            name = "-".join(
                [
                    kind,
                    form,
                    "two" if two else "one",
                    "bias" if bias else "no-bias",
                    "bidirectional" if both_ways else "forward",
                    "batch-first" if batch_first else "time-first",
                    "hx" if with_hx else "zeros",
                    str(dtype).removeprefix("torch."),
                ]
            )
            usual = dtype is torch.float64 or (form == "batch" and bias)
            yield pytest.param(kind, options, form, with_hx, dtype, id=name, marks=[] if usual else pytest.mark.slow)


@pytest.mark.parametrize(("kind", "options", "form", "with_hx", "dtype"), [*all_forms()])
def test_results_and_gradients_equal_torch(kind, options, form, with_hx, dtype, close, gradients):
    ours, theirs = pair(kind, dtype, **options)
    batch_first = options["batch_first"]
    shape = (T, I) if form == "unbatched" else (B, T, I) if batch_first else (T, B, I)
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    lengths = LENGTHS if form == "packed-unsorted" else LENGTHS.sort(descending=True).values
    hx = some_hx(ours, *(() if form == "unbatched" else (B,))) if with_hx else None

    results, grads = [], []
    for module in (ours, theirs):
        packed = form.startswith("packed")
        given = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=form == "packed") if packed else x
        outputs, last = module(given, hx)
        results.append((outputs, last))
        grads.append(gradients((plain(outputs), last), [x, *leaves_of(hx), *module.parameters()]))

    (our_outputs, our_last), (outputs, last) = results
    assert type(our_outputs) is type(outputs)
    close((plain(our_outputs), our_last), (plain(outputs), last))
    close(*grads)
    if packed:
        assert (our_outputs.sorted_indices is None) == (outputs.sorted_indices is None)
        close(pad_packed_sequence(our_outputs)[0], pad_packed_sequence(outputs)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_kernel_with_projection_computes_the_step(dtype, close, gradients):
    cell = cells.ProjectedLSTM(I, H, P, dtype=dtype)
    x, start = torch.randn(T, B, I, dtype=dtype), map_leaves(torch.randn_like, cell.zero_state(B))
    results = [scan(cell, x, start, backend=backend) for backend in ("library", "loop")]
    close(*results)
    close(*(gradients(result, list(cell.parameters())) for result in results))


def test_a_projection_must_make_smaller():
    for size in (0, H):
        with pytest.raises(ShapeError, match="proj_size"):
            cells.ProjectedLSTM(I, H, size)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_ignores_dropout(kind, close):
    ours, theirs = pair(kind, num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, dtype=torch.float64)
    close(ours.eval()(x), theirs.eval()(x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "rnn-relu"])  # whose own outputs may be zero
def test_dropout_acts_between_layers_alone_and_follows_the_generator(kind):
    ours, _ = pair(kind, num_layers=2, dropout=0.5)
    x = torch.randn(T, B, I, dtype=torch.float64)
    torch.manual_seed(1)
    first, other = ours(x), ours(x)
    torch.manual_seed(1)
    again = ours(x)
    state, other_state, same_state = (leaves_of(result[1])[0] for result in (first, other, again))
    assert torch.equal(first[0], again[0])
    assert torch.equal(state, same_state)
    assert torch.equal(state[0], other_state[0])  # the first layer reads x itself
    assert not torch.equal(state[1], other_state[1])
    assert (first[0] != 0).all()  # nothing is dropped after the last layer


def test_dropout_drops_a_share_p_and_preserves_the_expectation():
    p, steps, rows = 0.3, 20, 500
    module = rnn.RNN(1, 1, num_layers=2, dropout=p, nonlinearity="relu", dtype=torch.float64)
    for name, parameter in module.named_parameters():
        nn.init.constant_(parameter, float(name.startswith("weight_ih")))
    outputs, _ = module(torch.ones(steps, rows, 1, dtype=torch.float64))
    count = steps * rows
    five_sigma = 5 * (p * (1 - p) / count) ** 0.5
    assert abs((outputs == 0).double().mean() - p) < five_sigma
    assert abs(outputs.mean() - 1) < five_sigma / (1 - p)
    assert len(outputs.unique()) == 2


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_goes_both_ways(kind, bidirectional, close):
    ours, theirs = pair(kind, num_layers=2, bidirectional=bidirectional)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    fresh = copy.deepcopy(ours)
    fresh.reset_parameters()
    x = torch.randn(T, B, I, dtype=torch.float64)
    for assign in (False, True):
        theirs.reset_parameters()
        fresh.load_state_dict(theirs.state_dict(), assign=assign)
        close(fresh(x), theirs(x))


def test_weights_are_read_at_each_call(close):
    ours, theirs = pair("lstm", num_layers=2)
    x = torch.randn(T, B, I, dtype=torch.float64)
    before = ours(x)[0]
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        ours.weight_hh_l1.mul_(2)
        theirs.weight_hh_l1.mul_(2)
    close(ours(x), theirs(x))
    close(twin(x)[0], before)
    close(ours.to(torch.float32)(x.float()), theirs.to(torch.float32)(x.float()))


@pytest.mark.parametrize("kind", KINDS)
def test_functional_call_uses_the_given_tensors(kind, close, gradients):
    ours, theirs = pair(kind)
    x = torch.randn(T, B, I, dtype=torch.float64)
    before = ours(x)
    other = {name: torch.randn_like(value).requires_grad_() for name, value in ours.named_parameters()}
    results = [torch.func.functional_call(module, other, (x,)) for module in (ours, theirs)]
    close(*results)
    close(*(gradients(result, list(other.values())) for result in results))
    close(ours(x), before)


def test_functional_call_in_another_type(close):
    ours, theirs = pair("gru")
    x = torch.randn(T, B, I)
    single = {name: value.detach().float() for name, value in ours.named_parameters()}
    close(torch.func.functional_call(ours, single, (x,)), theirs.to(torch.float32)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_weight_norm(kind, close, gradients):
    x = torch.randn(T, B, I, dtype=torch.float64)
    results, grads = [], []
    for module in pair(kind):
        parametrizations.weight_norm(module, "weight_hh_l0")
        module.parametrizations.weight_hh_l0.original0.data.mul_(3)
        results.append(module(x))
        grads.append(gradients(results[-1], [value for _, value in sorted(module.named_parameters())]))
    close(*results)
    close(*grads)


def test_a_parametrisation_that_zeroes_the_recurrence_makes_rows_of_time_independent(close):
    class Zero(nn.Module):
        def forward(self, weight):
            return weight * 0

    module = rnn.RNN(I, H, dtype=torch.float64)
    parametrize.register_parametrization(module, "weight_hh_l0", Zero())
    x = torch.randn(T, B, I, dtype=torch.float64)
    close(module(x)[0].flip(0), module(x.flip(0))[0])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_lengths_equal_packing(kind, bidirectional, close):
    ours, theirs = pair(kind, num_layers=2, bidirectional=bidirectional, batch_first=True)
    x, hx = torch.randn(B, T, I, dtype=torch.float64), some_hx(ours, B)
    packed, last = theirs(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False), hx)
    outputs = pad_packed_sequence(packed, batch_first=True, total_length=T)[0]
    close(ours(x, hx, lengths=LENGTHS), (outputs, last))


@pytest.mark.parametrize("kind", KINDS)
def test_reset_separates_the_sequences_of_a_row_in_both_directions(kind, close):
    ours, theirs = pair(kind, num_layers=2, bidirectional=True)
    x = torch.randn(T, B, I, dtype=torch.float64)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2] = True
    outputs, _ = ours(x, reset=reset)
    close(outputs, torch.cat([theirs(x[:2])[0], theirs(x[2:])[0]]))


@pytest.mark.parametrize("kind", KINDS)
def test_reset_has_the_shape_of_the_input(kind, close):
    ours, _ = pair(kind)
    first, _ = pair(kind, batch_first=True)
    first.load_state_dict(ours.state_dict())
    x = torch.randn(T, B, I, dtype=torch.float64)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[2, 1] = reset[4, 0] = True
    outputs, last = ours(x, reset=reset)
    close(first(x.transpose(0, 1), reset=reset.t()), (outputs.transpose(0, 1), last))
    for module in (ours, first):
        close(module(x[:, 1], reset=reset[:, 1])[0], outputs[:, 1])


def test_a_reset_in_the_padding_changes_nothing(close):
    module = rnn.GRU(I, H, bidirectional=True, dtype=torch.float64)
    x, hx = torch.randn(T, B, I, dtype=torch.float64), some_hx(module, B)
    past_end = torch.arange(T).unsqueeze(1) >= LENGTHS
    close(module(x, hx, lengths=LENGTHS, reset=past_end), module(x, hx, lengths=LENGTHS))


def bad_calls():
    x = torch.randn(T, B, I)
    yield "features", x[..., :1], None
    yield "dimensions", x[None], None
    yield "type", x.double(), None
    yield "no steps", x[:0], None
    yield "rows of hx", x, (2, B + 1, H)
    yield "layers of hx", x, (1, B, H)
    yield "size of hx", x, (2, B, H + 1)
    yield "unbatched hx", x, (2, H)
    yield "batched hx", x[:, 0], (2, B, H)
    yield "packed features", pack_padded_sequence(x[..., :1], LENGTHS, enforce_sorted=False), None
    yield "layers of packed hx", pack_padded_sequence(x, LENGTHS, enforce_sorted=False), (1, B, H)


@pytest.mark.parametrize("what", [name for name, *_ in bad_calls()])
@pytest.mark.parametrize("kind", ["rnn-tanh", "gru", "lstm"])
def test_bad_input_raises_what_torch_raises(kind, what):
    x, shape = {name: call for name, *call in bad_calls()}[what]
    hx = None if shape is None else torch.randn(shape)
    ours, theirs = pair(kind, torch.float32, num_layers=2)
    if hx is not None and kind == "lstm":
        hx = (hx, hx)
    with pytest.raises((RuntimeError, ValueError)) as expected:
        theirs(x, hx)
    with pytest.raises(expected.type):
        ours(x, hx)


def test_an_empty_batch_gives_an_empty_result():
    ours, theirs = pair("lstm", torch.float32)
    x = torch.randn(T, 0, I)
    assert ours(x)[0].shape == theirs(x)[0].shape == (T, 0, H)


def test_lengths_and_reset_that_do_not_fit():
    module = rnn.LSTM(I, H)
    x = torch.randn(T, B, I)
    with pytest.raises(ShapeError, match="lengths"):
        module(x, lengths=torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="reset"):
        module(x, reset=torch.zeros(B, T, dtype=torch.bool))
    with pytest.raises(ShapeError, match="PackedSequence"):
        module(pack_padded_sequence(x, LENGTHS, enforce_sorted=False), lengths=LENGTHS)


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_gives_what_torch_gives(kind):
    ours, theirs = pair(kind, torch.float32, num_layers=2)
    x = torch.randn(T, B, I)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, expected = ours(x)[0], theirs(x)[0]
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)
