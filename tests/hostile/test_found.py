"""Files that once led to something else than an error of one line: each was found by the tests beside this one.

What could go wrong: the same again.
"""

import tomllib

import numpy as np
import pytest
from mutations import survives
from test_saved_data import saved

from recurra.cli.train import _read_toml
from recurra.data.examples import read_sound
from recurra.data.series import SeriesData
from recurra.decoding import automaton as automata
from recurra.decoding import probing
from recurra.engine import parse_policy
from recurra.errors import ConfigError, DataError, RecurraError, nearest
from recurra.training import config_from_mapping
from recurra.training.tally import NO_SUMS, check_counts


def test_settings_without_those_that_must_be_there():
    with pytest.raises(ConfigError, match="'task' is missing"):
        config_from_mapping({"task": "classify", "data": {}} | tomllib.loads("[model]\nhidden = 3"), "config.toml")


@pytest.mark.parametrize("text", ["\x85", "two\nlines", "\x1b[31mred", "a\u2028b"])
def test_what_is_quoted_stays_on_one_line(text):
    said = survives(lambda: parse_policy(text))
    assert isinstance(said, RecurraError)
    assert str(said).isprintable()


@pytest.mark.parametrize("pattern", [r"\p{L}{2}{2}{2}{2}{2,5}", r"\w{100}", r"(?:[^a]b){2000}"])
def test_repeated_classes_are_refused_at_once(pattern):
    assert "10,000 times" in str(survives(lambda: automata.automaton_of_pattern(pattern)))


def test_automata_that_explode_are_tried_elsewhere(monkeypatch):
    monkeypatch.setattr(probing, "MOST_SECONDS", 2)
    said = survives(lambda: automata.automaton_of_pattern(".*a.{25}"), allowed=("subprocess.Popen", "os.posix_spawn"))
    assert "to compile" in str(said)


def test_a_long_pattern_is_tried_elsewhere(monkeypatch):
    tried = []
    monkeypatch.setattr(automata, "can_compile", lambda pattern: tried.append(pattern))
    assert "to compile" in str(survives(lambda: automata.automaton_of_pattern("a" * 70_000)))
    assert tried


def test_labels_of_any_type_are_named():
    assert "99" in nearest("y", ["x", 99])


def test_settings_that_are_nested_without_end(tmp_path):
    (tmp_path / "deep.toml").write_text("a = " + "[" * 3000)
    with pytest.raises(ConfigError, match="recursion"):
        _read_toml(str(tmp_path / "deep.toml"))


def test_a_checkpoint_of_a_training_of_other_length():
    sums = dict.fromkeys(NO_SUMS, 0)
    values = {"epoch": 0, "batch": 1, "step": 1, "stale_epochs": 0, "best_loss": None, "sums": sums, "total_steps": 40}
    check_counts(values, 40)
    with pytest.raises(ValueError, match="of 40 steps, and the settings give 41"):
        check_counts(values, 41)


def test_patterns_that_were_tried_elsewhere_are_compiled_here():
    assert automata.automaton_of_pattern("[a-z]*x[0-9]{6}").accepting.any()
    assert probing.can_compile("[a-z]*x[0-9]{6}")


def test_a_damaged_archive_is_closed(tmp_path):
    """An open file would be a warning, and so an error of this test."""
    for name, data in saved("series").items():
        (tmp_path / name).write_bytes(data[: len(data) // 2] if name.endswith("npz") else data)
    with pytest.raises(DataError, match="series"):
        SeriesData.load(tmp_path)


@pytest.mark.parametrize("rate", [3, 999_983, 28_049_533])
def test_rates_that_no_sound_has(tmp_path, rate):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("scipy.signal")
    soundfile.write(tmp_path / "a.wav", np.zeros(2000), 8000)
    data = bytearray((tmp_path / "a.wav").read_bytes())
    data[24:28] = rate.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    assert "samples per second" in str(survives(lambda: read_sound(tmp_path / "a.wav", 8000)))


def test_a_sound_that_declares_more_samples_than_memory_holds(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / "a.flac", np.zeros(2000), 8000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F  # with the four bytes after it: how many samples there are
    data[22:26] = b"\xff\xff\xff\xff"
    (tmp_path / "a.flac").write_bytes(data)
    survives(lambda: read_sound(tmp_path / "a.flac", 8000))
