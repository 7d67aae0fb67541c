"""Running what was exported: wrong input gets one line."""

import numpy as np
import pytest

from recurra.cells import make_cell
from recurra.errors import ConfigError, RunError, ShapeError
from recurra.export import OnnxModel, to_onnx

I, H = 3, 4


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs")
    to_onnx(make_cell("lstm", I, H), path / "plain")
    to_onnx(make_cell("slstm", I, H), path / "lengths", lengths=True)
    return path


def test_empty_batches_and_sequences_are_refused(folders):
    for name in ("plain", "lengths"):
        graphs = OnnxModel(folders / name)
        for shape in ((3, 0, I), (0, 2, I), (2, 3, 0), (2, I)):
            with pytest.raises(ShapeError, match="with no size 0"):
                graphs.scan(np.zeros(shape))
        with pytest.raises(ShapeError, match="with no size 0"):
            graphs.step(np.zeros((0, I)))


def test_states_that_do_not_fit_are_refused(folders):
    graphs = OnnxModel(folders / "plain")
    state = graphs.zero_state(2)
    with pytest.raises(ShapeError, match=r"the state holds \['state.h'\]"):
        graphs.scan(np.zeros((1, 2, I)), {"state.h": state["state.h"]})
    with pytest.raises(ShapeError, match=r"'state.h' is \(2, 4\), and should be \(3, 4\)"):
        graphs.scan(np.zeros((1, 3, I)), state)


def test_lengths(folders):
    graphs = OnnxModel(folders / "lengths")
    x = np.random.default_rng(0).standard_normal((5, 2, I))
    whole, end = graphs.scan(x)
    for lengths in ([5, 5], np.array([5, 5], np.int32)):
        np.testing.assert_array_equal(graphs.scan(x, lengths=lengths)[0], whole)
    cut, after = graphs.scan(x, lengths=[2, 5])
    assert not cut[2:, 0].any()
    np.testing.assert_array_equal(cut[:, 1], whole[:, 1])
    assert not np.array_equal(after["state.h"][0], end["state.h"][0])
    for wrong in ([5], [6, 1], [-1, 2], [[1, 2]]):
        with pytest.raises(ShapeError, match="from 0 to 5"):
            graphs.scan(x, lengths=wrong)
    with pytest.raises(ConfigError, match="export it with them"):
        OnnxModel(folders / "plain").scan(x, lengths=[2, 5])


def test_graphs_of_others(folders, tmp_path):
    import onnx

    model = onnx.load(folders / "plain" / "sequence.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "sequence.onnx")
    with pytest.raises(RunError, match="was not written by recurra export"):
        OnnxModel(tmp_path)
    with pytest.raises(RunError, match="cannot read"):
        OnnxModel(tmp_path / "nowhere")
