"""Examples on disk: exactly what was saved, and one line where it is damaged."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recurra.data.examples import Examples, load_examples, save_examples
from recurra.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
LISTS = st.lists(TEXTS, max_size=4)
ARRAYS = st.sampled_from([np.float32, np.uint8, np.float64]).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(max_dims=3, max_side=4))
)


@given(st.lists(st.tuples(TEXTS | LISTS | ARRAYS, TEXTS | LISTS), max_size=6), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, rows, known):
    folder = tmp_path_factory.mktemp("examples")
    inputs, targets = [row[0] for row in rows], [row[1] for row in rows] if known else None
    saved = Examples(inputs, targets, [f"p\u2028{n}" for n in range(len(rows))], ["a note"])
    save_examples(folder, saved)
    loaded = load_examples(folder)
    assert (loaded.targets, list(loaded.places), list(loaded.notes)) == (targets, list(saved.places), ["a note"])
    for given_, found in zip(inputs, loaded.inputs, strict=True):
        assert type(given_) is type(found)
        if isinstance(given_, np.ndarray):
            assert (given_.dtype, given_.shape) == (found.dtype, found.shape)
            assert given_.tobytes() == found.tobytes()
        else:
            assert given_ == found


@pytest.fixture
def saved(tmp_path):
    save_examples(tmp_path, Examples([np.ones(3, np.float32), np.zeros((2, 2), np.float32)], ["a", "b"]))
    return tmp_path


def lines_of(folder):
    return (folder / "examples.jsonl").read_text().splitlines()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-9],
        lambda text: text.rpartition('{"place"')[0],
        lambda text: text.replace("[2, 2]", "[2, 1]"),
        lambda text: text.replace("[2, 2]", "[2, 3]"),
        lambda text: text.replace("[2, 2]", '"x"'),
        lambda text: text.replace("float32", "int8"),
        lambda text: text.replace('"place"', '"plaice"'),
        lambda text: "",
        lambda text: "[" * 100_000,
        lambda text: "[1]\n" + text,
    ],
)
def test_damaged_lines(saved, damage):
    path = saved / "examples.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=r"^the examples in .* are damaged; make the data set again") as error:
        load_examples(saved)
    assert "\n" not in str(error.value)


def test_damaged_and_missing_arrays(saved):
    path = saved / "arrays.safetensors"
    whole = path.read_bytes()
    for damaged in (whole[:-4], b"", b"x" * 100):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            load_examples(saved)
    path.unlink()
    with pytest.raises(DataError, match="make the data set again"):
        load_examples(saved)


def test_missing_and_newer_files(tmp_path, saved):
    first, *rest = lines_of(saved)
    newer = json.dumps(json.loads(first) | {"version": 2})
    (saved / "examples.jsonl").write_text("\n".join([newer, *rest]))
    with pytest.raises(DataError, match=r"is of version 2, this recurra reads 1; upgrade recurra"):
        load_examples(saved)
    with pytest.raises(DataError, match="cannot read"):
        load_examples(tmp_path / "none")
