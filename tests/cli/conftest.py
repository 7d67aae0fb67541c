from typing import NamedTuple

import pytest

from recurra.cli import main

TEXT = "the cat sat on the mat, and the dog sat on the log; the cat saw the dog.\n" * 40
TRAIN = ["--hidden", "12", "--batch", "4", "--backprop", "16", "--steps", "12", "--threads", "1"]


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that an error prints."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def cli(capfd):
    def call(*arguments):
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        return Result(status, *capfd.readouterr())

    return call


@pytest.fixture(scope="session")
def quick():
    """Options of a run that takes no time."""
    return TRAIN


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "cats.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="session")
def run(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("runs") / "cats"
    assert main(["train", str(text), "--out", str(path), *TRAIN]) == 0
    return path
