import pytest
import torch
from torch.nn.functional import cross_entropy
from writers import close, gradients

from recurra.engine import Truncated
from recurra.models import Decoder
from recurra.models import decoder as module

V, END, K, S, B, P = 11, 2, 6, 7, 4, 5
KINDS = {
    "additive": {"places": K},
    "dot": {"places": K, "attention": "dot"},
    "tied": {"places": K, "tie": True, "embedding": 3},
    "none": {"places": None},
    "none, tied": {"places": None, "tie": True, "embedding": 3},
    "fed": {"places": None, "summary": 2, "layers": 2},
}


def make(kind="additive", **settings):
    return Decoder(V, END, **{"hidden": 4, **KINDS[kind], **settings}).double().eval()


def start(decoder, lengths=(5, 2, 4, 1)):
    summary = decoder.stack.input_size - decoder.embedding.embedding_dim
    return decoder.start(
        decoder.stack.zero_state(B),
        torch.randn(P, B, K).double(),
        torch.tensor(lengths),
        torch.randn(B, summary).double() if summary else (),
    )


def texts():
    targets = torch.randint(V, (S, B))
    targets[3:, 1] = targets[6:, 2] = -1
    return targets


def shifted(targets):
    return torch.cat([torch.full((1, B), END), targets[:-1].clamp(min=0)])


every = pytest.mark.parametrize("kind", KINDS)


@every
def test_a_step_equals_reading_all_at_once(kind):
    decoder = make(kind)
    state, tokens = start(decoder), torch.randint(V, (S, B))
    features, weights, after = decoder.read(tokens, state)
    for t, token in enumerate(tokens):
        one = decoder.read_one(token, state)
        logits, state = decoder.step(token, state)
        close(logits, decoder.project(features[t]))
        if weights is not None:
            close(one.weights, weights[t])
    close(state, after)


@every
def test_the_loss_is_the_cross_entropy_of_the_tokens_there_are(kind):
    decoder, targets = make(kind), texts()
    state = start(decoder)
    logits = decoder.project(decoder.read(shifted(targets), state).features)
    loss = decoder.loss(targets, state)
    close(loss.nats, cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum"))
    assert loss.count == (targets != -1).sum()
    assert loss.correct == (logits.argmax(-1) == targets).sum()


@every
def test_smoothing_is_that_of_torch_and_for_training_only(kind):
    decoder, targets = make(kind, label_smoothing=0.3), texts()
    state, plain = start(decoder), make(kind)
    plain.load_state_dict(decoder.state_dict())
    close(decoder.loss(targets, state).nats, plain.loss(targets, state).nats)
    smoothed = decoder.train().loss(targets, state)
    logits = decoder.project(decoder.read(shifted(targets), state).features)
    expected = cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum", label_smoothing=0.3
    )
    close(smoothed.nats, expected)
    close(*(gradients(nats, list(decoder.parameters())) for nats in (smoothed.nats, expected)))
    assert smoothed.correct is None


@every
def test_gradients_reach_every_parameter(kind):
    decoder = make(kind)
    decoder.loss(texts(), start(decoder)).nats.backward()
    assert [name for name, p in decoder.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


def test_what_a_row_loses_does_not_depend_on_padding():
    decoder, targets = make(), texts()
    state = start(decoder)
    longer = torch.cat([targets, torch.full((3, B), -1)])
    close(decoder.loss(longer, state).nats, decoder.loss(targets, state).nats)


def test_nothing_to_say_costs_nothing():
    decoder = make()
    loss = decoder.loss(torch.full((2, B), -1), start(decoder))
    assert (loss.nats, loss.count, loss.correct) == (0, 0, 0)


def test_sampling_reads_what_the_decoder_would_have_drawn(monkeypatch):
    decoder, targets = make(), texts()
    state, seen = start(decoder), []
    read = decoder.read
    monkeypatch.setattr(
        decoder, "read", lambda tokens, *args, **more: seen.append(tokens) or read(tokens, *args, **more)
    )
    monkeypatch.setattr(module, "_noise", torch.zeros_like)
    decoder.loss(targets, state, sampling=1.0)
    first, second = seen
    predicted = decoder.project(read(first, state).features).argmax(-1)
    assert torch.equal(second, torch.cat([torch.full((1, B), END), predicted]))
    decoder.loss(targets, state, sampling=0.5)
    mixed, known = seen[-1], shifted(targets)
    assert ((mixed == known) | (mixed == second)).all()
    assert 0 < (mixed != known).sum() < (second != known).sum()


def test_without_sampling_nothing_is_drawn():
    decoder, targets = make(), texts()
    state, before = start(decoder), torch.get_rng_state()
    close(decoder.loss(targets, state, sampling=0.0).nats, decoder.loss(targets, state).nats)
    assert torch.equal(before, torch.get_rng_state())


def test_drawn_tokens_follow_the_distribution():
    p = torch.tensor([0.5, 0.3, 0.2, 0.0])
    logits = p.log().expand(20_000, -1)
    drawn = (logits - module._noise(logits)).argmax(-1)
    frequencies = drawn.bincount(minlength=4) / len(drawn)
    assert frequencies[3] == 0
    # four standard deviations of a frequency
    assert ((frequencies - p).abs() < 4 * (p * (1 - p) / len(drawn)).sqrt() + (p == 0)).all()


def test_truncation_reaches_the_decoder():
    decoder, targets = make(), texts()
    state = start(decoder)
    U = [decoder.stack.cells[0].weight_hh_l0]
    (full,), (cut,) = (gradients(decoder.loss(targets, state, backprop=b).nats, U) for b in (None, Truncated(2)))
    assert not torch.allclose(full, cut)


def test_dropout_is_for_training_only():
    decoder, targets = make(dropout=0.5, embedding_dropout=0.5, layers=2, weight_drop=0.3), texts()
    state = start(decoder)
    close(decoder.loss(targets, state).nats, decoder.loss(targets, state).nats)
    decoder.train()
    assert decoder.loss(targets, state).nats != decoder.loss(targets, state).nats
