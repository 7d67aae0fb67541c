"""Writing behind a label: what is read, what is drawn, what is refused."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from recurra.data import KINDS, Corpus, Examples
from recurra.decoding import Banned, Sampler, make_generators
from recurra.errors import ConfigError, VocabularyError
from recurra.evaluation import NgramModel, evaluate, surprisals, tune
from recurra.models import CacheConfig, CachedLanguageModel, LanguageModel, generate_text, generate_texts

TEXTS = ["one two", "two one two", "one", "three one two three"] * 3
EXAMPLES = Examples(TEXTS, ["A", "B", "A", "C"] * 3)


def model_of(kind="char", seed=0):
    corpus = Corpus.from_examples(EXAMPLES, tokenizer=kind, valid=0.0)
    torch.manual_seed(seed)
    return LanguageModel(corpus.vocabulary, cell="gru", hidden=16).double(), corpus


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("prompt", ["", "one two"])
def test_a_text_is_drawn_from_the_state_that_has_read_its_label(kind, prompt):
    """Against a loop over `step` that knows nothing of controls."""
    model, corpus = model_of(kind)
    vocabulary, sampler = corpus.vocabulary, Sampler()
    banned, generators = Banned(list(vocabulary.labels.values())), make_generators(3, 1)
    ids = [vocabulary.labels["B"], *vocabulary.encode(prompt).tolist()]
    with torch.no_grad():
        state, drawn = model.zero_state(1), []
        for token in ids:
            logits, state = model.step(torch.tensor([token]), state)
        while len(drawn) < 30:
            token = int(sampler.draw(banned.apply(logits, ()), generators))
            if token == vocabulary.end:
                break
            drawn.append(token)
            logits, state = model.step(torch.tensor([token]), state)
    assert model.generate(prompt, condition="B", tokens=30, seed=3) == vocabulary.decode(drawn)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_labels_matter_and_are_never_written(kind):
    model, corpus = model_of(kind)
    labels = list(corpus.vocabulary.labels.values())
    with torch.no_grad():
        model.bias[labels] = 30.0  # the model would write nothing else
    texts = {label: generate_texts(model, condition=label, samples=20, tokens=20) for label in "ABC"}
    assert len({tuple(each) for each in texts.values()}) == 3
    assert not any("label" in text for each in texts.values() for text in each)
    assert sum(len(text) for each in texts.values() for text in each) > 300
    assert "".join(generate_text(model, condition="C", tokens=20)) == texts["C"][0]


def test_the_loss_is_that_of_texts_given_their_labels():
    """Perplexity against documents read one by one, each after its label."""
    model, corpus = model_of()
    nats, count = 0.0, 0
    for text, label in zip(EXAMPLES.inputs, EXAMPLES.targets, strict=True):
        vocabulary = corpus.vocabulary
        ids = torch.tensor([vocabulary.labels[label], *vocabulary.encode(text).tolist(), vocabulary.end])
        with torch.no_grad():
            logits, _ = model(ids[:-1, None])
        nats += float(cross_entropy(logits[:, 0], ids[1:], reduction="sum"))
        count += len(ids) - 1
    score = evaluate(model, corpus.train)
    assert score.tokens == count
    assert score.loss_nats == pytest.approx(nats / count, rel=1e-12)
    assert score.bits_per_char == pytest.approx(nats / math.log(2) / sum(map(len, EXAMPLES.inputs)), rel=1e-12)
    with pytest.raises(ConfigError, match="reset_every forgets the labels"):
        evaluate(model, corpus.train, reset_every=5)


def test_labels_that_cannot_be_used():
    model, _ = model_of()
    with pytest.raises(ConfigError) as error:
        model.generate()
    assert str(error.value) == "the model writes texts of 3 labels; say which as condition; known: A, B, C"
    with pytest.raises(VocabularyError) as error:
        model.generate(condition="D")
    assert str(error.value) == "the label 'D' was never seen in training; known: A, B, C"
    with pytest.raises(VocabularyError, match="the prompt holds"):
        model.generate("xyz", condition="A")
    plain = LanguageModel(Corpus.from_text("ab" * 20).vocabulary, hidden=4)
    with pytest.raises(ConfigError, match="the model knows no labels, so condition 'A' means nothing; leave it out"):
        plain.generate(condition="A")


def test_whatever_measures_a_labelled_text_leaves_the_labels_out():
    """Surprisals, n-grams and tuning count what `evaluate` counts."""
    model, corpus = model_of()
    model, tokens = model.float(), corpus.train
    score = evaluate(model, tokens)
    arguments = {"documents": tokens.documents, "labelled": True}
    bits = surprisals(model, np.asarray(tokens.ids), **arguments).bits
    assert int(np.isfinite(bits).sum()) == score.tokens
    assert np.nanmean(bits) == pytest.approx(score.bits_per_token, rel=1e-5)
    unigram = NgramModel.fit(tokens, order=1, vocab=len(corpus.vocabulary), discounts=[[0, 0, 0]])
    spoken = np.delete(np.asarray(tokens.ids), tokens.starts)
    shares = np.bincount(spoken, minlength=len(corpus.vocabulary)) / len(spoken)
    assert len(spoken) == score.tokens
    assert unigram.nats(tokens) == pytest.approx(-np.mean(np.log(shares[spoken])))
    assert tune(model, tokens, cache=CacheConfig(size=5), limit=len(tokens)).tokens == len(tokens)
    tuned = tune(model, tokens, cache=CacheConfig(size=5))
    assert tuned.perplexity == pytest.approx(evaluate(CachedLanguageModel(model, tuned.cache), tokens).perplexity)
