"""What holds for every model that reads and writes, whatever its cell, attention and sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from writers import ALPHABET, close, collate, gradients, text_to_text

from recurra.cells import CELLS
from recurra.decoding import Sampler, generate, make_generators
from recurra.state import select

words = st.text(ALPHABET, min_size=1, max_size=6)
KINDS = {
    "additive": {},
    "dot": {"attention": "dot", "bidirectional": False},
    "none": {"attention": "none", "summary": True},
    "tied": {"tie": True, "layers": 2, "decoder_layers": 1},
    "gru": {"cell": "gru", "decoder_hidden": 6, "decoder_layers": 2},
}
MODELS = {kind: text_to_text(**extra) for kind, extra in KINDS.items()}
every = pytest.mark.parametrize("kind", KINDS)


def step_through(model, batch):
    """Logits of known texts, token by token."""
    state = model.start(batch.inputs)
    token = torch.full_like(batch.targets[0], model.target.end)
    logits = []
    for following in batch.targets:
        at_t, state = model.step(token, state)
        logits.append(at_t)
        token = following.clamp(min=0)
    return torch.stack(logits)


@every
@given(texts=st.lists(st.tuples(words, words), min_size=1, max_size=4))
@settings(max_examples=15)
def test_a_step_is_the_parallel_pass(kind, texts):
    model = MODELS[kind]
    batch = collate(model, *zip(*texts, strict=True))
    with torch.no_grad():
        tokens = torch.cat([torch.full_like(batch.targets[:1], model.target.end), batch.targets[:-1].clamp(min=0)])
        close(step_through(model, batch), model(batch.inputs, tokens))


@every
@given(texts=st.lists(st.tuples(words, words), min_size=2, max_size=5))
@settings(max_examples=15)
def test_a_row_does_not_depend_on_those_beside_it(kind, texts):
    model = MODELS[kind]
    inputs, targets = zip(*texts, strict=True)
    with torch.no_grad():
        together = model.loss(collate(model, inputs, targets))
        alone = [model.loss(collate(model, [x], [y])) for x, y in texts]
    for field in ("nats", "count", "correct"):
        close(getattr(together, field), sum(getattr(loss, field) for loss in alone))
    for x, written in zip(inputs, model.predict(list(inputs), batch=3), strict=True):
        (single,) = model.predict([x])
        assert written.tokens == single.tokens
        close(torch.tensor(written.nats, dtype=torch.float64), torch.tensor(single.nats, dtype=torch.float64))
        if single.attention is not None:
            close(torch.from_numpy(written.attention), torch.from_numpy(single.attention))
            close(torch.from_numpy(written.attention).sum(1), torch.ones(len(written.tokens)).double())


@every
@given(texts=st.lists(words, min_size=1, max_size=4), rows=st.lists(st.integers(0, 3), min_size=1, max_size=6))
@settings(max_examples=15)
def test_rows_of_a_state_can_be_reordered_and_repeated(kind, texts, rows):
    model, numbers = MODELS[kind], torch.tensor(rows) % len(texts)
    inputs = model.input.collate([model.input.encode(text) for text in texts])
    token = torch.full((len(texts),), model.target.end)
    with torch.no_grad():
        _, state = model.step(token, model.start(inputs))
        logits, after = model.step(token, state)
        chosen, chosen_after = model.step(token[numbers], select(state, numbers))
    close(chosen, logits[numbers])
    close(chosen_after, select(after, numbers))


@every
def test_the_decoding_seam_writes_what_the_model_writes(kind):
    model = MODELS[kind]
    (written,) = model.predict(["badge"])
    inputs = model.input.collate([model.input.encode("badge")])
    with torch.no_grad():
        state = model.start(inputs)
    draws = generate(
        model.step,
        state,
        torch.tensor([[model.target.end]]),
        tokens=len(written.tokens),
        generators=make_generators(0, 1),
        sampler=Sampler(greedy=True),
    )
    assert [model.target.tokenizer.symbol(int(draw.ids)) for draw in draws] == written.tokens


@pytest.mark.parametrize(
    "cell", [pytest.param(c, marks=[] if c in ("lstm", "slstm") else pytest.mark.slow) for c in CELLS]
)
def test_every_cell_reads_and_writes(cell):
    model = text_to_text(cell=cell, layers=2)
    batch = collate(model, ["abc", "hgfedcba", "d"], ["d", "ab", "hgfe"])
    found = gradients(model.loss(batch).nats, list(model.parameters()))
    assert all(g.isfinite().all() for g in found)
    assert any((g != 0).any() for g in gradients(model.loss(batch).nats, list(model.encoder.parameters())))
    with torch.no_grad():
        tokens = torch.cat([torch.full_like(batch.targets[:1], model.target.end), batch.targets[:-1].clamp(min=0)])
        close(step_through(model, batch), model(batch.inputs, tokens))


@every
def test_gradients_reach_the_encoder(kind):
    model = text_to_text(**KINDS[kind])
    model.loss(collate(model, ["abcdefgh", "d"], ["d", "abcdefgh"])).nats.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not (p.grad != 0).any()] == []


@every
def test_symbols_that_were_never_seen_are_read(kind):
    model = MODELS[kind]
    known, unknown = model.predict(["abc", "a??"])
    assert len(known.tokens) > 0
    assert unknown.nats != known.nats
