"""The forecaster: what it may see, what it must not mind, and that streaming is the same as reading at once."""

import numpy as np
import pytest
import torch

from recurra.data.series import Series, SeriesFormat, Windows
from recurra.errors import ConfigError, DataError, StateError
from recurra.models import Forecaster, ForecasterConfig
from recurra.models.distributions import LEVELS
from recurra.state import map_leaves
from recurra.testing.tolerances import TOLERANCES

CLOSE = TOLERANCES[torch.float32]
FORMAT = SeriesFormat(("x", "y"), (), ("day",), "time", 3600.0, season=4, horizon=5, context=24)
NUMBERS = SeriesFormat(("x", "y"), horizon=5, context=24)


def walk(steps=60, seed=0, level=3.0, dates=True):
    random = np.random.default_rng(seed)
    values = level + random.normal(size=(steps, 2)).cumsum(0)
    times = (
        np.datetime64("2020-01-01", "us") + np.arange(steps) * np.timedelta64(1, "h") if dates else np.arange(steps) / 1
    )
    return Series(f"walk{seed}", times, values, np.zeros((steps, 0)))


def make(format=FORMAT, seed=0, **settings):
    """A forecaster with weights that do something."""
    torch.manual_seed(seed)
    model = Forecaster(format, hidden=6, **settings)
    model.fit_input(Windows([walk(dates=format.unit == "time")], format))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


def numbers_of(forecast):
    return np.stack([forecast.mean, *forecast.quantiles.values()])


def assert_same(found, expected, scale=1.0):
    np.testing.assert_allclose(
        numbers_of(found) / scale, numbers_of(expected) / scale, rtol=CLOSE["rtol"], atol=10 * CLOSE["atol"]
    )


SETTINGS = [{}, {"scaling": "training"}, {"distribution": "quantiles"}, {"feed": "sample"}, {"distribution": "student"}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_windows_never_see_the_future(settings):
    model, series = make(**settings), walk()
    changed = Series(series.name, series.times, series.values.copy(), series.covariates)
    changed.values[40:] += 100
    windows, others = Windows([series], FORMAT), Windows([changed], FORMAT)
    number = [int(origin) for _, origin in windows.origins].index(40)
    batch, other = windows.batch([number]), others.batch([number])
    assert not torch.equal(batch.values, other.values)
    times = [windows.times(number)]
    (found,), (expected,) = (model.forecast_batch(one, times) for one in (batch, other))
    np.testing.assert_array_equal(numbers_of(found), numbers_of(expected))
    np.testing.assert_array_equal(found.times, series.times[40:45])
    # and a window's forecast is that of the series cut off at its origin
    np.testing.assert_array_equal(numbers_of(model.predict([series.until(40)])[0]), numbers_of(found))


@pytest.mark.parametrize("settings", SETTINGS)
def test_observed_in_pieces_is_the_same_as_read_at_once(settings):
    model, series = make(**settings), walk(24)
    (expected,) = model.predict([series])
    for cuts in ((24,), (16, 17, 24), (18, 23, 24)):
        observed, start = None, 0
        for end in cuts:
            piece = Series("x", series.times[start:end], series.values[start:end], np.zeros((end - start, 0)))
            observed, start = model.observe(piece, observed), end
        found = model.forecast(observed)
        assert_same(found, expected)
        np.testing.assert_array_equal(found.times, expected.times)


def test_what_is_kept_does_not_grow():
    model, series = make(), walk(60)
    sizes = []
    observed = model.observe(series.until(16))
    for step in range(16, 60):
        one = Series("x", series.times[step : step + 1], series.values[step : step + 1], np.zeros((1, 0)))
        before = observed
        kept = map_leaves(torch.clone, before)
        observed = model.observe(one, before)
        map_leaves(lambda a, b: torch.testing.assert_close(a, b, rtol=0, atol=0) or a, before, kept)
        sizes.append(sum(leaf.numel() for leaf in (*observed.units, observed.state.values, observed.state.movement)))
    assert len(set(sizes)) == 1
    with pytest.raises(StateError, match=r"goes on at 2020-01-01T05.*, but 2020-01-03T12.* comes next"):
        model.observe(Series("x", series.times[5:6], series.values[5:6], np.zeros((1, 0))), observed)


@pytest.mark.parametrize("format", [FORMAT, NUMBERS], ids=["season", "numbers"])
@pytest.mark.parametrize(("shift", "stretch"), [(1e6, 1.0), (0.0, 1000.0), (-50.0, 0.01)])
def test_moved_up_or_stretched_the_forecast_is_moved_up_or_stretched(format, shift, stretch):
    model, series = make(format), walk(dates=format.unit == "time")
    moved = Series("moved", series.times, series.values * stretch + shift, series.covariates)
    (plain,), (found,) = model.predict([series]), model.predict([moved])
    back = found._replace(
        mean=(found.mean - shift) / stretch, quantiles={p: (q - shift) / stretch for p, q in found.quantiles.items()}
    )
    assert_same(back, plain)
    assert np.abs(plain.mean - series.values[-1]).max() > 0.1


def test_under_logarithms_a_factor_goes_through():
    format = SeriesFormat(("x", "y"), horizon=5, context=24, transform="log")
    series = walk(dates=False)
    positive = Series("up", series.times, np.exp(series.values / 10), series.covariates)
    torch.manual_seed(0)
    model = Forecaster(format, hidden=6)
    model.fit_input(Windows([positive], format))
    torch.nn.init.normal_(model.rollout.linear.weight, std=0.2)
    larger = Series("up", series.times, positive.values * 7, series.covariates)
    (plain,), (found,) = model.predict([positive]), model.predict([larger])
    assert_same(found._replace(mean=found.mean / 7, quantiles={p: q / 7 for p, q in found.quantiles.items()}), plain)
    assert (plain.mean > plain.quantiles[0.5]).all()  # the mean of a lognormal value lies above its median
    with pytest.raises(DataError, match="logarithms need numbers above 0, and -1 is not"):
        model.predict([Series("down", series.times, positive.values * 0 - 1, series.covariates)])


@pytest.mark.parametrize("feed", ["mean", "sample"])
def test_the_rest_of_a_batch_and_its_order_change_nothing(feed):
    model = make(feed=feed)
    many = [walk(steps, seed) for seed, steps in enumerate((60, 30, 24, 17, 24))]
    told = []
    together = model.predict(many, batch=2, progress=lambda done, of: told.append((done, of)))
    for one, found in zip(many, together, strict=True):
        assert_same(found, model.predict([one])[0])
    assert told[-1] == (5, 5)
    assert model.training


def test_loss_is_the_nats_of_the_horizon_run_freely():
    model, series = make(distribution="gaussian"), walk()
    windows = Windows([series], FORMAT)
    batch = windows.batch([0, 7])
    loss = model.loss(batch, backend="loop")
    assert loss.count.item() == 5 * 2 * 2
    expected = 0.0
    for row, number in enumerate((0, 7)):
        (said,) = model.forecast_batch(windows.batch([number]), [windows.times(number)])
        units = model.scaling.units(batch.values[: model.memory])
        unit = units.unit[row].numpy()
        width = (said.quantiles[0.95] - said.quantiles[0.05]) / 2 / 1.6448536269514722 / unit
        missed = (batch.values[24:, row].numpy() - said.mean) / unit
        expected += (np.log(width) + (missed / width) ** 2 / 2 + np.log(2 * np.pi) / 2).sum()
    assert loss.nats.item() == pytest.approx(expected, rel=1e-3)
    loss.nats.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_fed_with_samples_every_value_counts_and_sampling_changes_what_is_read():
    model = make(feed="sample")
    batch = Windows([walk()], FORMAT).batch([0, 1, 2])
    plain = model.loss(batch, backend="loop")
    assert plain.count.item() == (29 - model.memory) * 3 * 2
    torch.manual_seed(0)
    assert model.loss(batch, sampling=0.5, backend="loop").nats.item() != plain.nats.item()
    with pytest.raises(ConfigError, match="sampling needs feed sample"):
        make().loss(batch, sampling=0.5)


def test_paths_are_joint_and_repeat_by_seed():
    model, series = make(feed="sample"), walk()
    (found,) = model.predict([series], paths=300, seed=1)
    assert found.paths.shape == (300, 5, 2)
    np.testing.assert_array_equal(found.paths, model.predict([series], paths=300, seed=1)[0].paths)
    assert not np.array_equal(found.paths, model.predict([series], paths=300, seed=2)[0].paths)
    np.testing.assert_allclose(found.paths.mean(0), found.mean, rtol=1e-6)
    together = np.corrcoef(found.paths[:, 3, 0], found.paths[:, 4, 0])[0, 1]
    assert together > 0.3  # a walk goes on from where it is
    with pytest.raises(ConfigError, match="paths need a model that was trained with feed sample"):
        make().predict([series], paths=10)


def test_calibrated_intervals_cover_what_they_say():
    windows = Windows([walk(600)], FORMAT)
    model = Forecaster(FORMAT)
    model.fit_input(windows)
    model.calibrate(windows)
    assert not torch.equal(model.levels, torch.tensor(LEVELS, dtype=torch.float64))
    inside = {level: [] for level in LEVELS}
    for number in range(0, len(windows), 100):
        chosen = range(number, min(number + 100, len(windows)))
        batch = windows.batch(chosen)
        for row, said in enumerate(model.forecast_batch(batch, [windows.times(n) for n in chosen])):
            for level in LEVELS:
                inside[level].append(batch.values[24:, row].numpy() <= said.quantiles[level])
    for level in LEVELS[1:-1]:
        assert np.mean(inside[level]) == pytest.approx(level, abs=0.01)


def test_saved_and_loaded_it_forecasts_the_same_bits(tmp_path):
    model, series = make(), walk()
    model.calibrate(Windows([walk(100)], FORMAT))
    torch.save(model.state_dict(), tmp_path / "weights")
    again = Forecaster(SeriesFormat.from_mapping(FORMAT.as_mapping()), model.config)
    again.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
    np.testing.assert_array_equal(numbers_of(again.predict([series])[0]), numbers_of(model.predict([series])[0]))


def test_every_setting_changes_something():
    batch, losses = Windows([walk()], FORMAT).batch([0, 3]), []
    changes = (
        {}, {"cell": "lstm"}, {"hidden": 7}, {"layers": 2}, {"dropout": 0.5}, {"distribution": "student"},
        {"lags": "1,2"}, {"scaling": "training"}, {"feed": "sample"},
    )  # fmt: skip
    for settings in changes:
        torch.manual_seed(0)
        model = Forecaster(FORMAT, **{"hidden": 6, **settings})
        model.fit_input(Windows([walk()], FORMAT))
        torch.manual_seed(1)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        losses.append(model.loss(batch, backend="loop").nats.item())
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize(
    ("season", "context", "lags"),
    [
        (24, 216, (*range(1, 26), 48, 72, 96, 120, 144, 168)),
        (12, 27, (1, 2, 12, 13)),
        (1, 64, (1, 2, 3, 4, 5)),
        (1, 3, (1, 2)),
        (12, 1, (1,)),
    ],
)
def test_lags_follow_from_season_and_context(season, context, lags):
    assert ForecasterConfig().steps_back(season, context) == lags
    assert ForecasterConfig(lags="2, 1,2").steps_back(season, 9) == (1, 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distribution": "gausian"}, "did you mean 'gaussian'"),
        ({"feed": "sample", "distribution": "quantiles"}, "cannot be drawn from"),
        ({"lags": "1,x"}, "'lags' is auto or numbers"),
        ({"lags": "1,24"}, "lags lie between 1 and the context, 24"),
        ({"lags": "0,2"}, "lags lie between 1"),
        ({"hiden": 3}, "did you mean 'hidden'"),
    ],
)
def test_bad_settings_are_one_clear_line(settings, message):
    with pytest.raises(ConfigError, match=message):
        Forecaster(FORMAT, **settings)


def test_too_short_a_series_is_one_clear_line():
    model = make(lags="1,12")
    with pytest.raises(DataError, match="has 11 steps; a forecast needs at least the 12"):
        model.predict([walk(11)])
    assert len(model.predict([walk(12)], horizon=30)[0].mean) == 30


def test_covariates_to_come_are_read_and_must_be_known():
    format = SeriesFormat(("x", "y"), ("price",), horizon=3, context=12)
    walked, price = walk(20, dates=False), np.random.default_rng(1).normal(50, 9, (23, 1))
    series = Series("x", walked.times, walked.values, price)
    torch.manual_seed(0)
    model = Forecaster(format, hidden=4)
    model.fit_input(Windows([series], format))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    (found,) = model.predict([series])
    observed = model.observe(Series("x", walked.times[8:], walked.values[8:], price[8:]))
    assert_same(model.forecast(observed, covariates=price[20:]), found)
    dearer = Series("x", walked.times, walked.values, np.concatenate([price[:22], price[22:] + 20]))
    (other,) = model.predict([dearer])
    np.testing.assert_array_equal(other.mean[:2], found.mean[:2])
    assert np.abs(other.mean[2] - found.mean[2]).min() > 0.01
    for attempt in (lambda: model.forecast(observed), lambda: model.predict([series], horizon=4)):
        with pytest.raises(DataError, match="needs price of those steps"):
            attempt()


@pytest.mark.slow
def test_it_learns_a_pattern_that_comes_again():
    steps = np.arange(400)
    values = np.stack([np.sin(steps * np.pi / 2) + steps / 100, np.cos(steps * np.pi / 2)], 1)
    values = values + np.random.default_rng(0).normal(size=values.shape) * 0.05
    series = Series("sine", walk(400).times, values, np.zeros((400, 0)))
    train, test = Windows([series], FORMAT, [(0, 300)]), Windows([series], FORMAT, [(300, 400)])
    torch.manual_seed(0)
    model = Forecaster(FORMAT, hidden=8)
    model.fit_input(train)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for epoch in range(20):
        for batch in train.stream(batch=32, epoch=epoch):
            loss = model.loss(batch)
            optimizer.zero_grad()
            (loss.nats / loss.count).backward()
            optimizer.step()
    batch = test.batch(range(len(test)))
    found = model.forecast_batch(batch, [test.times(n) for n in range(len(test))])
    errors = np.stack([f.mean for f in found], 1) - batch.values[24:].numpy()
    assert np.sqrt(np.square(errors).mean()) < 0.1
