import math

import pytest

from recurra.training import printable
from recurra.training.progress import BarReporter, LineReporter
from recurra.training.task import Scale


@pytest.mark.parametrize("make", [BarReporter, LineReporter])
def test_a_reporter_shows_how_training_stands(make, tmp_path, capfd):
    with make() as reporter:
        reporter.begin(100, 10, tmp_path, Scale("tokens", 64, lambda nats: f"{nats / math.log(2):.3f} bits/char"))
        reporter.step(11, 1.5, 0.3)
        reporter.validating(1, 2)
        row = {"step": 11, "epoch": 1, "loss_nats": 1.5, "valid_loss_nats": 1.0, "valid_accuracy": 0.5}
        reporter.epoch(row, "a sample\x1b[2J with [markup] in it")
        assert "bits/char" in reporter.describe(11, 1.5, 0.3)
        assert reporter.timing(11)["step"] == 11
    shown = capfd.readouterr().err
    assert "resumed at step 10" in shown
    assert "validation 1.0000  1.443 bits/char" in shown
    assert "[markup]" in shown
    assert "a sample\ufffd[2J" in shown


def test_control_characters_are_not_for_terminals():
    assert printable("a\x1b[31mb\x00\nc\td é 中") == "a\ufffd[31mb\ufffd\nc\td é 中"
