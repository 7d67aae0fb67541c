"""Killed at any moment, the same command goes on and gives the same bytes; nothing else is taken for its work."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recurra.data import Corpus, prepare
from recurra.data.preparing import planning, writing
from recurra.data.preparing.workers import do_all
from recurra.errors import CorpusError

PROGRAM = """
import sys
from recurra.data import prepare
from recurra.data.preparing import planning
planning.JOB = 20_000
prepare(sys.argv[1], sys.argv[2], tokenizer=sys.argv[3], shard_tokens=4000, processes=int(sys.argv[4]))
"""


def digest(store: Path) -> dict[str, str]:
    return {
        str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(store.rglob("*"))
        if path.is_file()
    }


def files_in(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def run(*arguments: Any) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *map(str, arguments)], env=environment)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    draw = random.Random(3)
    words = ["".join(draw.choices("abcdefgh é", k=draw.randint(1, 8))) for _ in range(300)]
    for number in range(6):
        (folder / f"{number}.txt").write_text(" ".join(draw.choices(words, k=4000)), encoding="utf-8")
    return folder


def test_killed_at_random_moments_by_any_number_of_processes(tmp_path: Path, texts: Path) -> None:
    undisturbed = run(texts, tmp_path / "one", "word", 1)
    assert undisturbed.wait() == 0
    draw, kills, store = random.Random(5), 0, tmp_path / "two"
    for attempt in range(60):
        process = run(texts, store, "word", 1 + attempt % 2)
        # After so many new files, and a little later: however fast the machine is, there is something left to do.
        enough = files_in(tmp_path / "two.unfinished") + draw.randint(1, 6)
        while process.poll() is None and files_in(tmp_path / "two.unfinished") < enough:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        kills += 1
        time.sleep(0.3)  # its workers notice, and end
        assert not store.exists() or Corpus.load(store, verify=True)
    assert process.wait() == 0
    assert kills >= 2
    assert digest(store) == digest(tmp_path / "one")
    assert not (tmp_path / "two.unfinished").exists()


class StopError(Exception):
    pass


@pytest.mark.parametrize("kind", ["char", "word"])
def test_stopped_after_every_write(tmp_path: Path, texts: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file that becomes whole is once the last thing that happens."""
    monkeypatch.setattr(planning, "JOB", 60_000)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    replace, left = os.replace, [1 << 30]

    def stopping(*arguments: Any, **named: Any) -> None:
        replace(*arguments, **named)
        left[0] -= 1
        if not left[0]:
            raise StopError

    monkeypatch.setattr(os, "replace", stopping)

    def make(name: str) -> Path:
        return prepare(texts, tmp_path / name, tokenizer=kind, shard_tokens=20_000).path

    undisturbed = digest(make("store"))
    writes = (1 << 30) - left[0]
    assert writes > 10
    for number in range(1, writes + 1):
        shutil.rmtree(tmp_path / "store")
        left[0] = number
        with pytest.raises(StopError):
            make("store")
        assert not (tmp_path / "store").exists()
        assert digest(make("store")) == undisturbed


def test_a_finished_command_is_repeated_for_nothing(
    tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepare(texts, tmp_path / "store", tokenizer="byte")
    monkeypatch.setattr(writing, "write_shards", None)
    assert prepare(texts, tmp_path / "store", tokenizer="byte") == first
    with pytest.raises(CorpusError, match="exists already, and was not made from these files in this way"):
        prepare(texts, tmp_path / "store", tokenizer="char")


@pytest.fixture
def unfinished(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with monkeypatch.context() as patch:
        patch.setattr("recurra.data.preparing.steps._Steps._write", lambda self: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            prepare(texts, tmp_path / "store", tokenizer="byte")
    assert (tmp_path / "store.unfinished").is_dir()
    return tmp_path / "store"


def test_another_command_is_refused(unfinished: Path, texts: Path) -> None:
    with pytest.raises(CorpusError, match="begun with tokenizer byte, not char; remove it to begin anew"):
        prepare(texts, unfinished, tokenizer="char")
    with pytest.raises(CorpusError, match=r"with valid 0\.1, not 0\.2"):
        prepare(texts, unfinished, tokenizer="byte", valid=0.2)
    with pytest.raises(CorpusError, match="from other files"):
        prepare(texts / "1.txt", unfinished, tokenizer="byte")


def test_changed_files_are_refused(unfinished: Path, texts: Path) -> None:
    (texts / "2.txt").write_text("something else")
    with pytest.raises(CorpusError, match=r"begun before .*2\.txt changed; remove it to begin anew"):
        prepare(texts, unfinished, tokenizer="byte")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path, texts: Path) -> None:
    def touch(done: int, total: int, what: str) -> None:
        os.utime(texts / "3.txt", (1, 1))

    with pytest.raises(CorpusError, match=r"3\.txt changed while it was read"):
        prepare(texts, tmp_path / "store", tokenizer="byte", progress=touch)
    assert not (tmp_path / "store").exists()


def test_two_at_once(unfinished: Path, texts: Path) -> None:
    import fcntl

    with (unfinished.with_name("store.unfinished") / "work" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match="another process is preparing"):
            prepare(texts, unfinished, tokenizer="byte")


def test_half_a_shard_is_written_again(tmp_path: Path, texts: Path, unfinished: Path) -> None:
    """A record whose shard is not whole counts for nothing."""
    work = unfinished.with_name("store.unfinished")
    whole = prepare(texts, tmp_path / "one", tokenizer="byte").path
    shard = sorted((whole / "train").glob("0*.bin"))[0]
    (work / "store" / "train" / shard.name).write_bytes(shard.read_bytes()[:-1])
    (work / "work" / "train" / f"{shard.stem}.json").write_text("{")
    assert digest(prepare(texts, unfinished, tokenizer="byte").path) == digest(whole)


def test_no_room(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(CorpusError, match="No space left on device; make room, and repeat the command") as error:
            prepare(texts, tmp_path / "store", tokenizer="byte")
        assert "\n" not in str(error.value)
    assert not (tmp_path / "store").exists()
    assert prepare(texts, tmp_path / "store", tokenizer="byte").train_tokens > 0


def test_a_worker_that_dies_is_named(tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "JOB", 20_000)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(CorpusError, match=r"has ended .* goes on where it stopped, with fewer --processes"):
        prepare(texts, tmp_path / "store", tokenizer="word", processes=2)
    assert do_all.__module__.endswith("workers")
