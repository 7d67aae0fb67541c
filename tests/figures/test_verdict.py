"""What a run's curves say, on curves whose story is known."""

import math

import pytest
from made_up_runs import falling, rows, straight, valley

from recurra.figures import verdict


def steps_in(text):
    return [
        int(word.strip(":,").replace(",", "")) for word in text.split() if word.strip(":,").replace(",", "").isdigit()
    ]


def test_a_loss_that_falls_to_the_end_is_still_learning():
    text = verdict(rows(straight, lambda x: straight(x) + 0.1))
    assert text == "still learning: validation loss fell 16 % from 1.900 to 1.600 after step 800 of 1,000"


def test_validation_that_rises_while_training_falls_is_overfitting_since_its_best_step():
    text = verdict(rows(straight, valley))
    assert text == (
        "overfitting since step 400: validation loss rose 96 % from 1.500 to 2.940 while training loss fell to 1.575"
    )


def test_both_rising_is_not_called_overfitting():
    text = verdict(rows(valley, valley))
    assert text.startswith("getting worse since step 400: validation loss rose 96 %")
    assert "training loss did not fall" in text


def test_validation_alone_can_get_worse():
    assert verdict(rows(None, valley)).startswith("getting worse since step 400")


def test_a_flat_end_is_settled_since_it_came_near_its_best():
    text = verdict(rows(falling, falling))
    assert text.startswith("settled since step ")
    (step,) = steps_in(text.split(":")[0])
    near = [row["step"] for row in rows(falling, falling) if row.get("valid_loss_nats", 9) <= falling(1) * 1.01]
    assert step == near[0]


def test_one_bad_validation_after_the_best_is_no_overfitting():
    run = rows(straight, lambda x: 1.8 if x == 1 else straight(x))
    assert verdict(run).startswith("still learning")


@pytest.mark.parametrize("share", [0.001, 0.009])
def test_a_rise_below_one_percent_is_none(share):
    assert verdict(rows(straight, lambda x: 1.5 if x < 0.5 else 1.5 * (1 + share))).startswith("settled")


def test_training_loss_is_judged_where_validations_are_too_few():
    assert verdict(rows(straight)).startswith("still learning: training loss fell")
    assert (
        verdict(rows(lambda x: 1.5, lambda x: 2.0, every=50))
        == "settled since step 10: training loss stays about 1.500"
    )


@pytest.mark.parametrize("run", [[], rows(straight, steps=1), rows(straight, straight, steps=7, every=4)])
def test_a_short_run_is_too_short_to_tell(run):
    assert verdict(run) == "too short to tell"


def test_three_validations_are_enough():
    assert verdict(rows(None, straight, steps=3, every=1)).startswith("still learning: validation loss")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_all_there_is_to_say(value):
    broken = {"step": 1010, "epoch": 10, "loss_nats": value}
    assert verdict([*rows(straight, straight), broken]) == "diverged: training loss is not a number at step 1,010"


def test_a_perfect_model_does_not_divide_by_zero():
    assert verdict(rows(lambda x: 0.0, lambda x: 0.0)) == "settled since step 100: validation loss stays about 0.000"
    worse = verdict(rows(straight, lambda x: 0.0 if x < 0.5 else 1.0))
    assert worse.startswith("overfitting since step 100: validation loss rose from 0.000 to 1.000")


def test_a_loss_below_zero_falls_by_no_share():
    rows = [{"step": step, "valid_loss_nats": 1.0 - step} for step in range(1, 11)]
    assert verdict(rows) == "still learning: validation loss fell from -7.000 to -9.000 after step 8 of 10"


WRONG = {"what": "loss is nan", "step": 430, "loss_nats": None, "grad_norm": None, "retry": 1, "lr_factor": 0.5}


def test_a_run_that_went_wrong_and_back_says_so():
    made = rows(falling, falling)
    calm = verdict(made)
    back = {"step": 300, "epoch": 3, "setback": {**WRONG, "back_to": 300}}
    assert verdict([*made[:30], back, *made[30:]]) == f"{calm}; went back once, learning rate x 0.5"
    assert verdict([*made[:30], back, back, *made[30:]]) == f"{calm}; went back 2 times, learning rate x 0.5"
    stopped = {"step": 430, "epoch": 4, "setback": {**WRONG, "back_to": None}}
    assert verdict([*made[:30], back, stopped]) == "diverged at step 430: loss is nan"
