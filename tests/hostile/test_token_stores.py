"""Token stores: an index of JSON, and ids that are mapped into memory.

What could go wrong: an index that declares more tokens than the file has maps memory that is not there, and the process
dies of SIGBUS; a name of a shard leads out of the folder; sizes overflow; documents start where no token is.
"""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.data import Corpus
from recurra.data.store import Tokens

IDS = np.arange(600, dtype=np.uint16) % 300


def files_of(save):
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "store")
        return {path.relative_to(Path(folder) / "store").as_posix(): path.read_bytes()
                for path in Path(folder, "store").rglob("*") if path.is_file()}  # fmt: skip


STORE = files_of(Tokens(IDS, [0, 7, 300]).save)
CORPUS = files_of(Corpus.from_text(["one text", "and another text"] * 9).save)


def write(files, folder):
    for name, data in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@cases(20)
@given(
    st.sampled_from(sorted(STORE)).flatmap(lambda name: st.tuples(st.just(name), mutated(STORE[name]))), st.booleans()
)
def test_a_store_is_read_or_refused(changed, verify):
    name, data = changed
    with tempfile.TemporaryDirectory() as folder:
        write({**STORE, name: data}, folder)

        def read():
            tokens = Tokens.open(folder, verify=verify)
            return int(np.asarray(tokens.ids, np.int64).sum()), tokens.starts

        survives(read)


@cases(20)
@given(st.sampled_from(sorted(CORPUS)).flatmap(lambda name: st.tuples(st.just(name), mutated(CORPUS[name]))))
def test_a_corpus_is_read_or_refused(changed):
    name, data = changed
    with tempfile.TemporaryDirectory() as folder:
        write({**CORPUS, name: data}, folder)
        survives(lambda: repr(Corpus.load(folder, verify=True)))
