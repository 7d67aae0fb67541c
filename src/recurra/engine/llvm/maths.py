"""Vector maths as inline LLVM IR: a few instructions an element, no calls, and the special values of torch.

No fast-math flag is used, since NaN, infinity and signed zero must come out as torch gives them: clamps are a
comparison and a selection whose operand order lets NaN through. The coefficients are minimax fits made for this
file with Remez's exchange in mpmath; what follows a published routine names it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llvmlite import ir

__all__ = ["Maths"]

Target = Literal["avx512", "avx2", "generic"]


@dataclass(frozen=True)
class _Format:
    """What the routines need to know of one floating-point type."""

    name: str  # in LLVM's intrinsics
    width: int
    fraction: int  # stored bits of the significand
    bias: int
    exp_low: float  # below it exp is 0
    exp_high: float  # above it exp is infinite
    expm1_low: float  # below it expm1 is -1
    sigmoid_low: float  # below it sigmoid is less than the smallest normal number, and is given as 0
    ln2_high: float  # few enough bits that its product with an exponent is exact; below ln 2, so the rest is positive
    ln2_low: float
    exp: tuple[float, ...]  # E in e^r = 1 + r + r^2 E(r), |r| <= ln(2) / 2
    tanh: tuple[float, ...]  # T in tanh r = r + r z T(z), z = r^2, |r| <= ln(2) / 4
    tanh_one: int  # the first n for which tanh(n ln(2) / 2) is 1
    log: tuple[float, ...]  # R in log(1 + f) = 2s + s z R(z), s = f / (2 + f), z = s^2


# Relative errors: of e^r - 1 at most 1.4e-8 and 1.9e-17, of tanh r at most 5.6e-8 and 4.2e-18. The logarithm and the
# two parts of ln 2 are those of Sun's fdlibm and of its float32 edition in FreeBSD (e_log.c, e_logf.c).
_FLOAT32 = _Format(
    name="f32",
    width=32,
    fraction=23,
    bias=127,
    exp_low=-105.0,
    exp_high=89.0,
    expm1_low=-20.0,
    sigmoid_low=-87.33,
    ln2_high=0.693138122558593750,
    ln2_low=9.0580006145e-06,
    exp=(0.49999998148405978, 0.16666543431490775, 0.041667201332073818, 0.0083665466352931071, 0.0013882473782254590),
    tanh=(-0.33331268630052251, 0.13110444040286842),
    tanh_one=26,
    log=(0.66666662693023682, 0.40000972151756287, 0.28498786687850952, 0.24279078841209412),
)
_FLOAT64 = _Format(
    name="f64",
    width=64,
    fraction=52,
    bias=1023,
    exp_low=-746.0,
    exp_high=710.0,
    expm1_low=-40.0,
    sigmoid_low=-708.39,
    ln2_high=6.93147180369123816490e-01,
    ln2_low=1.90821492927058770002e-10,
    exp=(
        0.5000000000000006,
        0.16666666666666588,
        0.04166666666657649,
        0.00833333333338987,
        0.0013888888931660173,
        0.0001984126971834031,
        2.4801505150719667e-05,
        2.755740808152865e-06,
        2.762608978028251e-07,
        2.5053632156901338e-08,
    ),
    tanh=(
        -0.3333333333333248,
        0.13333333332781425,
        -0.053968252778069443,
        0.02186937042449718,
        -0.008857299146275581,
        0.0034447198251187335,
    ),
    tanh_one=54,
    log=(
        6.666666666666735130e-01,
        3.999999999940941908e-01,
        2.857142874366239149e-01,
        2.222219843214978396e-01,
        1.818357216161805012e-01,
        1.531383769920937332e-01,
        1.479819860511658591e-01,
    ),
)
_FORMATS = {"float32": _FLOAT32, "float64": _FLOAT64}

# erf a = 1 - e^(a R(a)), 0 <= a <= 3.95, where it has reached 1 in float32: relative error at most 3.6e-8.
_ERF_ONE = 3.95
_ERF = (-1.1283792, -0.63661647, -0.10281443, 0.01932178, -0.00020583346, -0.0012516424, 0.00038095692, -4.0701016e-05)

_LOG2_E = 1.0 / math.log(2.0)
_HALF_LN2 = 0.5 * math.log(2.0)
_SIGMOID_ONE = 40.0  # from here on sigmoid is 1 in either type


class Maths:
    """Emits the elementary functions over vectors of one type and width into a module.

    Args:
        module: where the intrinsics are declared.
        dtype: ``"float32"`` or ``"float64"``.
        lanes: elements in a vector.
        target: what the code will run on. ``"avx512"`` (F, VL and DQ) allows that extension's instructions, ``"avx2"``
            promises a fused multiply-add, ``"generic"`` promises nothing: there a multiply-add rounds once or twice.
    """

    def __init__(self, module: ir.Module, dtype: str, lanes: int, target: Target = "generic") -> None:
        self._module = module
        self._format = _FORMATS[dtype]
        self._lanes = lanes
        self._bits = lanes * self._format.width
        self._avx512 = target == "avx512" and self._bits in (128, 256, 512)
        self._fused = target != "generic"
        self._scalar = ir.FloatType() if dtype == "float32" else ir.DoubleType()
        self.vec = ir.VectorType(self._scalar, lanes)
        self._integers = ir.VectorType(ir.IntType(self._format.width), lanes)

    def splat(self, value: float) -> Any:
        """The vector that holds a value in every lane."""
        return ir.Constant(self.vec, [ir.Constant(self._scalar, value)] * self._lanes)

    # Arithmetic

    def fma(self, b: ir.IRBuilder, x: Any, y: Any, z: Any) -> Any:
        """x * y + z, rounded once where the processor can do so at no cost."""
        return self._call(b, "fma" if self._fused else "fmuladd", x, y, z)

    def abs(self, b: ir.IRBuilder, x: Any) -> Any:
        """|x|."""
        return self._call(b, "fabs", x)

    def minimum(self, b: ir.IRBuilder, x: Any, y: Any) -> Any:
        """The lesser, NaN if either is NaN."""
        return b.select(b.fcmp_unordered("uno", x, x), x, self._least(b, x, y))

    def maximum(self, b: ir.IRBuilder, x: Any, y: Any) -> Any:
        """The greater, NaN if either is NaN."""
        return b.select(b.fcmp_unordered("uno", x, x), x, self._greatest(b, x, y))

    def reciprocal(self, b: ir.IRBuilder, x: Any) -> Any:
        """1 / x."""
        if not self._estimates:
            return b.fdiv(self.splat(1.0), x)
        estimate = self._avx512_call(b, "rcp14", x)
        error = self.fma(b, b.fneg(x), estimate, self.splat(1.0))
        return self._unless_edge(b, error, self.fma(b, estimate, error, estimate), estimate)

    def sqrt(self, b: ir.IRBuilder, x: Any) -> Any:
        """The square root, correctly rounded."""
        return self._call(b, "sqrt", x)

    def rsqrt(self, b: ir.IRBuilder, x: Any) -> Any:
        """1 / sqrt(x)."""
        if not self._estimates:
            return b.fdiv(self.splat(1.0), self.sqrt(b, x))
        estimate = self._avx512_call(b, "rsqrt14", x)
        error = self.fma(b, b.fneg(b.fmul(x, estimate)), estimate, self.splat(1.0))
        refined = self.fma(b, b.fmul(estimate, self.splat(0.5)), error, estimate)
        return self._unless_edge(b, error, refined, estimate)

    def power(self, b: ir.IRBuilder, x: Any, exponent: float) -> Any:
        """x to a constant power, with torch's short cuts; a general exponent calls the maths library for each lane."""
        match exponent:
            case 0.0:
                return self.splat(1.0)
            case 0.5:
                return self.sqrt(b, x)
            case -0.5:
                return self.rsqrt(b, x)
            case -1.0:
                return self.reciprocal(b, x)
            case -2.0:
                return self.reciprocal(b, b.fmul(x, x))
            case 1.0 | 2.0 | 3.0 | 4.0 | 5.0 | 6.0 | 7.0 | 8.0:
                result, square = None, x
                for bit in reversed(f"{int(exponent):b}"):
                    if bit == "1":
                        result = square if result is None else b.fmul(result, square)
                    square = b.fmul(square, square)
                return result
        pow_ = self._declare(f"llvm.pow.{self._format.name}", self._scalar, [self._scalar] * 2)
        return self._each_lane(b, pow_, x, ir.Constant(self._scalar, exponent))

    # Exponentials

    def exp(self, b: ir.IRBuilder, x: Any) -> Any:
        """e^x."""
        x = self._clamp(b, x, self._format.exp_low, self._format.exp_high)
        _, exponent, r = self._reduce(b, x, 0)
        e_r = self._polynomial(b, r, (1.0, 1.0, *self._format.exp))
        if self._avx512:
            return self._avx512_call(b, "scalef", e_r, exponent)
        # 2^n may lie outside the normal numbers at either end, so it is multiplied in as two factors.
        half_bits, half = self._round(b, exponent, 0.5, self._format.bias)
        rest_bits = b.fadd(b.fsub(exponent, half), self.splat(self._magic(self._format.bias)))
        return b.fmul(b.fmul(e_r, self._power_of_two(b, half_bits)), self._power_of_two(b, rest_bits))

    def expm1(self, b: ir.IRBuilder, x: Any) -> Any:
        """e^x - 1, precise near 0."""
        x_in = self._clamp(b, x, self._format.expm1_low, self._format.exp_high)
        # With half of 2^n, which is finite wherever the result is.
        bits, _, r = self._reduce(b, x_in, self._format.bias - 1)
        half = self._power_of_two(b, bits)
        y = self.fma(b, half, self._expm1_reduced(b, r), b.fsub(half, self.splat(0.5)))
        return self._call(b, "copysign", b.fadd(y, y), x)  # the sum lost the sign of a zero

    def sigmoid(self, b: ir.IRBuilder, x: Any) -> Any:
        """1 / (1 + e^-x)."""
        bits, _, r = self._reduce(b, self._least(b, self.splat(_SIGMOID_ONE), x), self._format.bias, sign=-1)
        e_minus_r = self._polynomial(b, r, [c * (-1) ** i for i, c in enumerate((1.0, 1.0, *self._format.exp))])
        total = self.fma(b, e_minus_r, self._power_of_two(b, bits), self.splat(1.0))
        # Where x is too low for 2^n to be a number, whatever was computed is replaced.
        low = b.fcmp_ordered("<", x, self.splat(self._format.sigmoid_low))
        return b.select(low, self.splat(0.0), self._divide(b, self.splat(1.0), total))

    def tanh(self, b: ir.IRBuilder, x: Any) -> Any:
        """The hyperbolic tangent.

        With x = n ln(2) / 2 + r, s = 2^n and w = tanh r, the addition theorem reads

            tanh x = (w (s + 1) - (1 - s)) / ((s + 1) - w (1 - s))

        in which no digits cancel near 0, a zero keeps its sign, and rounding cannot carry the quotient past 1.
        """
        one = self.splat(1.0)
        x = self._clamp(b, x, -self._format.tanh_one * _HALF_LN2, self._format.tanh_one * _HALF_LN2)
        bits, n = self._round(b, x, 2.0 * _LOG2_E, self._format.bias)
        r = self.fma(b, n, self.splat(-_HALF_LN2), x)
        w = b.fmul(r, self._polynomial(b, b.fmul(r, r), (1.0, *self._format.tanh)))
        s = self._power_of_two(b, bits)
        more, less = b.fadd(s, one), b.fsub(one, s)
        return self._divide(b, self.fma(b, w, more, b.fneg(less)), self.fma(b, b.fneg(w), less, more))

    def erf(self, b: ir.IRBuilder, x: Any) -> Any:
        """The error function; float64 calls the maths library for each lane."""
        if self._format is _FLOAT64:
            return self._each_lane(b, self._declare("erf", self._scalar, [self._scalar]), x)
        a = self._least(b, self.splat(_ERF_ONE), self.abs(b, x))
        logarithm = b.fmul(a, self._polynomial(b, a, _ERF))
        bits, n = self._round(b, logarithm, _LOG2_E, self._format.bias)
        r = self.fma(b, n, self.splat(-2.0 * _HALF_LN2), logarithm)
        s = self._power_of_two(b, bits)
        return self._call(b, "copysign", self.fma(b, s, self._expm1_reduced(b, r), b.fsub(s, self.splat(1.0))), x)

    # Logarithms

    def log(self, b: ir.IRBuilder, x: Any) -> Any:
        """The natural logarithm."""
        denormal = b.fcmp_ordered("<", x, self.splat(math.ldexp(1.0, 1 - self._format.bias)))
        shift = self._format.fraction + 2
        normal = b.select(denormal, b.fmul(x, self.splat(math.ldexp(1.0, shift))), x)
        bias = b.select(denormal, self.splat(self._format.bias + shift), self.splat(self._format.bias))
        return self._log_specials(b, x, self._log(b, normal, bias, self.splat(0.0)))

    def log1p(self, b: ir.IRBuilder, x: Any) -> Any:
        """log(1 + x), precise near 0."""
        total = b.fadd(self.splat(1.0), x)
        lost = b.fsub(x, b.fsub(total, self.splat(1.0)))  # what rounding took from 1 + x
        y = self._log(b, total, self.splat(self._format.bias), self._divide(b, lost, total))
        return self._call(b, "copysign", self._log_specials(b, total, y), x)

    def _log(self, b: ir.IRBuilder, x: Any, bias: Any, correction: Any) -> Any:
        """log(x) + correction of a positive normal x with its exponent's bias, after fdlibm's log and log1p."""
        form = self._format
        one, root = self._pattern(1.0), self._pattern(math.sqrt(0.5))  # x = 2^k (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
        moved = b.add(b.bitcast(x, self._integers), self._integer(one - root))
        reduced = b.add(b.and_(moved, self._integer((1 << form.fraction) - 1)), self._integer(root))
        # The exponent's bits become a float by being the last bits of the significand of 2^fraction.
        last_bits = b.or_(b.lshr(moved, self._integer(form.fraction)), self._integer(self._pattern(2.0**form.fraction)))
        k = b.fsub(b.bitcast(last_bits, self.vec), b.fadd(bias, self.splat(2.0**form.fraction)))
        f = b.fsub(b.bitcast(reduced, self.vec), self.splat(1.0))
        s = self._divide(b, f, b.fadd(f, self.splat(2.0)))
        z = b.fmul(s, s)
        half_square = b.fmul(b.fmul(f, f), self.splat(0.5))
        series = b.fmul(z, self._polynomial(b, z, form.log))
        low = self.fma(b, k, self.splat(form.ln2_low), correction)
        tail = b.fsub(half_square, self.fma(b, s, b.fadd(half_square, series), low))
        return self.fma(b, k, self.splat(form.ln2_high), b.fsub(f, tail))

    def _log_specials(self, b: ir.IRBuilder, x: Any, y: Any) -> Any:
        """The logarithm y of x where x is positive and finite, and what torch gives elsewhere."""
        finite = b.select(b.fcmp_ordered("<", x, self.splat(math.inf)), y, x)
        edge = b.select(b.fcmp_ordered("==", x, self.splat(0.0)), self.splat(-math.inf), self.splat(math.nan))
        return b.select(b.fcmp_ordered("<=", x, self.splat(0.0)), edge, finite)

    # Pieces

    def _reduce(self, b: ir.IRBuilder, x: Any, bias: int, sign: int = 1) -> tuple[Any, Any, Any]:
        """sign x = n ln 2 + sign r with |r| <= ln(2) / 2: (n + bias in the last bits of a float, n, r)."""
        bits, n = self._round(b, x, sign * _LOG2_E, bias)
        r = self.fma(b, n, self.splat(-sign * self._format.ln2_high), x)
        return bits, n, self.fma(b, n, self.splat(-sign * self._format.ln2_low), r)

    def _magic(self, bias: int) -> float:
        """A number so large that adding it leaves the rounded other addend, plus bias, in the last bits."""
        return 1.5 * 2.0**self._format.fraction + bias

    def _round(self, b: ir.IRBuilder, x: Any, factor: float, bias: int) -> tuple[Any, Any]:
        """n = x * factor to the nearest integer: (n + bias in the last bits of a float, n)."""
        magic = self.splat(self._magic(bias))
        bits = self.fma(b, x, self.splat(factor), magic)
        return bits, b.fsub(bits, magic)

    def _power_of_two(self, b: ir.IRBuilder, bits: Any) -> Any:
        """2^n from n + bias in the last bits of a float, for normal results, 0 and infinity."""
        return b.bitcast(b.shl(b.bitcast(bits, self._integers), self._integer(self._format.fraction)), self.vec)

    def _expm1_reduced(self, b: ir.IRBuilder, r: Any) -> Any:
        """e^r - 1 for |r| <= ln(2) / 2."""
        return self.fma(b, b.fmul(r, r), self._polynomial(b, r, self._format.exp), r)

    def _polynomial(self, b: ir.IRBuilder, x: Any, coefficients: Sequence[float]) -> Any:
        """c_0 + c_1 x + c_2 x^2 + ..."""
        result = self.splat(coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self.fma(b, result, x, self.splat(coefficient))
        return result

    def _least(self, b: ir.IRBuilder, bound: Any, x: Any) -> Any:
        """The lesser of the two, x where either is NaN: one instruction on x86."""
        return b.select(b.fcmp_ordered("<", bound, x), bound, x)

    def _greatest(self, b: ir.IRBuilder, bound: Any, x: Any) -> Any:
        """The greater of the two, x where either is NaN."""
        return b.select(b.fcmp_ordered(">", bound, x), bound, x)

    def _clamp(self, b: ir.IRBuilder, x: Any, low: float, high: float) -> Any:
        return self._greatest(b, self.splat(low), self._least(b, self.splat(high), x))

    def _divide(self, b: ir.IRBuilder, x: Any, y: Any) -> Any:
        """x / y where y and 1 / y are normal numbers. The quotient of equals is 1, and of the lesser at most 1."""
        if not self._estimates:
            return b.fdiv(x, y)
        inverse = self._avx512_call(b, "rcp14", y)
        quotient = b.fmul(x, inverse)
        # This way round, so that what remains of a zero by a number does not change the zero's sign.
        excess = self.fma(b, y, quotient, b.fneg(x))
        return self.fma(b, b.fneg(excess), inverse, quotient)

    def _unless_edge(self, b: ir.IRBuilder, error: Any, refined: Any, estimate: Any) -> Any:
        """The refined estimate, but where it or its argument is 0 or infinite, and so the error is not a number."""
        return b.select(b.fcmp_ordered(">", error, self.splat(-1.0)), refined, estimate)

    @property
    def _estimates(self) -> bool:
        """Whether a 14-bit estimate and one Newton step give a whole significand."""
        return self._avx512 and self._format is _FLOAT32

    # LLVM

    def _pattern(self, value: float) -> int:
        """The bits of a value, as an integer."""
        return int.from_bytes(struct.pack("<f" if self._format is _FLOAT32 else "<d", value), "little")

    def _integer(self, value: int) -> Any:
        return ir.Constant(self._integers, [ir.Constant(self._integers.element, value)] * self._lanes)

    def _declare(self, name: str, result: Any, arguments: Sequence[Any]) -> Any:
        known = self._module.globals.get(name)
        return known or ir.Function(self._module, ir.FunctionType(result, arguments), name)

    def _call(self, b: ir.IRBuilder, name: str, *arguments: Any) -> Any:
        name = f"llvm.{name}.v{self._lanes}{self._format.name}"
        return b.call(self._declare(name, self.vec, [self.vec] * len(arguments)), arguments)

    def _avx512_call(self, b: ir.IRBuilder, name: str, *arguments: Any) -> Any:
        """Call an instruction of AVX-512, which takes a vector for the lanes masked away, a mask and a rounding."""
        mask = ir.IntType(max(8, self._lanes))
        values = [*arguments, arguments[0], ir.Constant(mask, (1 << self._lanes) - 1)]
        masked = "mask." if name == "scalef" else ""
        if masked and self._bits == 512:
            values.append(ir.Constant(ir.IntType(32), 4))  # round as the control register says
        packed = "ps" if self._format is _FLOAT32 else "pd"
        name = f"llvm.x86.avx512.{masked}{name}.{packed}.{self._bits}"
        return b.call(self._declare(name, self.vec, [value.type for value in values]), values)

    def _each_lane(self, b: ir.IRBuilder, function: Any, x: Any, *arguments: Any) -> Any:
        result = x
        for lane in range(self._lanes):
            index = ir.Constant(ir.IntType(32), lane)
            result = b.insert_element(result, b.call(function, [b.extract_element(x, index), *arguments]), index)
        return result
