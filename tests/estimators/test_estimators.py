"""Estimators do what scikit-learn asks of them, and say what they cannot do."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import recurra as rc
from recurra.errors import ConfigError, DataError

TEXTS = [f"a {word} film, number {n}" for n in range(12) for word in ("lovely", "dull")]
LABELS = ["good", "bad"] * 12
QUICK = {"hidden": 8, "epochs": 3, "batch": 8, "lr": 0.02, "random_state": 0}
SLOW = {
    "check_regressors_train",
    "check_classifiers_train",
    "check_classifiers_classes",
    "check_classifier_data_not_an_array",
    "check_regressor_data_not_an_array",
}
"""Checks that fit many times, or until much is learned."""


@parametrize_with_checks(
    [rc.sklearn.SequenceClassifier(**{**QUICK, "epochs": 1}), rc.sklearn.Forecaster(**{**QUICK, "epochs": 1})]
)
def test_scikit_learns_own_checks(estimator, check):
    name = check.func.__name__
    if name in SLOW or name == "check_array_api_input":
        pytest.skip("run with many epochs by the slow test, or not for arrays of other libraries")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        rc.sklearn.SequenceClassifier(hidden=16, epochs=30, lr=0.01, random_state=0),
        rc.sklearn.Forecaster(hidden=8, epochs=1),
    ]
)
def test_scikit_learns_slow_checks(estimator, check):
    if check.func.__name__ not in SLOW:
        pytest.skip("run by the quick test")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


def test_texts_are_classified():
    model = rc.sklearn.SequenceClassifier(**{**QUICK, "epochs": 12}).fit(TEXTS, LABELS)
    assert list(model.classes_) == ["bad", "good"]
    assert model.score(TEXTS, LABELS) == 1.0
    probabilities = model.predict_proba(TEXTS[:3])
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert list(model.predict(TEXTS[:2])) == ["good", "bad"]
    assert model.metrics_[-1]["epoch"] == 12


def test_sequences_of_different_lengths_are_classified():
    random = np.random.default_rng(0)
    rows = [random.normal(sign, 1, (int(random.integers(3, 9)), 2)) for sign in (-1, 1) for _ in range(12)]
    model = rc.sklearn.SequenceClassifier(**{**QUICK, "epochs": 15}).fit(rows, [0] * 12 + [1] * 12)
    assert model.score(rows, [0] * 12 + [1] * 12) > 0.8
    lists = [[float(number) for number in row[:, 0]] for row in rows]
    assert rc.sklearn.SequenceClassifier(**QUICK).fit(lists, [0] * 12 + [1] * 12).predict(lists).shape == (24,)


def test_a_pipeline_and_a_grid():
    random = np.random.default_rng(0)
    X = np.concatenate([random.normal(-1, 1, (15, 5)), random.normal(1, 1, (15, 5))])
    y = np.repeat(["down", "up"], 15)
    pipeline = make_pipeline(StandardScaler(), rc.sklearn.SequenceClassifier(**QUICK))
    search = GridSearchCV(pipeline, {"sequenceclassifier__hidden": [2, 4]}, cv=2).fit(X, y)
    assert search.best_params_["sequenceclassifier__hidden"] in (2, 4)
    assert search.predict(X).shape == (30,)


def test_same_state_same_predictions():
    first, second = (rc.sklearn.SequenceClassifier(**QUICK).fit(TEXTS, LABELS) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(TEXTS), second.predict_proba(TEXTS))
    other = clone(first).set_params(random_state=1).fit(TEXTS, LABELS)
    assert (other.predict_proba(TEXTS) != first.predict_proba(TEXTS)).any()


def test_words_are_tagged():
    words = [text.replace(",", "").split() for text in TEXTS]
    labels = [["adjective" if word in ("lovely", "dull") else "-" for word in each] for each in words]
    model = rc.sklearn.SequenceTagger(**{**QUICK, "epochs": 40}).fit(words, labels)
    assert model.score(words, labels) == 1.0
    assert model.predict([["a", "dull", "day"]])[0][1] == "adjective"


def test_texts_and_captions_are_written():
    model = rc.sklearn.EncoderDecoder(**{**QUICK, "epochs": 2}).fit(TEXTS, LABELS)
    assert all(isinstance(text, str) for text in model.predict(TEXTS[:2]))
    assert 0 <= model.score(TEXTS, LABELS) <= 1
    pictures = [np.full((8, 8), 250 * (n % 2), np.uint8) for n in range(24)]
    captions = ["black", "white"] * 12
    model = rc.sklearn.Captioner(**{**QUICK, "epochs": 20}).fit(pictures, captions)
    assert model.score(pictures, captions) == 1.0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"hidden": 8, "settings": {"hidden": 9}}, "'hidden' is given both"),
        ({"settings": {"poling": "max"}}, "did you mean 'pooling'"),
        ({"settings": {"source": "x"}}, "no setting of an estimator"),
        ({"settings": {"valid": "file.tsv"}}, "not a file"),
        ({"cell": "lsmt"}, "did you mean 'lstm'"),
    ],
)
def test_settings_that_cannot_be(arguments, says):
    with pytest.raises(ConfigError, match=says):
        rc.sklearn.SequenceClassifier(**arguments).fit(TEXTS, LABELS)


def test_data_that_cannot_be():
    with pytest.raises(DataError, match="one class alone"):
        rc.sklearn.SequenceClassifier(**QUICK).fit(TEXTS, ["good"] * 24)
    with pytest.raises(ValueError, match="inconsistent"):
        rc.sklearn.SequenceClassifier(**QUICK).fit(TEXTS, LABELS[:-1])


def windows(count, context, horizon):
    """Waves of different heights around different levels, and what follows."""
    random = np.random.default_rng(0)
    start, level = random.uniform(0, 6, (count, 1)), random.normal(0, 100, (count, 1))
    waves = level + random.uniform(1, 9, (count, 1)) * np.sin(start + 0.7 * np.arange(context + horizon))
    return waves[:, :context], waves[:, context:]


def test_series_go_on():
    X, y = windows(200, 12, 3)
    model = rc.sklearn.Forecaster(hidden=8, epochs=20, batch=32, lr=0.01, random_state=0).fit(X, y)
    assert model.predict(X).shape == (200, 3)
    last = np.abs(y - X[:, -1:]).mean()
    assert np.abs(y - model.predict(X)).mean() < last / 4
    low, high = model.predict_quantile(X, 0.05), model.predict_quantile(X, 0.95)
    assert 0.7 < ((low <= y) & (y <= high)).mean() <= 1
    one = rc.sklearn.Forecaster(hidden=4, epochs=1, random_state=0).fit(X, y[:, 0])
    assert one.predict(X).shape == (200,)
    with pytest.raises(ConfigError, match=r"not 0\.07"):
        one.predict_quantile(X, 0.07)
    with pytest.raises(ConfigError, match="the table says it"):
        rc.sklearn.Forecaster(settings={"horizon": 2}).fit(X, y)
