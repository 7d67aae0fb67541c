import pytest
import torch
from torch import nn

from recurra import cells
from recurra.engine import Truncated, explain, scan
from recurra.errors import BackpropError, ConfigError, ShapeError, StateError
from recurra.engine import Online
from recurra.nn import Bidirectional
from recurra.state import map_leaves, named_leaves

T, B, I, H = 7, 3, 3, 4
FLOAT64 = {"dtype": torch.float64}
LENGTHS = torch.tensor([4, T, 1])


def pair(kind, inputs, hidden=H):
    return kind(inputs, hidden, **FLOAT64), kind(inputs, hidden, **FLOAT64)


def two_layers(kind=cells.LSTM, **noise):
    return Bidirectional([pair(kind, I), pair(kind, 2 * H)], **noise)


def some_x():
    return torch.randn(T, B, I, **FLOAT64)


class Leak(nn.Module):
    """A user's cell that tells no sizes."""

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.3, dtype=torch.float64))

    def step(self, x, state):
        state = state + self.rate * (x - state)
        return state, state

    def zero_state(self, batch):
        return self.rate.new_zeros(batch, I)


@pytest.mark.parametrize("kind", [cells.LSTM, cells.GRU, cells.SRU, cells.MinGRU])
def test_a_layer_is_a_scan_each_way(kind, close, gradients):
    layers, x = two_layers(kind), some_x()
    reading = x
    ends = []
    for forward, backward in zip(layers.forwards, layers.backwards, strict=True):
        there, end = scan(forward, reading, lengths=LENGTHS)
        back, start = scan(backward, reading, lengths=LENGTHS, reverse=True)
        reading = torch.cat([there, back], -1)
        ends.append((end, start))
    results = layers(x, lengths=LENGTHS), (reading, tuple(ends))
    close(*results)
    close(*(gradients(result, list(layers.parameters())) for result in results))


def test_it_is_what_torch_computes(close):
    theirs = nn.LSTM(I, H, num_layers=2, bidirectional=True, **FLOAT64)
    layers = two_layers()
    for layer in range(2):
        for cell, suffix in ((layers.forwards[layer], ""), (layers.backwards[layer], "_reverse")):
            weights = {
                f"{name}_l0": getattr(theirs, f"{name}_l{layer}{suffix}").detach()
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            cell.load_state_dict({name: w for name, w in weights.items() if name in cell.state_dict()}, strict=False)
            if "bias_hh_l0" not in cell.state_dict():
                with torch.no_grad():
                    cell.bias_ih_l0.add_(weights["bias_hh_l0"])
    x = some_x()
    close(layers(x)[0], theirs(x)[0])


def test_every_output_knows_the_whole_row_and_nothing_else(close):
    layers, x = two_layers(), some_x().requires_grad_()
    outputs, _ = layers(x, lengths=LENGTHS)
    for t in range(4):
        (seen,) = torch.autograd.grad(outputs[t, 0].sum(), x, retain_graph=True)
        assert (seen[:4, 0] != 0).any(-1).all()
        assert (seen[4:, 0] == 0).all()
        assert (seen[:, 1:] == 0).all()


def test_padding_changes_nothing_and_gives_zeros(close):
    layers, x = two_layers(), some_x()
    padded = x.clone()
    padded[4:, 0] = torch.nan
    outputs, state = layers(padded, lengths=LENGTHS)
    alone, end = layers(x[:4, :1])
    close(outputs[:4, :1], alone)
    close(map_leaves(lambda leaf: leaf[:1], state), end)
    assert (outputs[4:, 0] == 0).all()


def test_it_goes_on_from_a_state(close):
    layers, x = two_layers(), some_x()
    close(layers(x), layers(x, layers.zero_state(B)))
    start = map_leaves(torch.randn_like, layers.zero_state(B))
    outputs, end = layers(x, start)
    assert not torch.equal(outputs, layers(x)[0])
    assert [leaf.shape for leaf in named_leaves(end).values()] == [leaf.shape for leaf in named_leaves(start).values()]


def test_backends_agree(close, gradients):
    layers, x = two_layers(), some_x()
    results = [layers(x, lengths=LENGTHS, backend=backend) for backend in ("auto", "loop")]
    close(*results)
    close(*(gradients(result, list(layers.parameters())) for result in results))


@pytest.mark.parametrize("kind", [cells.LSTM, cells.GRU])
def test_the_compiled_loop_runs_both_directions(kind):
    layers = Bidirectional([(kind(I, H), kind(I, H))])
    assert {explain(cell).path for cell in (layers.forwards[0], layers.backwards[0])} == {"llvm"}
    layers(some_x().float(), lengths=LENGTHS, backend="llvm")[0].sum().backward()


def test_dropout_is_locked_and_between_the_layers(close):
    layers, x = two_layers(dropout=0.5), some_x()
    torch.manual_seed(2)
    outputs, _ = layers(x)
    torch.manual_seed(2)
    below, _ = Bidirectional([(layers.forwards[0], layers.backwards[0])])(x)
    above, _ = Bidirectional([(layers.forwards[1], layers.backwards[1])])(layers.dropout(below))
    close(outputs, above)
    assert not torch.equal(outputs, layers.eval()(x)[0])


@pytest.mark.parametrize("noise", [{"dropout": 0.5}, {"weight_drop": 0.5}], ids=lambda n: next(iter(n)))
def test_noise_follows_the_generator_and_ends_with_training(noise):
    layers, x = two_layers(**noise), some_x()
    torch.manual_seed(3)
    first, other = layers(x)[0], layers(x)[0]
    torch.manual_seed(3)
    assert torch.equal(first, layers(x)[0])
    assert not torch.equal(first, other)
    layers.eval()
    before = torch.get_rng_state()
    assert torch.equal(layers(x)[0], layers(x)[0])
    assert torch.equal(before, torch.get_rng_state())


def test_truncation_reaches_every_scan(close):
    layers, x = Bidirectional([pair(cells.GRU, I)]), some_x()
    outputs, _ = layers(x, backprop=Truncated(3))
    there, _ = scan(layers.forwards[0], x, backprop=Truncated(3))
    back, _ = scan(layers.backwards[0], x, reverse=True, backprop=Truncated(3))
    close(*(torch.autograd.grad(y.sum(), list(layers.parameters())) for y in (outputs, torch.cat([there, back], -1))))


def test_sizes():
    layers = Bidirectional([pair(cells.GRU, I), (cells.GRU(2 * H, 5), cells.GRU(2 * H, 2))])
    assert (layers.num_layers, layers.input_size, layers.output_size) == (2, I, 7)
    leaks = Bidirectional([(Leak(), Leak())])
    assert leaks(some_x())[0].shape == (T, B, 2 * I)
    with pytest.raises(ConfigError, match="output_size"):
        _ = leaks.output_size


def test_what_cannot_be_built():
    with pytest.raises(ConfigError, match="at least one pair"):
        Bidirectional([])
    with pytest.raises(ShapeError, match=f"layer 1 reads {H} features, but what is below it gives {2 * H}"):
        Bidirectional([pair(cells.LSTM, I), pair(cells.LSTM, H)])
    with pytest.raises(ShapeError, match="layer 0 reads"):
        Bidirectional([(cells.LSTM(I, H), cells.LSTM(H, H))])
    with pytest.raises(ConfigError, match="weight_drop"):
        Bidirectional([(Leak(), Leak())], weight_drop=0.5)
    for option in ("dropout", "weight_drop"):
        with pytest.raises(ConfigError, match="probability"):
            two_layers(**{option: 1.0})


def test_what_cannot_be_run():
    layers, x = two_layers(), some_x()
    with pytest.raises(StateError, match="tuple of 2 pairs"):
        layers(x, layers.zero_state(B)[:1])
    with pytest.raises(StateError, match="tuple of 2 pairs"):
        layers(x, tuple(state[:1] for state in layers.zero_state(B)))
    with pytest.raises(BackpropError):
        layers(x, backprop=Online())
