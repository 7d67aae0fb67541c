"""Files of tokenizers: JSON that a library of Rust reads.

What could go wrong: the library panics, which is no exception of Python's; vocabularies with holes or ids twice give
tokens that cannot be decoded; regular expressions inside take for ever; names of added tokens are believed.
"""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.data.tokenizers import build_tokenizer, load_tokenizer

TEXT = "the cat sat on the mat, and the dog sat on the log; 123 naïve cafés\n" * 3


def saved(kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        build_tokenizer(kind, TEXT, vocab=270 if kind == "bpe" else None, end=True).save(Path(folder) / "t.json")
        return Path(folder, "t.json").read_bytes()


@pytest.mark.parametrize("kind", ["char", "byte", "word", "bpe"])
def test_a_tokenizer_is_read_or_refused(kind):
    whole = saved(kind)

    @cases(8)
    @given(st.data())
    def check(choose):
        data = choose.draw(mutated(whole))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tokenizer.json"
            path.write_bytes(data)

            def read():
                tokenizer = load_tokenizer(path)
                ids = tokenizer.encode("the dog, 5")
                return tokenizer.decode(ids), tokenizer.start, [tokenizer.symbol(int(i)) for i in ids]

            survives(read)

    check()
