"""Several processes: the curve of one, in every kind of training; another number of them half-way; what is refused."""

import pytest
import torch
from several import CASES, Team, train, trainer

from recurra.errors import ConfigError
from recurra.processes import ALONE
from recurra.training.together import add_up, run_of_job

QUICK = ("noise", "random", "windows", "online", "clipped", "classify", "translate", "samples")
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}


@pytest.fixture(scope="module")
def two():
    team = Team(2)
    yield team
    team.close()


@pytest.fixture(scope="module")
def four():
    team = Team(4)
    yield team
    team.close()


def assert_same(one, several, tolerance):
    (curve, weights, metrics), (curve_n, weights_n, metrics_n) = one, several
    assert len(curve) == len(curve_n) > 2
    torch.testing.assert_close(torch.tensor(curve_n), torch.tensor(curve), rtol=tolerance, atol=tolerance)
    assert weights.keys() == weights_n.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(weights_n[name], tensor, rtol=100 * tolerance, atol=100 * tolerance, equal_nan=True)
    assert [row.keys() for row in metrics] == [row.keys() for row in metrics_n]
    for row, row_n in zip(metrics, metrics_n, strict=True):
        for name, value in row.items():
            assert row_n[name] == pytest.approx(value, rel=10 * tolerance)


@pytest.mark.parametrize("case", QUICK)
def test_two_processes_train_as_one(case, two, tmp_path):
    one = train(ALONE, case, tmp_path / "one")
    assert_same(one, two.ask(train, case, tmp_path / "two")[0], ROUNDING[torch.float64])


def test_what_goes_wrong_is_told_once_and_alike(two, tmp_path):
    *_, alone = train(ALONE, "setback", tmp_path / "one")
    *_, together = two.ask(train, "setback", tmp_path / "two")[0]
    told = [[row["setback"] for row in rows if "setback" in row] for rows in (alone, together)]
    assert len(told[0]) == len(told[1]) > 0
    for one, several in zip(*told, strict=True):
        assert [one[name] for name in ("step", "back_to", "lr_factor")] == [
            several[name] for name in ("step", "back_to", "lr_factor")
        ]
    assert [row["step"] for row in alone] == [row["step"] for row in together]


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "setback"])  # which grows without bounds
@pytest.mark.parametrize("size", ["two", "four"])
def test_every_kind_of_training(case, size, request, tmp_path):
    one = train(ALONE, case, tmp_path / "one")
    team = request.getfixturevalue(size)
    assert_same(one, team.ask(train, case, tmp_path / "several")[0], ROUNDING[torch.float64])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["plain", "noise"])
def test_two_hundred_steps_in_single_precision(case, two, tmp_path):
    more = {"steps": 200, "dtype": torch.float32, "lr": 2e-3}
    one = train(ALONE, case, tmp_path / "one", **more)
    several = two.ask(train, case, tmp_path / "two", **more)[0]
    assert len(one[0]) == 200
    for (_, loss, _), (_, loss_n, _) in zip(one[0], several[0], strict=True):
        assert loss_n == pytest.approx(loss, rel=ROUNDING[torch.float32])


def test_the_same_training_again_gives_the_same_bits_in_every_process(two, tmp_path):
    (curve, weights, metrics), follower = two.ask(train, "noise", tmp_path / "a", torch.float32)
    again = two.ask(train, "noise", tmp_path / "b", torch.float32)[0]
    assert curve == again[0]
    assert metrics == again[2]
    for name, tensor in weights.items():
        assert torch.equal(tensor, again[1][name])
        assert torch.equal(tensor, follower[1][name])


@pytest.mark.parametrize("case", ["noise", "online"])
def test_a_run_goes_on_with_another_number_of_processes(case, two, tmp_path):
    whole = train(ALONE, case, tmp_path / "whole")
    stopped = two.ask(train, case, tmp_path / "run", stop_at=2)[0]
    assert stopped[1] is None
    middle = train(ALONE, case, None, resume=tmp_path / "run", stop_at=4)
    last = two.ask(train, case, None, resume=tmp_path / "run")[0]
    curve = stopped[0] + middle[0] + last[0]
    assert_same(whole, (curve, *last[1:]), ROUNDING[torch.float64])


def test_fewer_rows_than_processes_are_refused_by_all(two, tmp_path):
    answers = two.ask(refused, tmp_path / "run")
    assert answers == [
        "2 processes cannot share a batch of 1 rows; raise --batch, or start fewer",
        "the first process could not begin",
    ]
    assert not (tmp_path / "run").exists()


def refused(processes, out):
    try:
        train(processes, "plain", out, batch=1)
    except Exception as error:
        return str(error)


def test_zoneout_in_pieces_of_memory_is_refused(two, tmp_path):
    answer = two.ask(pieces, tmp_path / "run")[0]
    assert "checkpointed back-propagation draws the noise of zoneout piece by piece" in answer


def pieces(processes, out):
    try:
        train(processes, "noise", out, backprop="checkpointed:1MB")
    except Exception as error:
        return str(error)


def test_parameters_without_a_gradient_stay_so(two):
    assert two.ask(unused) == [[3.0, None, 3.0], [3.0, None, 3.0]]


def unused(processes):
    layers = torch.nn.ParameterList([torch.nn.Parameter(torch.zeros(1)) for _ in range(3)])
    layers[0].grad = torch.tensor([1.0 + processes.rank])
    if processes.rank:
        layers[2].grad = torch.tensor([3.0])
    add_up(layers, processes)
    return [None if p.grad is None else float(p.grad) for p in layers]


def test_a_run_of_the_same_job_is_found(tmp_path):
    run = tmp_path / "run"
    trainer("plain", run, epochs=1).fit()
    assert run_of_job("this", run, finished=True) is None
    (run / "training" / "job").write_text("this")
    assert run_of_job("this", run, finished=False) == run
    assert run_of_job("another", run, finished=True) is None
    (run / "training" / "job").write_text("this finished")
    assert run_of_job("this", run, finished=False) is None
    assert run_of_job("this", run, finished=True) == run


def test_what_a_job_left_in_the_making_is_made_again(tmp_path):
    run = tmp_path / "run"
    (run / "training").mkdir(parents=True)
    (run / "training" / "job").write_text("this")
    (run / "unfinished").touch()
    assert run_of_job("this", run, finished=False) is None
    again = trainer("plain", run, epochs=1)
    again.job = "this"
    again.fit()
    assert run_of_job("this", run, finished=False) == run


def test_alone_a_batch_of_one_row_is_fine(tmp_path):
    assert trainer("plain", tmp_path / "run", batch=1, steps=2).fit().metrics
    with pytest.raises(ConfigError, match="no CUDA device"):
        trainer("plain", tmp_path / "other", device="cuda").fit()
