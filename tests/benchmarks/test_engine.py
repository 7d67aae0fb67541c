"""The measurement of the engine as a whole, on shapes that take no time."""

import json

import pytest

from recurra.benchmarks import Case, Result, Speed, cases, engine, means, measure, timing
from recurra.benchmarks.work import Unavailable

PEAK = 100.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_S", 1e-9)


@pytest.fixture
def only_torch(monkeypatch):
    chosen = {name: prepare for name, prepare in engine.contenders().items() if name in ("recurra", "torch")}

    def choose(**others):
        monkeypatch.setattr(engine, "contenders", lambda compiled=False: chosen | others)

    choose()
    return choose


def speed(seconds, ratio, gflops=1.0):
    return Speed(seconds=seconds, gflops=gflops, share=0.01, ratio=ratio, first_s=0.0, error=0.0)


@pytest.mark.parametrize("mode", ["train", "infer", "step"])
def test_a_case_is_measured(only_torch, mode):
    case = Case("gru", mode, 2, 1 if mode == "step" else 3, 8)
    result = measure(case, PEAK, rounds=2)
    assert set(result.speeds) == {"recurra", "torch"}
    ours, theirs = result.speeds["recurra"], result.speeds["torch"]
    assert ours.ratio == 1.0
    assert theirs.ratio > 0
    assert ours.gflops == pytest.approx(result.operations / ours.seconds / 1e9)
    assert ours.share == pytest.approx(ours.gflops / PEAK)
    assert result.best_peer() is theirs
    row = json.loads(json.dumps(result.as_mapping()))
    assert row["shape"] == [2, case.steps, 8]
    assert set(row["speeds"]["torch"]) == {"seconds", "gflops", "share", "ratio", "first_s", "error"}


def test_a_peer_that_cannot_run_is_said_and_left_out(only_torch):
    def prepare(work):
        raise Unavailable("it is not installed")

    only_torch(other=prepare)
    said = []
    assert set(measure(Case("gru", "infer", 2, 3, 8), PEAK, rounds=1, say=said.append).speeds) == {"recurra", "torch"}
    assert said == ["without other: it is not installed"]


def test_a_peer_that_computes_something_else_is_said_and_left_out(only_torch):
    only_torch(other=lambda work: lambda: [2 * value for value in work.expected])
    said = []
    assert "other" not in measure(Case("gru", "infer", 2, 3, 8), PEAK, rounds=1, say=said.append).speeds
    assert "differs from the reference" in said[0]


def test_a_wrong_engine_is_never_fast(only_torch):
    only_torch(recurra=lambda work: lambda: [2 * value for value in work.expected])
    with pytest.raises(RuntimeError, match="recurra differs from the reference loop"):
        measure(Case("gru", "infer", 2, 3, 8), PEAK, rounds=1)


def test_the_grid_or_the_given_shapes():
    grid = list(cases(["rnn", "gru"], ["train", "infer", "step"]))
    assert len(grid) == 2 * (5 + 7 + 2)
    assert all(case.rows == case.steps == 1 for case in grid if case.mode == "step")
    assert list(cases(["rnn"], ["infer"], [(1, 2, 3)])) == [Case("rnn", "infer", 1, 2, 3)]


def test_means_are_geometric_by_cell_and_mode_and_against_the_best_peer():
    def result(cell, size, ours, torch, jax):
        speeds = {"recurra": speed(ours, 1.0), "torch": speed(torch, torch / ours), "jax": speed(jax, jax / ours)}
        return Result(case=Case(cell, "train", 1, 1, size), operations=8, speeds=speeds)

    results = [result("gru", 8, 1.0, 4.0, 2.0), result("gru", 16, 1.0, 1.0, 8.0), result("rnn", 8, 2.0, 1.0, 1.0)]
    gru, rnn = means(results)
    assert (gru["cell"], gru["shapes"], rnn["cell"]) == ("gru", 2, "rnn")
    ratios = {name: value["ratio"] for name, value in gru["speeds"].items()}
    assert ratios == pytest.approx({"recurra": 1.0, "torch": 2.0, "jax": 4.0, "best peer": 2.0**0.5})
    assert rnn["speeds"]["torch"]["ratio"] == pytest.approx(0.5)


def test_a_cell_without_products_has_a_time_and_no_rate():
    one = Result(case=Case("x", "infer", 1, 1, 8), operations=0, speeds={"recurra": speed(1.0, 1.0, gflops=None)})
    (mean,) = means([one])
    assert mean["speeds"]["recurra"]["gflops"] is None
    assert mean["speeds"]["recurra"]["seconds"] == pytest.approx(1.0)
    assert "best peer" not in mean["speeds"]
    assert one.best_peer() is None
