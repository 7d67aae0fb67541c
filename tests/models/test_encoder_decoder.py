import math

import pytest
import torch
from writers import close, collate, text_to_text, train

from recurra.data.examples import NumbersInput
from recurra.decoding import Beam
from recurra.engine import Online, Truncated
from recurra.errors import ConfigError, DataError
from recurra.models import EncoderDecoder

WORDS = ["abc", "hgfedcba", "d", "aaaa", "badge"]


def test_predictions_come_in_the_order_given_with_all_that_was_said():
    model, told = text_to_text(), []
    found = model.predict(WORDS, batch=2, progress=lambda done, of: told.append((done, of)))
    assert told == [(2, 5), (4, 5), (5, 5)]
    for word, written in zip(WORDS, found, strict=True):
        (alone,) = model.predict([word])
        assert (written.text, written.tokens) == (alone.text, alone.tokens)
        assert written.attention.shape == (len(written.tokens), len(word))
        assert written.text == "".join(token for token in written.tokens if token != "<eot>")


def test_nats_are_those_of_the_text():
    model = text_to_text()
    (written,) = model.predict(["badge"])
    names = model.target.tokenizer.names
    target = torch.tensor([[names.index(token)] for token in written.tokens])
    batch = collate(model, ["badge"], ["a"])._replace(targets=target)
    close(torch.tensor(written.nats, dtype=torch.float64), model.loss(batch).nats.detach())
    assert model.loss(batch).correct == len(target)


def test_a_text_ends_at_the_most_tokens():
    def never_ends(**settings):
        model = text_to_text(**settings)
        with torch.no_grad():
            model.decoder.bias[model.target.end] = -math.inf
        return model

    assert len(never_ends(max_length=3).predict(["abcd"])[0].tokens) == 3
    model = never_ends()
    assert [len(written.tokens) for written in model.predict(["abcd", "a"])] == [18, 12]
    model.train().loss(collate(model, ["a"], ["a" * 15]))
    assert [len(written.tokens) for written in model.predict(["abcd", "a"])] == [18, 16]
    other = never_ends()
    other.load_state_dict(model.state_dict())
    assert len(other.predict(["a"])[0].tokens) == 16


def test_predicting_leaves_the_model_as_it_was():
    model = text_to_text(dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert model.predict(WORDS)[0].tokens == model.predict(WORDS)[0].tokens
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_sizes_follow_the_settings():
    model = text_to_text(layers=2)
    assert (model.decoder.stack.num_layers, model.decoder.stack.output_size) == (2, 10)
    model = text_to_text(layers=2, bidirectional=False, decoder_layers=1, decoder_hidden=7, tie=True)
    assert (model.decoder.stack.num_layers, model.decoder.stack.output_size, model.decoder.output_size) == (1, 7, 4)
    model = text_to_text(bidirectional=False)
    assert model.bridge.copies == [True]
    model = text_to_text(layers=0)
    assert (model.decoder.stack.num_layers, model.decoder.stack.output_size) == (1, 5)
    assert model.predict(["abc"])[0].attention.shape[1] == 3


@pytest.mark.parametrize("policy", [Truncated(2), Online()], ids=lambda p: type(p).__name__)
def test_policies_of_back_propagation_reach_both_sides(policy):
    model = text_to_text(cell="indrnn", bidirectional=False) if isinstance(policy, Online) else text_to_text()
    batch = collate(model, ["abcdefgh"], ["hgfedcba"])
    loss = model.loss(batch, backprop=policy)
    close(loss.nats, model.loss(batch).nats)
    loss.nats.backward()


def test_sampling_lets_the_decoder_read_its_own():
    model = text_to_text().train()
    batch = collate(model, WORDS, WORDS)
    torch.manual_seed(1)
    assert model.loss(batch, sampling=0.9).nats != model.loss(batch).nats
    close(model.loss(batch, sampling=0.0).nats, model.loss(batch).nats)


def test_numbers_can_be_read():
    model = EncoderDecoder(NumbersInput(2), text_to_text().target, hidden=4)
    model.fit_input([torch.randn(5, 2).numpy()])
    assert len(model.predict([torch.randn(4, 2).numpy()])) == 1


def test_what_cannot_be_built_or_done():
    model = text_to_text()
    with pytest.raises(ConfigError, match="did you mean 'additive'"):
        text_to_text(attention="additiv")
    with pytest.raises(ConfigError, match="decoder_layers"):
        text_to_text(decoder_layers=0)
    with pytest.raises(ConfigError, match="label_smoothing"):
        text_to_text(label_smoothing=1.0)
    with pytest.raises(ConfigError, match="not both: hidden"):
        EncoderDecoder(model.input, model.target, model.config, hidden=3)
    with pytest.raises(DataError, match="give examples with targets"):
        model.loss(collate(model, ["a"], ["b"])._replace(targets=None))
    with pytest.raises(DataError, match="input 2"):
        model.predict(["a", ""])
    assert model.predict([]) == []


@pytest.mark.parametrize(
    "settings", [{"attention": "dot"}, {"attention": "additive"}, {"attention": "none", "summary": True}], ids=str
)
def test_short_texts_are_reversed(settings):
    torch.manual_seed(0)
    model = text_to_text(hidden=32, embedding=16, cell="gru", **settings).float()
    words = ["".join("abcd"[n] for n in torch.randint(4, (length,))) for length in (1, 2, 3) for _ in range(60)]
    train(model, words, [word[::-1] for word in words], steps=250, batch=32)
    fresh = ["abd", "dca", "ba", "c", "bbd"]
    assert [written.text for written in model.predict(fresh)] == [word[::-1] for word in fresh]


def test_a_beam_is_never_less_probable_and_names_the_next_best():
    model = text_to_text(hidden=12)
    with torch.no_grad():
        model.decoder.projection *= 3
        model.decoder.bias[model.target.end] = -2.0
    greedy = model.predict(WORDS)
    assert [written.tokens for written in model.predict(WORDS, beam=1)] == [written.tokens for written in greedy]
    for batch in (1, 5):
        found = model.predict(WORDS, beam=Beam(width=4, best=3), batch=batch)
        assert all(a.nats <= b.nats + 1e-9 for a, b in zip(found, greedy, strict=True))
        assert any(a.nats < b.nats - 0.1 for a, b in zip(found, greedy, strict=True))
        for word, written in zip(WORDS, found, strict=True):
            nats = [written.nats, *(other.nats for other in written.others)]
            assert nats == sorted(nats)
            assert len(nats) == 3
            assert written.attention.shape == (len(written.tokens), len(word))
    assert [len(written.others) for written in model.predict(WORDS, beam=4)] == [0] * len(WORDS)


def test_the_length_penalty_makes_texts_longer():
    model = text_to_text(hidden=12)
    short = model.predict(WORDS, beam=4)
    long = model.predict(WORDS, beam=Beam(width=4, length_penalty=2.0))
    assert sum(len(written.tokens) for written in long) > sum(len(written.tokens) for written in short)


def test_a_beam_wider_than_the_vocabulary_is_refused():
    model = text_to_text()
    with pytest.raises(ConfigError, match=r"a beam of 50 is wider than the vocabulary of \d+ tokens"):
        model.predict(WORDS, beam=50)
