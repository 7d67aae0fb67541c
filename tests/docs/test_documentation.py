"""What README and docs show is run: every snippet, every command's options, every link."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import click
import pytest

from recurra.cli.main import COMMANDS, commands
from recurra.cli.settings import EXAMPLES_SETTINGS, SERIES_SETTINGS, SETTINGS
from recurra.recipes import find_recipe
from recurra.training import default_config

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
NOT_RUN = "<!-- not run -->"
OPTIONS = {name.partition("/")[0].replace("-", "_") for name, *_ in SETTINGS + EXAMPLES_SETTINGS + SERIES_SETTINGS}


class Block(NamedTuple):
    page: Path
    line: int
    """Number of its first line, from 1."""
    language: str
    text: str
    run: bool


def blocks(page):
    """Yield the fenced blocks of a page."""
    fence, start, before = None, 0, ""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, start=1):
        if fence is None and (found := re.match(r"\s*```(\w*)\s*$", line)):
            fence, start = found[1], number
        elif fence is not None and line.strip() == "```":
            yield Block(page, start + 1, fence, "\n".join(lines[start : number - 1]), before != NOT_RUN)
            fence = None
            before = ""
        elif fence is None and line.strip():
            before = line.strip()
    assert fence is None, f"{page.name}:{start}: a block without an end"


def shell_lines(page):
    """Yield (line number, line) of every line of a shell block, fenced or indented."""
    fenced = set()
    for block in blocks(page):
        lines = block.text.splitlines()
        fenced.update(range(block.line - 1, block.line + len(lines) + 1))
        if block.language != "python":
            yield from enumerate(block.text.replace("\\\n", "  ").splitlines(), start=block.line)
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if number not in fenced and line.startswith("    "):
            yield number, line


def shown_commands(page):
    """Yield (line number, words) of every command of ours."""
    for number, line in shell_lines(page):
        for part in line.strip().removeprefix("$ ").split(" | "):
            if not re.match(r"([A-Z_]+=\S* +)*(python -m )?recurra( |$)", part):
                continue
            words = shlex.split(part, comments=True)
            yield number, words[words.index("recurra") + 1 :]


def name_of(page):
    return page.relative_to(ROOT).as_posix()


PYTHON = [page for page in PAGES if any(block.language == "python" and block.run for block in blocks(page))]
SHELL = [
    pytest.param(words, id=f"{name_of(page)}:{number}") for page in PAGES for number, words in shown_commands(page)
]


def test_there_is_something_to_test():
    assert len(PYTHON) >= 8
    assert len(SHELL) >= 20
    assert {words.values[0][0] for words in SHELL} >= set(COMMANDS)


@pytest.mark.parametrize("page", PYTHON, ids=name_of)
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "snippets"}
    for block in blocks(page):
        if block.language == "python" and block.run:
            code = "\n" * (block.line - 1) + block.text
            exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("words", SHELL)
def test_commands_parse(words):
    if words == ["COMMAND", "--help"] or words[0].startswith("-"):
        return
    command = commands.get_command(click.Context(commands), words[0])
    assert command is not None, f"there is no command '{words[0]}'"
    if "--help" in words:
        return
    context = command.make_context(words[0], words[1:])
    if words[0] == "train":
        given = {name: value for name, value in context.params.items() if value is not None}
        config = find_recipe(given["recipe"]) if "recipe" in given else default_config(given.get("task", "lm"))
        config.with_settings(**{name: value for name, value in given.items() if name in OPTIONS})


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page if not path else (page.parent / path)
        assert found.exists(), f"{name_of(page)} links to {target}, which does not exist"
        if anchor:
            assert anchor in headings(found), f"{name_of(page)} links to {target}, which has no such heading"


def test_every_page_is_in_the_map():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not link to {page.name}"


def headings(page):
    lines = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line.lower()).replace(" ", "-") for line in lines}
