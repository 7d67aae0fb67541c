import torch

from recurra.layers.padding import valid_steps, zero_padding

LENGTHS = torch.tensor([2, 0, 3])


def test_steps_within_each_row():
    expected = [[True, False, True], [True, False, True], [False, False, True]]
    assert valid_steps(LENGTHS, 3).tolist() == expected


def test_padding_becomes_zero_whatever_it_was_and_has_no_gradient():
    x = torch.randn(3, 3, 2, dtype=torch.float64)
    x[2, 0] = torch.nan
    x.requires_grad_()
    found = zero_padding(x, LENGTHS)
    alive = valid_steps(LENGTHS, 3)
    assert (found[~alive] == 0).all()
    assert torch.equal(found[alive], x[alive])
    found.sum().backward()
    assert torch.equal(x.grad, alive.unsqueeze(-1).expand_as(x).double())
