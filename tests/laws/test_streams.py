"""The laws of streams: exactly once, in order, continuous, resumable."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from recurra.data import NOTHING, Batch, RandomStream, SequentialStream, Stream, Tokens, check_continues
from recurra.engine import RandomWindow, Truncated, Unbiased, Window
from recurra.errors import CorpusError, StateError


@st.composite
def corpora(draw: st.DrawFn) -> Tokens:
    """Every token is its own position, so that a batch tells where it was read."""
    size = draw(st.integers(2, 150))
    inner = draw(st.sets(st.integers(1, size - 1), max_size=3))
    dtype = draw(st.sampled_from(["uint8", "uint16", "uint32"]))
    return Tokens(np.arange(size, dtype=dtype), [0, *sorted(inner)])


@st.composite
def sequential(draw: st.DrawFn) -> tuple[Tokens, SequentialStream]:
    tokens = draw(corpora())
    rows, span = draw(st.integers(1, len(tokens) // 2)), draw(st.integers(1, 40))
    offset, warmup = draw(st.integers(0, len(tokens) - 1)), draw(st.integers(0, 30))
    return tokens, SequentialStream(tokens, rows=rows, span=span, offset=offset, warmup=warmup)


@st.composite
def independent(draw: st.DrawFn) -> tuple[Tokens, RandomStream]:
    tokens = draw(corpora())
    rows, span = draw(st.integers(1, len(tokens) // 2)), draw(st.integers(1, 40))
    settings = {"seed": draw(st.integers(0, 9)), "epoch": draw(st.integers(0, 9)), "shuffle": draw(st.booleans())}
    return tokens, RandomStream(tokens, rows=rows, span=span, **settings)


Drawn = tuple[Tokens, Stream]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y for x, y in zip(a, b, strict=True))


def counted(batch: Batch) -> torch.Tensor:
    return batch.targets != NOTHING


@st.composite
def spanned(draw: st.DrawFn) -> tuple[Tokens, SequentialStream]:
    """A stream that a policy cuts: windows that overlap, or have lengths of their own."""
    k1 = draw(st.integers(1, 8))
    policy = draw(st.sampled_from([Truncated(k1, k1 + draw(st.integers(0, 20))), RandomWindow(k1), Unbiased(k1 + 1)]))
    tokens = draw(corpora())
    rows = draw(st.integers(1, len(tokens) // 2))
    seed, offset = draw(st.integers(0, 9)), draw(st.integers(0, len(tokens) - 1))

    def spans(steps: int) -> list[Window]:
        return list(policy.spans(steps, np.random.default_rng(seed)))

    return tokens, SequentialStream(tokens, rows=rows, span=policy.span, offset=offset, spans=spans)


@given(spanned())
def test_windows_that_a_policy_cuts_predict_every_token_once_and_follow_each_other(drawn: Drawn) -> None:
    tokens, stream = drawn
    windows = list(stream)
    predicted = torch.cat([batch.targets[counted(batch)] for batch in windows])
    assert sorted(predicted.tolist()) == list(range(1, len(tokens)))
    for before, after in pairwise(windows):
        check_continues(before, after)
        assert 0 <= before.advance <= len(before.inputs)
        overlap = len(before.inputs) - before.advance
        assert torch.equal(before.inputs[before.advance :], after.inputs[:overlap])


@given(sequential() | independent())
def test_every_token_but_the_first_is_predicted_exactly_once(drawn: Drawn) -> None:
    tokens, stream = drawn
    predicted = torch.cat([batch.targets[counted(batch)] for batch in stream])
    assert sorted(predicted.tolist()) == list(range(1, len(tokens)))


@given(sequential() | independent())
def test_a_target_is_the_token_after_its_input(drawn: Drawn) -> None:
    for batch in drawn[1]:
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.inputs.shape == batch.targets.shape
        assert torch.equal(batch.targets[counted(batch)], batch.inputs[counted(batch)] + 1)


@given(sequential() | independent())
def test_windows_are_made_by_number(drawn: Drawn) -> None:
    stream = drawn[1]
    windows = list(stream)
    assert len(windows) == len(stream)
    assert all(same(stream[k], window) for k, window in reversed(list(enumerate(windows))))
    assert same(stream[-1], windows[-1])
    assert all(same(a, b) for a, b in zip(stream[1:], windows[1:], strict=True))
    with pytest.raises(IndexError):
        stream[len(stream)]


@given(sequential())
def test_a_row_goes_through_the_corpus_without_a_gap(drawn: tuple[Tokens, SequentialStream]) -> None:
    tokens, stream = drawn
    inputs = torch.cat([batch.inputs for batch in stream])
    steps = torch.arange(len(inputs))[:, None]
    assert torch.equal(inputs, (inputs[0] + steps) % len(tokens))
    for batch in stream:
        assert torch.equal(batch.offset, batch.inputs[0])
        assert torch.equal(batch.row, torch.arange(batch.inputs.shape[1]))
    for window, following in pairwise(stream):
        check_continues(window, following)


@given(sequential())
def test_rows_differ_by_at_most_one_token(drawn: tuple[Tokens, SequentialStream]) -> None:
    tokens, stream = drawn
    targets = torch.cat([batch.targets for batch in stream])
    inputs = torch.cat([batch.inputs for batch in stream])
    own = (targets != NOTHING) | ((inputs == len(tokens) - 1) & (targets == NOTHING))
    lengths = [int(column.nonzero().max()) + 1 for column in own.T if column.any()]
    assert len(targets) - min(lengths) <= 1
    assert all(len(batch.inputs) == stream.span for batch in stream[:-1])


@given(sequential())
def test_resets_stand_at_row_starts_the_wrap_and_documents(drawn: tuple[Tokens, SequentialStream]) -> None:
    tokens, stream = drawn
    begins = {0, *(start - 1 for start in tokens.documents[1:].tolist())}
    for k, batch in enumerate(stream):
        expected = torch.tensor([[int(p) in begins for p in row] for row in batch.inputs])
        expected[0] |= k == 0
        if batch.reset is None:
            assert not expected.any()
        else:
            assert torch.equal(batch.reset, expected)


@given(corpora(), st.integers(1, 20), st.integers(0, 50))
def test_warmed_rows_read_the_tokens_before_their_own(tokens: Tokens, rows: int, warmup: int) -> None:
    assume(len(tokens) >= 2 * rows)
    stream = SequentialStream(tokens, rows=rows, span=10**6, warmup=warmup)
    (batch,) = stream
    assert stream.warmup == (min(warmup, len(tokens) - 2 * rows) if rows > 1 else 0)
    first = counted(batch).int().argmax(0)
    assert first[0] == 0
    assert (first[1:] == stream.warmup).all()
    assert int(batch.offset[0]) == 0


@given(independent())
def test_independent_windows_all_start_afresh(drawn: tuple[Tokens, RandomStream]) -> None:
    stream = drawn[1]
    for batch in stream:
        assert batch.reset is not None
        assert batch.reset[0].all()
        assert len(batch.inputs) <= stream.span
        check_continues(stream[0], batch)
        steps = counted(batch).int()
        assert (steps.diff(dim=0) <= 0).all(), "what is padded stands at the end"


@given(corpora(), st.integers(1, 40))
def test_unshuffled_windows_keep_the_order(tokens: Tokens, span: int) -> None:
    stream = RandomStream(tokens, rows=10_000, span=span, shuffle=False)
    (batch,) = stream
    assert batch.targets.T[counted(batch).T].tolist() == list(range(1, len(tokens)))
    assert batch.offset.tolist() == list(range(0, len(tokens) - 1, span))


def test_order_and_phase_depend_on_seed_and_epoch() -> None:
    tokens = Tokens(np.arange(1000, dtype=np.uint16))

    def offsets(**settings: Any) -> list[int]:
        stream = RandomStream(tokens, rows=4, span=16, **settings)
        return torch.cat([batch.offset for batch in stream]).tolist()

    assert offsets(seed=1) == offsets(seed=1)
    assert offsets(seed=1) != offsets(seed=2)
    assert offsets(seed=1, epoch=1) != offsets(seed=1, epoch=2)
    assert offsets() != sorted(offsets())
    phases = {min(p for p in offsets(epoch=epoch) if p) for epoch in range(50)}
    assert len(phases) > 10


@given(st.integers(4, 150), st.data())
def test_a_state_is_refused_by_any_other_window(size: int, data: st.DataObject) -> None:
    rows, span = data.draw(st.integers(2, size // 2)), data.draw(st.integers(1, 10))
    stream = SequentialStream(Tokens(np.arange(size, dtype=np.uint8)), rows=rows, span=span)
    previous = data.draw(st.integers(0, len(stream) - 1))
    for k in range(1, len(stream)):
        if k == previous + 1:
            check_continues(stream[previous], stream[k])
        else:
            with pytest.raises(
                StateError, match=r"row 0 goes on at position \d+ of the corpus where its state expects"
            ):
                check_continues(stream[previous], stream[k])


def test_a_state_is_refused_by_another_stream() -> None:
    tokens = Tokens(np.arange(100, dtype=np.uint8))
    stream, narrow = SequentialStream(tokens, rows=4, span=5), SequentialStream(tokens, rows=2, span=5)
    with pytest.raises(StateError, match="row 0"):
        check_continues(narrow[0], stream[1])
    with pytest.raises(StateError, match="row 0"):
        check_continues(SequentialStream(tokens, rows=4, span=5, offset=1)[0], stream[1])
    check_continues(narrow[-1], stream[0])


@pytest.mark.parametrize("rows", [0, 6, 10**9])
@pytest.mark.parametrize("kind", [SequentialStream, RandomStream])
def test_a_corpus_too_short_for_its_rows(kind: type[SequentialStream | RandomStream], rows: int) -> None:
    with pytest.raises(CorpusError, match=r"; "):
        kind(Tokens(np.arange(11, dtype=np.uint8)), rows=rows, span=4)


@pytest.mark.parametrize("size", [0, 1])
def test_nothing_can_be_predicted(size: int) -> None:
    tokens = Tokens(np.arange(size, dtype=np.uint8))
    with pytest.raises(CorpusError):
        SequentialStream(tokens, rows=1, span=4)
    with pytest.raises(CorpusError):
        RandomStream(tokens, rows=1, span=4, shuffle=False)


def test_a_span_of_nothing() -> None:
    with pytest.raises(CorpusError, match="1 rows of 0"):
        SequentialStream(Tokens(np.arange(11, dtype=np.uint8)), rows=1, span=0)
