"""A folder in the layout of Hugging Face: there and back, bit for bit, and what others read in it."""

import json
import re

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from recurra.data import build_tokenizer, load_tokenizer
from recurra.errors import ConfigError, RunError
from recurra.export import export_run, hugging_face
from recurra.models import QuantisedLanguageModel
from recurra.training import Run

TEXT = "It was so, and so it was.\nNo: \u00e9t\u00e9, 12 <unk> na\u00efve\tcaf\u00e9s\r\n\n  two  spaces\n"


@pytest.fixture(scope="module")
def folder(trained, tmp_path_factory):
    return export_run(trained, "hf", tmp_path_factory.mktemp("hf") / "cats").folder


def test_there_and_back(trained, folder):
    again = Run.load(folder)
    assert again.config == trained.config
    assert again.metrics == trained.metrics
    ours, theirs = trained.directory.read_model(), again.directory.read_model()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert again.tokenizer.digest == trained.tokenizer.digest
    assert again.model.generate("the", tokens=20) == trained.model.generate("the", tokens=20)


def test_what_others_read(trained, folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "recurra"
    assert config["architectures"] == ["LanguageModel"]
    assert config["torch_dtype"] == "float32"
    assert config["vocab_size"] == len(trained.tokenizer)
    assert config["recurra"]["model"]["hidden"] == 24
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert set(file.keys()) == set(trained.model.state_dict())
    about = json.loads((folder / "tokenizer_config.json").read_text())
    assert about["tokenizer_class"] == "PreTrainedTokenizerFast"
    backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert backend.encode("the cat").ids == trained.tokenizer.encode("the cat").tolist()


def test_the_card_says_what_was_measured(trained, folder):
    card = (folder / "README.md").read_text()
    front = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL).group(1)
    assert {"license: other", "library_name: recurra", "pipeline_tag: text-generation"} <= set(front.splitlines())
    best = min(row["valid_perplexity"] for row in trained.metrics if "valid_perplexity" in row)
    assert float(re.search(r"type: perplexity\n.*\n +value: (\S+)", front).group(1)) == best
    assert "cats.txt" in card
    assert "recurra generate FOLDER" in card


def test_the_front_matter_is_yaml(folder):
    yaml = pytest.importorskip("yaml", reason="no reader of YAML is installed")
    _, front, _ = (folder / "README.md").read_text().split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["tags"] == ["recurra", "rnn", "gru", "lm"]
    metrics = front["model-index"][0]["results"][0]["metrics"]
    assert all(isinstance(metric["value"], float) for metric in metrics)


@pytest.mark.parametrize("kind", ["char", "word", "byte", "bpe"])
def test_the_vocabulary_is_read_without_us(kind, tmp_path):
    vocab = {"vocab": 300} if kind == "bpe" else {}
    ours = build_tokenizer(kind, TEXT * 3, end=True, unknown=True, **vocab)
    ours.save(tmp_path / "tokenizer.json")
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))

    @settings(max_examples=30, deadline=None)
    @given(text=st.one_of(st.text(max_size=40), st.text(alphabet=TEXT, max_size=60)))
    def same(text):
        if any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
            return
        ids = ours.encode(text).tolist()
        assert theirs.encode(text).ids == ids
        assert load_tokenizer(tmp_path / "tokenizer.json").encode(text).tolist() == ids

    same()


def test_small_weights_stay_small(trained, tmp_path):
    small = Run.load(export_run(trained, "int8", tmp_path / "int8").folder)
    folder = export_run(small, "hf", tmp_path / "hf").folder
    assert json.loads((folder / "config.json").read_text())["quantization_config"]["bits"] == 8
    ours, theirs = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "int8"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert isinstance(Run.load(folder, small=True).model, QuantisedLanguageModel)
    assert "before its weights were made smaller" in (folder / "README.md").read_text()


def test_a_classifier(classifier, tmp_path):
    folder = export_run(classifier, "hf", tmp_path / "pets").folder
    again = Run.load(folder)
    assert [answer.label for answer in again.model.predict(["the cat sat", "a dog ran"])] == ["cat", "dog"]
    assert "pipeline_tag: text-classification" in (folder / "README.md").read_text()
    with pytest.raises(RunError, match="without the data that its model was trained on"):
        again.assess()


def test_what_comes_back_different_is_not_left_behind(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(hugging_face, "as_mapping", lambda config: {})
    with pytest.raises((RunError, ConfigError)):
        export_run(trained, "hf", tmp_path / "cats")
    assert list(tmp_path.iterdir()) == []


DAMAGE = {
    "not JSON": ("{", "cannot read"),
    "a list": ("[]", "of type None"),
    "another model": ('{"model_type": "bert"}', "of type 'bert', not one of recurra"),
    "no settings": ('{"model_type": "recurra"}', "holds no settings"),
    "a word for a version": ('{"model_type": "recurra", "recurra": {"format": "1"}}', "holds no settings"),
    "from the future": ('{"model_type": "recurra", "recurra": {"format": 99}}', "format 99, newer than"),
    "an unknown setting": ('{"model_type": "recurra", "recurra": {"format": 1, "modle": {}}}', "modle"),
    "an unknown task": ('{"model_type": "recurra", "recurra": {"format": 1, "task": "see"}}', "see"),
    "another size": ('{"model_type": "recurra", "recurra": {"format": 1, "model": {"hidden": 9}}}', "do not fit"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_settings(trained, tmp_path, what):
    text, said = DAMAGE[what]
    folder = export_run(trained, "hf", tmp_path / "cats").folder
    (folder / "config.json").write_text(text)
    with pytest.raises(RunError, match=re.escape(said)):
        Run.load(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_what_is_missing_is_named(trained, tmp_path, name):
    from recurra.errors import RecurraError

    folder = export_run(trained, "hf", tmp_path / "cats").folder
    (folder / name).unlink()
    with pytest.raises(RecurraError, match=name):
        Run.load(folder)
