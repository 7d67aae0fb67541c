"""The tasks, used as a person would: train, evaluate, predict, info, and what goes wrong."""

import csv
import io
import json

import numpy as np
import pytest

QUICK = ["--hidden", "8", "--embedding", "6", "--batch", "8", "--epochs", "2", "--threads", "1"]


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def reviews(folder, name="reviews.tsv", count=30):
    lines = [f"a {word} film number {n}\t{label}" for n in range(count // 2)
             for word, label in (("lovely", "good"), ("dull", "bad"))]  # fmt: skip
    return write(folder / name, *lines)


def tags(folder):
    sentences = (["the O", "old O", f"man{n} B-PER", "in O", "Paris B-LOC", ""] for n in range(12))
    return write(folder / "words.conll", *(line for sentence in sentences for line in sentence))


def pairs(folder):
    return write(folder / "pairs.tsv", *(f"{n}+{n}\t{2 * n}" for n in range(30)))


def pictures(folder):
    from PIL import Image

    (folder / "images").mkdir()
    lines = ["file\tcaption"]
    for n in range(24):
        value = 230 * (n % 2) + n
        Image.fromarray(np.full((8, 8), value, np.uint8)).save(folder / "images" / f"{n}.png")
        lines.append(f"images/{n}.png\ta {'white' if n % 2 else 'black'} square")
    return write(folder / "pictures.tsv", *lines)


DATA = {"classify": reviews, "tag": tags, "translate": pairs, "caption": pictures}
KEYS = {
    "classify": {"accuracy", "macro_f1", "precision", "recall", "confusion", "classes"},
    "tag": {"accuracy", "f1", "macro_f1", "span_f1", "confusion", "classes"},
    "translate": {"bleu", "chrf", "exact"},
    "caption": {"bleu", "chrf", "exact"},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each task, made when it is asked for."""
    from recurra.cli import main

    made = {}

    def make(task):
        if task not in made:
            folder = tmp_path_factory.mktemp(task)
            data = DATA[task](folder)
            arguments = ["train", "--task", task, str(data), "--out", str(folder / "run"), *QUICK]
            assert main(arguments) == 0
            made[task] = data, folder / "run"
        return made[task]

    return make


@pytest.mark.parametrize("task", DATA)
def test_train_ends_with_numbers_beside_baselines(cli, tmp_path, task):
    result = cli("train", "--task", task, DATA[task](tmp_path), "--out", tmp_path / "run", *QUICK)
    assert result.status == 0, result.err
    assert "this model" in result.out
    assert "verdict: " in result.out
    assert str(tmp_path / "run") in result.out
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"config.toml", "input.json", "target.json", "examples", "model.safetensors", "report"} <= names


@pytest.mark.parametrize("task", DATA)
def test_evaluate_prints_json(cli, runs, task):
    data, run = runs(task)
    result = cli("evaluate", run, data, "--json")
    assert result.status == 0, result.err
    value = json.loads(result.out)
    assert KEYS[task] | {"baselines", "verdict", "examples", "seconds"} <= value.keys()
    own = cli("evaluate", run, "--part", "train")
    assert own.status == 0
    assert "this model" in own.out


@pytest.mark.parametrize("task", DATA)
def test_predict_answers_in_order(cli, runs, task):
    data, run = runs(task)
    result = cli("predict", run, data)
    assert result.status == 0, result.err
    rows = [json.loads(line) for line in result.out.splitlines()]
    kind = {"classify": "label", "tag": "labels"}.get(task, "text")
    assert all(kind in row for row in rows)
    if task == "translate":
        assert [row["input"] for row in rows] == [f"{n}+{n}" for n in range(30)]
    if task == "tag":
        assert all(len(row["labels"]) == 5 for row in rows)


def test_predict_reads_stdin_and_writes_csv(cli, runs, tmp_path, monkeypatch):
    _, run = runs("classify")
    text = "a lovely film\na dull film, really\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    result = cli("predict", run, "-", "--format", "csv")
    assert result.status == 0, result.err
    rows = list(csv.DictReader(io.StringIO(result.out)))
    assert [row["input"] for row in rows] == text.splitlines()
    assert {row["label"] for row in rows} <= {"good", "bad"}
    file = write(tmp_path / "two.txt", *text.splitlines())
    assert cli("predict", run, file, "--out", tmp_path / "out.csv").status == 0
    assert (tmp_path / "out.csv").read_text() == result.out
    again = cli("predict", run, file, "--out", tmp_path / "out.csv")
    assert again.status == 2
    assert "exists already" in again.line


def test_info_and_explain_know_the_tasks(cli, runs):
    for task in DATA:
        _, run = runs(task)
        facts = json.loads(cli("info", run, "--json").out)
        assert facts["task"] == task
        assert facts["train_examples"] > facts["valid_examples"] > 0
        assert cli("explain", run).status == 0


@pytest.mark.parametrize("command", ["generate", "score", "inspect"])
def test_commands_for_language_models_say_so(cli, runs, command):
    data, run = runs("classify")
    result = cli(command, run, *([data] if command == "score" else []))
    assert result.status == 2
    assert "--task classify" in result.line
    assert "recurra predict" in result.line


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("task", ["classify", "tag"])
def test_a_beam_is_for_tasks_that_write(cli, runs, task, command):
    data, run = runs(task)
    result = cli(command, run, data, "--beam", "4")
    assert result.status == 2
    assert f"a run of --task {task} writes none" in result.line


def test_a_beam_describes_pictures(cli, runs):
    data, run = runs("caption")
    rows = [json.loads(line) for line in cli("predict", run, data, "--beam", "2", "--best", "2").out.splitlines()]
    assert [row["rank"] for row in rows] == [1, 2] * 24
    assert cli("evaluate", run, data, "--beam", "2").status == 0


def test_a_language_model_answers_nothing(cli, run, text):
    result = cli("predict", run, text)
    assert result.status == 2
    assert "recurra generate" in result.line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--task", "clasify"], "did you mean 'classify'"),
        (["--task", "classify", "--ar", "1"], "--ar has no meaning for --task classify"),
        (["--task", "classify", "--partition", "random"], "--partition has no meaning"),
        (["--pooling", "max"], "--pooling has no meaning for --task lm"),
        (["--task", "classify", "--pooling", "mex"], "did you mean 'max'"),
        (["--task", "classify", "--recipe", "counting"], "does not go with"),
        (["--task", "classify", "--input", "words"], "words"),
        (["--task", "translate", "--attention", "dots"], "did you mean 'dot'"),
    ],
)
def test_settings_that_do_not_fit_a_task(cli, tmp_path, arguments, says):
    result = cli("train", reviews(tmp_path), *arguments, "--out", tmp_path / "run", *QUICK[-2:])
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "run").exists()


def test_a_task_needs_data(cli):
    result = cli("train", "--task", "classify")
    assert result.status == 2
    assert "recurra train --task classify DATA" in result.line


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["good film\tgood", "no label", "bad film\tbad", "fine\tgood"], "line 2: no label"),
        (["good film\tgood", "\tbad", "bad film\tbad", "fine\tgood"], "line 2"),
        (["a\tgood", "b\tgood", "c\tgood"], "good"),
        ([], "empty"),
    ],
    ids=["no-label", "no-text", "one-class", "empty"],
)
def test_tables_that_cannot_be_learned(cli, tmp_path, lines, says):
    result = cli("train", "--task", "classify", write(tmp_path / "bad.tsv", *lines), "--out", tmp_path / "run")
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "run").exists()


def test_bad_rows_are_left_out_when_asked(cli, tmp_path):
    path = reviews(tmp_path)
    path.write_text(path.read_text() + "no label here\n")
    assert cli("train", "--task", "classify", path, "--out", tmp_path / "a", *QUICK).status == 2
    result = cli("train", "--task", "classify", path, "--out", tmp_path / "b", *QUICK, "--skip-bad")
    assert result.status == 0
    assert "no label" in result.err


def test_labels_never_seen_in_training_count_as_wrong_and_are_named(cli, runs, tmp_path):
    _, run = runs("classify")
    result = cli("evaluate", run, write(tmp_path / "new.tsv", "a film\tgood", "a book\texcellent"), "--json")
    assert result.status == 0
    assert result.line == "labels never seen in training count as wrong: 'excellent' 1"
    assert json.loads(result.out)["accuracy"] <= 0.5


def test_a_run_resumes_by_its_path(cli, runs):
    _, run = runs("classify")
    result = cli("train", "--resume", run)
    assert result.status == 0, result.err
    assert "this model" in result.out


def test_inputs_that_look_like_names_of_columns_or_files(cli, runs, tmp_path):
    _, run = runs("classify")
    words = ["question", "gif", "English", "see picture.png"]
    result = cli("predict", run, write(tmp_path / "words.txt", *words))
    assert result.status == 0, result.err
    assert [json.loads(line)["input"] for line in result.out.splitlines()] == words


@pytest.mark.parametrize("content", ["\ufeff", ",,\n,,\n"], ids=["byte-order-mark", "commas"])
def test_tables_of_nothing(cli, tmp_path, content):
    path = tmp_path / "nothing.csv"
    path.write_text(content, encoding="utf-8")
    result = cli("train", "--task", "classify", path)
    assert result.status == 2
    assert "no examples in it" in result.line or "empty" in result.line
