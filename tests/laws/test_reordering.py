"""Documents in another order: each whole, each once, each beginning as it did; the order depends on seed and epoch."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.data import Reordered, SequentialStream, Tokens, check_continues, check_reordering
from recurra.data.shards import Shards
from recurra.errors import ConfigError


@st.composite
def corpora(draw: st.DrawFn) -> Tokens:
    """Every token is its own position; shards are cut anywhere."""
    size = draw(st.integers(8, 120))
    documents = [0, *sorted(draw(st.sets(st.integers(1, size - 1), min_size=3, max_size=12)))]
    cuts = [0, *sorted(draw(st.sets(st.integers(1, size - 1), max_size=6))), size]
    ids = np.arange(size, dtype=np.uint16)
    parts = [ids[a:b] for a, b in pairwise(cuts)]
    shards = Shards([len(part) for part in parts], ids.dtype, parts.__getitem__)
    return Tokens(shards, documents, labelled=draw(st.booleans()))


def naive(tokens: Tokens, starts: list[int], order: list[int]) -> list[int]:
    """Return the positions in the new order."""
    ends = [*starts[1:], len(tokens)]
    return [p for number in [*order, len(starts) - 1] for p in range(starts[number], ends[number])]


@given(corpora(), st.data())
def test_shards_are_one_row(tokens: Tokens, data: st.DataObject) -> None:
    plain = np.arange(len(tokens))
    assert tokens.ids.tolist() == plain.tolist()
    a, b = data.draw(st.integers(-5, len(tokens) + 5)), data.draw(st.integers(-5, len(tokens) + 5))
    assert tokens[a:b].tolist() == plain[a:b].tolist()
    positions = np.array(data.draw(st.lists(st.integers(0, len(tokens) - 1), min_size=1, max_size=20)))
    assert tokens.take(positions.reshape(1, -1)).tolist() == [positions.tolist()]
    assert tokens.begins(plain).nonzero()[0].tolist() == sorted(set(tokens.starts.tolist()))


@given(corpora(), st.sampled_from(["documents", "shards"]), st.integers(0, 5), st.integers(0, 5))
def test_every_token_once_and_every_document_whole(tokens: Tokens, by: str, seed: int, epoch: int) -> None:
    view = Reordered.drawn(tokens, by, [seed, epoch])
    found = view.take(np.arange(len(tokens))).tolist()
    assert sorted(found) == list(range(len(tokens)))
    ends = {*tokens.documents[1:].tolist(), len(tokens)}
    for before, after in pairwise(found):
        assert after == before + 1 or before + 1 in ends
    assert found[-1] == len(tokens) - 1
    assert view[3:7].tolist() == found[3:7]
    assert view.ids.tolist() == found
    again = Reordered.drawn(tokens, by, [seed, epoch])
    assert again.take(np.arange(len(tokens))).tolist() == found


@given(corpora(), st.randoms(use_true_random=False))
def test_documents_begin_as_they_did(tokens: Tokens, random: object) -> None:
    order = list(range(len(tokens.documents) - 1))
    random.shuffle(order)  # type: ignore[attr-defined]
    view = Reordered(tokens, tokens.documents, np.array(order))
    found = naive(tokens, tokens.documents.tolist(), order)
    assert view.take(np.arange(len(tokens))).tolist() == found
    lasts = {start - 1 for start in tokens.documents.tolist()}
    expected = [
        place == 0 or (found[place] in tokens.documents if tokens.labelled else found[place] in lasts)
        for place in range(len(tokens))
    ]
    assert view.begins(np.arange(len(tokens))).tolist() == expected
    assert view.starts.tolist() == [place for place, begins in enumerate(expected) if begins]


@given(corpora(), st.sampled_from(["documents", "shards"]), st.integers(1, 4), st.integers(1, 20), st.integers(0, 7))
def test_a_stream_of_it_is_a_stream(tokens: Tokens, by: str, rows: int, span: int, offset: int) -> None:
    view = Reordered.drawn(tokens, by, [1])
    stream = SequentialStream(view, rows=rows, span=span, offset=offset)
    windows = list(stream)
    read = [token for batch in windows for token in batch.inputs.flatten().tolist()]
    assert set(read) == set(range(len(tokens)))
    for before, after in pairwise(windows):
        check_continues(before, after)
    whole = view.take(np.arange(len(tokens)))
    predicted = [t for batch in windows for t in batch.targets.flatten().tolist() if t >= 0]
    expected = [int(whole[p]) for p in range(1, len(tokens)) if not (tokens.labelled and view.begins(np.array([p]))[0])]
    assert sorted(predicted) == sorted(expected)


def test_shards_keep_the_documents_that_begin_in_them() -> None:
    parts = [np.arange(0, 10), np.arange(10, 20), np.arange(20, 30), np.arange(30, 40)]
    tokens = Tokens(Shards([10] * 4, np.dtype("uint8"), parts.__getitem__), [0, 5, 12, 18, 33])
    orders = {tuple(Reordered.drawn(tokens, "shards", [seed]).take(np.arange(40)).tolist()) for seed in range(20)}
    first, second, last = range(12), range(12, 33), range(33, 40)
    assert orders == {(*first, *second, *last), (*second, *first, *last)}


def test_only_what_is_read_is_touched() -> None:
    loaded = []

    def load(number: int) -> np.ndarray:
        loaded.append(number)
        return np.arange(100, dtype=np.uint8)

    tokens = Tokens(Shards([100] * 50, np.dtype("uint8"), load), [0])
    stream = SequentialStream(tokens, rows=2, span=30)
    batch = stream[0]
    assert sorted(loaded) == [0, 25]
    assert batch.inputs[:, 1].tolist() == list(range(30))
    stream[3]
    assert sorted(loaded) == [0, 1, 25, 26]
    assert tokens[120:130].tolist() == list(range(20, 30))
    assert sorted(loaded) == [0, 1, 25, 26]


@pytest.mark.parametrize("by", ["documents", "shards"])
def test_nothing_to_reorder(by: str) -> None:
    with pytest.raises(ConfigError, match=f"order '{by}' has nothing to reorder"):
        check_reordering(Tokens(np.arange(9), [0, 4]), by)
