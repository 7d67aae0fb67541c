"""Bars of speeds are whole PNGs, whoever took part."""

import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.errors import RunError
from recurra.figures import plot_speeds

MACHINE = {"processor": "a $fast_ one", "threads": 1, "peak_gflops": 200.0}


def row(cell, mode, shape, operations=10, **speeds):
    values = {
        name.replace("_", " "): {"seconds": 1 / value, "gflops": value if operations else None}
        for name, value in speeds.items()
    }
    return {"cell": cell, "mode": mode, "shape": list(shape), "operations": operations, "speeds": values}


CHARTS = {
    "one bar": [row("gru", "train", (1, 2, 3), recurra=100.0)],
    "grid": [
        row(cell, mode, (1, 2, size), recurra=100.0, torch=50.0, recurra_llvm=90.0, recurra_library=80.0, jax=70.0)
        for cell in ("rnn", "gru", "lstm")
        for mode in ("train", "infer", "step")
        for size in (64, 128)
    ],
    "holes": [
        row("gru", "infer", (1, 2, 3), recurra=100.0, onnxruntime=90.0),
        row("mingru", "train", (1, 2, 3), recurra=100.0, torch_loop=9.0),
    ],
    "no products": [row("own:Cell", "infer", (1, 2, 3), operations=0, recurra=100.0, torch_loop=3.0)],
}


@pytest.mark.parametrize("rows", CHARTS.values(), ids=CHARTS)
def test_any_result_can_be_drawn(rows, tmp_path):
    plot_speeds(rows, tmp_path / "speed.png", machine=MACHINE)
    picture = imread(tmp_path / "speed.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 900
    assert count_colours(picture) > 10


def test_a_chart_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(RunError, match="cannot draw"):
        plot_speeds(CHARTS["one bar"], tmp_path / "folder" / "speed.png", machine=MACHINE)
