import numpy as np
import pytest
import torch

from recurra.data import build_tokenizer
from recurra.data.examples import ExampleBatch, NumbersInput, StepLabels, TextInput, pad
from recurra.errors import ConfigError, DataError
from recurra.models import EncoderConfig, SequenceTagger, Tagged, TaggerConfig
from recurra.testing.tolerances import TOLERANCES

TEXTS = ["abcab", "ba", "cabbage"]
LABELS = StepLabels(["noun", "verb"])


def tagger(**settings):
    torch.manual_seed(0)
    return SequenceTagger(TextInput(build_tokenizer("char", TEXTS)), LABELS, **{"hidden": 5, **settings})


def batch(model):
    targets = LABELS.collate([np.arange(len(t)) % 2 for t in TEXTS])
    return ExampleBatch(pad([model.input.encode(t) for t in TEXTS]), targets, torch.arange(3))


def test_what_it_says():
    model = tagger()
    rows = batch(model)
    found = model.predict(TEXTS)
    p = model.eval()(rows.inputs).double().softmax(-1)
    for row, (text, one) in enumerate(zip(TEXTS, found, strict=True)):
        assert isinstance(one, Tagged)
        assert one.labels == [LABELS.names[n] for n in p[: len(text), row].argmax(-1)]
        assert one.probabilities.dtype == np.float64
        likely = p[: len(text), row].max(-1).values
        torch.testing.assert_close(
            torch.tensor(one.probabilities), likely, **TOLERANCES[torch.float32], check_dtype=False
        )


def test_the_loss_is_that_of_its_logits():
    model = tagger().eval()
    rows = batch(model)
    loss, logits = model.loss(rows), model(rows.inputs)
    expected = [-logits.log_softmax(-1)[t, row, t % 2] for row, text in enumerate(TEXTS) for t in range(len(text))]
    torch.testing.assert_close(loss.nats, sum(expected), **TOLERANCES[torch.float32])
    assert loss.count == len(expected)
    assert loss.correct == (logits.argmax(-1) == rows.targets).sum()


CHANGES = {"output_dropout": 0.7, "label_smoothing": 0.3}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_changes_something_in_training_alone(field):
    models = [tagger(), tagger(**{field: CHANGES[field]})]
    losses = []
    for model in models:
        torch.manual_seed(1)
        losses.append(model.loss(batch(model)).nats)
    assert not torch.equal(*losses)
    assert torch.equal(*(model.eval().loss(batch(model)).nats for model in models))


def test_every_setting_is_accounted_for():
    assert set(CHANGES) == set(TaggerConfig.__dataclass_fields__) - set(EncoderConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stride": 2}, "'stride' must be 1"),
        ({"output_dropout": 1.0}, "output_dropout"),
        ({"label_smoothing": 1.0}, "label_smoothing"),
        ({"config": TaggerConfig(), "hidden": 3}, "not both: hidden"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        SequenceTagger(NumbersInput(1), LABELS, **settings)


def test_a_loss_needs_a_label_for_each_step():
    model = tagger()
    rows = batch(model)
    with pytest.raises(DataError, match="targets"):
        model.loss(rows._replace(targets=None))
    with pytest.raises(DataError, match="one label for each step"):
        model.loss(rows._replace(targets=rows.targets[1:]))
