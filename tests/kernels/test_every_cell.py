"""Every cell's compiled loop is the reference's equal: outputs, final state and all gradients, with ends and resets."""

import itertools

import pytest
from kernel_cases import (
    BOX,
    DTYPE_NAMES,
    DTYPES,
    FLOAT32,
    FLOAT64,
    assert_like_reference,
    inputs_for,
    make,
    masks_for,
    state_for,
)

from recurra.cells import CELLS

STEPS, ROWS = 6, 5
MODES = {
    "plain": {},
    "lengths": {"masks": ("lengths",)},
    "reset": {"masks": ("reset",)},
    "lengths-reset": {"masks": ("lengths", "reset")},
    "reverse": {"reverse": True},
    "reverse-all": {"masks": ("lengths", "reset"), "reverse": True},
}


def check(name, dtype, mode, **options):
    cell = make(name, dtype=dtype)
    masks = masks_for(STEPS, ROWS, *MODES[mode].get("masks", ()))
    options |= masks | {"reverse": MODES[mode].get("reverse", False)}
    assert_like_reference(cell, inputs_for(cell, STEPS, ROWS), state_for(cell, ROWS), **options)


def few():
    """Every cell, every mode with some: each cell, type and mask is a program to compile."""
    for number, name in enumerate(BOX):
        yield name, FLOAT64, "reverse-all"
        if name in CELLS and number % 2:
            yield name, FLOAT32, ("plain", "reverse", "lengths", "reset")[number // 2 % 4]
        elif name in CELLS:
            yield name, FLOAT64, "plain"
    yield from (("lstm", FLOAT64, mode) for mode in MODES)


def name_of(value):
    return value if isinstance(value, str) else str(value).removeprefix("torch.")


@pytest.mark.parametrize(("name", "dtype", "mode"), sorted(set(few()), key=str), ids=name_of)
def test_compiled_loop_is_the_reference(name, dtype, mode):
    check(name, dtype, mode)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype", "mode"), [*itertools.product(BOX, DTYPES, MODES)], ids=name_of)
def test_compiled_loop_is_the_reference_in_all_ways(name, dtype, mode):
    check(name, dtype, mode)


@pytest.mark.parametrize("mode", ["plain", "reverse-all"])
@pytest.mark.parametrize("through", ["outputs", "final"])
@pytest.mark.parametrize("name", ["lstm", "gru", "jordan", "slstm", "sru", "rglru-square", "gru-layernorm"])
def test_gradients_arrive_through_outputs_and_through_the_final_state_alone(name, through, mode):
    check(name, FLOAT64, mode, through=(through,))


@pytest.mark.parametrize("dtype", DTYPES, ids=DTYPE_NAMES)
@pytest.mark.parametrize("name", ["slstm", "lstm", "rglru"])
def test_a_fresh_state_is_given_when_none_is(name, dtype):
    cell = make(name, dtype=dtype)
    inputs = inputs_for(cell)
    assert_like_reference(cell, inputs, cell.zero_state(3))


class Started(BOX["gru"]):
    """A GRU whose fresh state is learnt."""

    def __init__(self, *sizes, **options):
        super().__init__(*sizes, **options)
        self.start = BOX["rnn"](1, self.hidden_size, **options).bias_ih_l0

    def zero_state(self, batch):
        return type(super().zero_state(batch))(self.start.tanh().expand(batch, -1))


@pytest.mark.parametrize("mode", ["reset", "lengths-reset", "reverse-all"])
def test_a_learnt_fresh_state_gets_its_gradient(mode):
    cell = Started(3, 5, dtype=FLOAT64)
    masks = masks_for(STEPS, ROWS, *MODES[mode]["masks"])
    found = assert_like_reference(cell, inputs_for(cell, STEPS, ROWS), state_for(cell, ROWS), **masks)
    assert found["gradient of start"].abs().min() > 0
