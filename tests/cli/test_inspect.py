"""`recurra inspect`: the page, the JSON, and what people type wrong."""

import json
import shutil

import pytest

from recurra.checkpoint import RunDirectory
from recurra.inspection import is_page
from recurra.inspection import report as measures

PARTS = {"unrolled", "flow", "spectrum", "behaviours", "units", "cost"}


@pytest.fixture
def measured(monkeypatch):
    """Inspections without their measures, which have tests of their own; yields what each was called with."""
    calls = {}

    def stand_in(name):
        def measure(model, tokens, *arguments, **options):
            calls[name] = (tokens, arguments, options)

        return measure

    for name in ("unrolled", "flow", "spectrum", "behaviour", "units", "cost"):
        monkeypatch.setattr(measures, f"measure_{name}", stand_in(name))
    return calls


def test_a_page_goes_into_the_run(cli, run, tmp_path, measured):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    result = cli("inspect", copy)
    assert result.status == 0
    page = copy / "report" / "inspect.html"
    assert result.out.splitlines()[-1] == f"page: {page}"
    assert is_page(page.read_text(encoding="utf-8"))
    assert "Remedies in use" in page.read_text(encoding="utf-8")
    assert cli("inspect", copy).status == 0  # a page of ours is replaced
    assert list(page.parent.glob("*.tmp")) == []


def test_json_is_all_there_is_on_stdout(cli, run, tmp_path, measured):
    result = cli("inspect", run, "--json")
    assert result.status == 0
    (line,) = result.out.splitlines()
    report = json.loads(line)
    assert report.keys() >= PARTS | {"run", "cell", "verdict", "remedies", "window", "seconds", "notes"}
    assert report["cell"] == "lstm"
    assert report["window"] == 16
    assert report["remedies"]["Clipping by norm"]["on"] is True
    assert not (run / "report" / "inspect.html").exists()
    assert cli("inspect", run, "--json", "--out", tmp_path / "deep" / "page.html").status == 0
    assert is_page((tmp_path / "deep" / "page.html").read_text(encoding="utf-8"))


def test_the_text_is_read_by_the_runs_own_tokenizer(cli, run, text, tmp_path, measured):
    assert cli("inspect", run, "--json").status == 0
    assert 64 <= len(measured["flow"][0]) < len(text.read_text()) / 2  # the validation part
    assert cli("inspect", run, "--json", "--text", text, "--prompt", "the cat").status == 0
    tokens, _, options = measured["flow"]
    assert len(tokens) == len(text.read_text())
    assert options["prompt"] == "the cat"
    assert 16 in options["windows"]
    assert measured["unrolled"][1] == (16,)


def test_unseen_characters_are_named_and_counted(cli, run, tmp_path, measured):
    other = tmp_path / "other.txt"
    other.write_text("the cät sat " * 20)
    result = cli("inspect", run, "--json", "--text", other)
    assert result.status == 0
    assert "'ä' 20" in result.line


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "empty"), ("the cat", "64 at least"), ("Щит и меч" * 20, "Щ"), (None, "missing.txt")],
    ids=["empty", "short", "unknown", "missing"],
)
def test_texts_that_cannot_be_inspected(cli, run, tmp_path, content, says):
    path = tmp_path / ("missing.txt" if content is None else "text.txt")
    if content is not None:
        path.write_text(content)
    result = cli("inspect", run, "--text", path, "--out", tmp_path / "page.html")
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "page.html").exists()
    assert result.out == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--prompt", "t"], "1 token long"),
        (["--prompt", ""], "0 tokens long"),
        (["--prompt", "Ünïcödé"], "Ü"),
        (["--out", "."], "is a folder"),
        (["--promt", "the"], "--prompt"),
    ],
    ids=" ".join,
)
def test_wrong_options(cli, run, tmp_path, monkeypatch, options, says):
    monkeypatch.chdir(tmp_path)
    result = cli("inspect", run, *options)
    assert result.status == 2
    assert says in result.line
    assert result.out == ""


@pytest.mark.parametrize("content", [b"my thesis", b"<html>another page</html>", b"\xff\xfe\x00", b""], ids=str)
def test_no_other_file_is_overwritten(cli, run, tmp_path, content):
    path = tmp_path / "mine.html"
    path.write_bytes(content)
    result = cli("inspect", run, "--out", path)
    assert result.status == 2
    assert "is no page of an inspection" in result.line
    assert path.read_bytes() == content


def test_a_folder_that_is_none(cli, run, tmp_path):
    (tmp_path / "file").write_text("")
    result = cli("inspect", run, "--out", tmp_path / "file" / "page.html")
    assert result.status == 2
    assert "file is no folder" in result.line


@pytest.mark.parametrize("damage", ["gone", "no-config"])
def test_damaged_runs(cli, run, tmp_path, damage):
    copy = tmp_path / "copy"
    if damage == "no-config":
        shutil.copytree(run, copy)
        (copy / "config.toml").unlink()
    result = cli("inspect", copy)
    assert result.status == 2
    assert str(copy) in result.line


def test_a_cell_of_the_users_own_must_be_trusted(cli, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    config = copy / "config.toml"
    config.write_text(config.read_text().replace('cell = "lstm"', 'cell = "leaky:Leaky"'))
    RunDirectory(copy).write_manifest()
    result = cli("inspect", copy)
    assert result.status == 2
    assert "--trust" in result.line


@pytest.mark.slow
def test_a_real_inspection(cli, run, tmp_path):
    """All measures, on a model that hardly learned anything."""
    path = tmp_path / "page.html"
    result = cli("inspect", run, "--prompt", "the cat sat", "--json", "--out", path)
    assert result.status == 0
    report = json.loads(result.out)
    assert report["notes"] == []
    assert all(report[part] for part in PARTS)
    assert report["verdict"]
    page = path.read_text(encoding="utf-8")
    assert 'class="missing"' not in page
    assert "The prompt, by gradient" in page
