"""Every example runs, at its smallest."""

import gzip
import io
import json
import math
import runpy
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from recurra.data.examples import read_picture

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
TEXT = "The cat sat on the mat, and the dog sat on the log;\nthe cat saw the dog.\n" * 30 + "A bird flew.\n"


@pytest.fixture
def run_example(tmp_path, monkeypatch, capsys):
    def run(name, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(EXAMPLES))
        (tmp_path / "text.txt").write_text(TEXT)
        monkeypatch.setattr(sys, "argv", [name, *arguments, "--quick"])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_every_example_is_tested():
    source = Path(__file__).read_text()
    assert all(f'"{path.name}"' in source for path in EXAMPLES.glob("*.py"))


@pytest.mark.parametrize("text", [(), ("text.txt",)])
def test_ten_lines(run_example, text):
    assert "perplexity" in run_example("ten_lines.py", *text)


def test_tasks(run_example):
    out = run_example("tasks.py")
    assert [line.split(":")[0] for line in out.splitlines() if not line.startswith(" ")] == [
        "classify",
        "tag",
        "translate",
        "caption",
    ]
    assert out.count("beat") == 9  # a sentence for each way to do it more simply


def test_own_cell(run_example, monkeypatch):
    out = run_example("own_cell.py")
    monkeypatch.delitem(sys.modules, "own_cell")
    assert "keeps all" in out
    assert "MinimalGatedUnit: loop" in out


def test_remember(run_example):
    out = run_example("remember.py", "--delays", "2", "5", "--cells", "rnn", "lstm:5")
    assert [line.split()[0] for line in out.splitlines()] == ["delay", "2", "5"]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_time_machine(run_example, cell):
    assert f"{cell}: training perplexity" in run_example("time_machine.py", "text.txt", "--cell", cell)


def test_adaptation(run_example, tmp_path):
    (tmp_path / "new.txt").write_text(TEXT.replace("cat", "bird") + "A fish swam.\n" * 9)
    arguments = ["text.txt", "new.txt", "--json", "numbers.jsonl", "--out", "curve.png"]
    lines = run_example("adaptation.py", *arguments).splitlines()
    rows = [line.split() for line in lines if line.split()[0] in ("1", "2")]
    assert [row[0] for row in rows] == ["1", "2"]
    assert sum(line.startswith("  ") for line in lines[-5:]) == 5
    numbers = [json.loads(line) for line in (tmp_path / "numbers.jsonl").read_text().splitlines()]
    assert len(numbers) == 2 * 6 + 5
    assert all(math.isfinite(row["perplexity"]) for row in numbers)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_log_anomalies(run_example, tmp_path):
    out = run_example("log_anomalies.py", "--folder", "logs", "--out", "anomalies.png")
    found = {
        line[:18].strip(): float(line.split("average precision ")[1].split(";")[0])
        for line in out.splitlines()
        if "average precision" in line
    }
    assert list(found) == ["GRU", "its worst token", "Kneser-Ney 6-gram", "Kneser-Ney 10-gram"]
    assert found["Kneser-Ney 6-gram"] > 0.3  # of lines of which a tenth is wrong
    assert (tmp_path / "anomalies.png").stat().st_size > 10_000
    labels = (tmp_path / "logs" / "labels.txt").read_text().split()
    assert set(labels) == {"-", "order", "value", "garbled", "combination", "unknown"}
    assert len((tmp_path / "logs" / "test.log").read_text().splitlines()) == len(labels)


def test_clean_logs_keep_their_order():
    """Whoever logs in is not logged in; nobody pays what was not ordered."""
    example = runpy.run_path(str(EXAMPLES / "log_anomalies.py"))
    last = {}
    for line in example["make_log"](500, seed=3):
        assert not line.anomaly
        _, _, _, session, event, *_ = line.text.split()
        before = last.get(session, "logout")
        assert (event == "login") == (before == "logout")
        assert event not in ("pay", "cancel") or before == "order"
        last[session] = event
    assert example["make_log"](50, seed=3) == example["make_log"](50, seed=3)


def test_vanishing(run_example):
    lines = run_example("vanishing.py", "--radii", "0.5", "1", "2").splitlines()[1:]
    assert [line.split()[-1] for line in lines] == ["vanishing", "neutral", "exploding"]
    for line in lines:
        _, logarithm, measured, *_ = line.split()
        assert abs(float(logarithm) - float(measured)) < 0.03


def test_policies(run_example, tmp_path):
    out = run_example("policies.py", "--steps", "30", "--out", "policies.png")
    assert (tmp_path / "policies.png").stat().st_size > 10_000
    lines = [line.partition(" passes ") for line in out.splitlines() if " passes " in line]
    passes = {name.strip(): share.split(",")[0].strip() for name, _, share in lines}
    for name in ("Full()", 'Checkpointed("1.2KB")', "Online()"):
        assert passes[name] == "100%"
    assert int(passes["Truncated(10)"].rstrip("%")) < int(passes["Truncated(5, 15)"].rstrip("%")) < 100


def test_long_memory(run_example, tmp_path):
    table = run_example("long_memory.py", "--task", "copy").split("\n\n")[-1].splitlines()
    assert [line.split()[0] for line in table] == ["task", *["copy"] * 5]
    assert (tmp_path / "long_memory.png").stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adding", "copy"])
def test_a_dependency_of_100_steps_is_learned_by_what_reaches_it(name):
    example = runpy.run_path(str(EXAMPLES / "long_memory.py"))
    task, losses = example["TASKS"][name], {}
    for label, (cell, policy) in example["CONTENDERS"].items():
        _, losses[label] = example["train"](task, cell, policy, steps=2000, seed=0, rows=example["ROWS"])
    for label in ("LSTM, full", "LSTM, checkpointed", "LSTM, unbiased"):
        assert losses[label] < task.chance / 4
    for label in ("LSTM, truncated at 20", "Elman tanh, full"):
        assert losses[label] > 0.9 * task.chance


@pytest.mark.parametrize("name", ["adding", "copy"])
def test_guessing_costs_what_long_memory_says(name):
    """The best constant output is at the loss of guessing, and the right answers at none."""
    example = runpy.run_path(str(EXAMPLES / "long_memory.py"))
    task = example["TASKS"][name]
    inputs, answers = task.draw(4096, torch.Generator().manual_seed(0))
    assert not inputs[20:100].any() or name == "adding"
    constant = torch.ones(*inputs.shape[:2], task.outputs)
    assert task.loss(constant, answers).item() == pytest.approx(task.chance, rel=0.05)
    if name == "copy":
        right = torch.nn.functional.one_hot(answers, task.outputs).float() * 100
    else:
        assert (inputs[:, :, 1].sum(0) == 2).all()
        assert not inputs[20:, :, 1].any()
        right = answers.expand(len(inputs), -1).unsqueeze(-1)
    assert task.loss(right, answers).item() < 1e-6


@pytest.mark.slow
def test_choices(run_example, tmp_path):
    out = run_example("choices.py", "text.txt", "--json", "choices.json")
    report = json.loads((tmp_path / "choices.json").read_text())
    assert [row["partition"] for row in report["partitions"]] == ["sequential", "random"]
    assert [row["tokenizer"] for row in report["tokenizers"]][::2] == ["char", "word, spelled out"]
    assert "| trained on |" in out
    assert "bits per character" in out


@pytest.mark.slow
def test_misspelled_words_and_spelling_bits():
    choices = runpy.run_path(str(EXAMPLES / "choices.py"))
    share, words = choices["misspelled_share"](["The kat sat on the ma"], "the CAT sat on the mat")
    assert (share, words) == (0.2, 5)
    bits = choices["spelling_bits"](Counter({"ab": 2}), "ab ab ab")
    assert bits == pytest.approx(2 * 3 * math.log2(3))  # two words of three symbols, each a third of all


def test_conditioned_names(run_example, tmp_path):
    for part, count in (("train", 24), ("test", 6)):
        rows = [
            f"{letter * (n % 4 + 2)}\t{label}\n" for label, letter in (("A", "a"), ("B", "b")) for n in range(count)
        ]
        (tmp_path / f"{part}.tsv").write_text("".join(rows))
    arguments = ("--count", "5", "--temperatures", "1", "0.5", "--json", "numbers.json")
    out = run_example("conditioned_names.py", "train.tsv", "test.tsv", *arguments)
    table, names = out.split("\n\n")[-2:]
    assert [line.split()[0] for line in table.strip().splitlines()] == ["temperature", "1.0", "0.5", "real", "whatever"]
    assert [line.split()[0] for line in names.strip().splitlines()] == ["A", "B"]
    numbers = json.loads((tmp_path / "numbers.json").read_text())["0.5"]
    assert numbers["agreement"] == pytest.approx(sum(numbers["by language"].values()) / 2)
    assert 0 <= numbers["new"] <= 1


def test_a_judge_who_is_told_that_languages_are_equally_likely_divides_by_their_shares():
    example = runpy.run_path(str(EXAMPLES / "conditioned_names.py"))

    class Classifier:
        target = type("Target", (), {"names": ["rare", "common"]})

        def predict(self, texts):
            return [type("Answer", (), {"probabilities": np.array([0.3, 0.7])}) for _ in texts]

    judge = example["Judge"](Classifier(), {"rare": ["x"], "common": ["y"] * 9})
    names = {"rare": ["a", "b", " "], "common": ["c"]}
    assert judge.agreements(names) == {"rare": pytest.approx(2 / 3), "common": 0}
    assert judge.agreements(names, told=False) == {"rare": 0, "common": 1}


def rows_of(path):
    return [tuple(line.split("\t")) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def prepare(tmp_path, monkeypatch, capsys):
    """Run `prepare_tasks.py` on files of a folder, ``source``; returns the folder it has filled."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()

    def run(task, name="", **files):
        for file, content in files.items():
            (source / file.replace("_DOT_", ".")).write_bytes(content)
        monkeypatch.setattr(sys, "argv", ["prepare_tasks.py", task, str(source / name), str(out)])
        runpy.run_path(str(EXAMPLES / "prepare_tasks.py"), run_name="__main__")
        assert "examples" in capsys.readouterr().out
        return out

    return run


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_prepared_names_keep_every_language_and_share_none_apart(prepare):
    names = {f"L{k}_DOT_txt": "\n".join([f"name{k}{n}" for n in range(10 * k)] + ["both"]).encode() for k in (1, 2)}
    out = prepare("names", **names)
    train, test = rows_of(out / "names.train.tsv"), rows_of(out / "names.test.tsv")
    assert (len(train) + len(test), len(test), {row[1] for row in test}) == (32, 2 + 4, {"L1", "L2"})
    train, test = rows_of(out / "names-apart.train.tsv"), rows_of(out / "names-apart.test.tsv")
    assert (len(train) + len(test), {row[1] for row in test}) == (32, {"L1", "L2"})
    assert not {row[0] for row in train} & {row[0] for row in test}


def test_prepared_digits_are_split_by_their_index(prepare):
    recordings = zipped(**{f"recordings/3_ann_{n}.wav": bytes([n]) for n in (0, 4, 5, 49)})
    out = prepare("digits", "r.zip", r_DOT_zip=recordings)
    assert sorted(path.name for path in (out / "fsdd" / "test").iterdir()) == ["3_ann_0.wav", "3_ann_4.wav"]
    assert (out / "fsdd" / "train" / "3_ann_49.wav").read_bytes() == bytes([49])


def test_prepared_sums_have_no_filling(prepare):
    lines = "".join(f"{n}+{n}".ljust(7) + f"_{2 * n}".ljust(5) + "\n" for n in range(20))
    out = prepare("addition", "a.txt", a_DOT_txt=lines.encode())
    train, test = rows_of(out / "addition.train.tsv"), rows_of(out / "addition.test.tsv")
    assert (len(train), len(test)) == (18, 2)
    assert all(int(answer) == eval(question) for question, answer in train + test)


def test_prepared_sentences_are_short_and_tested_once(prepare):
    pairs = [(f"Sentence {n // 2}.", f"Phrase {n}\u202f!") for n in range(80)] + [("a " * 11, "long")]
    packed = gzip.compress("".join(f"{english}\t{french}\n" for english, french in pairs).encode())
    out = prepare("french", "e.gz", e_DOT_gz=packed)
    train, test = rows_of(out / "eng-fra.train.tsv"), rows_of(out / "eng-fra.test.tsv")
    assert (len(train), len(test)) == (76, 2)
    assert not {row[0] for row in train} & {row[0] for row in test}
    assert all(dict(reversed(pairs))[english] == french for english, french in test)


def test_prepared_capitals_give_the_text_again(prepare):
    text = TEXT.replace("cat", "Cat")
    out = prepare("case", "t.txt", t_DOT_txt=text.encode())
    again = ""
    for part in ("train", "valid", "test"):
        for line in (out / f"case.{part}.jsonl").read_text().splitlines():
            block = json.loads(line)
            assert len(block["tokens"]) <= 400
            pairs = zip(block["tokens"], block["labels"], strict=True)
            again += "".join(character.upper() if label == "U" else character for character, label in pairs)
    assert again == text


def test_prepared_emoji_have_one_picture_for_all_variants(prepare):
    captions = {
        "a1": "man cook: dark skin tone", "a2": "cook", "a3": "woman cook", "b1": "kiss: man, man",
        "b2": "kiss: woman, man",
        "c1": "women holding hands: light skin tone, dark skin tone", "c2": "woman and man holding hands",
        "d": "man’s shoe", "e": "keycap: 5", "f1": "man: red hair", "f2": "person: light skin tone, red hair",
        "g1": "woman", "g2": "man: dark skin tone", "h": "flag: Mali", "i": "hot dog", "j": "mango",
    }  # fmt: skip
    table = "".join(f"{name}.png\t{caption}\n" for name, caption in captions.items()).encode()
    pictures = zipped(**{f"images/{name}.png": name for name in captions})
    out = prepare("emoji", captions_DOT_tsv=table, **{"images-32px_DOT_zip": pictures})
    parts = [rows_of(out / "emoji" / f"{part}.tsv") for part in ("train", "valid", "test")]
    assert [len(rows) for rows in parts] == [8, 1, 1]
    found = {caption: Path(file).stem for rows in parts for file, caption in rows}
    assert found == {
        "cook": "a2", "kiss": "b1", "holding hands": "c2", "man’s shoe": "d", "keycap: 5": "e", "red hair": "f1",
        "person": "g1", "flag: Mali": "h", "hot dog": "i", "mango": "j",
    }  # fmt: skip
    assert all((out / "emoji" / file).read_bytes() == Path(file).stem.encode() for rows in parts for file, _ in rows)


def test_prepared_digits_have_their_names(prepare):
    points = np.arange(10 * 6, dtype=np.uint8).reshape(10, 2, 3)
    images = np.array([2051, 10, 2, 3], ">i4").tobytes() + points.tobytes()
    labels = np.array([2049, 10], ">i4").tobytes() + bytes(reversed(range(10)))
    packed = {
        "t10k-images-idx3-ubyte_DOT_gz": gzip.compress(images),
        "t10k-labels-idx1-ubyte_DOT_gz": gzip.compress(labels),
    }
    out = prepare("mnist", **packed)
    train, test = rows_of(out / "mnist" / "train.tsv"), rows_of(out / "mnist" / "test.tsv")
    assert ([row[1] for row in train][:2], [row[1] for row in test]) == (["nine", "eight"], ["zero"])
    assert np.array_equal(read_picture(out / "mnist" / test[0][0], 2, 3, 1), points[9])


def test_bouncing_ball(run_example, tmp_path):
    out = run_example("bouncing_ball.py", "--hidden", "4")
    assert [line.split(" positions")[0] for line in out.splitlines()[::2]] == [
        "against the true",
        "against the observed",
    ]
    assert (tmp_path / "ball-test.csv").read_text().startswith("series,time,x,y,true_x,true_y\nball0,0.00,")


def test_the_ball_flies_in_parabolas_and_loses_speed_at_walls():
    example = runpy.run_path(str(EXAMPLES / "bouncing_ball.py"))
    observed, true = example["simulate"](200, 100, seed=0)
    assert ((true >= 0) & (true <= 1)).all()
    assert (observed - true).std() == pytest.approx(0.01, rel=0.05)
    fall = (true[:, 2:, 1] - 2 * true[:, 1:-1, 1] + true[:, :-2, 1]) / 0.02**2
    assert abs(sorted(fall.flatten())[fall.size // 2] + 1) < 1e-6  # gravity, in most frames
    speed = abs(true[:, 1:, 0] - true[:, :-1, 0])
    bounces = [math.log(last / first) / math.log(0.9) for first, last in zip(speed[:, 0], speed[:, -1], strict=True)]
    whole = [round(count) for count in bounces if abs(count - round(count)) < 1e-6]
    assert len(whole) > 150  # all but those that touch a wall in one of the two frames
    assert {0, 1, 2} <= set(whole)
