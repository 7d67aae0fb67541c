import numpy as np
import pytest

from recurra.data.series import SeriesConfig, SeriesData
from recurra.errors import CorpusError, DataError


@pytest.fixture
def data(table, hours):
    path = table(date=hours(400), y=np.round(np.random.default_rng(0).normal(size=400), 3))
    return SeriesData.build(SeriesConfig(source=path, horizon=5, context=30, valid=50, test=0.1))


def test_parts_do_not_overlap_and_nothing_is_left_out(data):
    assert data.splits == [(310, 360)]
    spans = {}
    for part in ("train", "valid", "test"):
        origins = getattr(data, part).origins[:, 1]
        spans[part] = (origins.min(), origins.max() + 5)
    assert spans == {"train": (30, 310), "valid": (310, 360), "test": (360, 400)}
    assert data.format.cycles == ("day",)


def test_a_window_is_a_piece_of_the_series(data):
    batch, (series, origin) = data.valid.batch([3]), data.valid.origins[3]
    assert (series, origin, batch.context) == (0, 313, 30)
    np.testing.assert_array_equal(batch.values[:, 0].numpy(), data.series[0].values[283:318])
    np.testing.assert_array_equal(data.valid.times(3), data.series[0].times[313:318])


def test_an_epoch_has_every_window_once_and_repeats_by_seed(data):
    def numbers(**order):
        return [batch.numbers.tolist() for batch in data.stream(batch=64, **order)]

    first = numbers(seed=1, epoch=0)
    assert sorted(number for batch in first for number in batch) == list(range(len(data.train)))
    assert first == numbers(seed=1, epoch=0)
    assert first != numbers(seed=1, epoch=1)
    assert first != numbers(seed=2, epoch=0)
    assert data.stream(batch=64, seed=1)[-1].numbers.tolist() == first[-1]


def test_saved_and_loaded_it_is_the_same(data, tmp_path):
    data.save(tmp_path / "data")
    again = SeriesData.load(tmp_path / "data")
    for name in ("name", "config", "format", "splits", "notes"):
        assert getattr(again, name) == getattr(data, name)
    for name in ("times", "values", "covariates"):
        np.testing.assert_array_equal(getattr(again.series[0], name), getattr(data.series[0], name))
    with pytest.raises(CorpusError, match="exists already"):
        data.save(tmp_path / "data")
    (tmp_path / "data" / "series.npz").write_bytes(b"")
    with pytest.raises(DataError, match="build them again"):
        SeriesData.load(tmp_path / "data")


def test_covariates_to_come_must_be_known(table):
    path = table(time=range(40), p=range(40), y=[*np.sin(np.arange(38)), "", ""])
    data = SeriesData.build(SeriesConfig(source=path, covariates="p", horizon=2, context=6))
    series = data.series[0]
    assert data.format.features(series, 2)[:, 0].tolist() == list(range(40))
    with pytest.raises(DataError, match="needs p of those steps, known are 2"):
        data.format.features(series, 3)
