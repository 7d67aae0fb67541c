"""Products with int8 weights in whole numbers: more multiplications per instruction than in float32.

The input x of a product is written once per row and step in two digits of 16 bits, on a scale of its own::

    t = max_i |x_i| / 32767,    r_i = round(x_i / t),    r'_i = round(65534 (x_i / t - r_i))

    s_o Σ_i q_oi x_i  =  s_o t (Σ_i q_oi r_i + Σ_i q_oi r'_i / 65534)

The sums are exact, as they fit into 32 bits, and an input is off by 2^-32 of the largest at most: this is float32 up
to rounding. Processors multiply 16-bit numbers and add them in pairs (pmaddwd; with VNNI, a sum of sums in the same
instruction). A row with a number that is infinite or none gives none.

Source: products by digits Ootomo, Ozaki & Yokota 2024 (arXiv:2306.11975).
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir

from recurra.engine.graphs.graph import Node
from recurra.engine.llvm.direct import AT_ONCE, FEW, MANY, DirectEmitter, runs
from recurra.engine.llvm.frame import i, i1, i8, i16, i32, i64, pointer
from recurra.engine.llvm.schedule import Group, Home, ProductSet
from recurra.engine.llvm.target import Target

__all__ = ["RoundedEmitter", "rounds"]

LARGEST = 32767
FINER = 65534
DIGITS = "digits"
SMALLEST_MAXIMUM = 1e-30
"""Inputs that are all smaller are as good as zero; a scale for them would overflow its inverse."""

INTRINSICS = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd"}
"""Products of pairs of 16-bit numbers, added, by lanes of 32 bits."""


def rounds(target: Target) -> bool:
    """Can a target multiply so?"""
    features = llvm.get_host_cpu_features()
    return target.name == "avx2" or (target.name == "avx512" and bool(features.get("avx512bw")))


class RoundedEmitter(DirectEmitter):
    """A `DirectEmitter` that computes the dense products with int8 weights in whole numbers."""

    def _lay_out(self) -> None:
        super()._lay_out()
        self.widths = {id(group): self._width_of_digits(group) for group, _ in self.sets}
        self.most_runs = max((len(list(self._rounded(group))) for group, _ in self.sets), default=0)

    def _load_pointers(self) -> None:
        super()._load_pointers()
        b, width = self.b, max(self.widths.values(), default=0)
        self.digits = b.alloca(i16, size=b.mul(self.B, i(max(1, width))))
        self.digits.align = 64
        self.maxima = b.alloca(self.real, size=b.mul(self.B, i(max(1, self.most_runs))))

    def _is_rounded(self, product: Node, length: int) -> bool:
        weight, _, _, _, blocks = product.attributes
        # 2 · 127 · 32767 is added to a lane at every turn
        return self.stored[weight] == "int8" and blocks == 1 and length // (2 * self.lanes) < 250

    def _rounded(self, group: Group) -> Any:
        """Yield (products, number of the run, home, length, where its digits begin) of what is rounded for a group."""
        start = 0
        for products in group.sets:
            for n, (home, _, length) in enumerate(runs(self.schedule.homes, products.products[0])):
                if any(self._is_rounded(product, length) for product in products.products):
                    yield products, n, home, length, start
                    start += self._padded(length)

    def _padded(self, length: int) -> int:
        return -(-length // (2 * self.lanes)) * 2 * self.lanes

    def _width_of_digits(self, group: Group) -> int:
        return 2 * sum(self._padded(length) for _, _, _, length, _ in self._rounded(group))

    def _group(self, group: Group) -> None:
        if any(True for _ in self._rounded(group)):
            with self.loop(self.row0, self.row1) as row:
                for number, (_, _, home, length, start) in enumerate(self._rounded(group)):
                    self._round(group, row, home, length, self._digit(group, row, start), self._maximum(row, number))
        super()._group(group)

    def _digit(self, group: Group, row: Any, start: int) -> Any:
        place = self.b.add(self.b.mul(row, i(self.widths[id(group)])), i(start))
        return self.b.gep(self.digits, [place], source_etype=i16)

    def _maximum(self, row: Any, number: int) -> Any:
        place = self.b.add(self.b.mul(row, i(self.most_runs)), i(number))
        return self.b.gep(self.maxima, [place], source_etype=self.real)

    def _round(self, group: Group, row: Any, home: Home, length: int, digits: Any, maximum: Any) -> None:
        """Write r, r' and t of a row of the input."""
        base, width = self._base(home)
        x = self.b.gep(base, [self.b.add(self.b.mul(row, i(width)), i(home.column))], source_etype=self.real)
        finer = self.b.gep(digits, [i(self.widths[id(group)] // 2)], source_etype=i16)
        self.b.call(self._rounding(), [x, i(length), i(self._padded(length)), digits, finer, maximum])

    def _rounding(self) -> Any:
        """Return ``round(x, length, padded, digits, finer, scale)``; digits beyond the length are zeros."""
        if "round" in self.module.globals:
            return self.module.globals["round"]
        function = ir.Function(
            self.module, ir.FunctionType(ir.VoidType(), [pointer, i64, i64, pointer, pointer, pointer]), "round"
        )
        function.linkage = "internal"
        function.attributes.add("noinline")
        x, length, padded, digits, finer, scale = function.args
        outer, self.b = self.b, ir.IRBuilder(function.append_basic_block("entry"))
        b, vectors = self.b, self.b.udiv(padded, i(self.lanes))
        highest, strange = b.alloca(self.vec), b.alloca(self.vec)
        zero = self.maths.splat(0.0)
        for place in (highest, strange):
            place.align = 64
            b.store(zero, place, align=64)
        with self.loop(i(0), vectors) as n:
            value = self._some(x, n, length)
            size, before = self._absolute(value), b.load(highest, align=64, typ=self.vec)
            b.store(b.select(b.fcmp_ordered(">", size, before), size, before), highest, align=64)
            # zero times a number is zero, or the number was none or infinite
            b.store(b.fadd(b.load(strange, align=64, typ=self.vec), b.fmul(value, zero)), strange, align=64)
        most = b.call(self._reduction("fmax", self.vec, self.real), [b.load(highest, align=64, typ=self.vec)])
        least = ir.Constant(self.real, SMALLEST_MAXIMUM)
        most = b.select(b.fcmp_ordered(">", most, least), most, least)
        seen = b.load(strange, align=64, typ=self.vec)
        is_strange = b.call(
            self._reduction("or", ir.VectorType(i1, self.lanes), i1), [b.fcmp_unordered("uno", seen, seen)]
        )
        none = ir.Constant(self.real, float("nan"))
        b.store(b.select(is_strange, none, b.fdiv(most, ir.Constant(self.real, float(LARGEST)))), scale)
        factor = self._spread(b.fdiv(ir.Constant(self.real, float(LARGEST)), most), self.real)
        with self.loop(i(0), vectors) as n:
            value = b.fmul(self._some(x, n, length), factor)
            whole = self._whole(value)
            rest = self._whole(b.fmul(b.fsub(value, whole), self.maths.splat(float(FINER))))
            for numbers, place in ((whole, digits), (rest, finer)):
                narrow = b.trunc(b.fptosi(numbers, ir.VectorType(i32, self.lanes)), ir.VectorType(i16, self.lanes))
                b.store(narrow, b.gep(place, [b.mul(n, i(self.lanes))], source_etype=i16), align=2)
        b.ret_void()
        self.b = outer
        return function

    def _whole(self, value: Any) -> Any:
        """Round to a whole number of 16 bits; what is no number becomes some."""
        b = self.b
        value = b.call(self._nearest(), [value])
        for sign, relation in ((1.0, "<"), (-1.0, ">")):
            limit = self.maths.splat(sign * LARGEST)
            value = b.select(b.fcmp_ordered(relation, value, limit), value, limit)
        return value

    def _some(self, x: Any, n: Any, length: Any) -> Any:
        """Load vector n of the input, with zeros beyond its end."""
        b = self.b
        first = b.mul(n, i(self.lanes))
        left = b.trunc(b.sub(length, first), i32)
        lanes = ir.Constant(ir.VectorType(i32, self.lanes), list(range(self.lanes)))
        return self._load(b.gep(x, [first], source_etype=self.real), b.icmp_signed("<", lanes, self._spread(left, i32)))

    def _absolute(self, value: Any) -> Any:
        return self.b.call(self._declare(f"llvm.fabs.v{self.lanes}f32", self.vec, [self.vec]), [value])

    def _nearest(self) -> Any:
        return self._declare(f"llvm.rint.v{self.lanes}f32", self.vec, [self.vec])

    def _reduction(self, name: str, kind: Any, element: Any) -> Any:
        suffix = "f32" if element is self.real else "i1"
        return self._declare(f"llvm.vector.reduce.{name}.v{self.lanes}{suffix}", element, [kind])

    def _declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        if name not in self.module.globals:
            ir.Function(self.module, ir.FunctionType(result, arguments), name)
        return self.module.globals[name]

    def _sum_up(self, group: Group, products: ProductSet, bundle: Any, start: Any, rows: int, offset: int) -> None:
        b = self.b
        found = {(id(each), n): (number, begin) for number, (each, n, _, _, begin) in enumerate(self._rounded(group))}
        for gate, product in enumerate(products.products):
            lengths = [length for _, _, length in runs(self.schedule.homes, product)]
            if not all(self._is_rounded(product, length) for length in lengths):
                self._sum_up_one(group, product, bundle, start, rows, offset + gate)
                continue
            matrix, stride, last = self._matrix(group, product, bundle)
            at = b.gep(self.scratch, [i(offset + gate)], source_etype=self.vec)
            scale = self._scale(group, product, bundle)
            for n, (_, first_row, length) in enumerate(runs(self.schedule.homes, product)):
                number, begin = found[id(products), n]
                weights = b.gep(matrix, [i(first_row)], source_etype=i8)
                given = [weights, stride, last, self._digit(group, start, begin), i(self.widths[id(group)]), i(length)]
                given += [i1(n > 0), at, i(self._width(group)), scale, self._maximum(start, number)]
                b.call(self._dots_of_digits(rows), given)

    def _dots_of_digits(self, rows: int) -> Any:
        """As `_dots`, of (matrix, stride, last, digits, width, length, adds, sums, sums_width, scales, maxima)."""
        name = f"digits{rows}"
        if name in self.module.globals:
            return self.module.globals[name]
        kinds = [pointer, i64, i64, pointer, i64, i64, i1, pointer, i64, self.vec, pointer]
        function = ir.Function(self.module, ir.FunctionType(ir.VoidType(), kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        matrix, stride, last, digits, width, length, adds, sums, sums_width, scales, maxima = function.args
        outer, self.b = self.b, ir.IRBuilder(function.append_basic_block("entry"))
        b = self.b
        at_once = (MANY if self.target.tiles[0] > 10 else FEW) // (2 << (rows - 1).bit_length())
        count = min(self.lanes, AT_ONCE, at_once)
        starts = [b.add(b.mul(width, i(r)), finer) for finer in (i(0), b.lshr(width, i(1))) for r in range(rows)]
        places = [b.gep(digits, [start], source_etype=i16) for start in starts]
        parts: list[list[Any]] = [[] for _ in range(rows)]
        self.ahead = b.mul(stride, i(count))
        for first in range(0, self.lanes, count):
            columns = []
            for lane in range(first, first + count):
                channel = b.select(b.icmp_signed("<", i(lane), last), i(lane), last)
                columns.append(b.gep(matrix, [b.mul(channel, stride)], source_etype=i8))
            sums_of_digits = self._sum_lanes(places, columns, length, DIGITS)
            for part, whole, rest in zip(parts, sums_of_digits[:rows], sums_of_digits[rows:], strict=True):
                part.append(self._fold([self._join(*pair) for pair in zip(whole, rest, strict=True)], 1))
        for r, part in enumerate(parts):
            at = b.gep(sums, [b.mul(sums_width, i(r))], source_etype=self.vec)
            before = b.select(adds, b.load(at, align=64, typ=self.vec), self.maths.splat(0.0))
            place = b.gep(maxima, [i(r * self.most_runs)], source_etype=self.real)
            scale = self._spread(b.load(place, typ=self.real), self.real)
            b.store(b.fadd(before, b.fmul(b.fmul(self._fold(part, count), scales), scale)), at, align=64)
        b.ret_void()
        self.b = outer
        return function

    def _join(self, whole: Any, rest: Any) -> Any:
        finer = self.maths.splat(1 / FINER)
        whole, rest = (self.b.sitofp(vector, self.vec) for vector in (whole, rest))
        return self.maths.fma(self.b, rest, finer, whole)

    def _turn(self, kind: str) -> tuple[int, Any]:
        if kind != DIGITS:
            return super()._turn(kind)
        wide = ir.VectorType(i32, self.lanes)
        return 2 * self.lanes, ir.Constant(wide, [0] * self.lanes)

    def _multiply(
        self, places: list[Any], columns: list[Any], k: Any, mask: Any, sums: list[list[Any]], kind: str
    ) -> list[list[Any]]:
        if kind != DIGITS:
            return super()._multiply(places, columns, k, mask, sums, kind)
        b, count = self.b, 2 * self.lanes
        pairs = ir.VectorType(i16, count)
        self._ask_ahead(columns, k, i8, kind)
        rows = [b.load(b.gep(place, [k], source_etype=i16), align=2, typ=pairs) for place in places]
        weights = [
            b.sext(self._load_narrow(b.gep(column, [k], source_etype=i8), mask, i8, count), pairs) for column in columns
        ]
        multiply = self._declare(INTRINSICS[self.lanes], ir.VectorType(i32, self.lanes), [pairs, pairs])
        return [
            [b.add(s, b.call(multiply, [w, x])) for w, s in zip(weights, line, strict=True)]
            for x, line in zip(rows, sums, strict=True)
        ]
