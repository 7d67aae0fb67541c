"""The loss of the output layer is that of `linear` and `cross_entropy`, without their tensor of all logits."""

import pytest
import torch
from torch.nn.functional import cross_entropy, linear

from recurra.engine import products
from recurra.engine.processor import processor
from recurra.errors import ShapeError
from recurra.layers import projected_cross_entropy, projected_loss, row_pieces

ROWS, SIZE, CLASSES = 23, 5, 11


@pytest.fixture
def pieces(monkeypatch):
    """Small sizes take the path of large ones, in several pieces."""
    monkeypatch.setattr(projected_loss, "FEW_LOGITS", 0)
    monkeypatch.setattr(projected_loss, "LOGITS_AT_ONCE", 7 * CLASSES)
    assert len(row_pieces(ROWS, CLASSES, SIZE)) == 4


def reference(features, W, b, targets, ignore_index=-1):
    return cross_entropy(linear(features, W, b), targets, ignore_index=ignore_index, reduction="sum")


def setting(dtype=torch.float64, rows=ROWS, size=SIZE, classes=CLASSES):
    features, W, b = torch.randn(rows, size, dtype=dtype), torch.randn(classes, size, dtype=dtype), torch.randn(classes)
    targets = torch.randint(classes, (rows,))
    targets[::4] = -1
    return features.requires_grad_(), W.requires_grad_(), b.to(dtype).requires_grad_(), targets


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.usefixtures("pieces")
def test_value_and_gradients_are_those_of_cross_entropy(close, dtype, with_bias):
    features, W, b, targets = setting(dtype)
    leaves = [features, W, b] if with_bias else [features, W]
    found, expected = (
        loss(features, W, b if with_bias else None, targets) for loss in (projected_cross_entropy, reference)
    )
    close(found, expected)
    with torch.no_grad():
        close(projected_cross_entropy(features, W, b if with_bias else None, targets), expected)
    for grad, right in zip(*(torch.autograd.grad(loss / 3, leaves) for loss in (found, expected)), strict=True):
        close(grad, right)


@pytest.mark.usefixtures("pieces")
def test_gradients_are_slopes():
    features, W, b, targets = setting()

    def loss(*leaves):
        return projected_cross_entropy(*leaves, targets)

    # A second backward is computed in another order.
    assert torch.autograd.gradcheck(loss, (features, W, b), nondet_tol=1e-12)
    assert torch.autograd.gradgradcheck(loss, (features, W, b))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
@pytest.mark.usefixtures("pieces")
def test_only_what_is_wanted_is_differentiated(close, wanted):
    *leaves, targets = setting()
    leaves = [leaf.detach().requires_grad_(want) for leaf, want in zip(leaves, wanted, strict=True)]
    expected = torch.autograd.grad(reference(*leaves, targets), [leaf for leaf in leaves if leaf.requires_grad])
    projected_cross_entropy(*leaves, targets).backward()
    close(tuple(leaf.grad for leaf in leaves if leaf.requires_grad), expected)
    assert [leaf.grad is not None for leaf in leaves] == list(wanted)


@pytest.mark.usefixtures("pieces")
def test_a_second_backward_adds_the_same_again(close):
    features, W, b, targets = setting()
    loss = projected_cross_entropy(features, W, b, targets)
    loss.backward(retain_graph=True)
    once = W.grad.clone()
    (2 * loss).backward()
    close(W.grad, 3 * once)


@pytest.mark.usefixtures("pieces")
def test_a_penalty_on_the_gradient_is_differentiated(close):
    features, W, b, targets = setting()

    def penalised(loss):
        nats = loss(features, W, b, targets)
        (slope,) = torch.autograd.grad(nats, features, create_graph=True)
        return torch.autograd.grad(nats + slope.square().sum(), (features, W, b))

    close(penalised(projected_cross_entropy), penalised(reference))


@pytest.mark.usefixtures("pieces")
def test_strided_operands(close):
    features, W, b, targets = setting()
    strided = (features.detach().t().contiguous().t(), torch.cat([W, W], 1)[:, :SIZE], torch.stack([b, b], 1)[:, 0])
    targets = targets.repeat_interleave(2)[::2]
    leaves = [leaf.detach().requires_grad_() for leaf in strided]
    found = torch.autograd.grad(projected_cross_entropy(*leaves, targets), leaves)
    close(found, torch.autograd.grad(reference(features, W, b, targets), (features, W, b)))


@pytest.mark.usefixtures("pieces")
def test_tied_weights_receive_both_gradients(close):
    _, W, b, targets = setting(size=SIZE)
    tokens = torch.randint(CLASSES, (ROWS,))
    found, expected = (
        torch.autograd.grad(loss(W[tokens].tanh(), W, b, targets), W) for loss in (projected_cross_entropy, reference)
    )
    close(found, expected)


@pytest.mark.parametrize("rows", [0, ROWS])
@pytest.mark.usefixtures("pieces")
def test_nothing_to_predict_costs_nothing(rows):
    features, W, b, _ = setting(rows=rows)
    loss = projected_cross_entropy(features, W, b, torch.full((rows,), -1))
    loss.backward()
    assert loss.item() == 0
    assert not any(leaf.grad.any() for leaf in (features, W, b))
    assert features.grad.shape == features.shape


@pytest.mark.usefixtures("pieces")
def test_another_index_may_be_ignored(close):
    features, W, b, targets = setting()
    targets[targets == -1] = 3
    close(projected_cross_entropy(features, W, b, targets, 3), reference(features, W, b, targets, 3))


@pytest.mark.usefixtures("pieces")
def test_improbable_targets_and_large_logits_are_exact(close):
    features, W, b, targets = setting(torch.float32)
    close(projected_cross_entropy(features, 1e3 * W, b, targets), reference(features, 1e3 * W, b, targets))
    for value in (float("nan"), float("inf")):
        features.data[1, 2] = value
        assert projected_cross_entropy(features, W, b, targets).isnan()
        assert reference(features, W, b, targets).isnan()
    features.data[1], targets[1] = float("nan"), -1
    assert projected_cross_entropy(features, W, b, targets).isfinite()


@pytest.mark.usefixtures("pieces")
def test_what_does_not_fit_is_refused():
    features, W, b, targets = setting()
    with pytest.raises(ShapeError, match=r"features are \(23, 5\), targets \(22,\)"):
        projected_cross_entropy(features, W, b, targets[1:])
    for target in (CLASSES, -5):
        targets[2] = target
        with pytest.raises((RuntimeError, IndexError), match="out of bounds"):
            projected_cross_entropy(features, W, b, targets)


@pytest.mark.usefixtures("pieces")
def test_other_types_and_transformations_are_left_to_torch():
    features, W, b, targets = (t.detach().bfloat16() if t.is_floating_point() else t for t in setting())
    assert projected_cross_entropy(features, W, b, targets).equal(reference(features, W, b, targets))
    features, W, b, targets = setting(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        assert projected_cross_entropy(features, W, b, targets).equal(reference(features, W, b, targets))
    slope = torch.func.grad(lambda b: projected_cross_entropy(features, W, b, targets))(b.detach())
    assert slope.equal(torch.autograd.grad(reference(features, W, b, targets), b)[0])


@pytest.mark.skipif(products._LINEAR is None, reason="this build of torch has no oneDNN")
@pytest.mark.usefixtures("pieces")
def test_either_way_of_products_gives_the_same(close, monkeypatch):
    features, W, b, targets = setting(torch.float32, rows=120, size=16, classes=40)
    expected = torch.autograd.grad(reference(features, W, b, targets), (features, W, b))
    monkeypatch.setattr(products, "ONEDNN_FROM", {processor().vendor: 0})
    assert len(row_pieces(120, 40, 16)) > 1
    close(torch.autograd.grad(projected_cross_entropy(features, W, b, targets), (features, W, b)), expected)


@pytest.mark.parametrize("rows", [700, 1000])
@pytest.mark.parametrize("classes", [3000, 40_000])
def test_logits_of_all_rows_are_never_made(largest_tensor, rows, classes):
    features, W, b, targets = setting(torch.float32, rows, 8, classes)
    bound = max(W.numel(), projected_loss.LOGITS_AT_ONCE)
    assert bound < rows * classes
    with largest_tensor() as largest:
        projected_cross_entropy(features, W, b, targets).backward()
    assert classes <= largest.numel <= bound
    with largest_tensor() as largest, torch.no_grad():
        projected_cross_entropy(features, W, b, targets)
    assert largest.numel <= bound
    with largest_tensor() as largest:
        reference(features, W, b, targets).backward()
    assert largest.numel == rows * classes  # the watch sees what it should


@pytest.mark.parametrize("rows", [0, 1, 5, 699, 700, 4096])
@pytest.mark.parametrize("classes", [1, 65, 10_000, 2_000_000])
@pytest.mark.parametrize("features", [1, 200])
def test_pieces_cover_all_rows_evenly(rows, classes, features):
    pieces = row_pieces(rows, classes, features)
    assert [n for piece in pieces for n in range(rows)[piece]] == list(range(rows))
    lengths = {piece.stop - piece.start for piece in pieces}
    assert max(lengths) - min(lengths) <= 1
    assert max(lengths) * classes <= max(projected_loss.LOGITS_AT_ONCE, features * classes, classes)
