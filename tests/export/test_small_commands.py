"""Small weights and Hugging Face folders on the command line, right and wrong."""

import json

import pytest

from recurra.cli import main


@pytest.fixture(scope="module")
def forms(trained, tmp_path_factory):
    """Folders of each form of one run."""
    folder = tmp_path_factory.mktemp("forms")
    for form in ("int8", "bf16", "hf"):
        assert main(["export", str(trained.path), "--to", form, "--out", str(folder / form)]) == 0
    return folder


@pytest.fixture
def said(capfd):
    def call(*arguments, status=0):
        capfd.readouterr()
        assert main([str(argument) for argument in arguments]) == status
        out, err = capfd.readouterr()
        return out if status == 0 else "".join(err.splitlines(keepends=True)[-1:]) if err.count("\n") == 1 else err

    return call


@pytest.mark.parametrize("form", ["int8", "bf16", "hf"])
def test_every_command_reads_it(trained, forms, said, tmp_path, form):
    text = tmp_path / "text.txt"
    text.write_text("the dog saw the cat.\n" * 10)
    run, small = trained.path, forms / form
    assert said("generate", small, "--prompt", "the", "--greedy", "--tokens", 8) == said(
        "generate", run, "--prompt", "the", "--greedy", "--tokens", 8
    )
    ours, theirs = (json.loads(said("evaluate", each, text, "--json")) for each in (small, run))
    assert ours["tokens"] == theirs["tokens"]
    assert ours["loss_nats"] == pytest.approx(theirs["loss_nats"], rel=2e-2)
    assert len(said("score", small, text).splitlines()) == 10
    assert said("explain", small)
    facts = json.loads(said("info", small, "--json"))
    assert facts["weights"] == ("float32" if form == "hf" else form)
    assert facts["weight_bytes"] == (small / "model.safetensors").stat().st_size
    assert facts["best"] == json.loads(said("info", run, "--json"))["best"]
    assert json.loads(said("evaluate", small, text, "--cache", 20, "--json"))["tokens"] == ours["tokens"]


def test_what_is_printed(trained, said, tmp_path):
    facts = json.loads(said("export", trained.path, "--to", "int8", "--out", tmp_path / "a", "--json"))
    assert facts["weights"] == "int8"
    assert facts["bytes_after"] < facts["bytes_before"]
    assert "read back            bit for bit" in said("export", tmp_path / "a", "--to", "hf", "--out", tmp_path / "b")


def test_wrong_input_is_one_line(trained, forms, said, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the dog saw the cat.\n" * 30)
    out = tmp_path / "out"
    wrong = {
        ("export", trained.path, "--to", "int4", "--out", out): "'int4' is not one of",
        ("export", trained.path, "--to", "int8", "--out", forms): "exists already",
        ("export", trained.path, "--to", "int8", "--lengths", "--out", out): "--lengths means nothing to --to int8",
        ("export", forms / "int8", "--to", "bf16", "--out", out): "holds weights in int8 already",
        ("export", tmp_path / "no", "--to", "hf", "--out", out): "there is no run directory",
        ("train", "--resume", forms / "int8"): "resume the run that it was exported from",
        ("train", "--resume", forms / "hf"): "resume the run that it was exported from",
        ("train", text, "--from", forms / "int8", "--out", out): "weights in int8, which are for inference",
        ("evaluate", forms / "int8", text, "--dynamic"): "weights in int8, which are for inference",
        ("evaluate", forms / "hf"): "without the data that its model was trained on",
        ("evaluate", forms / "hf", text, "--dynamic"): "without the data that its model was trained on",
    }
    for arguments, what in wrong.items():
        line = said(*arguments, status=2)
        assert what in line, arguments
        assert line.count("\n") == 1, arguments
    assert not out.exists()


def test_a_float32_folder_is_something_to_go_on_from(forms, said, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the dog saw the cat; the mat sat on the log.\n" * 30)
    said("train", text, "--from", forms / "hf", "--out", tmp_path / "on", "--steps", 3, "--batch", 2, "--backprop", 8)
    assert json.loads(said("info", tmp_path / "on", "--json"))["origin"]["run"] == str(forms / "hf")
