import numpy as np
import pytest
import torch
from torch import nn

from recurra.data import build_tokenizer
from recurra.data.examples import Input, NumbersInput, Padded, TextInput, pad
from recurra.errors import ConfigError
from recurra.layers import Bidirectional, Stack
from recurra.models import Encoder, EncoderConfig
from recurra.models.encoder import FRONTENDS
from recurra.testing.tolerances import TOLERANCES

TEXTS = ["abcab", "ba", "cabbage a cab"]


class Sound(Input):
    """Frames, as they are."""

    kind = "sound"
    mels = 6

    def encode(self, raw):
        return np.asarray(raw, np.float32)

    def as_mapping(self):
        return {"kind": self.kind}


class Picture(Input):
    kind = "picture"
    channels, height, width = 2, 12, 8

    def encode(self, raw):
        return np.asarray(raw, np.float32)

    def collate(self, encoded):
        return Padded(torch.tensor(np.stack(encoded)), None)

    def as_mapping(self):
        return {"kind": self.kind}


class Leak(nn.Module):
    """A user's cell that tells no sizes."""

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.W = nn.Parameter(torch.randn(hidden_size, input_size))

    def step(self, x, state):
        state = state + 0.3 * (torch.tanh(x @ self.W.T) - state)
        return state, state

    def zero_state(self, batch):
        return self.W.new_zeros(batch, len(self.W))


def text():
    return TextInput(build_tokenizer("char", TEXTS, valid="?"))


INPUTS = {
    "text": (text(), TEXTS),
    "numbers": (NumbersInput(2), [np.random.default_rng(n).normal(size=(n + 1, 2)) for n in range(3)]),
    "sound": (Sound(), [np.random.default_rng(n).normal(size=(n + 9, 6)) for n in range(3)]),
    "picture": (Picture(), [np.random.default_rng(n).random(size=(2, 12, 8)) for n in range(3)]),
}


def read(kind, training=False, **settings):
    """What an encoder that is new, but always the same, makes of three inputs."""
    input, raws = INPUTS[kind]
    torch.manual_seed(1)
    encoder = Encoder(input, EncoderConfig(**{"hidden": 5, **settings})).train(training)
    encoded = [input.encode(raw) for raw in raws]
    encoder.fit_input(encoded)
    torch.manual_seed(2)
    return encoder, encoder(input.collate(encoded))


@pytest.mark.parametrize("layers", [0, 1, 2])
@pytest.mark.parametrize("kind", INPUTS)
def test_every_kind_becomes_features_of_each_step(kind, layers):
    encoder, encoded = read(kind, layers=layers)
    assert encoded.outputs.shape == (encoded.lengths.max(), 3, encoder.output_size)
    assert encoder.output_size == (10 if layers else encoder.frontend.output_size)
    assert len(encoded.state) == layers
    for row, length in enumerate(encoded.lengths.tolist()):
        assert (encoded.outputs[length:, row] == 0).all()
        assert (encoded.outputs[:length, row] != 0).any(-1).all()


@pytest.mark.parametrize("kind", INPUTS)
def test_there_is_a_frontend_for_every_kind(kind):
    assert set(FRONTENDS) == set(INPUTS)
    _, encoded = read(kind)
    raws = INPUTS[kind][1]
    places = {"picture": [24] * 3}.get(kind, [len(raw) for raw in raws])
    assert encoded.lengths.tolist() == places


def test_frontend_then_layers():
    encoder, encoded = read("text", layers=2)
    values, lengths = pad([INPUTS["text"][0].encode(raw) for raw in TEXTS])
    outputs, _ = encoder.layers(encoder.frontend.embedding(values), lengths=lengths)
    torch.testing.assert_close(encoded.outputs, outputs, **TOLERANCES[torch.float32])
    assert isinstance(encoder.layers, Bidirectional)
    assert isinstance(read("text", bidirectional=False)[0].layers, Stack)


def test_normalisation_is_learned_from_the_training_part_and_saved_with_the_model():
    encoder, encoded = read("numbers", layers=0)
    steps = np.concatenate(INPUTS["numbers"][1])
    assert np.allclose(encoder.state_dict()["frontend.mean"], steps.mean(0))
    total = encoded.outputs.sum((0, 1)).double()
    torch.testing.assert_close(total, torch.zeros_like(total), **TOLERANCES[torch.float32])


@pytest.mark.parametrize(("both_ways", "size"), [(True, 10), (False, 5)])
def test_a_cell_of_the_users_own_that_tells_no_sizes(both_ways, size, monkeypatch):
    monkeypatch.setattr("recurra.models.encoder.make_cell", lambda name, i, o: Leak(i, o))
    encoder, encoded = read("numbers", bidirectional=both_ways, layers=2)
    assert encoder.output_size == encoded.outputs.shape[-1] == size


CHANGES = {
    "cell": ("text", "gru"),
    "hidden": ("text", 4),
    "layers": ("text", 2),
    "bidirectional": ("text", False),
    "embedding": ("text", 3),
    "embedding_std": ("text", 0.5),
    "dropout": ("text", 0.6),
    "input_dropout": ("text", 0.6),
    "embedding_dropout": ("text", 0.5),
    "word_dropout": ("text", 0.5),
    "weight_drop": ("text", 0.5),
    "centre": ("sound", True),
    "mask": ("sound", 0.5),
    "stride": ("sound", 2),
    "blocks": ("picture", 2),
    "shift": ("picture", 0.3),
}


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_changes_something(field):
    kind, value = CHANGES[field]
    before, after = read(kind, training=True)[1].outputs, read(kind, training=True, **{field: value})[1].outputs
    assert before.shape != after.shape or not torch.equal(before, after)


def test_every_setting_is_accounted_for():
    assert set(CHANGES) == set(EncoderConfig.__dataclass_fields__)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 0}, "'hidden' must be at least 1"),
        ({"layers": -1}, "'layers' must be at least 0"),
        ({"layers": 1001}, "at most 1000"),
        ({"stride": 0}, "'stride'"),
        ({"blocks": 0}, "'blocks'"),
        ({"embedding_std": -1.0}, "'embedding_std'"),
        *(({name: 1.0}, "probability") for name in CHANGES if "drop" in name or name == "mask"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ConfigError, match=message):
        EncoderConfig(**settings)


def test_an_unknown_kind_of_input():
    input = Sound()
    input.kind = "smell"
    with pytest.raises(ConfigError, match="unknown input 'smell'"):
        Encoder(input, EncoderConfig())


@pytest.mark.parametrize(
    ("name", "value"), [("stride", 2), ("mask", 0.1), ("centre", True), ("blocks", 2), ("shift", 0.1)]
)
def test_settings_of_other_kinds_of_input_are_refused(name, value):
    with pytest.raises(ConfigError, match=f"'{name}' is for inputs of kind"):
        Encoder(NumbersInput(1), EncoderConfig(**{name: value}))
