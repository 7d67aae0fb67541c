import pytest

from recurra.cli import main
from recurra.training import Run

TEXT = "the cat sat on the mat, and the dog sat on the log; the cat saw the dog.\n" * 40


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A run of a language model that has a few matrices."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "cats.txt").write_text(TEXT)
    options = ["--hidden", "24", "--cell", "gru", "--batch", "4", "--backprop", "16", "--steps", "30", "--threads", "1"]
    assert main(["train", str(folder / "cats.txt"), "--out", str(folder / "cats"), *options]) == 0
    return Run.load(folder / "cats")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    """A run that tells two kinds of texts apart."""
    folder = tmp_path_factory.mktemp("classifier")
    rows = [f"{text}\t{label}" for label, text in (("cat", "the cat sat"), ("dog", "a dog ran"))] * 30
    (folder / "pets.tsv").write_text("\n".join(rows) + "\n")
    options = ["--task", "classify", "--hidden", "24", "--cell", "gru", "--epochs", "4", "--threads", "1", "--lr", "0.01"]
    assert main(["train", str(folder / "pets.tsv"), "--out", str(folder / "pets"), *options]) == 0
    return Run.load(folder / "pets")
