"""Pictures are whole PNGs of the promised size, whatever the run looks like."""

import math
import os
import subprocess
import sys

import matplotlib
import pytest
from made_up_runs import count_colours, falling, rows, straight, valley
from matplotlib.image import imread

from recurra.errors import RunError
from recurra.figures import curves, plot_curves

RUNS = {
    "none": [],
    "one row": rows(straight, steps=1),
    "three rows": rows(straight, straight, steps=3, every=1),
    "one epoch": rows(falling, falling, every=100),
    "long": rows(straight, valley, steps=2000, every=100),
    "no validation": rows(falling),
    "only validation": [row for row in rows(None, valley) if "valid_loss_nats" in row],
    "constant": rows(lambda x: 0.0, lambda x: 0.0),
    "diverged": [*rows(straight, straight), {"step": 1010, "loss_nats": math.nan, "grad_norm": math.inf, "lr": 0.0}],
    "huge loss": rows(lambda x: 1e4 * x + 1.0, None),
    "spikes": [{**row, "grad_norm": 1e5 if row["step"] == 500 else 1.0} for row in rows(falling, falling)],
}


WRONG = {"what": "loss is nan", "step": 430, "loss_nats": None, "grad_norm": None, "retry": 1, "lr_factor": 0.5}
RUNS["went back"] = [
    *rows(falling, falling)[:30],
    {"step": 300, "epoch": 3, "setback": {**WRONG, "back_to": 300}},
    *rows(falling, falling)[30:],
]
RUNS["stopped"] = [*rows(falling)[:40], {"step": 430, "epoch": 4, "setback": {**WRONG, "back_to": None}}]


def test_steps_that_were_made_again_are_shaded(tmp_path):
    pictures = []
    for name, run in (("calm", rows(falling, falling)), ("back", RUNS["went back"])):
        plot_curves(run, tmp_path / f"{name}.png", title="a run")
        pictures.append(imread(tmp_path / f"{name}.png"))
    assert (pictures[0] != pictures[1]).any(-1).sum() > 20_000, "a band of 130 of 1,000 steps"


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_any_run_can_be_drawn(run, tmp_path):
    path = tmp_path / "report" / "curves.png"
    plot_curves(run, path, title="a run")
    picture = imread(path)
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10
    assert os.listdir(path.parent) == ["curves.png"]


@pytest.mark.parametrize("title", ["$x_$ \\frac", "运行", "x" * 500, ""])
def test_any_name_can_be_a_title(title, tmp_path):
    plot_curves(RUNS["three rows"], tmp_path / "curves.png", title=title)


def test_the_same_run_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        plot_curves(RUNS["spikes"], tmp_path / name, title="a run")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_drawing_leaves_the_settings_of_matplotlib_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    plot_curves(RUNS["three rows"], tmp_path / "curves.png", title="a run")
    assert dict(matplotlib.rcParams) == before


def test_a_picture_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(curves.os, "replace", full)
    with pytest.raises(RunError, match=r"cannot draw .*curves\.png: No space left on device"):
        plot_curves(RUNS["three rows"], path, title="a run")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["curves.png"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(RunError, match="cannot draw"):
        plot_curves(RUNS["one row"], tmp_path / "report" / "curves.png", title="a run")


def test_a_verdict_needs_no_matplotlib_and_drawing_no_pyplot(tmp_path):
    program = (
        "import sys; from recurra.figures import plot_curves, verdict; verdict([]);"
        "assert 'matplotlib' not in sys.modules;"
        f"plot_curves([], {str(tmp_path / 'curves.png')!r}, title='');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
