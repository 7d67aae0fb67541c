"""Laws of models that say something about sequences: a row is read as if it were alone, either way alike."""

import numpy as np
import pytest
import torch

from recurra.data import build_tokenizer
from recurra.data.examples import ExampleBatch, Labels, NumbersInput, Padded, StepLabels, TextInput, pad
from recurra.layers.pooling import POOLINGS
from recurra.models import Encoder, EncoderConfig, SequenceClassifier, SequenceTagger
from recurra.testing.tolerances import TOLERANCES

CELLS = ["lstm", "gru", "sru", "mingru"]
LETTERS = "abcdefg"
TEXTS = ["abc", "gfedcbaabc", "d", "abcabcabcabcabcd", "ee", "gab", "fade", "cabbage"]


def text():
    return TextInput(build_tokenizer("char", [LETTERS]))


def classifier(input=None, **settings):
    return SequenceClassifier(input or text(), Labels("xyz"), **{"hidden": 5, "layers": 2, **settings}).double()


def tagger(**settings):
    return SequenceTagger(text(), StepLabels("xyz"), **{"hidden": 5, "layers": 2, **settings}).double()


def close(found, expected):
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), **TOLERANCES[torch.float64])


def same(found, expected):
    """Predictions are the same, number by number."""
    for one, other in zip(found, expected, strict=True):
        assert one[0] == other[0]
        close(one.probabilities, other.probabilities)
        if getattr(one, "attention", None) is not None:
            close(one.attention, other.attention)
            close(one.attention.sum(), np.float64(1))


# poolings do not know the cell: all of them with one, and one of them with all
READERS = [*(("lstm", pooling) for pooling in POOLINGS), *((cell, "attention") for cell in CELLS[1:])]


@pytest.mark.parametrize("both_ways", [False, True], ids=["forwards", "both ways"])
@pytest.mark.parametrize(("cell", "pooling"), READERS)
def test_a_label_does_not_depend_on_company_or_padding(cell, pooling, both_ways):
    model = classifier(cell=cell, pooling=pooling, bidirectional=both_ways)
    alone = model.predict(TEXTS, batch=1)
    for batch in (2, 3, len(TEXTS)):
        same(model.predict(TEXTS, batch=batch), alone)
    assert len({found.probabilities.tobytes() for found in alone}) == len(TEXTS)


@pytest.mark.parametrize("both_ways", [False, True], ids=["forwards", "both ways"])
@pytest.mark.parametrize("cell", CELLS)
def test_labels_of_steps_do_not_depend_on_company_or_padding(cell, both_ways):
    model = tagger(cell=cell, bidirectional=both_ways)
    alone = model.predict(TEXTS, batch=1)
    same(model.predict(TEXTS, batch=len(TEXTS)), alone)
    assert [len(found.labels) for found in alone] == [len(text) for text in TEXTS]


def test_the_loss_of_a_batch_is_the_sum_of_its_rows():
    input, target = text(), Labels("xyz")
    for model, labels in (
        (classifier(input), [target.encode("xyz"[n % 3]) for n in range(len(TEXTS))]),
        (tagger(), [np.arange(len(text)) % 3 for text in TEXTS]),
    ):
        model.eval()
        encoded = [input.encode(text) for text in TEXTS]

        def loss(numbers, model=model, labels=labels, encoded=encoded):
            inputs = pad([encoded[n] for n in numbers])
            targets = model.target.collate([labels[n] for n in numbers])
            return model.loss(ExampleBatch(inputs, targets, torch.tensor(numbers)))

        whole, rows = loss(range(len(TEXTS))), [loss([n]) for n in range(len(TEXTS))]
        for name in ("nats", "count", "correct"):
            close(getattr(whole, name), sum(getattr(row, name) for row in rows))


@pytest.mark.parametrize("cell", CELLS)
def test_reading_backwards_is_reading_the_reversed_row(cell):
    torch.manual_seed(1)
    encoder = Encoder(text(), EncoderConfig(cell=cell, hidden=5)).double().eval()
    mirrored = Encoder(text(), EncoderConfig(cell=cell, hidden=5)).double().eval()
    mirrored.load_state_dict(
        {
            name.replace("forwards", "?").replace("backwards", "forwards").replace("?", "backwards"): value
            for name, value in encoder.state_dict().items()
        }
    )
    tokens = [text().encode(raw) for raw in TEXTS]
    there, back = encoder(pad(tokens)), mirrored(pad([row[::-1] for row in tokens]))
    for row, length in enumerate(there.lengths.tolist()):
        forwards, backwards = back.outputs[:length, row].flip(0).chunk(2, -1)
        close(there.outputs[:length, row], torch.cat([backwards, forwards], -1))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_no_gradient_reaches_the_padding(pooling):
    model = classifier(NumbersInput(2), pooling=pooling)
    values = torch.randn(6, 3, 2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([4, 6, 1])
    batch = ExampleBatch(Padded(values, lengths), torch.tensor([0, 1, 2]), torch.arange(3))
    model.loss(batch).nats.backward()
    for row, length in enumerate(lengths.tolist()):
        assert (values.grad[length:, row] == 0).all()
        assert (values.grad[:length, row] != 0).any(-1).all() or pooling == "max"


def train(model, inputs, targets, steps):
    """Train on all examples at once; return the share of what is right in the end."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    batch = ExampleBatch(
        model.input.collate([model.input.encode(x) for x in inputs]),
        model.target.collate([model.target.encode(y) for y in targets]),
        torch.arange(len(inputs)),
    )
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model.loss(batch)
        (loss.nats / loss.count).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.predict(inputs)


def random_texts(count, letters, longest=9):
    rng = np.random.default_rng(0)
    return ["".join(rng.choice(list(letters), rng.integers(3, longest + 1))) for _ in range(count)]


@pytest.mark.parametrize("pooling", [*POOLINGS, "mean+max"])
def test_a_classifier_learns_which_of_two_letters_came_first(pooling):
    texts = [t for t in random_texts(90, "abcd") if "a" in t and "b" in t]
    labels = ["xy"[t.index("a") < t.index("b")] for t in texts]
    model = SequenceClassifier(text(), Labels("xy"), hidden=16, dropout=0.0, pooling=pooling, cell="gru")
    assert [found.label for found in train(model, texts, labels, 80)] == labels


def test_a_tagger_learns_the_parity_of_what_it_has_read_and_what_is_to_come():
    texts = random_texts(30, "ab", longest=6)
    labels = [[f"{t[:n].count('b') % 2}{t[n + 1 : n + 2] == 'b'}" for n in range(len(t))] for t in texts]
    names = sorted({name for row in labels for name in row})
    model = SequenceTagger(text(), StepLabels(names), hidden=16, dropout=0.0, cell="gru")
    assert [found.labels for found in train(model, texts, labels, 120)] == labels
