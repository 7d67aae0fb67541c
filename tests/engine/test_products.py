"""A product is `linear`, whichever way computes it; the way follows from shapes, type and vendor."""

import pytest
import torch
from torch.nn.functional import linear
from torch.utils._python_dispatch import TorchDispatchMode

from recurra.engine import products
from recurra.engine.processor import processor
from recurra.engine.products import accumulate, multiply, on_the_cpu, prefers_onednn, product
from recurra.testing.tolerances import TOLERANCES

LARGE = (512, 256, 1024)
has_onednn = pytest.mark.skipif(products._LINEAR is None, reason="this build of torch has no oneDNN")


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=["torch", pytest.param("onednn", marks=has_onednn)])
def way(request, monkeypatch):
    """Each way in turn, whatever this machine would choose."""
    least = 0 if request.param == "onednn" else float("inf")
    monkeypatch.setattr(products, "ONEDNN_FROM", {processor().vendor: least})
    return request.param


class Names(TorchDispatchMode):
    """The operations that run."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(func.__name__.split(".")[0])
        return func(*args, **(kwargs or {}))


def close(a, b):
    torch.testing.assert_close(a, b, **TOLERANCES[b.dtype])


def dense(rows, columns):
    return torch.randn(rows, columns) / columns**0.5


def as_columns(rows, columns):
    return dense(columns, rows).t() * (rows / columns) ** 0.5


def with_gaps(rows, columns):
    return dense(rows, 2 * columns)[:, ::2]


def cut_out(rows, columns):
    return dense(rows, columns + 3)[:, 1:-2]


STRIDES = (dense, as_columns, with_gaps, cut_out)


@pytest.mark.parametrize("strides_of_b", STRIDES)
@pytest.mark.parametrize("strides_of_a", STRIDES)
@pytest.mark.parametrize("shape", [(16, 24, 40), (40, 24, 16), (8, 8, 8), (3, 24, 1)])
@pytest.mark.usefixtures("way")
def test_any_strides(shape, strides_of_a, strides_of_b):
    m, k, n = shape
    a, b, bias, total = strides_of_a(m, k), strides_of_b(n, k), torch.randn(2 * n)[::2], dense(m, n)
    expected = (a.double() @ b.double().t()).float()
    close(multiply(a, b), expected)
    close(multiply(a, b, bias), expected + bias)
    close(accumulate(None, a, b), expected)
    same = total.clone()
    close(accumulate(same, a, b), total + expected)
    close(same, total + expected)


@pytest.mark.parametrize(
    "wanted", [(True, True, True), (True, False, False), (False, True, False), (False, True, True)]
)
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("lead", [(16,), (4, 5), (0,)])
def test_values_and_gradients_are_those_of_linear(way, lead, with_bias, wanted):
    x, W, b = torch.randn(*lead, 24), torch.randn(40, 24) / 5, torch.randn(40)
    for tensor, want in zip((x, W, b), wanted, strict=True):
        tensor.requires_grad_(want)
    arguments = (x, W, b) if with_bias else (x, W)
    y, expected = product(*arguments), linear(*arguments)
    assert y.shape == expected.shape
    close(y, expected)
    leaves = [tensor for tensor in arguments if tensor.requires_grad]
    for found, right in zip(*(torch.autograd.grad(out.sin().sum(), leaves) for out in (y, expected)), strict=True):
        close(found, right)


@pytest.mark.usefixtures("way")
def test_gradients_of_gradients():
    x, W, b = (t.requires_grad_() for t in (torch.randn(16, 24), torch.randn(40, 24) / 5, torch.randn(40)))

    def curvature(function):
        first = torch.autograd.grad(function(x, W, b).sin().sum(), (x, W, b), create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), (x, W, b))

    for found, right in zip(curvature(product), curvature(linear), strict=True):
        torch.testing.assert_close(found, right, rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("way")
def test_products_that_nobody_wants_are_not_computed():
    x, W = torch.randn(16, 24), torch.randn(40, 24, requires_grad=True)
    with Names() as names:
        product(x, W).sum().backward()
    assert sum(name in ("mm", "addmm", "_linear_pointwise") for name in names.seen) == 2


@has_onednn
@pytest.mark.usefixtures("way")
def test_the_way_is_taken(way):
    x, W = torch.randn(16, 24, requires_grad=True), torch.randn(40, 24, requires_grad=True)
    with Names() as names:
        product(x, W).sum().backward()
    assert names.seen.count("_linear_pointwise") == (3 if way == "onednn" else 0)


@pytest.mark.usefixtures("way")
def test_bits_repeat_and_nothing_is_kept_of_a_weight():
    x, W = torch.randn(300, 200), torch.randn(500, 200)
    first = multiply(x, W)
    assert multiply(x, W).equal(first)
    W.neg_()
    assert multiply(x, W).equal(-first)


@has_onednn
def test_the_choice_is_by_vendor_size_and_type():
    m, k, n = LARGE
    assert prefers_onednn(m, n, k, torch.float32, "AuthenticAMD")
    assert prefers_onednn(m, n, k, torch.float32, "HygonGenuine")
    for vendor in ("GenuineIntel", "", "somebody"):
        assert not prefers_onednn(m, n, k, torch.float32, vendor)
    assert not prefers_onednn(m, n, k, torch.float64, "AuthenticAMD")
    assert not prefers_onednn(32, 64, 64, torch.float32, "AuthenticAMD")
    for narrow in ((1, 4096, 4096), (4096, 1, 4096), (4096, 4096, 1)):
        assert not prefers_onednn(*narrow, torch.float32, "AuthenticAMD")


@has_onednn
def test_who_switches_onednn_off_gets_torch(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert not prefers_onednn(512, 1024, 256, torch.float32, "AuthenticAMD")


def test_without_the_operation_torch_computes(monkeypatch):
    monkeypatch.setattr(products, "_LINEAR", None)
    assert not prefers_onednn(512, 1024, 256, torch.float32, "AuthenticAMD")


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_types_are_computed_by_torch(dtype):
    x, W = torch.randn(16, 24, dtype=dtype), torch.randn(40, 24, dtype=dtype)
    assert product(x, W).equal(linear(x, W))


@pytest.mark.usefixtures("way")
def test_transformations_of_torch_still_work():
    x, W = torch.randn(16, 24), torch.randn(40, 24)
    with torch.autocast("cpu", torch.bfloat16):
        assert product(x, W).dtype == torch.bfloat16
    found = torch.func.grad(lambda W: product(x, W).sum())(W)
    close(found, x.sum(0).expand(40, 24))
    close(torch.vmap(lambda x: product(x, W))(x.unsqueeze(0)), linear(x, W).unsqueeze(0))


def test_what_is_on_the_cpu():
    x = torch.randn(2, 3)
    assert on_the_cpu(x, x)
    assert not on_the_cpu(x, x.double())
    assert not on_the_cpu(x.half())
    assert not on_the_cpu(x, x.to("meta"))
    assert not on_the_cpu(x.to_sparse())
