import pytest
import torch

from recurra.models.loss import label_loss
from recurra.testing.tolerances import TOLERANCES

TARGETS = torch.tensor([[2, -1], [0, 1], [-1, -1]])


def test_it_is_the_sum_over_what_counts():
    logits = torch.randn(3, 2, 4, dtype=torch.float64)
    loss = label_loss(logits, TARGETS)
    p = logits.softmax(-1)
    expected = -(p[0, 0, 2].log() + p[1, 0, 0].log() + p[1, 1, 1].log())
    torch.testing.assert_close(loss.nats, expected, **TOLERANCES[torch.float64])
    likely = p.argmax(-1)
    assert loss.count == 3
    assert loss.correct == int(likely[0, 0] == 2) + int(likely[1, 0] == 0) + int(likely[1, 1] == 1)


def test_what_does_not_count_has_no_gradient():
    logits = torch.randn(3, 2, 4, requires_grad=True)
    label_loss(logits, TARGETS).nats.backward()
    assert ((logits.grad != 0).any(-1) == (TARGETS != -1)).all()


@pytest.mark.parametrize("classes", [2, 5])
def test_smoothing_spreads_a_share_over_all_classes(classes):
    logits = torch.randn(1, classes, dtype=torch.float64)
    logs = logits.log_softmax(-1)[0]
    expected = -0.7 * logs[1] - 0.3 * logs.mean()
    torch.testing.assert_close(label_loss(logits, torch.tensor([1]), 0.3).nats, expected, **TOLERANCES[torch.float64])


def test_nothing_that_counts_is_a_loss_of_nothing():
    loss = label_loss(torch.randn(2, 3), torch.tensor([-1, -1]))
    assert (loss.nats, loss.count, loss.correct) == (0, 0, 0)
