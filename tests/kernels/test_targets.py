"""The code for each kind of processor, at sizes that fill its vectors and at sizes that do not."""

import pytest
from kernel_cases import FLOAT32, FLOAT64, assert_like_reference, inputs_for, make, masks_for, state_for
from llvmlite import binding

from recurra.engine.llvm import commands, compiler
from recurra.engine.llvm.target import TARGETS

NEEDED = {"avx512": {"avx512f", "avx512dq", "avx512vl"}, "avx2": {"avx2", "fma"}, "sse": {"sse2"}, "neon": set()}
CASES = [
    ("lstm", 16, FLOAT32, ()),
    ("lstm", 17, FLOAT64, ("lengths", "reset")),
    ("gru", 33, FLOAT32, ("lengths",)),
    ("gru", 3, FLOAT64, ()),
    ("slstm-4-heads", 5, FLOAT32, ("reset",)),
    ("gru-layernorm", 7, FLOAT64, ()),
    ("rglru", 9, FLOAT32, ()),
    ("jordan", 4, FLOAT32, ("lengths",)),
]


def test_every_target_is_known_here():
    assert NEEDED.keys() == TARGETS.keys()


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch, new_plans):
    name = request.param
    features = binding.get_host_cpu_features()
    lacking = sorted(feature for feature in NEEDED[name] if not features.get(feature, False))
    if lacking:
        pytest.skip(f"this processor lacks {', '.join(lacking)}")
    for module in (compiler, commands):
        monkeypatch.setattr(module, "host_target", lambda: TARGETS[name])
    return TARGETS[name]


@pytest.mark.parametrize("number", range(len(CASES) // 2))
def test_code_for_a_processor(target, number):
    # every case on two targets, and half of them on each
    case = CASES[2 * number + [*TARGETS.values()].index(target) % 2]
    name, hidden, dtype, masks = case
    cell = make(name, 3, hidden, dtype)
    for rows in (3, 40):
        options = masks_for(4, rows, *masks)
        assert_like_reference(cell, inputs_for(cell, 4, rows), state_for(cell, rows), **options)


@pytest.mark.slow
@pytest.mark.parametrize("hidden", range(1, 36))
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64], ids=["float32", "float64"])
def test_every_remainder(target, hidden, dtype):
    for name in ("lstm", "gru-layernorm"):
        cell = make(name, 2, hidden, dtype)
        assert_like_reference(cell, inputs_for(cell, 3, 3), state_for(cell, 3))
