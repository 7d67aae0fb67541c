from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recurra.data import Tokens
from recurra.data.store import new_folder
from recurra.errors import CorpusError

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
    assert sorted(path.name for path in store.iterdir()) == ["00000.bin", "index.json"]
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
        with new_folder(tmp_path / "store") as scratch:
            (scratch / "00000.bin").write_bytes(b"part")
            raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / "store"):
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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_set("version", 2), "version 2, this recurra reads 1; upgrade"),
        (_set("version", None), "does not describe"),
        (_set("dtype", "float64"), "does not describe"),
        (_set("shards", []), "does not describe"),
        (_set("shards", {}), "does not describe"),
        (_set("documents", [5]), "does not describe"),
        (_set("documents", [0, 9, 9]), "does not describe"),
        (_set("documents", [0, 1001]), "does not describe"),
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
