"""What is prepared is what a corpus in memory is: the same tokens, boundaries and vocabulary, however it is cut up."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import Corpus, Tokens, prepare
from recurra.data.preparing import planning, reading, sampling
from recurra.errors import RecurraError

FEWER = settings(max_examples=settings.default.max_examples // 4)
"""Each example makes a dozen files, twice."""

KINDS = ("char", "byte", "word", "bpe")
ALPHABET = "ab \n\r\té€\u00a0\u3000\x1c.\ufeff😀"
texts = st.text(ALPHABET, min_size=1, max_size=60)


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Any:
    """Cut everything into pieces of a few characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "JOB", 16)
        patch.setattr(reading, "CHUNK", 7)
        patch.setattr(os, "fsync", lambda descriptor: None)  # which takes most of the time
        yield


def same(a: Tokens, b: Tokens) -> None:
    assert a.ids.tolist() == b.ids.tolist()
    assert a.documents.tolist() == b.documents.tolist()
    assert a.num_chars == b.num_chars


def both(make: Any, prepared: Any) -> None:
    """Compare a corpus with a store; what one refuses the other refuses."""
    folder = Path(tempfile.mkdtemp())
    try:
        try:
            corpus = make(folder)
        except RecurraError as error:
            with pytest.raises(type(error)):
                prepared(folder)
            return
        store = Corpus.load(prepared(folder).path, verify=True)
        assert store.tokenizer.digest == corpus.tokenizer.digest
        same(store.train, corpus.train)
        same(store.valid, corpus.valid)
    finally:
        shutil.rmtree(folder)


def settings_of(kind: str, shard_tokens: int) -> dict[str, Any]:
    return {"tokenizer": kind, "shard_tokens": shard_tokens, **({"vocab": 260} if kind == "bpe" else {})}


def vocab_of(kind: str) -> dict[str, Any]:
    return {"vocab": 260} if kind == "bpe" else {}


@FEWER
@given(texts, st.sampled_from(KINDS), st.sampled_from([0.0, 0.1, 0.5, 0.9]), st.sampled_from([1, 5, 1000]))
def test_a_text(text: str, kind: str, valid: float, shard_tokens: int) -> None:
    def make(folder: Path) -> Corpus:
        (folder / "a.txt").write_bytes(text.encode())
        return Corpus.from_file(folder / "a.txt", tokenizer=kind, valid=valid, **vocab_of(kind))

    both(make, lambda f: prepare(f / "a.txt", f / "store", valid=valid, **settings_of(kind, shard_tokens)))


@FEWER
@given(st.lists(texts, min_size=1, max_size=5), st.sampled_from(KINDS), st.sampled_from([0.0, 0.3, 0.6]))
def test_a_folder_of_texts(documents: Sequence[str], kind: str, valid: float) -> None:
    def make(folder: Path) -> Corpus:
        (folder / "in").mkdir()
        for number, text in enumerate(documents):
            (folder / "in" / f"{number}.txt").write_bytes(text.encode())
        return Corpus.from_file(folder / "in", tokenizer=kind, valid=valid, **vocab_of(kind))

    both(make, lambda f: prepare(f / "in", f / "store", valid=valid, **settings_of(kind, 20)))


@FEWER
@given(st.lists(texts, min_size=1, max_size=5), st.lists(texts, min_size=1, max_size=3), st.sampled_from(KINDS))
def test_a_validation_folder(documents: Sequence[str], held: Sequence[str], kind: str) -> None:
    def make(folder: Path) -> Corpus:
        for name, part in (("in", documents), ("held", held)):
            (folder / name).mkdir()
            for number, text in enumerate(part):
                (folder / name / f"{number}.txt").write_bytes(text.encode())
        return Corpus.from_file(folder / "in", tokenizer=kind, valid=folder / "held", **vocab_of(kind))

    both(make, lambda f: prepare(f / "in", f / "store", valid=f / "held", **settings_of(kind, 20)))


@FEWER
@given(st.binary(min_size=2, max_size=80), st.sampled_from([0.0, 0.3]))
def test_any_bytes(data: bytes, valid: float) -> None:
    def make(folder: Path) -> Corpus:
        (folder / "a.bin").write_bytes(data)
        return Corpus.from_file(folder / "a.bin", tokenizer="byte", valid=valid)

    both(make, lambda f: prepare(f / "a.bin", f / "store", valid=valid, tokenizer="byte"))


@FEWER
@given(st.lists(texts, min_size=1, max_size=8), st.sampled_from(KINDS), st.sampled_from([0.0, 0.3]))
def test_lines_of_json_are_documents(documents: Sequence[str], kind: str, valid: float) -> None:
    import json

    def make(folder: Path) -> Corpus:
        lines = [
            json.dumps({"text": text}) if number % 2 else json.dumps(text) for number, text in enumerate(documents)
        ]
        (folder / "a.jsonl").write_text("\n".join(lines))
        return Corpus.from_text(documents, tokenizer=kind, valid=valid, **vocab_of(kind))

    both(make, lambda f: prepare(f / "a.jsonl", f / "store", valid=valid, **settings_of(kind, 20)))


def test_pairs_are_learned_from_a_sample_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "SAMPLE", 100)
    text = "".join(f"the {n} of the {n} " for n in range(300))
    (tmp_path / "a.txt").write_text(text)
    seen = []
    monkeypatch.setattr(
        "recurra.data.preparing.steps.sample", lambda *a: seen.extend(found := list(sampling.sample(*a))) or found
    )
    store = Corpus.load(prepare(tmp_path / "a.txt", tmp_path / "s", tokenizer="bpe", vocab=270).path)
    assert 80 <= sum(map(len, seen)) <= 150
    numbers = [int(word) for piece in seen for word in piece.split() if word.isdigit()]
    assert min(numbers) < 50 < 200 < max(numbers)
    whole = np.concatenate([store.train.ids, store.valid.ids])
    assert store.tokenizer.decode(whole.tolist()) == text
