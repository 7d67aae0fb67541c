"""Libraries that may be missing."""

import json
import subprocess
import sys

import pytest

from recurra.errors import DataError
from recurra.libraries import need


def test_a_library_is_loaded_when_it_is_needed():
    assert need("json") is json


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("pandas", "reading series needs pandas"),
        ("PIL.Image", "reading pictures needs pillow"),
        ("kaldi_native_fbank", "reading sounds needs kaldi-native-fbank"),
    ],
)
def test_one_that_is_missing_is_named_with_how_to_get_it(monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError) as error:
        need(module)
    assert str(error.value) == f'{message}; install it with: pip install "recurra[tasks]"'


@pytest.mark.parametrize(
    ("module", "extra"), [("pyarrow.parquet", "corpora"), ("zstandard", "corpora"), ("datasets", "hub")]
)
def test_libraries_that_read_corpora(monkeypatch, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf'install it with: pip install "recurra\[{extra}\]"'):
        need(module)


def test_importing_data_loads_none_of_them():
    program = "import sys, recurra.data; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"pandas", "scipy", "soundfile", "kaldi_native_fbank", "PIL", "sklearn"} & set(done.stdout.split())
