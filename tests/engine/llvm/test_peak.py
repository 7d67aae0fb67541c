"""The peak's loop does the multiply-adds that it is said to do."""

import ctypes

import pytest

from recurra.engine.llvm import peak

UNITS = [peak.host_vector_unit(), peak.VectorUnit("four lanes", 4, 16)]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_every_chain_does_every_multiply_add(unit, count):
    function, _engine = peak._compile(unit)
    result = (ctypes.c_float * unit.lanes)()
    function(result, 0.5, 1.0, count)
    expected = 0.0
    for chain in range(unit.chains):
        s = float(chain)
        for _ in range(count):
            s = 0.5 * s + 1.0
        expected += s
    assert list(result) == pytest.approx([expected] * unit.lanes)


def test_the_loop_is_not_computed_beforehand():
    text = str(peak._module(UNITS[0]))
    assert text.count("call <") == UNITS[0].chains
    assert "fmuladd" in text


def test_chains_leave_registers_for_the_factors():
    assert all(0 < unit.chains <= unit.registers - 2 for unit in UNITS)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_peak_is_measured(monkeypatch, threads):
    monkeypatch.setattr(peak, "BEST_OF", 1)
    monkeypatch.setattr(peak, "SECONDS", 1e-4)
    assert peak.measure_peak(threads) > 0
