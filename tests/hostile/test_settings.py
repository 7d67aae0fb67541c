"""Settings: TOML of a user or of a run, and policies of back-propagation in their short form.

What could go wrong: values of another type reach arithmetic; numbers beyond all bounds are allocated; the name of a
cell is the path of a module, and reading settings must never import it; deep nesting ends the parser's stack.
"""

import sys
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from mutations import NASTY, cases, mutated, mutated_text, survives

from recurra.checkpoint import RunDirectory
from recurra.cli.train import _read_toml
from recurra.config import as_mapping
from recurra.engine import parse_policy
from recurra.training import RunConfig, config_from_mapping, default_config

POLICIES = ("64", "truncated:16,64", "random:70", "unbiased:50,6.5", "online", "full:1024", "checkpointed:64MB:4096")


def written(config: RunConfig) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        RunDirectory(folder).write_config(as_mapping(config))
        return Path(folder, "config.toml").read_bytes()


WHOLE = [
    written(RunConfig(recipe="counting")),
    written(default_config("classify")),
    written(default_config("forecast")),
]


@cases(40)
@given(st.sampled_from(WHOLE).flatmap(mutated))
def test_settings_are_read_or_refused(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.toml"
        path.write_bytes(data)
        survives(lambda: config_from_mapping(_read_toml(str(path)), "config.toml"))
        survives(lambda: config_from_mapping(RunDirectory(folder).read_config(), "config.toml"))


def test_settings_import_nothing(tmp_path, monkeypatch):
    (tmp_path / "planted_here.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    text = WHOLE[0].decode().replace('cell = "lstm"', 'cell = "planted_here:Cell"')
    assert "planted_here" in text
    (tmp_path / "config.toml").write_text(text)
    survives(lambda: config_from_mapping(_read_toml(str(tmp_path / "config.toml")), "config.toml"))
    assert "planted_here" not in sys.modules


@cases(40)
@given(
    st.sampled_from(POLICIES).flatmap(mutated_text)
    | st.text(max_size=30)
    | st.sampled_from(NASTY).map(lambda piece: f"full:{piece.decode('latin-1')}")
)
def test_a_policy_is_read_or_refused(text):
    survives(lambda: list(zip(range(3), parse_policy(text).windows(50), strict=False)))
