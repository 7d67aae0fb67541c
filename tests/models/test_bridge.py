import pytest
import torch
from writers import close

from recurra.cells import CELLS, GRU, LSTM, make_cell
from recurra.models.bridge import Bridge
from recurra.state import named_leaves

B, H, D = 3, 4, 5


def warm(cell, rows=B):
    """What a cell holds after some steps."""
    state = cell.zero_state(rows)
    for _ in range(3):
        _, state = cell.step(torch.randn(rows, cell.input_size), state)
    return state


def test_states_of_one_structure_are_copied():
    cells = [LSTM(2, H), LSTM(H, H)]
    given, fresh = tuple(map(warm, cells)), tuple(cell.zero_state(B) for cell in cells)
    bridge = Bridge([cell.zero_state(1) for cell in cells], [cell.zero_state(1) for cell in cells])
    states, summary = bridge(given, fresh)
    assert not list(bridge.parameters())
    assert summary == ()
    for name, leaf in named_leaves(given).items():
        assert torch.equal(named_leaves(states)[name], leaf)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_goes_on_from_what_two_directions_have_read(name):
    pair = make_cell(name, 2, H), make_cell(name, 2, H)
    decoder = make_cell(name, 3, D)
    bridge = Bridge([tuple(cell.zero_state(1) for cell in pair)], [decoder.zero_state(1)])
    (state,), _ = bridge([tuple(map(warm, pair))], (decoder.zero_state(B),))
    output, following = decoder.step(torch.randn(B, 3), state)
    assert type(state) is type(decoder.zero_state(B))
    assert all(leaf.isfinite().all() for leaf in named_leaves((output, following)).values())
    output.sum().backward()
    assert any(p.grad is not None and (p.grad != 0).any() for p in bridge.parameters())


def test_a_leaf_is_an_offset_from_a_fresh_state():
    encoder, decoder = GRU(2, H).double(), LSTM(2, D).double()
    bridge = Bridge([encoder.zero_state(1)], [decoder.zero_state(1)], summary=2).double()
    given = torch.randn(B, H).double()
    (state,), summary = bridge([type(encoder.zero_state(1))(given)], (decoder.zero_state(B),))
    to_h, to_c = bridge.layers[0]
    close(state.h, torch.tanh(given @ to_h.weight.T + to_h.bias))
    close(state.c, torch.tanh(given @ to_c.weight.T + to_c.bias))
    close(summary, torch.tanh(given @ bridge.summary.weight.T + bridge.summary.bias))


def test_layers_are_counted_from_the_top():
    assert Bridge([torch.zeros(1, H)] * 3, [torch.zeros(1, H)] * 2).sources == [1, 2]
    assert Bridge([torch.zeros(1, H)], [torch.zeros(1, H)] * 2).sources == [0, 0]
