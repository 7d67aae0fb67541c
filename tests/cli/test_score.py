"""``recurra score``: streams, ranks, formats, files that grow; and ``evaluate --baselines``."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from recurra.cli import main


def rows_of(result):
    assert result.status == 0
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.fixture
def odd(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("the cat sat on the mat\n" * 5 + "gggwww;;ddd\n" + "the dog sat on the log\n" * 5)
    return path


def test_the_formats_say_the_same(cli, run, odd):
    rows = rows_of(cli("score", run, odd, "--json"))
    assert rows_of(cli("score", run, odd, "--format", "jsonl")) == rows
    table = list(csv.DictReader(io.StringIO(cli("score", run, odd, "--format", "csv").out)))
    assert [{**row, "line": str(row["line"])} for row in table] == [
        {name: str(value) for name, value in row.items()} for row in rows
    ]
    lines = cli("score", run, odd).out.splitlines()
    assert [float(line.split()[0]) for line in lines] == pytest.approx([row["bits"] for row in rows], abs=1e-3)


def test_alternatives_in_a_table(cli, run, odd):
    rows = rows_of(cli("score", run, odd, "--json", "--alternatives", "2"))
    table = list(csv.DictReader(io.StringIO(cli("score", run, odd, "--alternatives", "2", "--format", "csv").out)))
    assert table[0]["bits"] == table[0]["token_1"] == ""
    assert table[5]["token_2"] == rows[5]["alternatives"][1]["token"]
    assert float(table[5]["probability_1"]) == rows[5]["alternatives"][0]["probability"]


def test_text_with_commas_and_quotes_is_a_field(cli, run, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the mat, and the dog\nthe cat\n")
    (row, _) = csv.DictReader(io.StringIO(cli("score", run, path, "--format", "csv").out))
    assert row["text"] == "the mat, and the dog"


def test_top_is_the_highest_of_all(cli, run, odd):
    rows = rows_of(cli("score", run, odd, "--per", "token", "--json"))
    top = rows_of(cli("score", run, odd, "--per", "token", "--json", "--top", "7"))
    known = [row for row in rows if row["bits"] is not None]
    assert top == sorted(known, key=lambda row: -row["bits"])[:7]
    everything = rows_of(cli("score", run, odd, "--per", "token", "--json", "--top", "10000"))
    assert len(everything) == len(rows)
    assert everything[-1]["bits"] is None


def test_above_leaves_out_what_is_less(cli, run, odd):
    rows = rows_of(cli("score", run, odd, "--json"))
    limit = sorted(row["bits"] for row in rows)[-3]
    assert rows_of(cli("score", run, odd, "--json", "--above", limit)) == [r for r in rows if r["bits"] >= limit]


def test_a_folder_is_documents(cli, run, tmp_path):
    folder = tmp_path / "letters"
    folder.mkdir()
    (folder / "a.txt").write_text("the cat sat\nthe dog")
    (folder / "b.txt").write_text("on the mat\n")
    (folder / "empty.txt").touch()
    result = cli("score", run, folder, "--json")
    assert "left out" in result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    assert [(row["document"], row["line"], row["text"]) for row in rows] == [
        ("a.txt", 1, "the cat sat"),
        ("a.txt", 2, "the dog"),
        ("b.txt", 1, "on the mat"),
    ]
    documents = rows_of(cli("score", run, folder, "--per", "document", "--json"))
    assert [row["document"] for row in documents] == ["a.txt", "b.txt"]
    assert documents[0]["tokens"] == sum(row["tokens"] for row in rows[:2])
    assert "a.txt" in cli("score", run, folder, "--per", "document").out
    assert "a.txt:2" in cli("score", run, folder).out
    (row,) = csv.DictReader(io.StringIO(cli("score", run, folder, "--top", "1", "--format", "csv").out))
    assert row["document"] in ("a.txt", "b.txt")


def test_rows_side_by_side_score_nearly_the_same(cli, run, text):
    one = rows_of(cli("score", run, text, "--json"))
    many = rows_of(cli("score", run, text, "--json", "--batch", "4", "--warmup", "100"))
    assert [row["text"] for row in many] == [row["text"] for row in one]
    assert [row["bits"] for row in many] == pytest.approx([row["bits"] for row in one], rel=0.02)
    unwarmed = rows_of(cli("score", run, text, "--json", "--batch", "4", "--warmup", "0"))
    assert [row["bits"] for row in unwarmed] != [row["bits"] for row in many]


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "is empty"), (b"t", "single token"), (b"\n", "single token"), (b"\x1f\x8b", "gzip"), (b"QQQ", "not in the")],
    ids=["empty", "one-token", "one-line-end", "gzip", "unseen"],
)
def test_texts_that_cannot_be_scored(cli, run, tmp_path, data, says):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    result = cli("score", run, path)
    assert (result.status, result.out) == (2, "")
    assert says in result.line


def test_what_stands_before_a_bad_byte_is_scored(cli, run, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(b"the cat\nthe do\xffg\n")
    result = cli("score", run, path, "--json")
    assert result.status == 2
    assert [json.loads(line)["text"] for line in result.out.splitlines()] == ["the cat"]
    assert "byte 0xff at byte offset 14" in result.line


def test_what_is_unseen_is_told_once(cli, run, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("the cat Q sat\n" * 3)
    assert "3 of 42 characters" in cli("score", run, path).line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.txt"], "does not exist"),
        (["--per", "line", "--alternatives", "2"], "--per token"),
        (["--warmup", "9"], "--batch"),
        (["--json", "--format", "csv"], "contradict"),
        (["--follow", "--top", "3"], "--top 3"),
        (["--follow", "--batch", "3"], "--batch 3"),
        (["--follow", "--per", "document"], "--per document"),
        (["--top", "0"], "'top' must be at least 1"),
        (["--batch", "0"], "'batch' must be at least 1"),
        (["--per", "word"], "--per"),
        (["--above", "much"], "--above"),
    ],
)
def test_options_that_contradict_each_other(cli, run, odd, arguments, says):
    file = [] if arguments[0].endswith(".txt") else [odd]
    result = cli("score", run, *file, *arguments)
    assert (result.status, result.out) == (2, "")
    assert says in result.line


def test_a_folder_cannot_be_followed(cli, run, tmp_path):
    assert "is a folder" in cli("score", run, tmp_path, "--follow").line
    (tmp_path / "none").mkdir()
    assert "no text files" in cli("score", run, tmp_path / "none").line


def hear_interruptions():
    """Let a new process be interrupted: what a shell starts in the background ignores Ctrl-C, and hands that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def following(run, tmp_path):
    """A process that follows a log, and gives its results line by line."""
    log = tmp_path / "log"
    log.write_text("the cat sat\nthe d")
    command = [sys.executable, "-m", "recurra", "score", str(run), str(log), "--follow", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interruptions
    )
    yield log, process
    process.kill()
    process.communicate()


def test_a_log_is_followed_until_interrupted(following):
    log, process = following
    assert json.loads(process.stdout.readline())["text"] == "the cat sat"
    with log.open("a") as file:
        file.write("og Q\n")
    assert json.loads(process.stdout.readline())["text"] == "the dog "
    scratch = log.with_name("new")
    scratch.write_text("on the mat\n")
    os.replace(scratch, log)
    assert json.loads(process.stdout.readline())["line"] == 1
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "begins anew" in err
    assert "'Q' 1" in err
    assert err.splitlines()[-1] == "recurra: interrupted"


def test_a_pipe_is_followed_to_its_end(run):
    command = [sys.executable, "-m", "recurra", "score", str(run), "-", "--follow", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdin.write("the cat\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == "the cat"
        out, _ = process.communicate("the dog")
    assert json.loads(out)["text"] == "the dog"
    assert process.returncode == 0


def test_baselines_stand_beside_a_perplexity(cli, run):
    plain = json.loads(cli("evaluate", run, "--json").out)
    value = json.loads(cli("evaluate", run, "--json", "--baselines").out)
    assert {name: value[name] for name in plain if name != "seconds"} == {
        name: plain[name] for name in plain if name != "seconds"
    }
    assert list(value["baselines"]) == ["unigram", "Kneser-Ney 6-gram"]
    for scores in value["baselines"].values():
        assert scores.keys() == {"loss_nats", "perplexity", "bits_per_char"}
    assert value["baselines"]["Kneser-Ney 6-gram"]["perplexity"] < value["baselines"]["unigram"]["perplexity"]
    assert any("does not beat the Kneser-Ney 6-gram" in sentence for sentence in value["verdict"])
    text = cli("evaluate", run, "--baselines").out
    assert "bits per char" in text
    assert "verdict:    perplexity" in text


@pytest.mark.parametrize("kind", ["byte", "word", "bpe"])
def test_baselines_of_every_tokenizer(cli, text, tmp_path, quick, kind):
    assert cli("train", text, "--tokenizer", kind, "--out", tmp_path / "run", *quick).status == 0
    value = json.loads(cli("evaluate", tmp_path / "run", "--json", "--baselines").out)
    assert len(value["baselines"]) == 2
    assert cli("score", tmp_path / "run", text).out.count("\n") == 40


def test_a_task_always_stands_beside_baselines(cli, tmp_path):
    labelled = tmp_path / "labels.tsv"
    labelled.write_text("the cat sat\tcat\nthe dog sat\tdog\n" * 20)
    arguments = ["--task", "classify", labelled, "--out", tmp_path / "run", "--hidden", "4", "--epochs", "1"]
    assert main([str(a) for a in ["train", *arguments]]) == 0
    result = cli("evaluate", tmp_path / "run", "--baselines")
    assert result.status == 2
    assert "always stands beside baselines" in result.line
