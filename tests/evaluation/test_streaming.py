"""A text scored piece by piece is the text scored whole, however it is cut."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import Corpus, build_tokenizer
from recurra.errors import ConfigError
from recurra.evaluation import StreamScorer, TextScorer, score_texts, surprisals
from recurra.evaluation import passages as passages_module
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES

TEXT = "pack my box\nwith five dozen\r\n\n  liquor jugs; é漢\n" * 8
KINDS = ("char", "byte", "word", "bpe")


def close(value):
    table = TOLERANCES[torch.float64]
    return pytest.approx(value, rel=table["rtol"], abs=table["atol"], nan_ok=True)


@pytest.fixture(scope="module")
def models():
    """A small model of each kind of token."""
    made = {}
    for kind in KINDS:
        torch.manual_seed(0)
        tokenizer = build_tokenizer(kind, TEXT, vocab=270 if kind == "bpe" else None, end=True)
        made[kind] = LanguageModel(tokenizer, cell="gru", hidden=6).double()
    return made


def as_given(kind, text):
    return text.encode() if kind == "byte" else text


def whole(model, text):
    return surprisals(model, model.vocabulary.encode(text)).bits


@pytest.mark.parametrize("kind", KINDS)
@given(cuts=st.lists(st.integers(0, len(TEXT)), max_size=12))
@settings(max_examples=20, deadline=None)
def test_pieces_are_scored_as_the_whole(models, kind, cuts):
    text = as_given(kind, TEXT)
    cuts = [0, *sorted(cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    scores = list(score_texts(models[kind], pieces, per="token"))
    bits = [np.nan if score.bits is None else score.bits for score in scores]
    assert bits == close(whole(models[kind], text).tolist())
    assert [score.position for score in scores] == list(range(len(scores)))


@pytest.mark.parametrize("kind", KINDS)
def test_lines_are_means_of_their_tokens(models, kind):
    model, text = models[kind], as_given(kind, TEXT)
    ids, bits = model.vocabulary.encode(text), whole(model, text)
    ends = np.array([b"\n" in model.vocabulary.decode_bytes([i]) for i in ids])
    groups = np.split(np.arange(len(ids)), np.flatnonzero(ends) + 1)[:-1]
    lines = list(score_texts(model, [text[:17], text[17:]]))
    assert [line.bits for line in lines] == close([np.nanmean(bits[group]) for group in groups])
    assert [line.most for line in lines] == close([np.nanmax(bits[group]) for group in groups])
    assert sum(line.tokens for line in lines) == len(ids) - 1
    if kind != "bpe":
        assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    if kind in ("char", "byte"):
        assert [line.text for line in lines] == [line.strip("\r") for line in TEXT.split("\n")[:-1]]


def test_a_token_with_several_line_ends_counts_them():
    torch.manual_seed(0)
    tokenizer = build_tokenizer("bpe", "a\n\n\nb" * 50, vocab=258)
    assert b"\n\n" in [tokenizer.decode_bytes([i]) for i in range(len(tokenizer))]
    lines = list(score_texts(LanguageModel(tokenizer, hidden=4), ["a\n\n\nb\nc"]))
    assert [(line.number, line.text) for line in lines] == [(1, "a"), (3, ""), (4, "b"), (5, "c")]


def test_a_document_is_the_mean_of_all(models):
    (document,) = score_texts(models["char"], [TEXT[:40], TEXT[40:]], per="document")
    bits = whole(models["char"], TEXT)
    assert (document.bits, document.most) == (close(np.nanmean(bits)), close(np.nanmax(bits)))
    assert document.tokens == len(bits) - 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 3])
def test_documents_are_scored_as_a_corpus_is(models, kind, batch):
    model, documents = models[kind], [TEXT[:70], TEXT[70:75], TEXT[75:]]
    ids, starts = [], [0]
    for text in documents:
        ids += [*model.vocabulary.encode(as_given(kind, text)), model.vocabulary.end]
        starts.append(len(ids))
    expected = surprisals(model, np.array(ids), documents=starts[:-1]).bits
    scorer = TextScorer(model, per="token", batch=batch)
    scores = [row for text in documents for row in scorer.feed(as_given(kind, text)) + scorer.end_document(closed=True)]
    bits = np.array([np.nan if score.bits is None else score.bits for score in scores])
    if batch == 1:
        assert bits == close(expected)
    assert len(bits) == len(expected)


def test_an_end_of_text_stands_in_no_line_and_lines_count_anew(models):
    scorer = TextScorer(models["char"])
    rows = [row for text in ("box\nmy", "jug\n") for row in scorer.feed(text) + scorer.end_document(closed=True)]
    assert [(row.number, row.text) for row in rows] == [(1, "box"), (2, "my"), (1, "jug")]


@given(
    tokens=st.lists(st.integers(0, 20), min_size=1, max_size=400),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    batch=st.integers(2, 5),
)
@settings(max_examples=30, deadline=None)
def test_rows_that_are_warmed_up_from_the_beginning_are_the_stream(models, tokens, cuts, batch):
    """A warm-up that reaches back to the beginning leaves nothing out."""
    model, ids = models["char"], np.array(tokens)
    scorer = StreamScorer(model, batch=batch, warmup=len(ids))
    parts = [scorer.feed(part) for part in np.split(ids, sorted(cuts))] + [scorer.finish()]
    assert np.concatenate([part.ids for part in parts]).tolist() == tokens
    assert np.concatenate([part.bits for part in parts]) == close(surprisals(model, ids).bits)


@pytest.mark.parametrize("own", [20, 37])
def test_rows_of_a_batch_differ_only_by_what_they_do_not_remember(models, monkeypatch, own):
    """Each row by itself: the warm-up before its own tokens from a fresh state, and the first on from the last."""
    monkeypatch.setattr("recurra.evaluation.streaming.ROW", own)
    monkeypatch.setattr("recurra.evaluation.streaming.STEP_TOKENS", 30)
    model, B, W = models["char"], 3, 8
    ids = model.vocabulary.encode(TEXT)[: 2 * (W + B * own) + 1]
    scorer = StreamScorer(model, batch=B, warmup=W, alternatives=2)
    scored = scorer.feed(ids)
    assert len(scored.ids) == len(ids)
    assert scored.alternatives.shape == (len(ids), 2)
    expected, begin = [np.nan], 0
    history = ids[: W + own + 1]  # all that the row has read
    for block in range(2):
        for row in range(B):
            start = begin + row * own
            if row or not block:
                history = ids[start : start + W + own + 1]
            else:  # goes on from the last row of the block before
                history = np.concatenate([history, ids[start + 1 : start + W + own + 1]])
            count = own if row else W + own
            expected += surprisals(model, history).bits[-count:].tolist()
        begin += W + B * own
    assert scored.bits == close(expected)


def test_one_row_and_a_batch_of_documents_forget_at_the_same_places(models, monkeypatch):
    monkeypatch.setattr("recurra.evaluation.streaming.ROW", 40)
    model = models["char"]
    ids = model.vocabulary.encode(TEXT)[:201]
    fresh = np.zeros(len(ids), np.bool_)
    fresh[::10] = True  # so often that every row has forgotten its beginning within the warm-up
    bits = []
    for batch, warmup in ((1, 0), (4, 20)):
        scorer = StreamScorer(model, batch=batch, warmup=warmup)
        bits.append(np.concatenate([scorer.feed(ids, fresh=fresh).bits, scorer.finish().bits]))
    assert bits[1] == close(bits[0])


def test_memory_does_not_grow(models, largest_tensor):
    scorer = TextScorer(models["char"])
    largest = []
    for _ in range(3):
        with largest_tensor() as seen:
            for _ in range(20):
                scorer.feed(TEXT)
        largest.append(seen.numel)
    assert largest[0] == largest[2]
    assert len(scorer._scorer._ids) == 1


def test_a_line_without_end_is_cut_where_it_is_shown(models, monkeypatch):
    monkeypatch.setattr(passages_module, "LONGEST_TEXT", 50)
    scorer = TextScorer(models["char"])
    for _ in range(30):
        scorer.feed("box " * 20)
        assert len(scorer._open.text) <= 51
    (line,) = scorer.end_document()
    assert line.text == ("box " * 20)[:50] + "…"
    assert line.tokens == 30 * 80 - 1
    (line,) = score_texts(models["char"], ["x" * 50])
    assert line.text == "x" * 50


def test_what_is_unseen_is_counted(models):
    scorer = TextScorer(models["char"])
    scorer.feed("box Q ")
    scorer.feed("Q jugs")
    scorer.end_document()
    assert (scorer.unseen.missing, scorer.unseen.total) == (2, 12)
    assert "'Q' 2" in scorer.unseen.line("it")


def test_settling_does_not_wait_for_what_may_follow_a_line_end(models):
    scorer = TextScorer(models["bpe"])
    assert scorer.feed("pack my box\n") == []  # the line end may belong to white space that follows
    (line,) = scorer.settle()
    assert line.text == "pack my box"
    assert scorer.feed("with") == scorer.settle() == []


def test_starting_again_forgets_everything(models):
    scorer = TextScorer(models["char"])
    first = scorer.feed("pack my box\nwith")
    scorer.restart()
    assert scorer.feed("pack my box\nwith") == first


def test_any_model_with_this_face_is_read(models):
    """A cache beside the model, say: all goes through `read`."""

    class Other(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.vocabulary, self.bias = model, model.vocabulary, model.bias

        def zero_state(self, batch):
            return self.model.zero_state(batch)

        def read(self, tokens, state=None, *, reset=None):
            return self.model.read(tokens, state, reset=reset)

    lines = list(score_texts(Other(models["char"]), [TEXT]))
    assert lines == list(score_texts(models["char"], [TEXT]))


def test_the_mode_stays_as_it_was():
    corpus = Corpus.from_text("pack my box " * 20)
    model = LanguageModel(corpus.vocabulary, hidden=4, dropout=0.5)
    model.train()
    first, second = (list(score_texts(model, ["pack my box"])) for _ in range(2))
    assert first == second
    assert model.training


def test_contradictions_are_refused(models):
    with pytest.raises(ConfigError, match="warm-up"):
        StreamScorer(models["char"], warmup=3)
    with pytest.raises(ConfigError, match="'line'"):
        TextScorer(models["char"], per="lines")
