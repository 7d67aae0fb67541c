"""Confusion is a whole PNG for few classes and for many, and what is merged is not lost."""

import numpy as np
import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.errors import RunError
from recurra.figures import plot_confusion
from recurra.figures.confusion import merge_rare

LABELS = {
    "two": ["positive", "negative"],
    "one": ["$only_"],
    "many": [f"an intent with a long name, number {k}" for k in range(90)],
    "scripts": ["日本語", "العربية", "ελληνικά", "line\nend", "", "🎈" * 40],
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_any_classes_can_be_drawn(labels, tmp_path):
    counts = np.random.default_rng(0).integers(0, 9, (len(labels), len(labels))) + 9 * np.eye(len(labels), dtype=int)
    plot_confusion(labels, counts.tolist(), tmp_path / "confusion.png", title="t", subtitle="s")
    picture = imread(tmp_path / "confusion.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


def test_colours_are_shares_of_rows(tmp_path):
    """A row that is right throughout is as dark with few examples as with many; an empty one is white."""
    plot_confusion("abc", [[1, 0, 0], [0, 1000, 0], [0, 0, 0]], tmp_path / "confusion.png", title="", subtitle="")
    picture = imread(tmp_path / "confusion.png")[..., :3]
    rows, columns = ([int(a + (b - a) * k / 6) for k in (0.6, 2.6, 4.6)] for a, b in ((112, 712), (228, 1068)))
    dark = [picture[row, column].sum() for row, column in zip(rows, columns, strict=True)]
    assert dark[0] == dark[1] < 1
    assert dark[2] == 3


def test_rare_classes_are_counted_together():
    counts = np.diag([5, 1, 7, 2]) + np.array([[0, 0, 0, 3], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]])
    names, merged = merge_rare(list("abcd"), counts, 3)
    assert names == ["a", "c", "2 others"]
    assert merged.tolist() == [[5, 0, 3], [0, 7, 1], [0, 0, 3]]
    assert merge_rare(list("abcd"), counts, 4) == (list("abcd"), counts)


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(RunError, match="cannot draw"):
        plot_confusion(["a"], [[1]], tmp_path / "folder" / "confusion.png", title="")
