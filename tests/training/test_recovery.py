"""Training that goes wrong: back to the last good moment, at a lower rate, the same way every time."""

import json
import math
import os
import shutil
import signal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurra.checkpoint import Generation, RunDirectory
from recurra.cli import main
from recurra.data import Corpus
from recurra.errors import DivergedError
from recurra.models import LanguageModel
from recurra.training import Reporter, Run, Trainer
from recurra.training.recovery import LOWERED, PROVEN_AFTER, Recovery, Setback, Watch

TEXT = "she sells sea shells by the sea shore, and the shells she sells are sea shells for sure\n" * 30


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Curves have tests of their own, and take longer to draw than these runs to train."""
    monkeypatch.setattr("recurra.training.trainer.draw_report", lambda run: None)
    monkeypatch.setattr("recurra.training.recovery.draw_report", lambda run: None)


class Trouble(Reporter):
    """Breaks a step in the way that it is told, and presses Ctrl-C after others.

    A break is what the weights are multiplied by after a step, while the learning rate is above a factor of its own.
    """

    def __init__(self, breaks=(), stops=(), heals_at=0.6):
        self.breaks, self.stops, self.heals_at = dict(breaks), set(stops), heals_at
        self.trainer, self.notes = None, []

    def step(self, step, loss_nats, grad_norm):
        if step in self.breaks and self.trainer.recovery.factor > self.heals_at:
            with torch.no_grad():
                for p in self.trainer.model.parameters():
                    p.mul_(self.breaks[step])
        if step in self.stops:
            self.stops.discard(step)
            os.kill(os.getpid(), signal.SIGINT)

    def note(self, text):
        self.notes.append(text)


def trainer(out, reporter=None, **settings):
    corpus = Corpus.from_text(TEXT, tokenizer="char", name="shells")
    torch.manual_seed(0)
    network = LanguageModel(corpus.vocabulary, cell="gru", hidden=8, dropout=0.2)
    settings = {"batch": 4, "backprop": "13", "epochs": 3, "threads": 1, "device": "cpu", **settings}
    made = Trainer(network, corpus, out=out, reporter=reporter or Trouble(), **settings)
    made.reporter.trainer = made
    return made


def setbacks(path):
    return [row["setback"] for row in Run.load(path).metrics if "setback" in row]


def everything(path):
    run = Run.load(path)
    generation, _ = run.directory.read_generation()
    used = {f"used.{name}": tensor for name, tensor in run.model.state_dict().items()}
    return (
        {**generation.tensors, **used},
        run.directory.metrics_file.read_bytes(),
        run.directory.samples_file.read_bytes(),
    )


def assert_same(a, b):
    tensors_a, *files_a = everything(a)
    tensors_b, *files_b = everything(b)
    assert files_a == files_b
    assert tensors_a.keys() == tensors_b.keys()
    assert all(torch.equal(tensor, tensors_b[name]) for name, tensor in tensors_a.items())


def test_weights_that_are_no_numbers_are_taken_back(tmp_path):
    trouble = Trouble({50: math.nan})
    fitted = trainer(tmp_path / "run", trouble)
    run = fitted.fit()
    (setback,) = setbacks(tmp_path / "run")
    assert setback == {
        "what": "loss is nan", "step": 51, "loss_nats": None, "grad_norm": None, "back_to": 46, "retry": 1,
        "lr_factor": LOWERED,
    }  # fmt: skip
    assert "step 51: loss is nan; back to step 46, learning rate x 0.5" in trouble.notes[-1]
    rows = [row for row in run.metrics if "loss_nats" in row]
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows}), "nothing is counted twice"
    assert rows[-1]["step"] == fitted.total_steps
    assert all(torch.isfinite(p).all() for p in run.model.parameters())


def test_a_loss_that_explodes_is_taken_back(tmp_path):
    trouble = Trouble({60: 60.0})
    run = trainer(tmp_path / "run", trouble).fit()
    (setback,) = setbacks(tmp_path / "run")
    assert setback["what"].startswith("loss exploded: above 5.85")
    assert (setback["step"], setback["back_to"], setback["lr_factor"]) == (60 + PROVEN_AFTER, 46, LOWERED)
    assert setback["loss_nats"] > 5.85
    assert run.verdict.endswith("; went back once, learning rate x 0.5")
    rows = [row["step"] for row in run.metrics if "setback" not in row]
    assert rows == sorted(set(rows))
    samples = run.directory.samples_file.read_text()
    assert [samples.count(f"--- epoch {n},") for n in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("breaks", [{60: math.nan}, {60: 60.0}], ids=["nan", "explosion"])
@pytest.mark.parametrize(
    "stop", [30, 60, 65, *(pytest.param(stop, marks=pytest.mark.slow) for stop in (59, 79, 80, 100))]
)
def test_stopped_before_in_and_after_it_ends_with_the_same_bits(whole, tmp_path, stop, breaks):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "cut", Trouble(breaks, {stop})).fit()
    again = Trainer.resume(tmp_path / "cut", reporter=Trouble(breaks))
    again.reporter.trainer = again
    again.fit()
    assert_same(whole(breaks), tmp_path / "cut")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Runs with trouble that were never stopped, made when they are asked for."""
    made = {}

    def get(breaks):
        key = repr(breaks)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("whole") / "run"
            trainer(made[key], Trouble(breaks)).fit()
        return made[key]

    return get


@pytest.mark.parametrize("method", ["append_metrics", "write_generation"])
def test_killed_on_the_way_back_ends_with_the_same_bits(whole, tmp_path, monkeypatch, method):
    """Once with the logs cut back, once with the row of the setback written and its checkpoint not."""
    breaks = {60: 60.0}
    fitted = trainer(tmp_path / "cut", Trouble(breaks))
    real = getattr(RunDirectory, method)

    def killed(self, what):
        if fitted.recovery.used:
            raise SystemExit("killed")
        return real(self, what)

    monkeypatch.setattr(RunDirectory, method, killed)
    with pytest.raises(SystemExit):
        fitted.fit()
    monkeypatch.undo()
    again = Trainer.resume(tmp_path / "cut", reporter=Trouble(breaks))
    again.reporter.trainer = again
    again.fit()
    assert_same(whole(breaks), tmp_path / "cut")


def test_where_it_goes_back_to_does_not_depend_on_the_clock(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("recurra.training.trainer.CHECKPOINT_EVERY_S", 0.05)
    breaks = {60: 60.0}
    fitted = trainer(tmp_path / "run", Trouble(breaks))
    fitted.fit()
    assert_same(whole(breaks), tmp_path / "run")
    assert len(list((tmp_path / "run" / "training").iterdir())) <= 4


@pytest.mark.parametrize(
    "schedule",
    ["cosine", "plateau", *(pytest.param(s, marks=pytest.mark.slow) for s in ("constant", "onecycle", "slanted"))],
)
def test_the_rate_stays_lowered_under_every_schedule_also_when_resumed(tmp_path, schedule):
    def rates(path):
        return {row["step"]: row["lr"] for row in Run.load(path).metrics if "lr" in row}

    trainer(tmp_path / "calm", schedule=schedule).fit()
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", Trouble({50: math.nan}, {120}), schedule=schedule).fit()
    again = Trainer.resume(tmp_path / "run", reporter=Trouble())
    again.reporter.trainer = again
    again.fit()
    calm, lowered = rates(tmp_path / "calm"), rates(tmp_path / "run")
    assert calm.keys() == lowered.keys()
    if schedule == "plateau":  # whose rate depends on the losses
        assert all(lowered[step] in (calm[step] * 0.5, calm[step]) for step in (1, 46, 47))
        assert all(lowered[step] == 0.5 * 2e-3 for step in range(47, 92))
        return
    for step, rate in calm.items():
        assert lowered[step] == rate * (LOWERED if step > 46 else 1.0), step


def test_after_so_many_times_it_stops(tmp_path):
    trouble = Trouble({50: math.nan}, heals_at=0.0)
    with pytest.raises(DivergedError, match=r"lowered 2 times, to 0.25 of it.*lower --lr.*look at its data"):
        trainer(tmp_path / "run", trouble, retries=2).fit()
    assert [(row["back_to"], row["retry"]) for row in setbacks(tmp_path / "run")] == [(46, 1), (46, 2), (None, 2)]
    run = Run.load(tmp_path / "run")
    assert run.verdict == "diverged at step 51: loss is nan"
    assert all(torch.isfinite(p).all() for p in run.model.parameters())
    trouble.trainer = Trainer.resume(tmp_path / "run", reporter=trouble)
    with pytest.raises(DivergedError):
        trouble.trainer.fit()


def test_an_explosion_that_does_not_heal_keeps_the_weights_before_it(tmp_path):
    with pytest.raises(DivergedError, match="loss exploded"):
        trainer(tmp_path / "run", Trouble({60: 60.0}, heals_at=0.0), retries=1, keep="last").fit()
    run = Run.load(tmp_path / "run")
    generation, _ = run.directory.read_generation()
    assert generation.values["step"] == 46
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, generation.tensors[f"model.{name}"])


def test_without_retries_only_what_is_no_number_stops_it(tmp_path):
    trainer(tmp_path / "high", Trouble({60: 60.0}), retries=0).fit()
    assert setbacks(tmp_path / "high") == []
    with pytest.raises(DivergedError, match="lower --lr"):
        trainer(tmp_path / "nan", Trouble({60: math.nan}), retries=0).fit()
    assert [row["back_to"] for row in setbacks(tmp_path / "nan")] == [None]


@pytest.mark.parametrize("where", ["validate", "sample"])
def test_a_validation_or_a_sample_that_is_no_number(tmp_path, monkeypatch, where):
    fitted = trainer(tmp_path / "run")
    real = getattr(fitted.task, where)

    def broken(argument):
        if fitted.step > 46 and fitted.recovery.factor == 1.0:
            if where == "sample":
                raise DivergedError("the model's numbers are not finite")
            return real(argument)._replace(loss_nats=math.nan)
        return real(argument)

    monkeypatch.setattr(fitted.task, where, broken)
    run = fitted.fit()
    (setback,) = setbacks(tmp_path / "run")
    assert (setback["step"], setback["back_to"]) == (92, 46)
    assert [row["epoch"] for row in run.metrics if "valid_loss_nats" in row] == [1, 2, 3]


def test_the_weights_of_a_validation_that_is_taken_back_are_not_kept(tmp_path):
    """Broken weights may look best where no validation was before; going back takes them back, too."""
    run = trainer(tmp_path / "run", Trouble({40: 60.0})).fit()
    assert setbacks(tmp_path / "run")[0]["back_to"] == 0
    losses = [row["valid_loss_nats"] for row in run.metrics if "valid_loss_nats" in row]
    assert len(losses) == 3
    from recurra.training import validate

    assert validate(run.model, run.data.valid, run.config.training).loss_nats == pytest.approx(min(losses), rel=1e-4)


def test_rows_of_setbacks_are_read_by_all(tmp_path, capfd):
    trainer(tmp_path / "run", Trouble({50: math.nan})).fit()
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "step 51: loss is nan; back to step 46, learning rate x 0.5" in capfd.readouterr().out
    assert main(["info", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["setbacks"][0]["lr_factor"] == 0.5
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        assert "NaN" not in line


def test_a_run_of_before_there_were_retries_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", Trouble((), {20})).fit()
    directory = Run.load(tmp_path / "run").directory
    generation, _ = directory.read_generation()
    values = {name: value for name, value in generation.values.items() if name not in ("lasting", "recovery")}
    for folder in (tmp_path / "run" / "training").iterdir():
        shutil.rmtree(folder)
    directory.write_generation(Generation(generation.tensors, values))
    trouble = Trouble({30: math.nan})
    again = Trainer.resume(tmp_path / "run", reporter=trouble)
    trouble.trainer = again
    with pytest.raises(DivergedError, match=r"step 31: loss is nan; .*no checkpoint"):
        again.fit()


FINITE = st.floats(-20, 20)


@given(st.lists(FINITE, min_size=1, max_size=200), st.floats(0, 3))
def test_losses_near_where_training_began_never_make_an_explosion(below, first):
    """A start, plateaus and steps down: whatever lies at or below the first loss and 3 nats."""
    watch = Watch()
    watch.exploded(first)
    assert not any(watch.exploded(min(loss, first + 3)) for loss in below)


@given(st.integers(1, PROVEN_AFTER - 1), st.integers(1, 30), st.floats(10, 1e6))
def test_spikes_shorter_than_an_explosion_pass(spike, calm, height):
    watch = Watch()
    losses = ([2.0] * calm + [height] * spike) * 5
    assert not any(watch.exploded(loss) for loss in losses)


@given(st.integers(1, 100), st.floats(5.1, 1e6))
def test_losses_far_above_all_before_do_after_so_many(calm, height):
    watch = Watch()
    assert not any(watch.exploded(2.0) for _ in range(calm))
    seen = [watch.exploded(height) for _ in range(PROVEN_AFTER)]
    assert seen == [False] * (PROVEN_AFTER - 1) + [True]


@given(st.lists(FINITE, max_size=60), st.lists(FINITE, max_size=60))
def test_a_watch_goes_on_from_its_values(before, after):
    whole, first = Watch(), Watch()
    for loss in before:
        whole.exploded(loss), first.exploded(loss)
    second = Watch.of(json.loads(json.dumps(first.as_values())))
    assert [second.exploded(loss) for loss in after] == [whole.exploded(loss) for loss in after]
    assert second.as_values() == whole.as_values()


def test_the_limit_is_by_hand():
    watch = Watch()
    for loss in (5.0, *[1.0] * 60):
        watch.exploded(loss)
    mean = 5.0
    for n in range(2, 62):
        mean += (1.0 - mean) / min(n, 20)
    assert watch.best == pytest.approx(mean)
    assert watch.limit == pytest.approx(5.0 + (5.0 - mean))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=400))
def test_two_lasting_checkpoints_are_enough(events):
    """Whenever training goes wrong, one of the two newest that last is good: from before the trouble, or proven."""
    recovery, kept, had = Recovery(3, 5000), [], False
    kept.append((0, recovery.moment(0)))
    recovery.as_values(kept[0][1], 0)
    for step, (high, ended, better) in enumerate(events, 1):
        recovery.watch.above = min(recovery.watch.above + 1, PROVEN_AFTER - 1) if high else 0
        moment = recovery.moment(step, epoch_ended=ended, better=ended and better, first=not had)
        had = had or ended
        if moment.lasting:
            recovery.as_values(moment, step)
            kept = [*kept, (step, moment)][-2:]
        setback = Setback("", step + 1)
        values = [{"lasting": True, "step": s, "recovery": {"proven": m.proven}} for s, m in kept]
        assert any(recovery.is_good(each, setback) for each in values)
