import numpy as np
import pytest


@pytest.fixture
def table(tmp_path):
    """Write a CSV file of columns and return its path."""

    def write(name="table.csv", **columns):
        rows = zip(*columns.values(), strict=True)
        lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def hours():
    """Return that many hourly times from a Friday's midnight on, as text."""

    def make(count, start="2016-07-01T00"):
        return [str(time).replace("T", " ") + ":00" for time in np.datetime64(start, "h") + np.arange(count)]

    return make
