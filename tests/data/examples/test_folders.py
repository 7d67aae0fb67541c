"""Folders of examples, in each of their forms."""

import numpy as np
import pytest
import soundfile
from PIL import Image

from recurra.data.examples import DatasetConfig, read_examples
from recurra.errors import DataError


@pytest.fixture
def write(tmp_path):
    """Write files below a folder: text, a sound for .wav, a picture for .png."""

    def write(**files):
        for name, content in files.items():
            path = tmp_path / "f" / name.replace("__", "/").replace("DOT", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".wav":
                soundfile.write(path, np.full(400, content, np.float32), 8000)
            elif path.suffix == ".png":
                Image.fromarray(np.full((2, 2), content, np.uint8)).save(path)
            else:
                path.write_text(content)
        return str(tmp_path / "f")

    return write


def read(source, **settings):
    return read_examples(DatasetConfig(task="classify", source=source), **settings)


def test_a_folder_for_each_class(write):
    source = write(good__aDOTtxt="fine\nfilm\n", good__deep__bDOTtxt="nice", bad__cDOTtxt="dull")
    examples = read(source)
    assert list(examples.inputs) == ["dull", "fine\nfilm\n", "nice"]
    assert list(examples.targets) == ["bad", "good", "good"]
    assert list(examples.places) == ["bad/c.txt", "good/a.txt", "good/deep/b.txt"]


def test_a_file_for_each_class_with_an_example_in_each_line(write):
    examples = read(write(IrishDOTtxt="Adam\n\nO'Neill\n", CzechDOTtxt="Kafka"))
    assert list(zip(examples.inputs, examples.targets, strict=True)) == [
        ("Kafka", "Czech"),
        ("Adam", "Irish"),
        ("O'Neill", "Irish"),
    ]
    assert examples.places[2] == "Irish.txt, line 3"


def test_a_flat_folder_of_recordings_has_its_labels_in_their_names(write):
    source = write(**{"7_ann_0DOTwav": 0.1, "3_bob_1DOTwav": 0.2, "README.md": "about"})
    examples = read(source)
    assert list(examples.targets) == ["3", "7"]
    assert [round(float(sound[0]), 1) for sound in examples.inputs] == [0.2, 0.1]
    assert "labels are what the names in f have before the first underscore" in examples.notes
    assert "left out of f: README.md" in examples.notes


def test_a_flat_folder_without_labels_can_be_read_only_where_none_are_needed(write):
    source = write(aDOTpng=1, b_2DOTpng=2)
    with pytest.raises(DataError, match="tells no labels; put its files into a folder for each class"):
        read(source)
    examples = read(source, labelled=False)
    assert (len(examples), examples.targets) == (2, None)


def test_texts_without_labels_are_whole_files(write):
    examples = read(write(xDOTtxt="one\ntwo", yDOTtxt="three"), labelled=False)
    assert list(examples.inputs) == ["one\ntwo", "three"]


def test_a_folder_with_one_table_is_read_by_it(write):
    source = write(labelsDOTtsv="pics/a.png\tcat\npics/b.png\tdog\n", pics__aDOTpng=1, pics__bDOTpng=2)
    examples = read(source)
    assert [(picture[0, 0], label) for picture, label in zip(examples.inputs, examples.targets, strict=True)] == [
        (1, "cat"),
        (2, "dog"),
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"x__aDOTbin": "?"}, "has no texts (.txt), sounds or pictures in it"),
        ({"x__aDOTwav": 0.1, "y__aDOTpng": 1}, "has sounds and pictures in it; give a folder with one kind of files"),
        ({".hidden": "?"}, "has no texts (.txt), sounds or pictures in it"),
    ],
)
def test_folders_that_hold_nothing_to_read_are_refused(write, files, message):
    with pytest.raises(DataError) as error:
        read(write(**files))
    assert message in str(error.value)


def test_a_text_beside_recordings_is_left_out(write):
    examples = read(write(a__xDOTwav=0.1, a__aboutDOTtxt="?", b__yDOTwav=0.2))
    assert list(examples.targets) == ["a", "b"]
    assert list(examples.notes) == ["left out of f: about.txt"]
