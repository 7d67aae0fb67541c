"""Forecasts are whole PNGs; a fan holds the share of the samples that it says."""

import numpy as np
import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.figures import Fan, Trajectory, fan, plot_forecast

RANDOM = np.random.default_rng(0)
SAMPLES = RANDOM.normal(size=(400, 12))
FAN = fan("a $title_", RANDOM.normal(size=500), SAMPLES, SAMPLES[0])
PATH = Trajectory(
    "ball", RANDOM.random((9, 2)), RANDOM.random((5, 2)), RANDOM.random((40, 5, 2)), RANDOM.random((3, 2))
)
PANELS = {
    "one": [FAN],
    "three": [FAN] * 3,
    "too many": [FAN] * 9,
    "no truth": [FAN._replace(truth=None)] * 2,
    "no history": [FAN._replace(history=[])],
    "no bands": [Fan("a point", [1.0], [2.0], {})],
    "long title": [FAN._replace(title="long " * 50)] * 4,
    "paths": [PATH] * 4,
    "a path alone": [PATH._replace(samples=None, truth=None)],
    "both": [PATH, FAN],
    "none": [],
}


@pytest.mark.parametrize("panels", PANELS.values(), ids=PANELS)
def test_any_forecast_can_be_drawn(panels, tmp_path):
    plot_forecast(panels, tmp_path / "forecast.png", title="title", subtitle="subtitle", unit="$")
    picture = imread(tmp_path / "forecast.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


def test_bands_hold_their_share_of_the_samples():
    samples = np.arange(1001.0)[:, None]
    made = fan("", [0.0], samples)
    assert made.median == [500]
    assert {share: [float(edge[0]) for edge in edges] for share, edges in made.bands.items()} == {
        0.5: pytest.approx([250, 750]),
        0.8: pytest.approx([100, 900]),
        0.9: pytest.approx([50, 950]),
    }
