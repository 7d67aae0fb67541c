"""Precision over recall, drawn."""

import numpy as np
import pytest

from recurra.errors import RunError
from recurra.figures import plot_precision_recall

CURVES = {name: (np.linspace(0, 1, 9), np.linspace(1, low, 9)) for name, low in (("one", 0.5), ("other", 0.1))}


def test_a_picture_is_drawn(tmp_path):
    plot_precision_recall(CURVES, tmp_path / "a.png", title="Title", note="note")
    plot_precision_recall({"one": CURVES["one"]}, tmp_path / "b.png", title="Title", note="note")
    first, second = ((tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first.startswith(b"\x89PNG")
    assert first != second


def test_a_picture_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot draw"):
        plot_precision_recall(CURVES, tmp_path / "file" / "a.png", title="Title", note="note")
