from __future__ import annotations

import errno
import hashlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import Corpus, Tokens
from recurra.data.shards import Shards
from recurra.errors import CorpusError
from recurra.files import new_folder

IDS = np.arange(1000) % 300


@pytest.fixture
def store(tmp_path: Path) -> Path:
    tokens = Tokens.in_scratch([IDS[:400], IDS[400:]], vocab=300, documents=[0, 400], num_chars=1234)
    tokens.save(tmp_path / "store")
    return tmp_path / "store"


@pytest.mark.parametrize(
    ("vocab", "dtype"), [(2, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_ids_take_the_narrowest_type(tmp_path: Path, vocab: int, dtype: str) -> None:
    ids = np.array([0, 1, vocab - 1])
    tokens = Tokens.in_scratch([ids], vocab=vocab)
    tokens.save(tmp_path / "store")
    for held in (tokens, Tokens.open(tmp_path / "store")):
        assert isinstance(held.ids, np.memmap)
        assert held.ids.dtype == dtype
        assert held.ids.tolist() == ids.tolist()


def test_a_store_is_an_index_and_a_shard(store: Path) -> None:
    assert sorted(path.name for path in store.iterdir()) == ["00000.bin", "documents.bin", "index.json"]
    assert [path.name for path in store.parent.iterdir()] == ["store"]
    tokens = Tokens.open(store, verify=True)
    assert tokens.ids.tolist() == IDS.tolist()
    assert (tokens.documents.tolist(), tokens.num_chars, len(tokens)) == ([0, 400], 1234, 1000)


def test_nothing_is_also_a_store(tmp_path: Path) -> None:
    Tokens.in_scratch([], vocab=5).save(tmp_path / "store")
    assert len(Tokens.open(tmp_path / "store", verify=True)) == 0


def test_an_existing_folder_is_never_overwritten(store: Path) -> None:
    with pytest.raises(CorpusError, match="exists already"):
        Tokens(IDS).save(store)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"No space left on device; nothing was half-written"):  # noqa: PT012, SIM117
        with new_folder(tmp_path / "store", CorpusError) as scratch:
            (scratch / "00000.bin").write_bytes(b"part")
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "store", CorpusError):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_no_room_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**settings: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(CorpusError, match="No space left on device; make room, or set TMPDIR"):
        Tokens.in_scratch([IDS], vocab=300)


def _set(key: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda index: index.update({key: value})


def _shard(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda index: index["shards"][0].update(values)


def _documents(**values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda index: index["documents"].update(values)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_set("version", 3), "version 3, this recurra reads 2; upgrade"),
        (_set("version", 1), "does not describe"),
        (_set("version", None), "does not describe"),
        (_set("dtype", "float64"), "does not describe"),
        (_set("shards", []), "does not say where documents start"),
        (_set("shards", {}), "does not describe"),
        (_set("documents", [5]), "does not describe"),
        (_documents(count=3), "16 bytes instead of 24"),
        (_documents(count=0), "does not describe"),
        (_documents(file="none.bin"), "No such file"),
        (_documents(sha256="0" * 64), "digest of documents.bin"),
        (_set("documents", "all"), "does not describe"),
        (_set("num_chars", "many"), "does not describe"),
        (_shard(file="../store/00000.bin"), "does not describe"),
        (_shard(file="other.bin"), "No such file"),
        (_shard(tokens=-1), "does not describe"),
        (_shard(tokens=1001), "2,000 bytes instead of 2,002"),
        (_shard(sha256=None), "does not describe"),
        (_shard(sha256="0" * 64), "digest"),
    ],
)
def test_damaged_indexes(store: Path, damage: Callable[[dict[str, Any]], object], said: str) -> None:
    index = json.loads((store / "index.json").read_bytes())
    damage(index)
    (store / "index.json").write_text(json.dumps(index))
    with pytest.raises(CorpusError, match=said) as error:
        Tokens.open(store, verify=True)
    assert "\n" not in str(error.value)
    assert str(store) in str(error.value)


def test_damaged_files(store: Path) -> None:
    shard = store / "00000.bin"
    data = shard.read_bytes()
    shard.write_bytes(data[:-1])
    with pytest.raises(CorpusError, match="1,999 bytes instead of 2,000"):
        Tokens.open(store)
    shard.write_bytes(b"\xff" + data[1:])
    Tokens.open(store)
    with pytest.raises(CorpusError, match="digest"):
        Tokens.open(store, verify=True)
    for content in (b"", b"[]", b"{}", b"\xff"):
        (store / "index.json").write_bytes(content)
        with pytest.raises(CorpusError, match="damaged"):
            Tokens.open(store)
    with pytest.raises(CorpusError, match="no token store"):
        Tokens.open(store / "nothing")


@pytest.mark.parametrize("starts", [[1, 400], [0, 1001], [0, 0], [400, 0]])
def test_boundaries_that_make_no_sense(store: Path, starts: list[int]) -> None:
    data = np.array(starts, "<i8").tobytes()
    (store / "documents.bin").write_bytes(data)
    index = json.loads((store / "index.json").read_bytes())
    index["documents"]["sha256"] = hashlib.sha256(data).hexdigest()
    (store / "index.json").write_text(json.dumps(index))
    with pytest.raises(CorpusError, match=r"documents\.bin does not say where documents start"):
        Tokens.open(store)


def version_1(store: Path) -> None:
    """Write a store as it was before there were several shards."""
    index = json.loads((store / "index.json").read_bytes())
    index |= {"version": 1, "documents": np.fromfile(store / "documents.bin", "<i8").tolist()}
    (store / "index.json").write_text(json.dumps(index))
    (store / "documents.bin").unlink()


def test_a_store_of_version_1_is_read(store: Path) -> None:
    version_1(store)
    tokens = Tokens.open(store, verify=True)
    assert tokens.ids.tolist() == IDS.tolist()
    assert (tokens.documents.tolist(), tokens.num_chars) == ([0, 400], 1234)


def test_a_corpus_of_version_1_is_read(tmp_path: Path) -> None:
    corpus = Corpus.from_text(["one text", "another, longer one", "a third"], valid=0.3)
    corpus.save(tmp_path / "corpus")
    for part in ("train", "valid"):
        version_1(tmp_path / "corpus" / part)
    about = json.loads((tmp_path / "corpus" / "corpus.json").read_bytes())
    (tmp_path / "corpus" / "corpus.json").write_text(json.dumps({**about, "version": 1}))
    again = Corpus.load(tmp_path / "corpus", verify=True)
    assert again.train.ids.tolist() == corpus.train.ids.tolist()
    assert again.train.documents.tolist() == corpus.train.documents.tolist()


def test_several_shards_are_saved_as_they_are(tmp_path: Path) -> None:
    parts = [IDS[:10], IDS[10:10], IDS[10:400], IDS[400:]]
    shards = Shards(
        [len(part) for part in parts], np.dtype("uint16"), [part.astype("uint16") for part in parts].__getitem__
    )
    Tokens(shards, [0, 7]).save(tmp_path / "store")
    again = Tokens.open(tmp_path / "store", verify=True)
    assert again.shards.count == 3
    assert again.ids.tolist() == IDS.tolist()
    second = sorted((tmp_path / "store").glob("0*.bin"))[1]
    second.write_bytes(second.read_bytes()[:-2])
    with pytest.raises(CorpusError, match="holds 778 bytes instead of 780"):
        Tokens.open(tmp_path / "store")


def test_a_shard_that_goes_away_while_it_is_in_use(tmp_path: Path, store: Path) -> None:
    tokens = Tokens.open(store)
    (store / "00000.bin").unlink()
    with pytest.raises(CorpusError, match="No such file"):
        tokens.take(np.arange(3))
