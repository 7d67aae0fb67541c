"""What is minimised, by every policy: the same loss, and the gradient that the policy says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recurra.data import Corpus, DataConfig
from recurra.engine import Truncated
from recurra.engine.policies.recompute import fold_by_schedule
from recurra.errors import BackpropError, ConfigError
from recurra.models import LanguageModel
from recurra.state import named_leaves
from recurra.training import Trainer, TrainingConfig
from recurra.training.language import count_steps, make_stream
from recurra.training.language.objective import _unrolling, check_policy, objective
from recurra.training.layers import Layers
from recurra.training.optimization import clip_gradients, make_optimizer, scaled_rate

TEXT = "the cat sat on the mat and the dog sat on the log. " * 12
SAME = {torch.float64: 1e-12, torch.float32: 1e-5}
NOISY = {"dropout": 0.3, "weight_drop": 0.2, "embedding_dropout": 0.1}
DIAGONAL = {"cell": "mingru", "layers": 1, "hidden": 8, "embedding": 8}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(TEXT)
    return Corpus.build(DataConfig(source=str(path)))


def gradients(corpus, model_settings, dtype=torch.float64, window=0, **settings) -> tuple[Tensor, list[Tensor], object]:
    """Return the loss of a window, the gradient of all parameters and the state that is carried on."""
    torch.manual_seed(0)
    model = LanguageModel(corpus.tokenizer, **{"hidden": 8, "layers": 2, **model_settings}).to(dtype)
    config = TrainingConfig.of(batch=2, shuffle=False, **settings)
    batch = make_stream(corpus.train, config, 0)[window]
    loss, _, state = objective(model, config, batch, None)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters()], state


def assert_alike(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        assert (a - b).norm() <= tolerance * b.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("settings", [{}, {"ar": 2.0, "tar": 1.0}, {"predict": "last"}], ids=str)
def test_a_loss_that_is_recomputed_is_the_whole_loss(corpus, settings, cell, dtype):
    """Dropout of every kind is on: what is locked over time is drawn once for the window."""
    model = {"cell": cell, **NOISY}
    whole, full, _ = gradients(corpus, model, dtype, backprop="full:200", **settings)
    loss, found, _ = gradients(corpus, model, dtype, backprop="checkpointed:250KB:200", **settings)
    assert loss == pytest.approx(float(whole), rel=SAME[dtype])
    assert_alike(found, full, SAME[dtype])


def test_zoneout_is_drawn_again_as_it_was(corpus):
    """Pieces that are recomputed have the gradients of the same pieces when all of them is kept."""
    torch.manual_seed(0)
    model = LanguageModel(corpus.tokenizer, hidden=8, layers=2, zoneout=0.2).double()
    config = TrainingConfig.of(batch=2, shuffle=False, backprop="checkpointed:250KB:200")
    batch, parameters, found = make_stream(corpus.train, config, 0)[0], list(model.parameters()), []
    schedule = check_policy(model, config, batch)
    assert schedule.taped < schedule.segments
    for taped in (schedule.taped, schedule.segments):
        torch.manual_seed(1)
        segment, sequence, start = _unrolling(model, config, batch, None)
        value, _ = fold_by_schedule(segment, sequence, start, lambda: parameters, replace(schedule, taped=taped))
        found.append((value[0].detach(), torch.autograd.grad(value[0], parameters), torch.rand(1)))
    assert found[0][0] == pytest.approx(float(found[1][0]))
    assert found[0][2] == found[1][2]
    assert_alike(found[0][1], found[1][1], SAME[torch.float64])


def test_windows_that_reach_back_count_their_own_losses_alone(corpus):
    torch.manual_seed(0)
    model = LanguageModel(corpus.tokenizer, hidden=8).double()
    config = TrainingConfig.of(batch=2, shuffle=False, backprop=Truncated(5, 12))
    stream, state = make_stream(corpus.train, config, 0), None
    for batch in stream[:4]:
        loss, nats, carried = objective(model, config, batch, state)
        counted = (batch.targets >= 0).any(1)
        assert torch.equal(counted, torch.arange(len(counted)) >= len(counted) - 5)
        logits, _ = model(batch.inputs, state)
        losses = torch.nn.functional.cross_entropy(logits[counted].flatten(0, 1), batch.targets[counted].flatten())
        assert float(nats) == pytest.approx(float(losses.detach()))
        begun = batch.inputs[: batch.advance]
        expected = model(begun, state)[1] if len(begun) else state or model.zero_state(2)
        torch.testing.assert_close(carried, expected)
        state = torch.utils._pytree.tree_map(Tensor.detach, carried)
        assert loss.requires_grad


def test_influences_are_carried_from_window_to_window(corpus):
    """Gradients of windows, with parameters that stay, add up to that of one long window."""
    torch.manual_seed(0)
    model = LanguageModel(corpus.tokenizer, **DIAGONAL).double()
    config = TrainingConfig.of(batch=2, shuffle=False, backprop="online:7")
    state, total = None, [0.0] * len(list(model.stack.parameters()))
    for batch in make_stream(corpus.train, config, 0)[:5]:
        loss, _, state = objective(model, config, batch, state)
        found = torch.autograd.grad(loss, list(model.stack.parameters()))
        total = [a + g / 5 for a, g in zip(total, found, strict=True)]
        state = torch.utils._pytree.tree_map(Tensor.detach, state)
    whole = TrainingConfig.of(batch=2, shuffle=False, backprop="full:35")
    loss, _, _ = objective(model, whole, make_stream(corpus.train, whole, 0)[0], None)
    assert_alike(total, torch.autograd.grad(loss, list(model.stack.parameters())), 1e-9)


@pytest.mark.parametrize("backprop", ["checkpointed:150KB:200", "unbiased:8", "truncated:6,16", "random:8"])
def test_attention_goes_with_every_policy_of_several_layers(corpus, backprop):
    """What is recomputed gives the whole gradient; of the others, the same steps one by one do."""
    model = {**NOISY, "layers": 1, "attention_window": 12}
    other = (
        {"backprop": "full:200"} if backprop.startswith("checkpointed") else {"backprop": backprop, "backend": "loop"}
    )
    loss, found, state = gradients(corpus, model, backprop=backprop)
    whole, expected, end = gradients(corpus, model, **other)
    assert loss == pytest.approx(float(whole), rel=1e-9)
    assert_alike(found, expected, 1e-9)
    assert_alike(named_leaves(state).values(), named_leaves(end).values(), 1e-9)


def test_what_a_budget_costs_is_said_beforehand(corpus):
    model = LanguageModel(corpus.tokenizer, hidden=16)
    config = TrainingConfig.of(batch=4, backprop="checkpointed:150KB:100")
    batch = make_stream(corpus.train, config, 0)[0]
    before = torch.get_rng_state()
    plan = check_policy(model, config, batch)
    assert torch.equal(before, torch.get_rng_state())
    assert plan.steps == 100
    assert 1 < plan.runs <= 2
    assert check_policy(model, TrainingConfig.of(batch=4, backprop=8), batch) is None
    small = TrainingConfig.of(batch=4, backprop="checkpointed:1KB:100")
    with pytest.raises(BackpropError, match=r"100 steps do not fit 1.0 KiB; give at least \d"):
        check_policy(model, small, batch)


@pytest.mark.parametrize(
    ("model", "message"),
    [({"layers": 2, **{k: v for k, v in DIAGONAL.items() if k != "layers"}}, "this stack has 2"),
     ({**DIAGONAL, "attention_window": 4}, "this stack has 2"),
     ({"cell": "lstm"}, "LSTM is none"), ({**DIAGONAL, "cell": "indrnn", "weight_drop": 0.2}, "weight drop")],
)  # fmt: skip
def test_what_cannot_be_learned_online_is_said_before_a_run_exists(corpus, tmp_path, model, message):
    model = LanguageModel(corpus.tokenizer, **{"hidden": 8, **model})
    with pytest.raises(BackpropError, match=message):
        Trainer(model, corpus, backprop="online", batch=2, steps=1, out=tmp_path / "run").fit()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("backprop", ["truncated:4,8", "random:8", "unbiased:8", "online"])
def test_shuffled_windows_have_one_length_and_no_past(backprop):
    with pytest.raises(ConfigError, match="random windows all start afresh"):
        TrainingConfig.of(partition="random", backprop=backprop)


@pytest.mark.parametrize("backprop", ["random:8", "unbiased:8"])
def test_random_spans_are_drawn_anew_in_each_epoch_and_counted(corpus, backprop):
    config = TrainingConfig.of(batch=2, backprop=backprop, epochs=3)
    lengths = [[len(batch.inputs) for batch in make_stream(corpus.train, config, epoch)] for epoch in range(3)]
    again = [[len(batch.inputs) for batch in make_stream(corpus.train, config, epoch)] for epoch in range(3)]
    assert lengths == again
    assert lengths[0] != lengths[1]
    assert count_steps(corpus.train, config) == sum(map(len, lengths))
    assert len({sum(each) for each in lengths}) == 1


def test_gradients_are_clipped_by_value_and_then_by_norm():
    model = torch.nn.Linear(2, 1, bias=False)
    for clip, value, expected in ((0.0, 0.0, [3.0, -4.0]), (0.0, 1.0, [1.0, -1.0]), (1.0, 0.0, [0.6, -0.8]),
                                  (1.0, 1.0, [0.5**0.5, -(0.5**0.5)])):  # fmt: skip
        model.weight.grad = torch.tensor([[3.0, -4.0]])
        norm = clip_gradients(model, TrainingConfig.of(clip=clip, clip_value=value))
        assert float(norm) == pytest.approx(5.0)
        assert model.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_a_scaled_learning_rate_is_put_back():
    optimizer = make_optimizer(Layers([list(torch.nn.Linear(2, 1).parameters())]), TrainingConfig.of(lr=0.5))
    optimizer = make_optimizer(Layers([[*torch.nn.Linear(2, 1).parameters()]]), TrainingConfig.of(lr=0.5))
    with scaled_rate(optimizer, 0.1):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert optimizer.param_groups[0]["lr"] == 0.5
