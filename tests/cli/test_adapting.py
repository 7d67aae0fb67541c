"""``evaluate --dynamic --cache --tune`` and ``generate --cache``, used and misused."""

import json

import pytest

from recurra.evaluation import tuning

ADAPT = [["--cache", "60"], ["--dynamic"], ["--dynamic", "--cache", "60"]]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("other") / "other.txt"
    path.write_text("mad hens sat on the log, and the mad dog was on the hen; " * 4)
    return path


def evaluate(cli, *arguments):
    result = cli("evaluate", *arguments, "--json")
    assert result.status == 0, result.err
    return json.loads(result.out)


@pytest.mark.parametrize("adapt", ADAPT, ids=" ".join)
def test_what_adapts_scores_the_same_tokens_and_names_its_settings(cli, run, other, adapt):
    plain, found = evaluate(cli, run, other), evaluate(cli, run, other, *adapt)
    assert found["tokens"] == plain["tokens"]
    assert found["loss_nats"] < plain["loss_nats"]
    assert set(found) - set(plain) == {name for name in ("cache", "dynamic") if f"--{name}" in adapt}
    if "--cache" in adapt:
        assert found["cache"] == {"size": 60, "theta": 0.662, "weight": 0.1279}
    if "--dynamic" in adapt:
        assert found["dynamic"]["segment"] == 5
    assert "perplexity" in cli("evaluate", run, other, *adapt).out


def test_the_run_stays_as_it_is(cli, run, other):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    evaluate(cli, run, other, "--dynamic")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("base", "option"),
    [
        (["--cache", "60"], ["--cache", "3"]),
        (["--cache", "60"], ["--cache-theta", "9"]),
        (["--cache", "60"], ["--cache-weight", "0.9"]),
        (["--dynamic"], ["--segment", "40"]),
        (["--dynamic"], ["--dynamic-rate", "0.001"]),
        (["--dynamic"], ["--dynamic-decay", "0.5"]),
    ],
    ids=lambda options: " ".join(options),
)
def test_every_option_does_something(cli, run, other, base, option):
    assert evaluate(cli, run, other, *base, *option)["loss_nats"] != evaluate(cli, run, other, *base)["loss_nats"]


def test_tuning_says_what_it_chose_and_uses_it(cli, run, other, monkeypatch):
    monkeypatch.setattr(tuning, "RATES", (5e-5, 1e-4))
    monkeypatch.setattr(tuning, "DECAYS", (0.002,))
    monkeypatch.setattr(tuning, "TUNING_TOKENS", 50)
    monkeypatch.setattr(tuning, "THETAS", (0.1, 2.0))
    monkeypatch.setattr(tuning, "WEIGHTS", (0.02,))
    result = cli("evaluate", run, other, "--dynamic", "--cache", "60", "--tune", "--json")
    assert result.status == 0
    assert result.line.startswith("tuned on the first 50 tokens of the validation part, perplexity ")
    chosen = result.line.rpartition(": ")[2].split()
    found, again = json.loads(result.out), evaluate(cli, run, other, "--dynamic", "--cache", "60", *chosen)
    assert found["cache"]["weight"] == 0.02
    assert {**found, "seconds": 0} == {**again, "seconds": 0}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--cache", "0"], "'cache_size' must be at least 1"),
        (["--cache", "many"], "--cache"),
        (["--cache", "9", "--cache-weight", "1"], "cache_weight"),
        (["--cache", "9", "--cache-theta", "-1"], "cache_theta"),
        (["--cache-theta", "1"], "give --cache N"),
        (["--cache-weight", "0.1"], "give --cache N"),
        (["--segment", "9"], "of --dynamic"),
        (["--dynamic-rate", "1"], "of --dynamic"),
        (["--dynamic", "--segment", "0"], "'segment' must be at least 1"),
        (["--dynamic", "--segment", "2000"], "'segment' must be at most 1,024"),
        (["--dynamic", "--dynamic-rate", "-1"], "'rate' must be at least 0"),
        (["--dynamic", "--batch", "2"], "one stream"),
        (["--dynamic", "--warmup", "9"], "one stream"),
        (["--dynamic", "--reset-every", "9"], "one stream"),
        (["--cache", "9", "--reset-every", "9"], "--reset-every forgets the cache"),
        (["--tune"], "give one of them"),
        (["--tune", "--cache", "9", "--cache-theta", "1"], "leave them out"),
        (["--tune", "--dynamic", "--dynamic-decay", "1"], "leave them out"),
        (["--tune", "--cache", "9"], "measure on another text"),
        (["--dynamic", "--dynamic-rate", "1e38"], "lower the rate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be(cli, run, options, says):
    result = cli("evaluate", run, *options)
    assert result.status == 2
    assert says in result.line


def test_a_copy_of_the_validation_part_is_not_tuned_on(cli, run, text):
    result = cli("evaluate", run, text, "--part", "valid", "--cache", "9", "--tune")
    assert result.status == 2
    assert "measure on another text" in result.line


def test_without_a_validation_part_there_is_nothing_to_tune_on(cli, text, other, tmp_path, quick):
    assert cli("train", text, "--out", tmp_path / "run", *quick, "--valid", "0").status == 0
    result = cli("evaluate", tmp_path / "run", other, "--cache", "9", "--tune")
    assert result.status == 2
    assert "no validation part to tune on" in result.line


def test_generate_remembers_what_it_was_prompted_with(cli, run):
    prompt = ["--prompt", "odd mad hen, " * 9, "--tokens", "60", "--seed", "2"]
    plain = cli("generate", run, *prompt).out
    written = cli("generate", run, *prompt, "--cache", "90", "--cache-weight", "0.95", "--cache-theta", "9")
    assert written.status == 0
    assert written.out != plain
    assert cli("generate", run, *prompt, "--cache", "90", "--cache-weight", "0.0").out == plain
    refused = cli("generate", run, *prompt, "--cache-weight", "0.5")
    assert refused.status == 2
    assert "give --cache N" in refused.line
