"""Forecasting, used as a person would."""

import csv
import io
import json

import numpy as np
import pytest

QUICK = ["--hidden", "6", "--epochs", "2", "--batch", "16", "--threads", "1"]


def sales(path, rows=120, columns=("date", "sales"), cells=None):
    """Write a table of months: a yearly pattern that grows."""
    months = np.datetime64("2001-01") + np.arange(rows)
    values = 100 + np.arange(rows) + 20 * np.sin(2 * np.pi * np.arange(rows) / 12)
    lines = [f"{month},{value:.3f}" for month, value in zip(months, values, strict=True)]
    for row, line in (cells or {}).items():
        lines[row] = line
    path.write_text("\n".join([",".join(columns), *(line for line in lines if line is not None)]) + "\n")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from recurra.cli import main

    folder = tmp_path_factory.mktemp("sales")
    data = sales(folder / "sales.csv")
    arguments = ["train", "--task", "forecast", data, "--horizon", "6", "--test", "24", "--out", folder / "run", *QUICK]
    assert main([str(argument) for argument in arguments]) == 0
    return data, folder / "run"


def test_train_says_what_was_read_and_ends_with_baselines(cli, tmp_path):
    data = sales(tmp_path / "sales.csv")
    result = cli(
        "train", "--task", "forecast", data, "--target", "sales", "--horizon", "3", "--out", tmp_path / "run", *QUICK
    )
    assert result.status == 0, result.err
    assert "season 12: 3 to be forecast" in result.err
    for name in ("this model", "last value", "seasonal naive", "coverage", "mase", "verdict:"):
        assert name in result.out
    assert (tmp_path / "run" / "report" / "valid-forecast.png").exists()


def test_evaluate_has_the_keys_of_the_field(cli, made):
    _, run = made
    value = json.loads(cli("evaluate", run, "--part", "test", "--json").out)
    assert {"mse", "mae", "mase", "crps", "coverage", "standard_mse", "baselines", "verdict"} <= value.keys()
    assert value["examples"] == 24 - 6 + 1
    assert 0 <= value["coverage"] <= 1


def test_evaluate_another_file_of_the_same_kind(cli, made, tmp_path):
    _, run = made
    result = cli("evaluate", run, sales(tmp_path / "other.csv", rows=60))
    assert result.status == 0, result.err
    assert "last value" in result.out


def test_predict_goes_on_where_the_file_ends(cli, made):
    data, run = made
    rows = [json.loads(line) for line in cli("predict", run, data).out.splitlines()]
    assert [row["time"] for row in rows] == [f"2011-{month:02}-01" for month in range(1, 7)]
    assert all(row["q05"] <= row["q50"] <= row["q95"] for row in rows)
    table = list(csv.DictReader(io.StringIO(cli("predict", run, data, "--format", "csv").out)))
    assert [float(row["mean"]) for row in table] == [row["mean"] for row in rows]


def test_info_tells_what_is_forecast(cli, made):
    _, run = made
    facts = json.loads(cli("info", run, "--json").out)
    assert (facts["task"], facts["targets"], facts["horizon"], facts["season"]) == ("forecast", "sales", 6, 12)
    assert facts["test_windows"] == 19


def test_a_run_resumes_to_the_same_bits(cli, made):
    _, run = made
    before = (run / "model.safetensors").read_bytes()
    assert cli("train", "--resume", run).status == 0
    assert (run / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        ({5: "2001-06,"}, "empty"),
        ({5: "2001-06,abc"}, "abc"),
        ({5: None}, "1 time is missing, after 2001-05-01; fill in what is missing, or --gaps fill"),
        ({5: "2001-05,100"}, "2001-05"),
        ({5: "2000-05,100"}, "comes after a later one"),
        ({row: f"{np.datetime64('2001-01') + row},7" for row in range(120)}, "is 7 in every row"),
    ],
    ids=["empty-cell", "text", "gap", "duplicate", "unsorted", "constant"],
)
def test_series_that_cannot_be_learned(cli, tmp_path, cells, says):
    data = sales(tmp_path / "bad.csv", cells=cells)
    result = cli("train", "--task", "forecast", data, "--out", tmp_path / "run", *QUICK)
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--target", "sale"], "did you mean 'sales'"),
        (["--horizon", "500"], "horizon"),
        (["--horizon", "0"], "'horizon' must be at least 1"),
        (["--time", "when"], "when"),
        (["--distribution", "gausian"], "did you mean 'gaussian'"),
        (["--tokenizer", "char"], "--tokenizer has no meaning for --task forecast"),
        (["--lags", "1,a"], "lags"),
    ],
)
def test_settings_that_cannot_be(cli, tmp_path, options, says):
    data = sales(tmp_path / "sales.csv")
    result = cli("train", "--task", "forecast", data, *options, "--out", tmp_path / "run", *QUICK[-2:])
    assert result.status == 2
    assert says in result.line
    assert not (tmp_path / "run").exists()


def test_gaps_are_filled_when_asked(cli, tmp_path):
    data = sales(tmp_path / "gaps.csv", cells={5: None, 9: "2001-10,"})
    result = cli("train", "--task", "forecast", data, "--gaps", "fill", "--out", tmp_path / "run", *QUICK)
    assert result.status == 0, result.err
    assert "straight line" in result.err


def test_a_file_with_other_steps_is_refused(cli, made, tmp_path):
    _, run = made
    days = tmp_path / "days.csv"
    days.write_text("date,sales\n" + "".join(f"2001-01-{day:02},{day * day}\n" for day in range(1, 31)))
    result = cli("predict", run, days)
    assert result.status == 2
    assert "apart" in result.line


def test_a_beam_is_for_tasks_that_write(cli, made):
    data, run = made
    for command in ("predict", "evaluate"):
        result = cli(command, run, data, "--beam", "4")
        assert result.status == 2
        assert "a run of --task forecast writes none" in result.line
