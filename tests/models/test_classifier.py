import numpy as np
import pytest
import torch

from recurra.data import build_tokenizer
from recurra.data.examples import ExampleBatch, Labels, NumbersInput, TextInput, pad
from recurra.errors import ConfigError, DataError
from recurra.models import Classified, ClassifierConfig, EncoderConfig, SequenceClassifier
from recurra.testing.tolerances import TOLERANCES

TEXTS = ["abcab", "ba", "cabbage"]
LABELS = Labels(["bad", "good", "so so"])


def classifier(**settings):
    torch.manual_seed(0)
    return SequenceClassifier(TextInput(build_tokenizer("char", TEXTS)), LABELS, **{"hidden": 5, **settings})


def batch(model, targets=(0, 2, -1)):
    return ExampleBatch(pad([model.input.encode(t) for t in TEXTS]), torch.tensor(targets), torch.arange(3))


def test_what_it_says():
    model = classifier(pooling="mean+attention")
    found = model.predict(TEXTS)
    for text, one in zip(TEXTS, found, strict=True):
        assert isinstance(one, Classified)
        assert one.label == LABELS.names[one.probabilities.argmax()]
        assert one.probabilities.dtype == np.float64
        assert np.isclose(one.probabilities.sum(), 1)
        assert one.attention.shape == (len(text),)
    assert all(one.attention is None for one in classifier(pooling="max").predict(TEXTS))


def test_the_loss_is_that_of_its_logits():
    model = classifier().eval()
    rows = batch(model)
    loss = model.loss(rows)
    logits, _ = model(rows.inputs)
    expected = -logits.log_softmax(-1)[[0, 1], [0, 2]].sum()
    torch.testing.assert_close(loss.nats, expected, **TOLERANCES[torch.float32])
    assert loss.count == 2
    assert loss.correct == (logits[:2].argmax(-1) == torch.tensor([0, 2])).sum()


def test_labels_are_smoothed_in_training_alone():
    plain, smooth = classifier(dropout=0.0), classifier(dropout=0.0, label_smoothing=0.2)
    assert plain.loss(batch(plain)).nats != smooth.loss(batch(smooth)).nats
    assert plain.eval().loss(batch(plain)).nats == smooth.eval().loss(batch(smooth)).nats


def test_normalisation_belongs_to_the_model():
    model = SequenceClassifier(NumbersInput(2), LABELS, hidden=3)
    rows = [np.random.default_rng(n).normal(size=(4, 2)) * 50 for n in range(3)]
    before = model.predict(rows)[0].probabilities
    model.fit_input([model.input.encode(row) for row in rows])
    other = SequenceClassifier(NumbersInput(2), LABELS, hidden=3)
    other.load_state_dict(model.state_dict())
    after = model.predict(rows)[0].probabilities
    assert not np.array_equal(before, after)
    assert np.array_equal(other.predict(rows)[0].probabilities, after)


CHANGES = {"pooling": "last", "output_dropout": 0.7, "label_smoothing": 0.3}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_changes_something(field):
    losses = []
    for settings in ({}, {field: CHANGES[field]}):
        model = classifier(**settings)
        torch.manual_seed(1)
        losses.append(model.loss(batch(model)).nats)
    assert not torch.equal(*losses)


def test_every_setting_is_accounted_for():
    assert set(CHANGES) == set(ClassifierConfig.__dataclass_fields__) - set(EncoderConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"poling": "max"}, "did you mean 'pooling'"),
        ({"pooling": "median"}, "unknown pooling 'median'"),
        ({"hidden": 0}, "'hidden'"),
        ({"output_dropout": 1.0}, "output_dropout"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"config": ClassifierConfig(), "hidden": 3}, "not both: hidden"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        SequenceClassifier(NumbersInput(1), LABELS, **settings)


def test_a_loss_needs_labels():
    model = classifier()
    with pytest.raises(DataError, match="targets"):
        model.loss(batch(model)._replace(targets=None))
