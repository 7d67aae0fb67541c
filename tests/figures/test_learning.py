"""Losses of tasks are whole PNGs, whoever learned, and names beside lines keep their distance."""

import math

import numpy as np
import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.errors import RunError
from recurra.figures import Panel, plot_learning
from recurra.figures.learning import spread

FALLING = [math.exp(-step / 30) for step in range(100)]
PANELS = {
    "two tasks": [
        Panel("a $task_", "nats", 1.0, {"learns": FALLING, "learns too": FALLING, "does not": [1.0] * 100}),
        Panel("another", "squared error", 0.2, {"does not": [0.2] * 50}),
    ],
    "one point": [Panel("task", "nats", 1.0, {"one": [0.5]})],
    "nothing": [Panel("task", "nats", 1.0, {})],
    "diverged": [Panel("task", "nats", 1.0, {"lost": [0.5, 1e9, math.nan]})],
    "many names": [Panel("task", "nats", 1.0, {str(k): [1.0, 0.0] for k in range(9)})],
}


@pytest.mark.parametrize("panels", PANELS.values(), ids=PANELS)
def test_any_result_can_be_drawn(panels, tmp_path):
    plot_learning(panels, tmp_path / "learning.png", title="title", subtitle="subtitle")
    picture = imread(tmp_path / "learning.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(RunError, match="cannot draw"):
        plot_learning(PANELS["one point"], tmp_path / "folder" / "learning.png", title="", subtitle="")


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        ([], []),
        ([0.3], [0.3]),
        ([0.1, 0.5], [0.1, 0.5]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.0, 0.0, 0.0, 0.9], [0.03, 0.13, 0.23, 0.9]),
        ([0.4, 0.52, 0.52], [0.38, 0.48, 0.58]),
        ([1.0, 1.0], [0.87, 0.97]),
    ],
)
def test_names_are_moved_as_little_as_need_be(places, expected):
    assert np.allclose(spread(places), expected)
