"""Curves over budgets are whole PNGs, whatever the numbers."""

import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.errors import RunError
from recurra.figures import plot_budgets

LINES = {
    "two lines": {"one $way_": {1: [300.0, 310.0], 2: [250.0], 32: [120.0]}, "another": {1: [160.0], 32: [110.0]}},
    "one point": {"one": {4: [2.0]}},
    "alike": {"one": {1: [100.0], 2: [100.0]}, "the same": {1: [100.0], 2: [100.0]}},
    "far apart": {"one": {1: [1e6], 1000: [1.5]}},
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
def test_any_result_can_be_drawn(lines, tmp_path):
    plot_budgets(lines, tmp_path / "curve.png", title="title", subtitle="subtitle")
    picture = imread(tmp_path / "curve.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(RunError, match="cannot draw"):
        plot_budgets(LINES["one point"], tmp_path / "folder" / "curve.png", title="", subtitle="")
