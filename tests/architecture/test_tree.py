"""What the tree of files promises: sizes, the reading path, public names, nothing that belongs to one machine."""

import ast
import importlib
import pkgutil
import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest

import recurra

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "recurra"
FILES = sorted(SOURCE.rglob("*.py"))
CELLS = sorted((SOURCE / "cells").glob("*.py"))
MODULES = sorted(module.name for module in pkgutil.walk_packages(recurra.__path__, "recurra."))

MOST_LINES, MOST_LINES_OF_A_CELL, MOST_LINES_TO_READ = 400, 80, 600
NOT_EQUATIONS = {"base.py"}
READING_PATH = (
    "cells/lstm.py",
    "engine/loop.py",
    "engine/backprop.py",
    "models/language_model.py",
    "recipes/counting.py",
)


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def lines_of(path):
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_can_be_read_in_one_sitting(path):
    assert lines_of(path) <= MOST_LINES


@pytest.mark.parametrize("path", [path for path in CELLS if path.name not in NOT_EQUATIONS], ids=name_of)
def test_a_cell_is_its_equations(path):
    assert lines_of(path) <= MOST_LINES_OF_A_CELL


def test_from_the_equation_to_a_trained_model_is_a_short_way():
    assert sum(lines_of(SOURCE / name) for name in READING_PATH) < MOST_LINES_TO_READ


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_a_module_lists_its_public_names(name):
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", None)
    if listed is None:
        # The file of a command holds that and nothing for others.
        assert name.startswith("recurra.cli."), f"{name} has no __all__"
        return
    assert len(set(listed)) == len(listed)
    assert [entry for entry in listed if not hasattr(module, entry)] == []
    assert module.__doc__


def test_the_package_lists_names_that_exist():
    assert [name for name in recurra.__all__ if getattr(recurra, name, None) is None] == []
    assert set(recurra.__all__) <= set(dir(recurra))
    with pytest.raises(AttributeError, match="no attribute 'lstm'"):
        _ = recurra.lstm


def test_every_module_is_in_a_room_of_the_contract():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = next(contract["layers"] for contract in tools["importlinter"]["contracts"] if contract["type"] == "layers")
    rooms = set(chain.from_iterable(layer.split(" | ") for layer in layers))
    assert {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()} - rooms <= {
        "__init__",
        "__pycache__",
    }


def calls(path):
    """Every call of a file as (dotted name, keywords, line)."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {keyword.arg for keyword in node.keywords}, node.lineno


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_read_or_written_in_a_way_that_runs_code(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(import|from) (pickle|dill|joblib|shelve|marshal)\b", text, re.MULTILINE)
    for name, keywords, line in calls(path):
        assert name not in {"eval", "exec", "torch.save"}, f"line {line}"
        assert name != "torch.load" or "weights_only" in keywords, f"line {line}"
        assert name not in {"np.load", "numpy.load"} or "allow_pickle" not in keywords, f"line {line}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_failure_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"
            assert [type(statement) for statement in node.body] != [ast.Pass], f"swallowed at line {node.lineno}"


def shipped():
    folders = ("src", "tests", "benchmarks", "examples", "docs", ".ci")
    inside = chain.from_iterable((ROOT / folder).rglob("*") for folder in folders)
    texts = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("*.txt"), ROOT / "Makefile", *inside]
    return sorted(path for path in texts if path.is_file() and "__pycache__" not in path.parts)


def test_nothing_shipped_belongs_to_one_machine():
    # Put together here, so that this file does not hold what it forbids.
    homes = "|".join(f"/{folder}/" for folder in ("home", "root", "work", "Users", "opt"))
    hosts = "|".join(re.escape(".".join(parts)) for parts in (("pypi", "org"), ("download", "pytorch", "org")))
    forbidden = re.compile(rf"""(?:^|[\s"'`(=])(?:{homes})\w|{hosts}""", re.MULTILINE)
    found = {}
    for path in shipped():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if match := forbidden.search(text):
            found[name_of(path)] = match.group().strip()
    assert found == {}


def test_comments_leave_no_work_behind():
    left = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")))
    sources = [path for path in shipped() if path.suffix == ".py"]
    assert [name_of(path) for path in sources if left.search(path.read_text(encoding="utf-8"))] == []
