"""``recurra prepare``, and what other commands make of a store."""

import json
import shutil

import pytest

TEXT = "the cat sat on the mat, and the dog sat on the log; the cat saw the dog.\n" * 40


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(5):
        (tmp_path / "texts" / f"{number}.txt").write_text(TEXT[number:])
    return tmp_path / "texts"


def test_from_files_to_a_run(cli, tmp_path, texts, quick):
    result = cli("prepare", texts, "--out", tmp_path / "store", "--processes", "2")
    assert (result.status, result.err) == (0, "")
    assert "documents 5" in result.out
    run = tmp_path / "run"
    assert cli("train", tmp_path / "store", "--order", "documents", "--out", run, *quick).status == 0
    assert cli("evaluate", run, tmp_path / "store", "--part", "valid").out == cli("evaluate", run).out
    more = tmp_path / "more"
    assert cli("prepare", texts / "1.txt", "--out", more, "--vocabulary", run).status == 0
    assert cli("train", more, "--from", run, "--steps", "2", "--out", tmp_path / "tuned").status == 0
    shutil.move(tmp_path / "store", tmp_path / "away")
    for command in (["info"], ["generate", "--tokens", "3"]):
        assert cli(command[0], run, *command[1:]).status == 0
    assert cli("score", run, texts / "1.txt").status == 0
    assert cli("evaluate", run, texts / "1.txt").status == 0
    for command in (["evaluate", run], ["train", "--resume", run], ["inspect", run]):
        result = cli(*command)
        assert result.status == 2
        assert "is gone; put it back there" in result.line


def test_json_and_repeating(cli, tmp_path, texts):
    command = ["prepare", texts, "--out", tmp_path / "store", "--tokenizer", "byte", "--json"]
    first, second = cli(*command), cli(*command)
    assert json.loads(first.out) == json.loads(second.out)
    assert json.loads(first.out)["vocabulary"] == 257


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.txt", "--out", "store"], "none.txt does not exist"),
        (["-", "--out", "store"], "standard input cannot be read again"),
        (["{texts}"], "Missing option '--out'"),
        (["--out", "store"], "Missing argument 'FILES...'"),
        (["{texts}", "--out", "store", "--tokenizer", "bite"], "did you mean 'byte'"),
        (["{texts}", "--out", "store", "--valid", "none.txt"], "none.txt does not exist"),
        (["{texts}", "--out", "store", "--valid", "1.5"], "'valid' is a fraction"),
        (["{texts}", "--out", "store", "--processes", "0"], "'processes' must be at least 1"),
        (["{texts}", "--out", "store", "--input", "text"], "names a column"),
        (["{texts}", "--out", "{texts}"], "exists already"),
        (["{texts}", "--out", "store", "--vocabulary", "none"], "cannot read the tokenizer"),
        (["{texts}", "--out", "/proc/none/store"], "No such file or directory"),
    ],
)
def test_what_people_type_wrong(cli, tmp_path, texts, arguments, says, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = cli("prepare", *(argument.format(texts=texts) for argument in arguments))
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "store.unfinished").exists()


CHANGES = {
    "--tokenizer": "byte",
    "--vocab": "9",
    "--valid": "0.5",
    "--shard-tokens": "99",
}


@pytest.mark.parametrize("option", CHANGES)
def test_every_option_changes_something(cli, tmp_path, texts, option):
    def contents(name, *arguments):
        assert cli("prepare", texts, "--out", tmp_path / name, *arguments).status == 0
        return {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}

    plain, changed = contents("plain"), contents("changed", option, CHANGES[option])
    assert plain != changed
    plain.pop(next(path for path in plain if path.name == "corpus.json"))
    assert any(changed.get(path) != data for path, data in plain.items())


def test_ctrl_c_says_how_to_go_on(cli, tmp_path, texts, monkeypatch):
    def interrupted(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("recurra.data.preparing.steps.do_all", interrupted)
    result = cli("prepare", texts, "--out", tmp_path / "store")
    assert result.status == 130
    assert result.err.splitlines()[0].endswith("store.unfinished; the same command goes on with it")
    monkeypatch.undo()
    assert cli("prepare", texts, "--out", tmp_path / "store").status == 0
