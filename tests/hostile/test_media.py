"""Sounds and pictures of examples, read by libraries of C.

What could go wrong: a header declares a picture of 100,000 by 100,000 points or a sound of a billion samples, and the
memory is allocated before the file is found too short; rates of nothing or of gigahertz are divided by, or resampled
to; warnings of the libraries go to standard error in place of one line.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.data.examples import DatasetConfig, read_examples

soundfile = pytest.importorskip("soundfile")
image = pytest.importorskip("PIL.Image")
pytest.importorskip("scipy.signal")
pytest.importorskip("PIL.ImageOps")


def sound(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(2000) / 9), 8000, format=kind)
    return buffer.getvalue()


def picture(kind: str, mode: str) -> bytes:
    buffer = io.BytesIO()
    image.fromarray((np.arange(192) % 251).astype(np.uint8).reshape(8, 8, 3)).convert(mode).save(buffer, kind)
    return buffer.getvalue()


FILES = {
    "a.wav": sound("WAV"), "a.flac": sound("FLAC"), "a.png": picture("PNG", "RGB"), "b.png": picture("PNG", "P"),
    "a.gif": picture("GIF", "P"), "a.bmp": picture("BMP", "RGB"), "a.jpg": picture("JPEG", "RGB"),
    "a.tif": picture("TIFF", "L"), "a.webp": picture("WEBP", "RGB"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@cases(40)
@given(st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), mutated(FILES[name]))))
def test_a_sound_or_picture_is_read_or_refused(changed):
    name, data = changed
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        (Path(folder) / "table.tsv").write_text(f"file\tlabel\n{name}\tx\n")
        config = DatasetConfig(task="classify", source=str(Path(folder) / "table.tsv"))
        survives(lambda: read_examples(config))
