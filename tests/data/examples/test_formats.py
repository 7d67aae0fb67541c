"""Inputs and targets on disk."""

import numpy as np
import pytest

from recurra.data.examples import (
    Labels,
    NumbersInput,
    PictureInput,
    SoundInput,
    StepLabels,
    TextInput,
    TextTarget,
    input_from_mapping,
    load_formats,
    save_formats,
    target_from_mapping,
)
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import DataError, VocabularyError

WORDS = build_tokenizer("word", "a b a b c", unknown=True, end=True)
INPUTS = [
    (TextInput(WORDS, lowercase=True), "A b x"),
    (NumbersInput(2), np.ones((3, 2))),
    (SoundInput(4000, 20), np.linspace(-1, 1, 900)),
    (PictureInput(2, 3, 1), np.arange(6, dtype=np.uint8).reshape(2, 3)),
]
TARGETS = [(Labels(["x", "ÿ"]), "ÿ"), (StepLabels(["x", "y"]), ["y", "x"]), (TextTarget(WORDS), "b a")]


@pytest.mark.parametrize(("input", "raw"), INPUTS, ids=lambda value: getattr(value, "kind", ""))
@pytest.mark.parametrize(("target", "said"), TARGETS, ids=lambda value: getattr(value, "kind", ""))
def test_what_is_loaded_does_the_same(tmp_path, input, raw, target, said):
    save_formats(tmp_path, input, target)
    loaded_input, loaded_target = load_formats(tmp_path)
    assert type(loaded_input) is type(input)
    assert loaded_input.as_mapping() == input.as_mapping()
    np.testing.assert_array_equal(loaded_input.encode(raw), input.encode(raw))
    assert type(loaded_target) is type(target)
    assert len(loaded_target) == len(target)
    np.testing.assert_array_equal(loaded_target.encode(said), target.encode(said))


def test_mappings_that_describe_nothing_are_refused():
    assert input_from_mapping({"kind": "numbers", "features": 3}).features == 3
    assert target_from_mapping({"kind": "label", "names": ["a"]}).names == ["a"]
    for mapping in ({}, {"kind": "smell"}, {"kind": "numbers", "size": 1}, {"kind": "sound", "rate": 1}):
        with pytest.raises(DataError, match="describes none of text, numbers, sound, picture"):
            input_from_mapping(mapping)
    with pytest.raises(DataError, match="describes none of label, labels, text"):
        target_from_mapping({"kind": "text"})


def test_damaged_files_are_named(tmp_path):
    save_formats(tmp_path, INPUTS[0][0], TARGETS[0][0])
    (tmp_path / "target.json").write_text("[1]")
    with pytest.raises(DataError, match=r"target.json is damaged: it describes no target"):
        load_formats(tmp_path)
    (tmp_path / "target.json").write_text("{")
    with pytest.raises(DataError, match=r"target.json is damaged: not JSON"):
        load_formats(tmp_path)
    (tmp_path / "target.json").unlink()
    with pytest.raises(DataError, match=r"cannot read .*target.json"):
        load_formats(tmp_path)
    (tmp_path / "input.tokenizer.json").write_text("{}")
    with pytest.raises(VocabularyError):
        load_formats(tmp_path)
