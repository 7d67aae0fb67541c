"""Data sets: vocabularies from training alone, defaults that are told, labels that were never seen, disk."""

import json
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from recurra.data import Dataset, DatasetConfig, Examples
from recurra.data.examples import NumbersInput, PictureInput, SoundInput, TextInput, read_examples
from recurra.errors import ConfigError, CorpusError, DataError

REVIEWS = Examples([f"a {mood} film number {n}" for n in range(20) for mood in ("fine", "dull")], ["good", "bad"] * 20)
WORDS = Examples([[f"word{n}", "ran"] for n in range(9)] * 2, [["N", "V"]] * 18)
PAIRS = Examples([f"one {n}" for n in range(30)], [f"un {n}" for n in range(30)])


def notes_of(examples, task, **settings):
    dataset = Dataset.from_examples(examples, task=task, **settings)
    return dataset, " | ".join(dataset.notes)


def test_a_data_set_from_memory():
    dataset = Dataset.from_examples(REVIEWS, task="classify", valid=0.25, name="reviews")
    assert (len(dataset.train), len(dataset.valid)) == (30, 10)
    assert dataset.target.names == ["bad", "good"]
    batch = dataset.stream(batch=8, shuffle=False)[0]
    assert batch.inputs.values.shape == (5, 8)
    assert [dataset.train.targets[n] for n in batch.numbers] == [dataset.target.names[k] for k in batch.targets]
    assert sum(batch.inputs.rows for batch in dataset.stream(batch=4, shuffle=False, part="valid")) == 10
    assert repr(dataset) == "<data set reviews: 30 + 10 examples, text -> label>"


def test_the_vocabulary_knows_nothing_of_the_validation_part():
    valid = Examples(["a new film", "a fine film"], ["bad", "good"])
    dataset, notes = notes_of(REVIEWS, "classify", valid=valid)
    unknown = dataset.input.tokenizer.unknown
    assert dataset.encoded["valid"][0][0].tolist().count(unknown) == 1
    assert "1 of 6 words in the validation inputs are not in the vocabulary and are read as <unk>: 'new' 1" in notes


@pytest.mark.parametrize("kind", ["word", "char", "byte", "bpe"])
def test_any_text_can_be_read(kind):
    dataset = Dataset.from_examples(REVIEWS, task="classify", tokenizer=kind)
    assert len(dataset.input.encode("ψ unheard")) > 0


@pytest.mark.parametrize(
    ("examples", "task", "kind", "reason"),
    [
        (REVIEWS, "classify", "word", "inputs are read by word: they have 5.0 words on average"),
        (Examples(["Anna", "Otto", "Zoe"], ["a", "b", "a"]), "classify", "char", "they have 1.0 words on average"),
        (Examples([["a", "b"], ["c"]], ["x", "y"]), "classify", "char", "they are lists of characters"),
        (WORDS, "tag", "word", "they are lists of words"),
        (Examples(["ab", "c"], [["x", "y"], ["x"]]), "tag", "char", "they have a label for each character"),
        (PAIRS, "translate", "char", "targets are written by char: there are not more than 5,000 of them"),
        (
            Examples([*PAIRS.inputs] * 200, [*PAIRS.targets] * 200),
            "translate",
            "bpe",
            "there are 6,000 of them, of 2.0 words",
        ),
        (Examples(["1+1", "2+2"] * 3000, ["2", "4"] * 3000), "translate", "char", "of 1.0 words on average"),
    ],
)
def test_the_tokenizer_is_chosen_and_told(examples, task, kind, reason):
    dataset, notes = notes_of(examples, task, valid=0)
    assert dataset.input.tokenizer.kind == kind
    assert reason in notes


def test_what_is_chosen_by_hand_is_not_told():
    dataset, notes = notes_of(
        PAIRS, "translate", tokenizer="word", vocab=5, target_tokenizer="byte", lowercase=True, valid=0
    )
    assert (len(dataset.input.tokenizer), dataset.target.tokenizer.kind, dataset.input.lowercase) == (5, "byte", True)
    assert notes == ""


def test_reading_in_lower_case_makes_the_vocabulary_of_lower_case():
    examples = Examples(["Ab", "aB", "B"], ["x", "y", "x"])
    dataset = Dataset.from_examples(examples, task="classify", valid=0, lowercase=True)
    assert dataset.input.tokenizer.names == ["b", "a", "<unk>"]


def test_the_tokenizer_must_give_one_token_for_each_label():
    with pytest.raises(ConfigError, match="label for each word; to tag them, leave out --tokenizer or take word"):
        Dataset.from_examples(WORDS, task="tag", tokenizer="char")
    with pytest.raises(ConfigError, match="label for each character; to tag them, leave out --tokenizer or take char"):
        Dataset.from_examples(Examples(["ab", "c"], [["x", "y"], ["x"]]), task="tag", tokenizer="word")


@pytest.mark.parametrize(
    ("examples", "task", "message"),
    [
        (Examples(["a b"], ["x"]), "classify", "it has 1 examples that can be used; training needs at least 2"),
        (Examples([]), "classify", "it has 0 examples that can be used"),
        (Examples(["a", "b"], ["x", "x"]), "classify", "the training part of it has one label only, 'x'"),
        (Examples(["a", "b"]), "classify", "the examples of it have no targets; training needs them"),
        (Examples(["a", "a"], ["x", "y"]), "classify", "all inputs of it are equal"),
        (Examples([1, 2], ["x", "y"]), "classify", "an input is a text, a list or an array, not int"),
        (Examples(["a", "b"], [0, 1]), "classify", "example 1: a target is a text, not 0; make texts of them with str"),
        (Examples([["a"], ["b"]], [["x"], [1]]), "tag", "example 2: labels are texts, not [1]"),
        (Examples([["a b", "c"], ["d"]], [["x", "y"], ["x"]]), "tag", "example 1: 2 labels for 3 steps"),
    ],
)
def test_examples_that_teach_nothing_are_refused(examples, task, message):
    with pytest.raises(DataError) as error:
        Dataset.from_examples(examples, task=task, name="it", **({"valid": 0} if task == "tag" else {}))
    assert message in str(error.value)


def test_labels_that_training_never_saw():
    valid = Examples(["a fine", "a dull", "so", "so so"], ["good", "fair", "odd", "fair"], ["l1", "l2", "l3", "l4"])
    with pytest.raises(DataError) as error:
        Dataset.from_examples(REVIEWS, task="classify", valid=valid)
    assert str(error.value) == (
        "3 validation examples have labels never seen in training: 'fair' 2, 'odd' 1 (the first: l2); "
        "have them in the training part too, or --skip-bad leaves them out"
    )
    dataset, notes = notes_of(REVIEWS, "classify", valid=valid, skip_bad=True)
    assert list(dataset.valid.targets) == ["good"]
    assert "left out: 3 validation examples have labels never seen" in notes


def test_a_label_that_the_draw_leaves_to_validation_alone_is_left_out():
    rare = Examples([f"w{n} x" for n in range(40)], [["A", "B"]] * 20 + [[f"R{n}", "B"] for n in range(20)])
    rare = Examples([text.split() for text in rare.inputs], rare.targets)
    dataset, notes = notes_of(rare, "tag", valid=0.3)
    assert 0 < len(dataset.valid) < 12
    assert "never seen in training" in notes


def test_validation_inputs_that_are_trained_on_are_told_of():
    valid = Examples([REVIEWS.inputs[0], "a new one"], ["good", "bad"])
    assert "1 of 2 validation inputs are in the training part too" in notes_of(REVIEWS, "classify", valid=valid)[1]


def test_the_input_fits_the_examples():
    numbers = Examples([np.ones((n, 2), np.float32) for n in range(1, 5)], ["x", "y"] * 2)
    assert Dataset.from_examples(numbers, task="classify", valid=0).input.features == 2
    lists = Examples([[1.0, 2], [3.0], [4]], ["x", "y", "x"])
    assert isinstance(Dataset.from_examples(lists, task="classify", valid=0).input, NumbersInput)
    pictures = Examples([np.full((3, 4), n, np.uint8) for n in range(4)], ["a b", "c"] * 2)
    dataset = Dataset.from_examples(pictures, task="caption", valid=0)
    assert isinstance(dataset.input, PictureInput)
    batch = dataset.stream(batch=2)[0]
    assert (batch.inputs.values.shape, batch.targets.shape) == ((2, 1, 3, 4), (3, 2))
    sounds = Examples([np.full(800, n / 10, np.float32) for n in range(4)], ["x", "y"] * 2)
    assert Dataset.from_examples(sounds, task="classify", valid=0, rate=4000).input.rate == 4000
    given = SoundInput(2000, 10)
    assert Dataset.from_examples(sounds, task="classify", valid=0, input=given).input is given


def test_a_data_set_from_files_with_a_validation_part_of_its_own(tmp_path):
    for part, count in (("train", 8), ("valid", 4)):
        (tmp_path / part).mkdir()
        for n in range(count):
            rate = 8000 if part == "train" else 16_000
            soundfile.write(tmp_path / part / f"{n % 2}_{n}.wav", np.full(rate // 20, n / 10, np.float32), rate)
    config = DatasetConfig(task="classify", source=str(tmp_path / "train"), valid=str(tmp_path / "valid"))
    dataset = Dataset.build(config)
    assert (dataset.name, len(dataset.train), len(dataset.valid)) == ("train", 8, 4)
    assert {len(sound) for sound in dataset.valid.inputs} == {400}
    assert "resampled from 16,000 to 8,000 Hz: 4 files" in dataset.notes


@pytest.mark.parametrize("task", ["classify", "tag", "translate", "caption"])
def test_what_is_loaded_is_what_was_saved(tmp_path, task):
    pictures = Examples([np.full((3, 4, 3), n, np.uint8) for n in range(10)], ["a cat", "a dog"] * 5)
    examples = {"classify": REVIEWS, "tag": WORDS, "translate": PAIRS, "caption": pictures}[task]
    dataset = Dataset.from_examples(examples, task=task, name="ÿ")
    dataset.save(tmp_path / "set")
    loaded = Dataset.load(tmp_path / "set")
    assert (loaded.name, loaded.config, loaded.notes) == (dataset.name, dataset.config, dataset.notes)
    for part in ("train", "valid"):
        for one, other in zip(dataset.stream(batch=3, part=part), loaded.stream(batch=3, part=part), strict=True):
            assert torch.equal(one.inputs.values, other.inputs.values)
            assert torch.equal(one.targets, other.targets)
    with pytest.raises(CorpusError, match="exists already"):
        dataset.save(tmp_path / "set")


@pytest.mark.parametrize("damage", ["{", "[]", json.dumps({"version": 1}), json.dumps({"version": 1, "name": "x"})])
def test_damaged_data_sets_are_refused(tmp_path, damage):
    Dataset.from_examples(REVIEWS, task="classify").save(tmp_path / "set")
    about = tmp_path / "set" / "dataset.json"
    whole = json.loads(about.read_text())
    about.write_text(damage)
    with pytest.raises(DataError, match=r"the data set .* is damaged: dataset.json"):
        Dataset.load(tmp_path / "set")
    about.write_text(json.dumps(whole | {"version": 9}))
    with pytest.raises(DataError, match=r"version 9, this recurra reads 1; upgrade recurra"):
        Dataset.load(tmp_path / "set")
    about.write_text(json.dumps(whole))
    (tmp_path / "set" / "target.json").write_text('{"kind": "label", "names": ["bad"]}')
    with pytest.raises(DataError, match=r"is damaged: .*the label 'good' was never seen"):
        Dataset.load(tmp_path / "set")
    with pytest.raises(DataError, match="is no saved data set"):
        Dataset.load(tmp_path / "none")


def test_published_reviews(shared_data):
    folder = shared_data / "sst2"
    dataset = Dataset.build(
        DatasetConfig(task="classify", source=str(folder / "train.tsv"), valid=str(folder / "dev.tsv"))
    )
    assert (len(dataset.train), len(dataset.valid), dataset.target.names) == (6920, 872, ["0", "1"])
    assert sum(len(text.split()) for text in dataset.train.inputs) == 128_096


def test_published_names(shared_data):
    dataset = Dataset.build(DatasetConfig(task="classify", source=str(shared_data / "names")))
    assert (len(dataset.train) + len(dataset.valid), len(dataset.target)) == (20_050, 18)
    assert set(dataset.valid.targets) <= set(dataset.train.targets)
    assert not set(dataset.valid.inputs) & set(dataset.train.inputs)


def test_published_digits(shared_data, tmp_path):
    with zipfile.ZipFile(shared_data / "fsdd" / "recordings.zip") as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.endswith(("_0.wav", "_1.wav"))])
    dataset = Dataset.build(DatasetConfig(task="classify", source=str(tmp_path / "recordings")))
    assert dataset.input.as_mapping() == {"kind": "sound", "rate": 8000, "mels": 40}
    assert (len(dataset.train) + len(dataset.valid), dataset.target.names) == (120, list("0123456789"))


def test_published_captions(shared_data, tmp_path):
    lines = (shared_data / "emoji-captions" / "captions.tsv").read_text(encoding="utf-8").splitlines()[::40]
    (tmp_path / "captions.tsv").write_text("".join(f"images/{line}\n" for line in lines), encoding="utf-8")
    with zipfile.ZipFile(shared_data / "emoji-captions" / "images-32px.zip") as archive:
        archive.extractall(tmp_path, [f"images/{line.split(chr(9))[0]}" for line in lines])
    dataset = Dataset.build(DatasetConfig(task="caption", source=str(tmp_path / "captions.tsv")))
    assert dataset.input.as_mapping() == {"kind": "picture", "height": 32, "width": 32, "channels": 3}
    assert dataset.stream(batch=4, shuffle=False)[0].inputs.values.shape == (4, 3, 32, 32)


def test_published_sentence_pairs(shared_data):
    source = str(shared_data / "eng-fra" / "eng-fra.txt.gz")
    config = DatasetConfig(task="translate", source=source, tokenizer="char", target_tokenizer="char")
    examples = read_examples(config)
    assert (len(examples), len(set(examples.inputs))) == (142_787, 98_659)
    assert any("\u202f" in text for text in examples.targets[:100])
    dataset = Dataset.from_examples(examples.take(range(0, 142_787, 50)), task="translate")
    assert isinstance(dataset.input, TextInput)
