"""The vector maths against references of higher precision, over dense ranges and the special values, on each target."""

import ctypes
import functools
import math
import platform
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from llvmlite import binding, ir

from recurra.engine.llvm.maths import Maths

ULPS = {"float32": 3.0, "float64": 4.0}  # the largest error, in units of the last place
# Below this a sigmoid may come out as 0, as if denormal numbers were flushed.
SIGMOID_FLOOR = {"float32": 1e-37, "float64": 1e-307}

UNARY = ("abs", "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "sigmoid", "tanh", "erf")
BINARY = ("minimum", "maximum")
EXPONENTS = (0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0, 3.0, 4.0, 7.0, 1.7, -3.0)
PROCESSORS = {  # the features of the host that each needs, and LLVM's name of a processor that has no more
    "avx512": ({"avx512f", "avx512vl", "avx512dq", "fma"}, "x86-64-v4"),
    "avx2": ({"avx2", "fma"}, "x86-64-v3"),
    "generic": (set(), "x86-64"),
}
TARGETS = tuple(PROCESSORS)
DTYPES = ("float32", "float64")


def emit(module: ir.Module, name: str, maths: Maths, count: int, body: Callable[..., Any]) -> None:
    """Write ``void apply_name(in..., out, n)``, which applies body to whole vectors of n elements."""
    size, pointer = ir.IntType(64), ir.PointerType()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [*[pointer] * (count + 1), size]), f"apply_{name}")
    *arrays, n = function.args
    entry, head, loop, end = (function.append_basic_block(label) for label in ("entry", "head", "loop", "end"))
    ir.IRBuilder(entry).branch(head)
    b = ir.IRBuilder(head)
    i = b.phi(size)
    i.add_incoming(size(0), entry)
    b.cbranch(b.icmp_signed("<", i, n), loop, end)
    b.position_at_end(loop)
    *sources, sink = (b.gep(array, [i], source_etype=maths.vec.element) for array in arrays)
    b.store(body(b, *(b.load(source, typ=maths.vec, align=4) for source in sources)), sink, align=4)
    i.add_incoming(b.add(i, size(maths.vec.count)), b.block)
    b.branch(head)
    ir.IRBuilder(end).ret_void()


@functools.cache
def library(target: str, dtype: str, lanes: int) -> Callable[..., np.ndarray]:
    """Compile every function for a target: ``apply(name, *arrays)``."""
    needed, processor = PROCESSORS[target]
    features = binding.get_host_cpu_features()
    lacking = sorted(feature for feature in needed if not features.get(feature, False))
    if lacking:
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = ir.Module("maths")
    module.triple = binding.get_default_triple()
    maths = Maths(module, dtype, lanes, target)
    for name in UNARY:
        emit(module, name, maths, 1, getattr(maths, name))
    for name in BINARY:
        emit(module, name, maths, 2, getattr(maths, name))
    emit(module, "fma", maths, 3, maths.fma)
    for position, exponent in enumerate(EXPONENTS):
        emit(module, f"power{position}", maths, 1, functools.partial(maths.power, exponent=exponent))
    for name, value in (("inf", math.inf), ("nan", math.nan), ("minus_zero", -0.0), ("tenth", 0.1)):
        emit(module, name, maths, 1, lambda b, x, value=value: maths.splat(value))
    machine = binding.Target.from_default_triple().create_target_machine(
        cpu=processor if platform.machine() in ("x86_64", "AMD64") else "", opt=2
    )
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), machine)
    engine.finalize_object()

    def apply(name: str, *arrays: np.ndarray) -> np.ndarray:
        assert engine  # whose end would free the code
        length = arrays[0].size
        padded = [np.concatenate([a, np.ones(-length % lanes, a.dtype)]) for a in arrays]
        result = np.full_like(padded[0], np.nan)
        types_ = [ctypes.c_void_p] * (len(arrays) + 1)
        function = ctypes.CFUNCTYPE(None, *types_, ctypes.c_int64)(engine.get_function_address(f"apply_{name}"))
        function(*(a.ctypes.data for a in padded), result.ctypes.data, result.size)
        return result[:length]

    return apply


SPECIAL = [0.0, 1.0, math.inf, 1e-45, 1e-40, 5e-324, 1e-310, 1.17549435e-38, 2.3e-308, 1e-30, 3.4e38, 1.7e308, 2.0**60]
EDGES = [17.0, 20.0, 22.0, 87.0, 88.7, 88.8, 95.0, 100.0, 103.9, 104.0, 110.0, 708.0, 709.7, 709.8, 745.0, 746.0]
NEAR = [0.99999994, 1.0000001, 1 - 1e-15, 1 + 1e-15, 3.8, 3.81, 8.5, 8.51, 9.0, 0.34657359, 0.3465736, 1.0397207]


def samples(dtype: str, count: int) -> np.ndarray:
    """Return special values, magnitudes over all exponents, and the range where functions curve, of both signs."""
    limits = np.finfo(dtype)
    magnitudes = np.exp2(np.linspace(limits.minexp - limits.nmant, limits.maxexp - 1e-3, count))
    positive = np.concatenate([SPECIAL, EDGES, NEAR, magnitudes, np.linspace(0, 20, count), np.linspace(0, 2, count)])
    with np.errstate(over="ignore", under="ignore"):
        return np.concatenate([positive, -positive, [math.nan]]).astype(dtype)


REFERENCES = {
    "abs": abs,
    "exp": mpmath.exp,
    "expm1": mpmath.expm1,
    "log": lambda x: mpmath.log(x) if x > 0 else mpmath.nan,
    "log1p": lambda x: mpmath.log1p(x) if x > -1 else mpmath.nan,
    "sqrt": lambda x: mpmath.sqrt(x) if x >= 0 else mpmath.nan,
    "rsqrt": lambda x: 1 / mpmath.sqrt(x) if x > 0 else mpmath.nan,
    "reciprocal": lambda x: 1 / x,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "erf": mpmath.erf,
}


def error_in_ulps(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Compare y with the function of x in twice the precision where both are finite, else require equality."""
    of_torch = getattr(torch, name)
    with np.errstate(all="ignore"):
        if x.dtype == np.float32:
            exact: Any = of_torch(torch.from_numpy(x.astype(np.float64))).numpy()
            rounded = exact.astype(np.float32)
        else:
            rounded = of_torch(torch.from_numpy(x)).numpy()
            exact = rounded
        finite = np.isfinite(rounded) & np.isfinite(y)
        np.testing.assert_array_equal(y[~finite], rounded[~finite])
        place = np.spacing(np.abs(rounded[finite]))
        if x.dtype == np.float32:
            return np.abs(y[finite] - exact[finite]) / place
    with mpmath.workprec(120):
        return np.array(
            [
                float(abs(mpmath.mpf(float(b)) - REFERENCES[name](mpmath.mpf(float(a)))) / mpmath.mpf(float(c)))
                for a, b, c in zip(x[finite], y[finite], place, strict=True)
            ]
        )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_unary_functions_are_right_to_the_last_places(name: str, dtype: str, target: str) -> None:
    apply = library(target, dtype, 16 if dtype == "float32" else 8)
    x = samples(dtype, 100_000 if dtype == "float32" else 300)
    if name == "sigmoid":
        tiny = x < math.log(SIGMOID_FLOOR[dtype])
        assert (np.abs(apply(name, x[tiny])) <= SIGMOID_FLOOR[dtype]).all()
        x = x[~tiny]
    y = apply(name, x)
    error = error_in_ulps(name, x, y)
    assert error.max() <= ULPS[dtype], x[np.isfinite(y)][error.argmax()]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["expm1", "log1p", "tanh", "erf", "sqrt"])
def test_zero_keeps_its_sign_and_small_numbers_their_value(name: str, dtype: str, target: str) -> None:
    limits = np.finfo(dtype)
    x = np.array([0.0, -0.0, limits.smallest_normal / 8, -limits.smallest_normal / 8], dtype)
    y = library(target, dtype, 4)(name, x)
    zeros = y[:2]
    np.testing.assert_array_equal(zeros, 0.0)
    assert not np.signbit(zeros[0])
    assert np.signbit(zeros[1])
    if name in ("expm1", "log1p", "tanh"):
        np.testing.assert_array_equal(y[2:], x[2:])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_saturating_functions_stay_within_their_bounds(dtype: str, target: str) -> None:
    apply = library(target, dtype, 8)
    x = np.concatenate([np.linspace(-10, 10, 400_000), [-math.inf, math.inf]]).astype(dtype)
    for name, low in (("tanh", -1.0), ("erf", -1.0), ("sigmoid", 0.0)):
        y = apply(name, x)
        assert y.min() >= low
        assert y.max() <= 1.0
        assert y[-2:].tolist() == [low, 1.0]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_minimum_and_maximum_let_nan_through(name: str, dtype: str, target: str) -> None:
    values = np.array([math.nan, -math.inf, -1.0, 0.0, 2.5, math.inf], dtype)
    x, y = (grid.ravel() for grid in np.meshgrid(values, values))
    expected = getattr(torch, name)(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_array_equal(library(target, dtype, 4)(name, x, y), expected)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("position", range(len(EXPONENTS)))
def test_power_is_that_of_torch(position: int, dtype: str, target: str) -> None:
    x = samples(dtype, 300)
    y = library(target, dtype, 4)(f"power{position}", x)
    expected = torch.pow(torch.from_numpy(x), EXPONENTS[position]).numpy()
    finite = np.isfinite(expected) & np.isfinite(y)
    np.testing.assert_array_equal(y[~finite], expected[~finite])
    error = np.abs(y[finite] - expected[finite]) / np.spacing(np.abs(expected[finite]))
    assert error.max() <= ULPS[dtype]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_multiply_add_rounds_once_where_the_processor_fuses(dtype: str, target: str) -> None:
    x = np.array([1.0 + np.finfo(dtype).eps], dtype)
    fused = library(target, dtype, 4)("fma", x, x, -(x * x))[0]
    assert fused == (0.0 if target == "generic" else float(np.finfo(dtype).eps) ** 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
@pytest.mark.parametrize("target", TARGETS)
def test_every_width_computes_the_same(target: str, lanes: int, dtype: str) -> None:
    x = np.linspace(-6, 6, 64).astype(dtype)
    apply, widest = library(target, dtype, lanes), library(target, dtype, 512 // (8 * x.itemsize))
    for name in UNARY:
        np.testing.assert_allclose(apply(name, x), widest(name, x), rtol=float(4 * np.finfo(dtype).eps), atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_constants_are_exact(dtype: str) -> None:
    apply = library("generic", dtype, 4)
    x = np.zeros(4, dtype)
    assert apply("inf", x).tolist() == [math.inf] * 4
    assert np.isnan(apply("nan", x)).all()
    assert np.signbit(apply("minus_zero", x)).all()
    np.testing.assert_array_equal(apply("tenth", x), np.full(4, 0.1, dtype))
