"""Labelled texts on the command line: train, generate, evaluate, info, and what goes wrong."""

import json

import pytest

QUICK = [
    "--hidden",
    "8",
    "--batch",
    "2",
    "--backprop",
    "8",
    "--steps",
    "40",
    "--lr",
    "0.02",
    "--keep",
    "last",
    "--threads",
    "1",
]
WORDS = [("maison", "French"), ("haus", "German"), ("pomme", "French"), ("apfel", "German"), ("chat", "French")] * 4


def table(path, rows, *names):
    lines = ["\t".join(names)] * bool(names) + ["\t".join(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return table(tmp_path_factory.mktemp("words") / "words.tsv", WORDS, "text", "language")


@pytest.fixture(scope="module")
def run(tmp_path_factory, words):
    from recurra.cli import main

    path = tmp_path_factory.mktemp("runs") / "words"
    assert main(["train", str(words), "--condition", "language", "--out", str(path), *QUICK]) == 0
    return path


def test_train_ends_with_a_sample_of_each_label(cli, words, tmp_path):
    result = cli("train", words, "--condition", "language", "--balance", "1", "--out", tmp_path / "run", *QUICK)
    assert result.status == 0
    assert "French: " in result.out
    assert "German: " in result.out
    assert 'condition = "language"' in (tmp_path / "run" / "config.toml").read_text()


def test_generate_writes_by_label(cli, run):
    result = cli("generate", run, "--condition", "German", "--prompt", "ha", "--samples", 3, "--tokens", 9, "--json")
    made = json.loads(result.out)
    assert (made["condition"], made["prompt"], len(made["samples"])) == ("German", "ha", 3)
    assert "label" not in result.out.replace("condition", "")
    found = json.loads(cli("generate", run, "--condition", "German", "--beam", 3, "--tokens", 9, "--json").out)
    assert (found["condition"], len(found["found"])) == ("German", 1)
    counted = json.loads(cli("evaluate", run, "--baselines", "--json").out)
    assert set(counted["baselines"]) == {"unigram", "Kneser-Ney 6-gram"}
    alone = cli("generate", run, "--condition", "German", "--prompt", "ha", "--tokens", 9)
    assert alone.out == made["samples"][0] + "\n"
    texts = [cli("generate", run, "--condition", label, "--samples", 30).out for label in ("German", "French")]
    assert texts[0] != texts[1]


def test_info_names_the_labels(cli, run):
    assert "labels          2: French, German\n" in cli("info", run).out
    assert json.loads(cli("info", run, "--json").out)["labels"] == ["French", "German"]


def test_evaluate_reads_tables(cli, run, tmp_path):
    other = table(tmp_path / "other.tsv", [("Italian", "mela"), ("French", "chaise"), ("German", "fass")],
                  "language", "text")  # fmt: skip
    refused = cli("evaluate", run, other)
    assert (refused.status, refused.line) == (
        2,
        "recurra: other.tsv, line 2: the label 'Italian' was never seen in training; known: French, German; "
        "--skip-bad leaves such rows out",
    )
    result = cli("evaluate", run, other, "--skip-bad", "--json")
    assert json.loads(result.out)["tokens"] == len("chaise") + len("fass") + 2  # and their ends
    assert "left out 1 of 3 texts" in result.err
    assert json.loads(cli("evaluate", run, "--json").out)["tokens"] > 0


NAMES = "; known: French, German"
REFUSED = {
    "no label": ([], f"the model writes texts of 2 labels; say which as condition{NAMES}"),
    "unseen": (["--condition", "Dutch"], f"the label 'Dutch' was never seen in training{NAMES}"),
    "misspelt": (["--condition", "french"], "the label 'french' was never seen in training; did you mean 'French'?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_generate_refuses(cli, run, case):
    options, said = REFUSED[case]
    result = cli("generate", run, *options)
    assert (result.status, result.out) == (2, "")
    assert result.line.startswith(f"recurra: {said}")


def test_a_plain_text_has_no_labels(cli, run, text, tmp_path):
    plain = tmp_path / "plain"
    assert cli("train", text, "--out", plain, *QUICK).status == 0
    result = cli("generate", plain, "--condition", "French")
    assert (result.status, "the model knows no labels" in result.line) == (2, True)
    result = cli("evaluate", plain, text, "--skip-bad")
    assert (result.status, "--skip-bad leaves out rows of a CORPUS" in result.line) == (2, True)
    for refused, said in (
        (["evaluate", run, "--skip-bad"], "--skip-bad"),
        (["evaluate", run, "--reset-every", 5], "--reset-every"),
    ):
        result = cli(*refused)
        assert (result.status, result.out, said in result.line) == (2, "", True)
    result = cli("score", run, text)
    assert (result.status, "are scored by recurra evaluate" in result.line) == (2, True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--condition", "langage"], "words.tsv has no column 'langage'; did you mean 'language'?"),
        (["--condition", "language", "--input", "txt"], "words.tsv has no column 'txt'"),
        (["--condition", "language", "--partition", "random"], "random windows cut texts off their labels"),
        (["--condition", "language", "--balance", "2"], "'balance' is at least 0 and at most 1, not 2.0"),
        (["--balance", "0.5"], "'balance' is for a table of labelled texts"),
        (["--input", "text"], "'input' is for a table of labelled texts"),
        (["--skip-bad"], "'skip_bad' is for a table of labelled texts"),
        (["--task", "classify", "--condition", "language"], "--condition has no meaning for --task classify"),
    ],
)
def test_train_refuses_and_writes_nothing(cli, words, tmp_path, options, said):
    result = cli("train", words, "--out", tmp_path / "run", *options, *QUICK)
    assert (result.status, result.out, (tmp_path / "run").exists()) == (2, "", False)
    assert said in result.err.splitlines()[-1]


def test_the_page_of_an_inspection_reads_a_table(cli, run, words, tmp_path):
    assert cli("inspect", run, "--text", words, "--out", tmp_path / "page.html").status == 0
