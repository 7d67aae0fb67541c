"""Data sets and series that were saved: lines of JSON beside arrays, and archives of NumPy.

What could go wrong: an array's header declares a shape that no memory holds, or objects, which would be unpickled;
lines ask for more of an array than there is; splits lie outside a series; settings are of another type.
"""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mutations import cases, mutated, survives

from recurra.data.examples import Dataset, Examples
from recurra.data.series import SeriesConfig, SeriesData


@cache
def saved(kind: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "saved"
        if kind == "series":
            table = Path(folder) / "s.csv"
            table.write_text("t,y\n" + "".join(f"{n},{n * n % 11}\n" for n in range(30)))
            SeriesData.build(SeriesConfig(source=str(table), context=3)).save(target)
        else:
            inputs = (
                ["a b", "c d", "a d"] * 4 if kind == "texts" else [np.full((3, 2), n, np.float32) for n in range(12)]
            )
            examples = Examples(inputs, ["x", "y"] * 6)
            Dataset.from_examples(examples, task="classify", valid=0.25).save(target)
        return {p.relative_to(target).as_posix(): p.read_bytes() for p in target.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", ["texts", "numbers", "series"])
def test_saved_data_are_read_or_refused(kind):
    files = saved(kind)

    @cases(12)
    @given(st.sampled_from(sorted(files)).flatmap(lambda name: st.tuples(st.just(name), mutated(files[name]))))
    def check(changed):
        with tempfile.TemporaryDirectory() as folder:
            for name, data in {**files, changed[0]: changed[1]}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            survives(lambda: (SeriesData if kind == "series" else Dataset).load(folder))

    check()


def test_pickled_arrays_are_not_unpickled(tmp_path):
    for name, data in saved("series").items():
        (tmp_path / name).write_bytes(data)
    arrays = dict(np.load(tmp_path / "series.npz"))
    first = next(iter(arrays))
    np.savez(tmp_path / "series.npz", **{**arrays, first: np.array([print], object)})
    assert "series" in str(survives(lambda: SeriesData.load(tmp_path)))
