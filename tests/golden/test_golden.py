"""What must not change unnoticed: options, the settings on disk, the losses of a small run.

After a change that is meant, ``python tests/golden/test_golden.py`` writes the expectations anew.
"""

import json
import tempfile
from pathlib import Path

import pytest
import torch

from recurra.cli.main import COMMANDS, commands
from recurra.data import Corpus
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES
from recurra.training import Reporter, Trainer

EXPECTED = Path(__file__).with_name("expected.json")


def options():
    found = {}
    for name in COMMANDS:
        command = commands.get_command(None, name)
        found[name] = sorted(option for p in command.params for option in [*p.opts, *p.secondary_opts])
    return found


def run_of(cell):
    corpus = Corpus.from_text("how much wood would a woodchuck chuck\n" * 40, tokenizer="char", name="wood")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell=cell, hidden=16, layers=2, dropout=0.1)
    settings = {"batch": 4, "backprop": "16", "epochs": 3, "lr": 0.01, "threads": 1, "device": "cpu"}
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(model, corpus, out=Path(folder) / "run", reporter=Reporter(), **settings).fit()
        losses = [row["valid_loss_nats"] for row in run.metrics if "valid_loss_nats" in row]
        return losses, run.directory.config_file.read_text()


CELLS = ("rnn", "gru", "lstm", "mingru", "lstm-layernorm")


def test_no_option_comes_or_goes_unnoticed():
    assert options() == json.loads(EXPECTED.read_text())["options"]


@pytest.mark.parametrize("cell", CELLS)
def test_losses_of_a_small_run(cell):
    losses, _ = run_of(cell)
    table = TOLERANCES[torch.float32]
    # Training amplifies rounding, so the comparison is that of the type's table, widened by the number of steps.
    expected = json.loads(EXPECTED.read_text())["losses"][cell]
    assert losses == pytest.approx(expected, rel=100 * table["rtol"])


def test_settings_on_disk():
    assert run_of("lstm")[1].splitlines() == json.loads(EXPECTED.read_text())["config"]


if __name__ == "__main__":
    runs = {cell: run_of(cell) for cell in CELLS}
    expected = {
        "options": options(),
        "losses": {cell: losses for cell, (losses, _) in runs.items()},
        "config": runs["lstm"][1].splitlines(),
    }
    EXPECTED.write_text(json.dumps(expected, indent=1) + "\n")
