"""Every command, used as a person would."""

import json
import math
import re
import shutil

import pytest

from recurra.cells import CELLS
from recurra.cli.main import COMMANDS
from recurra.cli.settings import SETTINGS


def test_help_names_every_command(cli):
    result = cli("--help")
    assert result.status == 0
    assert all(name in result.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_and_debug(cli, command):
    result = cli(command, "--help")
    assert result.status == 0
    assert "Example" in result.out
    assert f"recurra {command}" in result.out
    assert "--debug" in result.out


def test_train_prints_json_and_writes_the_run(cli, text, tmp_path, quick):
    result = cli("train", text, "--out", tmp_path / "run", *quick, "--json")
    assert result.status == 0
    value = json.loads(result.out)
    assert value["perplexity"] == pytest.approx(math.exp(value["loss_nats"]))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.toml", "model.safetensors", "tokenizer.json", "metrics.jsonl", "timing.jsonl", "report", "training",
        "tokens", "manifest.json", "spare",
    }  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert set(rows[-1]) == {
        "step", "epoch", "loss_nats", "valid_loss_nats", "valid_perplexity", "valid_accuracy", "grad_norm", "lr",
    }  # fmt: skip


# What differs for training is the size of the output, parameters without U or beside it, and further leaves.
USUAL = ("gru", "jordan", "minlstm", "rglru", "slstm")


@pytest.mark.parametrize(
    "cell", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in CELLS]
)
def test_every_cell_of_the_box_trains_by_its_name(cli, text, tmp_path, quick, cell):
    options = ["--cell", cell, "--layers", "2", "--embedding", "7", "--lr", "0.0003", *quick]
    result = cli("train", text, *options, "--out", tmp_path / "run", "--json")
    assert result.status == 0
    assert math.isfinite(json.loads(result.out)["perplexity"])
    assert cli("generate", tmp_path / "run", "--tokens", "5").status == 0


def test_help_of_train_names_every_cell_of_the_box():
    (text,) = (text for name, _, text in SETTINGS if name == "cell")
    *names, own = text.replace(";", ",").removesuffix(".").split(", ")
    assert sorted(names) == sorted(CELLS)
    assert own == "or MODULE:CLASS"


def test_train_picks_a_free_name(cli, text, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert cli("train", text, *quick, "--steps", "2").status == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["cats-lstm", "cats-lstm-2"]


def test_train_never_overwrites(cli, text, run, quick):
    before = (run / "metrics.jsonl").read_bytes()
    result = cli("train", text, "--out", run, *quick)
    assert result.status == 2
    assert "exists already" in result.line
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_run_can_be_repeated_from_its_config(cli, run, tmp_path):
    assert cli("train", "--config", run / "config.toml", "--out", tmp_path / "again").status == 0
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()


def test_a_validation_file_is_used(cli, text, tmp_path, quick):
    other = tmp_path / "other.txt"
    other.write_text("the dog saw the cat on the mat.\n" * 20)
    result = cli("train", text, "--valid", other, "--out", tmp_path / "run", *quick, "--json")
    mine = json.loads(cli("evaluate", tmp_path / "run", other, "--json").out)
    assert json.loads(result.out)["loss_nats"] == pytest.approx(mine["loss_nats"])


def test_evaluate_agrees_with_itself(cli, run, text):
    whole = json.loads(cli("evaluate", run, text, "--json").out)
    assert set(whole) == {
        "tokens", "loss_nats", "perplexity", "bits_per_token", "bits_per_char", "accuracy", "seconds",
    }  # fmt: skip
    assert whole["tokens"] == len(text.read_text()) - 1
    rows = json.loads(cli("evaluate", run, text, "--json", "--batch", "4", "--warmup", "300").out)
    assert rows["tokens"] == whole["tokens"]
    assert rows["loss_nats"] == pytest.approx(whole["loss_nats"], abs=2e-3)
    reset = json.loads(cli("evaluate", run, text, "--json", "--reset-every", "5").out)
    assert reset["tokens"] == whole["tokens"]
    assert reset["loss_nats"] > whole["loss_nats"]


def test_evaluate_parts_are_those_of_the_training(cli, run, text):
    own = json.loads(cli("evaluate", run, "--json").out)
    named = json.loads(cli("evaluate", run, text, "--part", "valid", "--json").out)
    assert own["loss_nats"] == named["loss_nats"]
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["valid_loss_nats"] == pytest.approx(own["loss_nats"], rel=1e-4)


def test_generate_is_seeded_and_stops(cli, run):
    first = cli("generate", run, "--prompt", "the ", "--tokens", "40", "--seed", "5")
    assert first.status == 0
    assert cli("generate", run, "--prompt", "the ", "--tokens", "40", "--seed", "5").out == first.out
    assert cli("generate", run, "--prompt", "the ", "--tokens", "40", "--seed", "6").out != first.out
    letter = first.out.strip()[3]
    stopped = cli(
        "generate", run, "--prompt", "the ", "--tokens", "40", "--seed", "5", "--stop", letter, "--stop", "%%"
    )
    assert letter not in stopped.out
    assert first.out.startswith(stopped.out.rstrip("\n"))


def test_generate_many_samples_as_json(cli, run):
    value = json.loads(cli("generate", run, "--samples", "3", "--tokens", "10", "--json").out)
    assert len(value["samples"]) == 3
    assert len(set(value["samples"])) > 1
    greedy = json.loads(cli("generate", run, "--samples", "2", "--tokens", "10", "--greedy", "--json").out)
    assert len(set(greedy["samples"])) == 1


def test_generate_what_is_wished(cli, run, tmp_path):
    made = json.loads(cli("generate", run, "--regex", "(the|a)( [cdo][a-z]+)+", "--samples", "9", "--json").out)
    assert all(re.fullmatch("(the|a)( [cdo][a-z]+)+", text) for text in made["samples"])
    forced = cli("generate", run, "--force", "the cat", "--ban", "o", "--ban", "e d", "--tokens", "60").out
    assert forced.startswith("the cat")
    assert "o" not in forced
    assert "e d" not in forced
    for options in (["--min-p", "0.9"], ["--typical", "0.1"], ["--repetition-penalty", "9"]):
        assert cli("generate", run, *options, "--tokens", "30").out != cli("generate", run, "--tokens", "30").out


def test_generate_json(cli, quick, tmp_path):
    (tmp_path / "rows.txt").write_text('{"a": 12, "b": true}\n' * 100)
    assert cli("train", tmp_path / "rows.txt", "--out", tmp_path / "run", *quick).status == 0
    (tmp_path / "schema.json").write_text(
        '{"type": "object", "properties": {"b": {"type": "boolean"}, "a": {"type": "integer"}}, "required": ["b"]}'
    )
    made = cli("generate", tmp_path / "run", "--json-schema", tmp_path / "schema.json", "--samples", "20", "--json")
    for text in json.loads(made.out)["samples"]:
        value = json.loads(text)
        assert value["b"] is True
        assert type(value.get("a", 0)) is int


def test_generate_reads_a_prompt_file(cli, run, tmp_path):
    (tmp_path / "prompt.txt").write_text("the cat")
    by_file = cli("generate", run, "--prompt-file", tmp_path / "prompt.txt", "--tokens", "9")
    assert by_file.out == cli("generate", run, "--prompt", "the cat", "--tokens", "9").out


def test_unknown_characters_of_a_prompt_are_named(cli, text, tmp_path, quick):
    other = tmp_path / "other.txt"
    other.write_text("the dög saw the cat.\n" * 20)
    assert cli("train", text, "--valid", other, "--out", tmp_path / "run", *quick).status == 0
    result = cli("generate", tmp_path / "run", "--prompt", "the §", "--tokens", "5")
    assert result.status == 0
    assert "'§'" in result.err
    refused = cli("evaluate", tmp_path / "run", text, "--part", "valid")
    assert refused.status == 2
    assert "--part" in refused.line


def test_a_folder_is_scored_document_by_document(cli, text, tmp_path, quick):
    folder = tmp_path / "letters"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.txt").write_text(text.read_text()[:900])
    assert cli("train", folder, "--out", tmp_path / "run", *quick).status == 0
    loss = json.loads(cli("evaluate", tmp_path / "run", folder, "--json").out)["bits_per_token"]
    rows = [
        json.loads(line) for line in cli("score", tmp_path / "run", folder, "--per", "token", "--json").out.splitlines()
    ]
    bits = [row["bits"] for row in rows if row["bits"] is not None]
    assert sum(bits) / len(bits) == pytest.approx(loss, rel=1e-5)


def test_score_adds_up_to_the_loss(cli, run, text):
    loss = json.loads(cli("evaluate", run, text, "--json").out)["bits_per_token"]
    tokens = [json.loads(line) for line in cli("score", run, text, "--per", "token", "--json").out.splitlines()]
    bits = [row["bits"] for row in tokens if row["bits"] is not None]
    assert sum(bits) / len(bits) == pytest.approx(loss, rel=1e-4)
    lines = [json.loads(line) for line in cli("score", run, text, "--json").out.splitlines()]
    assert [row["text"] for row in lines] == text.read_text().splitlines()
    assert sum(row["bits"] * row["tokens"] for row in lines) == pytest.approx(sum(bits), rel=1e-4)


def test_score_finds_the_odd_line(cli, run, tmp_path):
    odd = tmp_path / "odd.txt"
    odd.write_text("the cat sat on the mat\n" * 5 + "gggwww;;ddd\n" + "the dog sat on the log\n" * 5)
    top = json.loads(cli("score", run, odd, "--top", "1", "--json").out)
    assert top["line"] == 6


def test_score_shows_alternatives(cli, run, text):
    row = json.loads(cli("score", run, text, "--alternatives", "3", "--json").out.splitlines()[9])
    probabilities = [other["probability"] for other in row["alternatives"]]
    assert len(probabilities) == 3
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) <= 1


def test_info_describes_the_run(cli, run):
    value = json.loads(cli("info", run, "--json").out)
    assert value["cell"] == "lstm"
    assert value["steps"] == 12
    assert value["state_bytes"] == 2 * 12 * 4
    text = cli("info", run).out
    assert "perplexity" in text


def test_attention_from_training_to_every_reader(cli, text, tmp_path, quick):
    run = tmp_path / "run"
    assert cli("train", text, "--out", run, *quick, "--attention-window", 5, "--dropout", 0.1).status == 0
    # an LSTM's h and c, five places of h and x, and which of them are filled; four bytes each
    assert json.loads(cli("info", run, "--json").out)["state_bytes"] == 4 * (2 * 12 + 5 * (12 + 12 + 1))
    assert "WindowAttention: library" in cli("explain", run).out
    assert len(cli("generate", run, "--prompt", "the cat", "--tokens", 20, "--samples", 2).out) > 20
    for reader in ("evaluate", "score"):
        assert cli(reader, run, text).status == 0
    stream, row = (
        json.loads(cli("evaluate", run, text, "--json", *more).out)["loss_nats"]
        for more in ((), ("--batch", 4, "--warmup", 200))
    )
    assert stream == pytest.approx(row, rel=1e-2)


def test_a_window_of_attention_that_cannot_be(cli, text, tmp_path, quick):
    result = cli("train", text, "--out", tmp_path / "run", *quick, "--attention-window", "-1")
    assert (result.status, "'attention_window' must be at least 0, not -1" in result.line) == (2, True)
    result = cli("train", "--task", "classify", text, "--out", tmp_path / "run", "--attention-window", "4")
    assert (result.status, "attention_window" in result.line or "attention-window" in result.line) == (2, True)
    assert not (tmp_path / "run").exists()


def test_explain_a_cell_and_a_run(cli, run):
    assert json.loads(cli("explain", "lstm", "--json").out)["path"] == "llvm"
    assert "product 64 -> 192" in cli("explain", "gru").out
    assert "LSTM" in cli("explain", run).out


def test_a_cell_of_the_users_own(cli, text, tmp_path, monkeypatch, quick):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "my_cells.py").write_text(
        "import torch\n"
        "class Leaky(torch.nn.Module):\n"
        "    def __init__(self, input_size, hidden_size):\n"
        "        super().__init__()\n"
        "        self.mix = torch.nn.Linear(input_size + hidden_size, hidden_size)\n"
        "        self.hidden_size = hidden_size\n"
        "    def step(self, x, state):\n"
        "        (h,) = state\n"
        "        h = 0.5 * h + 0.5 * torch.tanh(self.mix(torch.cat([x, h], -1)))\n"
        "        return h, (h,)\n"
        "    def zero_state(self, batch):\n"
        "        return (self.mix.weight.new_zeros(batch, self.hidden_size),)\n"
    )
    assert cli("train", text, "--cell", "my_cells:Leaky", "--out", "run", *quick).status == 0
    refused = cli("generate", "run", "--tokens", "5")
    assert refused.status == 2
    assert "--trust" in refused.line
    assert cli("generate", "run", "--tokens", "5", "--cell", "my_cells:Leaky").status == 0
    assert cli("generate", "run", "--tokens", "5", "--trust").status == 0


def test_stdin_is_a_corpus(cli, tmp_path, monkeypatch, text, quick):
    import io
    import sys

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.read_bytes())))
    assert cli("train", "-", "--out", tmp_path / "run", *quick).status == 0


def test_a_moved_run_still_works(cli, run, tmp_path):
    shutil.copytree(run, tmp_path / "elsewhere")
    assert cli("evaluate", tmp_path / "elsewhere", "--json").status == 0
