"""Tokens read by an automaton: each byte by itself, and every way to an end."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.decoding import automaton_of_pattern, token_table
from recurra.decoding.automaton import DEAD, START
from recurra.decoding.token_table import NEVER, TokenTable

pytest.importorskip("outlines_core")

PIECES = [b"a", b"b", b"ab", b"", b"ba", b"aab", "é".encode(), b"\xc3", b"\xa9", b"<unk>"]
PATTERNS = ["(ab)*", "a+b?", "é|aé", "(a|b){3}", "(aab|b)+(é)?", "a{7}", "c", "<unk>|a", ""]


def matches(automaton, ids):
    state = START
    for byte in b"".join(PIECES[i] for i in ids):
        state = automaton.next[state, byte]
    return bool(automaton.accepting[state]), state != DEAD


@pytest.mark.parametrize("most_kept", [1 << 23, 0])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_table_says_of_every_text_what_its_bytes_say(monkeypatch, pattern, most_kept):
    monkeypatch.setattr(token_table, "MOST_KEPT", most_kept)
    monkeypatch.setattr(token_table, "AT_ONCE", 20)
    automaton = automaton_of_pattern(pattern)
    table = TokenTable(automaton, PIECES, never=[9])
    for ids in itertools.chain.from_iterable(itertools.product(range(len(PIECES)), repeat=n) for n in range(4)):
        state = table.walk(ids)
        accepted, alive = matches(automaton, ids)
        if 3 in ids or 9 in ids:
            assert state == DEAD
        else:
            assert (bool(table.accepting[state]), state != DEAD) == (accepted, alive)


@settings(deadline=None, max_examples=30)
@given(st.sampled_from(PATTERNS), st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
def test_distances_are_those_of_the_shortest_match(pattern, pieces):
    automaton = automaton_of_pattern(pattern)
    table = TokenTable(automaton, pieces)

    def shortest(state):
        for length in range(4):
            for ids in itertools.product(range(len(pieces)), repeat=length):
                after = state
                for i in ids:
                    after = int(table.next(torch.tensor([after]), torch.tensor([i])))
                if table.accepting[after]:
                    return length
        return None

    for state, distance in enumerate(table.distance.tolist()):
        found = shortest(state)
        assert distance == found if found is not None else distance > 3
        assert table.needed(torch.tensor([state])).tolist() == [
            table.distance[table.rows(torch.tensor([state]))[0]].tolist()
        ]
    assert table.distance[DEAD] == NEVER
