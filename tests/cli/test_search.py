"""Searching with a beam, as a person would, and what goes wrong."""

import csv
import io
import json

import pytest


def test_generate_prints_the_best_text(cli, run):
    options = ["--prompt", "the ", "--tokens", "12", "--beam", "4", "--stop", "\n"]
    best = cli("generate", run, *options)
    assert best.status == 0, best.err
    several = cli("generate", run, *options, "--best", "3")
    lines = several.out.splitlines()
    assert [line.split("  ")[0] for line in lines if line.startswith("---")] == ["--- 1", "--- 2", "--- 3"]
    assert lines[1] == best.out.rstrip("\n")
    value = json.loads(cli("generate", run, *options, "--best", "3", "--json").out)
    assert value["prompt"] == "the "
    assert [found["text"] for found in value["found"]] == [line for line in lines if not line.startswith("---")]
    assert [f"{found['log_p']:.4f}" for found in value["found"]] == [line.split()[-1] for line in lines[::2]]
    assert (
        cli("generate", run, "--prompt", "the ", "--tokens", "12", "--beam", "1").out
        == cli("generate", run, "--prompt", "the ", "--tokens", "12", "--greedy").out
    )


@pytest.mark.parametrize(
    "changed",
    [
        ["--beam", "2", "--best", "2"],
        ["--best", "2"],
        ["--length-penalty", "3"],
        ["--groups", "4", "--diversity", "3"],
        ["--tokens", "1"],
        ["--stop", "t"],
    ],
    ids=" ".join,
)
def test_every_option_of_a_search_does_something(cli, run, changed):
    options = {"--beam": "4", "--best": "4", "--tokens": "6", "--stop": " "}
    plain = cli("generate", run, *(word for pair in options.items() for word in pair))
    options |= dict(zip(changed[::2], changed[1::2], strict=True))
    other = cli("generate", run, *(word for pair in options.items() for word in pair))
    assert plain.status == other.status == 0, other.err
    assert plain.out != other.out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--beam", "500"], "a beam of 500 is wider than the vocabulary of"),
        (["--beam", "0"], "width"),
        (["--beam", "4", "--best", "5"], "no 5 best"),
        (["--beam", "4", "--length-penalty", "-1"], "length_penalty"),
        (["--beam", "4", "--groups", "3", "--diversity", "1"], "no 3 groups"),
        (["--beam", "4", "--groups", "2"], "go together"),
        (["--beam", "4", "--diversity", "1"], "go together"),
        (["--beam", "4", "--temperature", "0.5"], "leave out --temperature"),
        (["--beam", "4", "--top-k", "3"], "leave out --top-k"),
        (["--beam", "4", "--top-p", "0.5"], "leave out --top-p"),
        (["--beam", "4", "--greedy"], "leave out --greedy"),
        (["--beam", "4", "--samples", "1"], "leave out --samples"),
        (["--beam", "4", "--seed", "0"], "leave out --seed"),
        (["--best", "2"], "--best is for a search"),
        (["--length-penalty", "1"], "--length-penalty is for a search"),
        (["--groups", "2"], "--groups is for a search"),
        (["--diversity", "1"], "--diversity is for a search"),
    ],
    ids=" ".join,
)
def test_wrong_ways_to_search(cli, run, options, says):
    result = cli("generate", run, *options)
    assert result.status == 2
    assert says in result.line
    assert result.out == ""


@pytest.fixture(scope="module")
def sums(tmp_path_factory):
    """A table of sums and a run that writes them."""
    from recurra.cli import main

    folder = tmp_path_factory.mktemp("sums")
    table = folder / "sums.tsv"
    table.write_text("".join(f"{n}+{n}\t{2 * n}\n" for n in range(30)))
    quick = ["--hidden", "8", "--embedding", "6", "--batch", "8", "--epochs", "2", "--threads", "1"]
    assert main(["train", "--task", "translate", str(table), "--out", str(folder / "run"), *quick]) == 0
    return table, folder / "run"


def test_predict_gives_the_best_texts_with_their_ranks(cli, sums, tmp_path):
    _, run = sums
    (tmp_path / "asked.txt").write_text("1+1\n22+22\n")
    plain = cli("predict", run, tmp_path / "asked.txt")
    best = [json.loads(line) for line in cli("predict", run, tmp_path / "asked.txt", "--beam", "4").out.splitlines()]
    assert [row.keys() for row in best] == [{"input": 0, "text": 0, "nats": 0}.keys()] * 2
    for row, line in zip(best, plain.out.splitlines(), strict=True):
        assert row["nats"] <= json.loads(line)["nats"] + 1e-5
    several = cli("predict", run, tmp_path / "asked.txt", "--beam", "4", "--best", "3", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(several.out)))
    assert [(row["input"], row["rank"]) for row in rows] == [(x, r) for x in ("1+1", "22+22") for r in "123"]
    assert [row["text"] for row in rows[::3]] == [row["text"] for row in best]
    long = cli("predict", run, tmp_path / "asked.txt", "--beam", "4", "--best", "3", "--length-penalty", "3")
    assert [json.loads(line)["text"] for line in long.out.splitlines()] != [row["text"] for row in rows]


def test_evaluate_measures_what_a_beam_finds(cli, sums):
    table, run = sums
    values = [
        json.loads(cli("evaluate", run, table, "--json", *options).out)
        for options in ([], ["--beam", "1"], ["--beam", "8"], ["--beam", "8", "--length-penalty", "3"])
    ]
    greedy, one, found, long = [(value["chrf"], value["bleu"], value["exact"]) for value in values]
    assert greedy == one
    assert found != long
    assert len({value["loss_nats"] for value in values}) == 1  # of the true texts, whatever is written


def test_a_beam_is_for_what_writes(cli, sums, run, text):
    table, writes = sums
    for command in ("predict", "evaluate"):
        assert "a beam of 500 is wider than the vocabulary of" in cli(command, writes, table, "--beam", "500").line
        assert "--length-penalty is for a search" in cli(command, writes, table, "--length-penalty", "1").line
    refused = cli("evaluate", run, text, "--beam", "4")
    assert refused.status == 2
    assert "--beam is for tasks that write texts" in refused.line
