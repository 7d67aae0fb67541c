"""What starts quickly loads little: looked up in sys.modules of a fresh interpreter, not on a clock."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "matplotlib", "tokenizers", "safetensors", "rich", "jinja2"}


def loaded_by(program):
    """The heavy packages that a program has loaded when it is done."""
    report = "import sys; print('loaded:', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{report}"], capture_output=True, text=True, check=True)
    *_, line = done.stdout.splitlines()
    return HEAVY & set(line.split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import recurra") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_asking_for_help_loads_nothing_heavy(arguments):
    assert loaded_by(f"from recurra.cli import main; assert main({arguments}) == 0") == set()


COMMANDS = ["train", "evaluate", "generate", "score", "info", "inspect", "export", "explain", "bench"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_does_not_load_torch(command):
    assert loaded_by(f"from recurra.cli import main; assert main([{command!r}, '--help']) == 0") <= {"rich"}


def test_a_name_is_loaded_when_it_is_used():
    assert "torch" in loaded_by("import recurra; recurra.scan")


def test_generating_loads_nothing_that_draws():
    assert "matplotlib" not in loaded_by("import recurra.models, recurra.decoding, recurra.training")
