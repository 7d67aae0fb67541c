import pytest
import torch
from torch import nn

from recurra import cells
from recurra.engine import Online, Truncated, scan
from recurra.errors import BackpropError, ConfigError, EngineError, ShapeError, StateError
from recurra.nn import Stack, WindowAttention, Zoneout
from recurra.state import detach, map_leaves, named_leaves

T, B, I, H = 7, 3, 3, 5
FLOAT64 = {"dtype": torch.float64}


class Leak(nn.Module):
    """A user's cell: only what a cell must have."""

    def __init__(self, size):
        super().__init__()
        self.size = size
        self.rate = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def step(self, x, state):
        state = state + self.rate * (x - state)
        return torch.tanh(state), state

    def zero_state(self, batch):
        return self.rate.new_zeros(batch, self.size)


STACKS = {
    "plain": lambda: Stack([cells.LSTM(I, H, **FLOAT64), cells.GRU(H, H, **FLOAT64)]),
    "residual": lambda: Stack([cells.GRU(I, I, **FLOAT64), cells.LSTM(I, I, **FLOAT64)], residual=True),
    "noisy": lambda: Stack(
        [cells.LSTM(I, H, **FLOAT64), cells.LSTM(H, H, **FLOAT64)], dropout=0.4, weight_drop=0.3, zoneout=0.2
    ),
    "zoneout inside": lambda: Stack([Zoneout(cells.LSTM(I, H, **FLOAT64), c=0.5, h=0.1), cells.GRU(H, H, **FLOAT64)]),
    "user": lambda: Stack([Leak(I), cells.GRU(I, I, **FLOAT64), Leak(I)], residual=True),
    "nested": lambda: Stack([STACKS["plain"](), cells.GRU(H, H, **FLOAT64)]),
    "attention": lambda: Stack([cells.LSTM(I, H, **FLOAT64)], attention=WindowAttention(H, I, 3).double()),
}


@pytest.fixture(params=STACKS)
def stack(request):
    return STACKS[request.param]().eval()


def warm(stack):
    return map_leaves(torch.randn_like, stack.zero_state(B))


def some_x(steps=T):
    return torch.randn(steps, B, I, **FLOAT64)


def test_forward_is_the_fold_of_step(stack, close):
    x, start = some_x(), warm(stack)
    outputs, state = [], start
    for x_BI in x:
        output, state = stack.step(x_BI, state)
        outputs.append(output)
    close(stack(x, start), (torch.stack(outputs), state))
    close(scan(stack, x, start), (torch.stack(outputs), state))


def test_every_backend_agrees_with_the_loop(stack, close, gradients):
    x, start = some_x(), warm(stack)
    results = [stack(x, start, backend=backend) for backend in ("auto", "loop")]
    close(*results)
    close(*(gradients(result, list(stack.parameters())) for result in results))


def test_chunks_with_the_state_carried_equal_the_whole(stack, close):
    x, start = some_x(), warm(stack)
    whole = stack(x, start)
    for cut in range(1, T):
        first, state = stack(x[:cut], start)
        second, state = stack(x[cut:], state)
        close((torch.cat([first, second]), state), whole)


def test_no_state_is_the_zero_state(stack, close):
    x = some_x()
    close(stack(x), stack(x, stack.zero_state(B)))


def test_reset_starts_a_row_afresh(stack, close):
    x, start = some_x(), warm(stack)
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3, 1] = True
    outputs, state = stack(x, start, reset=reset)
    undisturbed, _ = stack(x, start)
    afresh, end = stack(x[3:])
    close(outputs[3:, 1], afresh[:, 1])
    close(map_leaves(lambda leaf: leaf[1], state), map_leaves(lambda leaf: leaf[1], end))
    close(outputs[:, [0, 2]], undisturbed[:, [0, 2]])
    close(outputs[:3], undisturbed[:3])
    assert not torch.equal(outputs[3:, 1], undisturbed[3:, 1])


def test_padding_changes_nothing_and_gives_zeros(stack, close):
    x, start = some_x(), warm(stack)
    lengths = torch.tensor([4, T, 0])
    padded = x.clone()
    padded[4:, 0] = padded[:, 2] = torch.nan
    outputs, state = stack(padded, start, lengths=lengths)
    short, end = stack(x[:4], start)
    close(outputs[:4, 0], short[:, 0])
    close(map_leaves(lambda leaf: leaf[0], state), map_leaves(lambda leaf: leaf[0], end))
    close(map_leaves(lambda leaf: leaf[2], state), map_leaves(lambda leaf: leaf[2], start))
    assert (outputs[4:, 0] == 0).all()
    assert (outputs[:, 2] == 0).all()


def test_truncation_equals_an_explicit_detach(stack, close, gradients):
    x, start = some_x(), warm(stack)
    pieces, state = [], start
    for a in range(0, T, 3):
        output, state = stack(x[a : a + 3], detach(state))
        pieces.append(output)
    explicit = torch.cat(pieces), state
    truncated = stack(x, start, backprop=Truncated(3))
    close(truncated, explicit)
    close(*(gradients(result, list(stack.parameters())) for result in (truncated, explicit)))


def test_sizes(stack):
    assert stack.num_layers == len(stack.cells)
    assert stack.num_states == len(stack.zero_state(2)) == len(stack.cells) + (stack.attention is not None)
    outputs, state = stack(some_x())
    assert [leaf.shape for leaf in named_leaves(state).values()] == [
        leaf.shape for leaf in named_leaves(warm(stack)).values()
    ]
    if not isinstance(stack.cells[-1], Leak):  # which does not tell
        assert stack.output_size == outputs.shape[-1]


def test_a_plain_stack_is_one_scan_after_another(close):
    stack, x = STACKS["plain"](), some_x()
    below, first = scan(stack.cells[0], x)
    above, second = scan(stack.cells[1], below)
    close(stack(x), (above, (first, second)))


def test_attention_reads_the_last_outputs_and_the_inputs_without_noise(close):
    """Dropout between the layers does not come between them and attention, and the cells do not know of it."""
    attention = WindowAttention(H, I, 3).double()
    stack = Stack([cells.GRU(I, H, **FLOAT64), cells.GRU(H, H, **FLOAT64)], dropout=0.5, attention=attention)
    x, noise = some_x(), stack.draw(some_x())
    below, states = stack.recurrence(x, noise=noise)
    above, past = scan(attention, torch.cat([below, x], -1))
    close(stack(x, noise=noise), (above, (*states, past)))
    assert stack.recurrence.attention is None
    assert stack.attention is attention


def test_residual_adds_the_input_of_each_layer_that_fits(close):
    stack = Stack([cells.GRU(I, H, **FLOAT64), cells.GRU(H, H, **FLOAT64)], residual=True)
    x = some_x()
    below, _ = scan(stack.cells[0], x)
    above, _ = scan(stack.cells[1], below)
    close(stack(x)[0], below + above)


def test_dropout_is_locked_and_between_the_layers(close):
    stack, x = Stack([cells.GRU(I, H, **FLOAT64), cells.GRU(H, H, **FLOAT64)], dropout=0.5), some_x()
    torch.manual_seed(2)
    outputs, _ = stack(x)
    torch.manual_seed(2)
    below, _ = scan(stack.cells[0], x)
    expected, _ = scan(stack.cells[1], stack.dropout(below))
    close(outputs, expected)
    assert not torch.equal(outputs, stack.eval()(x)[0])


@pytest.mark.parametrize(
    "noise", [{"dropout": 0.5}, {"weight_drop": 0.5}, {"zoneout": 0.5}], ids=lambda n: next(iter(n))
)
def test_noise_follows_the_generator_and_ends_with_training(noise):
    stack, x = Stack([cells.LSTM(I, H, **FLOAT64), cells.LSTM(H, H, **FLOAT64)], **noise), some_x()
    torch.manual_seed(3)
    first, other = stack(x)[0], stack(x)[0]
    torch.manual_seed(3)
    assert torch.equal(first, stack(x)[0])
    assert not torch.equal(first, other)
    stack.eval()
    before = torch.get_rng_state()
    assert torch.equal(stack(x)[0], stack(x)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_step_draws_nothing_even_in_training():
    stack = STACKS["noisy"]()
    x, state, before = torch.randn(B, I, **FLOAT64), warm(stack), torch.get_rng_state()
    assert torch.equal(stack.step(x, state)[0], stack.eval().step(x, state)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_weight_drop_reaches_a_cell_under_zoneout():
    stack = Stack([cells.LSTM(I, H, **FLOAT64)], weight_drop=0.5, zoneout=0.2)
    stack(some_x())[0].sum().backward()
    dropped = stack.cells[0].cell.weight_hh_l0.grad == 0
    assert dropped.any()
    assert not dropped.all()


def test_state_is_not_mutated(stack):
    start = warm(stack)
    copies = {name: leaf.clone() for name, leaf in named_leaves(start).items()}
    stack(some_x(), start)
    assert all(torch.equal(leaf, copies[name]) for name, leaf in named_leaves(start).items())


def test_what_cannot_be_built():
    lstm = cells.LSTM(I, H)
    with pytest.raises(ConfigError, match="at least one cell"):
        Stack([])
    with pytest.raises(ShapeError, match=f"layer 1 reads {I} features, but the layer below it gives {H}"):
        Stack([lstm, cells.LSTM(I, H)])
    with pytest.raises(ConfigError, match="residual"):
        Stack([lstm], residual=True)
    with pytest.raises(ConfigError, match="weight_drop"):
        Stack([lstm, Leak(H)], weight_drop=0.5)
    with pytest.raises(ShapeError, match=f"attention reads 9 features of the last layer, which has {H}"):
        Stack([lstm], attention=WindowAttention(9, I, 3))
    with pytest.raises(ShapeError, match=f"attention reads 9 features of the input, which has {I}"):
        Stack([lstm], attention=WindowAttention(H, 9, 3))
    for option in ("dropout", "weight_drop", "zoneout"):
        with pytest.raises(ConfigError, match="probability"):
            Stack([lstm], **{option: 1.0})


def test_what_cannot_be_run():
    stack = Stack([cells.LSTM(I, H), cells.LSTM(H, H)])
    x = torch.randn(T, B, I)
    with pytest.raises(StateError, match="tuple of 2 states"):
        stack(x, stack.zero_state(B)[:1])
    with pytest.raises(StateError, match="tuple of 2 states"):
        stack.step(x[0], list(stack.zero_state(B)))
    watching = Stack([cells.LSTM(I, H)], attention=WindowAttention(H, I, 3))
    with pytest.raises(StateError, match="tuple of 2 states, one per layer and one of attention"):
        watching(x, watching.zero_state(B)[:1])
    with pytest.raises(BackpropError, match="this stack has 2"):
        watching(x, backprop=Online())
    with pytest.raises(ShapeError, match="lengths"):
        stack(x, lengths=torch.tensor([1]))
    with pytest.raises(EngineError, match="Leak"):
        Stack([Leak(I)])(x.double(), backend="library")
    with pytest.raises(ConfigError, match="output_size"):
        _ = Stack([Leak(I)]).output_size
