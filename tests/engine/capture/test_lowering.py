"""From recorded calls to a graph: what is before, inside and after, and how vectors are cut."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recurra.cells import CELLS, LSTM, MinGRU
from recurra.engine import scan
from recurra.engine.capture.aten import LOWERINGS
from recurra.engine.capture.lowering import split
from recurra.engine.capture.recording import record
from recurra.engine.graphs.graph import CannotCompileError

aten = torch.ops.aten


def split_of(cell, x=None, **options):
    x = torch.zeros(1, 1, cell.input_size, dtype=cell.zero_state(1)[0].dtype) if x is None else x
    return split(record(cell, x, LOWERINGS), **options)


def functions(calls):
    return [call.function for call in calls]


def operations(parts):
    return [node.op for node in parts.inside.nodes()]


def test_an_lstm():
    parts = split_of(LSTM(3, 4))
    assert aten.addmm.default in functions(parts.before)
    assert operations(parts).count("product") == 4  # one per gate, of one matrix
    assert len({node.attributes[0] for node in parts.inside.nodes() if node.op == "product"}) == 1
    assert [stream.width for stream in parts.inside.streams] == [16]
    assert parts.after == []
    assert parts.inside.emits[0] == parts.inside.next_carry[0]  # the output is the state


def test_what_is_hoisted_stays_inside_where_that_is_asked():
    parts = split_of(LSTM(3, 4), hoist=False)
    assert operations(parts).count("product") == 8
    assert [stream.width for stream in parts.inside.streams] == [3]


def test_no_product_is_inside_where_none_reads_the_state():
    assert "product" not in operations(split_of(MinGRU(3, 4)))


@pytest.mark.parametrize("name", CELLS)
def test_a_graph_is_the_same_every_time(name):
    cell = CELLS[name](4, 4)
    assert split_of(cell).inside.text() == split_of(cell).inside.text()


def test_vectors_are_cut_where_a_use_of_them_begins_or_ends(small_cell):
    class Cut(small_cell):
        def step(self, x, h):
            h = torch.cat([torch.tanh(x + h @ self.U)[:, :2], h[:, :4]], -1)
            return h, h

    parts = split_of(Cut(None))
    assert sorted((n.attributes[1], n.channels) for n in parts.inside.nodes() if n.op == "carry") == [(0, 4), (4, 2)]
    assert [piece.channels for piece in parts.inside.next_carry[0]] == [2, 4]


def test_what_only_the_output_needs_is_after_the_loop(small_cell):
    def step(cell, a, h):
        h = torch.tanh(a + h @ cell.U)
        return h @ cell.U, h

    parts = split_of(small_cell(step))
    assert functions(parts.after)[0] is aten.mm.default
    assert len(parts.leaving) == 1
    assert operations(parts).count("product") == 1


def test_parameters_in_another_type_are_brought_to_the_state(agrees):
    def step(cell, a, h):
        return torch.tanh(a) * (cell.p > 0.5) + torch.arange(6) * h / 10 * torch.tensor([0.5] * 6)

    agrees(step)


def test_types_that_do_not_meet(small_cell):
    single = small_cell(lambda c, a, h: torch.tanh(a) * torch.ones(6, dtype=torch.float64), dtype=torch.float32)
    with pytest.raises(CannotCompileError, match=r"gives torch\.float64 where the state is torch\.float32"):
        split_of(single, torch.zeros(1, 1, 6))


class Masked(nn.Module):
    """Inputs in a tree: numbers, noise as numbers, a truth value, whole numbers that choose an embedding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(5, 4, dtype=torch.float64)
        self.U = nn.Parameter(torch.randn(4, 4, dtype=torch.float64) / 2)

    def zero_state(self, batch):
        return (self.U.new_zeros(batch, 4), self.U.new_zeros(batch, 4))

    def step(self, x, state):
        token, noise, keep = x
        h, slow = state
        h = torch.tanh(self.embedding(token) + h @ self.U) * noise
        slow = torch.where(keep.unsqueeze(-1), slow, 0.9 * slow + 0.1 * h)
        return torch.cat([h, slow], -1), (h, slow)


def test_inputs_of_every_kind():
    cell = Masked()
    generator = torch.Generator().manual_seed(0)
    token = torch.randint(0, 5, (6, 3), generator=generator)
    noise = torch.rand(6, 3, 4, dtype=torch.float64, generator=generator)
    keep = torch.rand(6, 3, generator=generator) < 0.5
    found = {}
    for backend in ("loop", "llvm"):
        leaf = noise.clone().requires_grad_()
        outputs, final = scan(cell, (token, leaf, keep), backend=backend)
        loss = (outputs * torch.linspace(0, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)).sum()
        found[backend] = [outputs, *final, *torch.autograd.grad(loss + final[1].sum(), (leaf, *cell.parameters()))]
    torch.testing.assert_close(found["llvm"], found["loop"])


def test_a_state_that_changes_its_shape_or_type(small_cell):
    with pytest.raises(CannotCompileError, match="another shape"):
        split_of(small_cell(lambda c, a, h: (h, torch.cat([a, h], -1))))
    with pytest.raises(CannotCompileError, match="another type"):
        split_of(small_cell(lambda c, a, h: (h, h > 0)))


def test_parts_of_gates_do_not_depend_on_how_they_are_taken(small_cell):
    """Chunks, slices and split give one graph."""
    ways = [
        lambda c, a, h: torch.cat([part.sigmoid() for part in a.chunk(2, -1)], -1),
        lambda c, a, h: torch.cat([part.sigmoid() for part in a.split(3, -1)], -1),
        lambda c, a, h: torch.cat([a[:, :3].sigmoid(), a[:, 3:].sigmoid()], -1),
    ]
    assert len({split_of(small_cell(way)).inside.text() for way in ways}) == 1


def test_products_in_blocks_whose_gradient_would_have_to_be_cut(why_not):
    def step(cell, a, h):
        blocks = torch.einsum("bhi,hij->bhj", h.unflatten(1, (2, 3)), cell.D).flatten(1)
        mean = torch.tanh(blocks + 0 * h).mean(-1, keepdim=True)
        return torch.cat([mean * cell.p[:2], torch.tanh(mean * cell.p[2:])], -1)

    assert "joined from parts" in why_not(step)
