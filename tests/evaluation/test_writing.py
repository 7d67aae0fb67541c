"""Texts are measured by what everybody measures them by, beside copying and the nearest neighbour."""

import numpy as np
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF
from told_models import text_input

from recurra.data.examples import Examples, Input, TextTarget
from recurra.data.examples.batches import Padded
from recurra.data.tokenizers import build_tokenizer
from recurra.errors import ConfigError
from recurra.evaluation import assess
from recurra.evaluation import neighbours as searching
from recurra.evaluation.neighbours import nearest_pictures, nearest_texts
from recurra.evaluation.writing import score_texts
from recurra.models import EncoderDecoder, Loss, Written
from recurra.testing.tolerances import TOLERANCES

TRAIN = Examples(
    ["guten morgen", "guten abend", "vielen dank", "bis morgen"],
    ["good morning", "good evening", "many thanks", "see you tomorrow"],
)


def make(train=TRAIN, kind="char"):
    torch.manual_seed(0)
    target = TextTarget(build_tokenizer(kind, list(train.targets), end=True))
    return EncoderDecoder(text_input(train.inputs, "char"), target, hidden=8).double()


def test_scores_are_those_of_sacrebleu():
    written, truth = ["the cat sat on a mat", "a  dog"], ["the cat sat on the mat", "a dog"]
    scores = score_texts(written, truth)
    assert scores["bleu"] == pytest.approx(BLEU().corpus_score(written, [truth]).score)
    assert 0 < scores["bleu"] < 100
    assert scores["chrf"] == pytest.approx(CHRF().corpus_score(written, [truth]).score)
    assert scores["exact"] == 1 / 2  # but for white space
    assert score_texts(truth, truth) == pytest.approx({"bleu": 100, "chrf": 100, "exact": 1})


def test_single_words_are_compared_by_their_characters():
    assert score_texts(["abcdef"], ["abcdeg"])["bleu"] > score_texts(["uvwxyz"], ["abcdeg"])["bleu"]
    assert score_texts(["1999-12-31"], ["1999-12-31"])["bleu"] == pytest.approx(100)
    assert score_texts(["12"], ["12"])["bleu"] == pytest.approx(100)


def test_single_words_are_judged_by_chrf():
    train = Examples(["12", "345"], ["21", "543"])
    result = assess(Parrot(text_input(train.inputs, "char"), make(train).target, "21"), train, train=train)
    assert result.main == "chrf"
    expected = CHRF().corpus_score(list(train.inputs), [list(train.targets)]).score
    assert result.baselines["copying the input"]["chrf"] == pytest.approx(expected)


def test_texts_of_four_words_and_more_are_judged_by_bleu():
    train = Examples(["a", "b"], ["one two three four", "five six seven eight nine"])
    result = assess(
        Parrot(text_input(train.inputs, "char"), make(train).target, "one two three four"), train, train=train
    )
    assert result.main == "bleu"
    assert result.metrics["bleu"] > 0


def test_a_model_that_writes():
    model = make()
    model.train()
    result = assess(model, TRAIN, train=TRAIN)
    assert model.training
    assert result.task == "translate"
    assert result.main == "chrf"  # of two words each
    assert result.baselines["nearest neighbour"]["exact"] == 1
    assert result.baselines["copying the input"]["exact"] == 0
    assert len(result.details["predictions"]) == len(TRAIN)
    model.eval()
    nats, count = 0.0, 0
    for raw, target in zip(TRAIN.inputs, TRAIN.targets, strict=True):
        tokens = torch.from_numpy(model.target.encode(target)).long()
        read = torch.cat([tokens.new_tensor([model.target.end]), tokens[:-1]])[:, None]
        logits = model(model.input.collate([model.input.encode(raw)]), read)[:, 0]
        nats -= float(logits.detach().log_softmax(-1)[torch.arange(len(tokens)), tokens].sum())
        count += len(tokens)
    assert result.metrics["loss_nats"] == pytest.approx(nats / count, rel=TOLERANCES[torch.float64]["rtol"])


def test_the_nearest_text_is_the_most_alike():
    asked = ["guter morgen", "dank", "abends"]
    name, targets = nearest_texts(text_input(TRAIN.inputs, "char"), TRAIN, asked)
    assert name == "nearest neighbour"
    assert targets == ["good morning", "many thanks", "good evening"]


@pytest.mark.parametrize("limit", ["MOST_CHARACTERS", "MOST_PRODUCTS"])
def test_a_search_among_a_part_says_so(monkeypatch, limit):
    monkeypatch.setattr(searching, limit, 1)
    monkeypatch.setattr(searching, "FEWER", 3)
    name, targets = nearest_texts(text_input(TRAIN.inputs, "char"), TRAIN, ["guten"] * 70)
    assert name == "nearest neighbour of 3 training examples"
    assert len(targets) == 70


def test_texts_of_one_character_have_neighbours():
    train = Examples(["a", "b"], ["first", "second"])
    assert nearest_texts(text_input("ab", "char"), train, ["b", "a"])[1] == ["second", "first"]


class Pictures(Input):
    kind = "picture"

    def encode(self, raw):
        return np.asarray(raw, np.float32)[None] / 255

    def collate(self, encoded):
        return Padded(torch.from_numpy(np.stack(encoded)), None)

    def as_mapping(self):
        return {}


def test_the_nearest_picture_has_the_least_squared_distance(monkeypatch):
    monkeypatch.setattr(searching, "PIECE", 7)
    random = np.random.default_rng(0)
    known, asked = (random.integers(0, 256, (n, 4, 5), np.uint8) for n in (40, 9))
    train = Examples(list(known), [str(n) for n in range(40)])
    distances = ((asked[:, None].astype(float) - known[None].astype(float)) ** 2).sum((2, 3))
    name, found = nearest_pictures(Pictures(), train, list(asked))
    assert name == "nearest neighbour"
    assert found == [str(n) for n in distances.argmin(1)]
    monkeypatch.setattr(searching, "MOST_PIXELS", 1)
    monkeypatch.setattr(searching, "FEWER", 10)
    assert nearest_pictures(Pictures(), train, list(asked))[0] == "nearest neighbour of 10 training examples"


class Parrot(torch.nn.Linear):
    """Writes one text about everything."""

    def __init__(self, input, target, text):
        super().__init__(1, 1)
        self.input, self.target, self.text = input, target, text

    def predict(self, inputs, *, batch=64, progress=None):
        return [Written(self.text, 0.0, self.text.split())] * len(inputs)

    def loss(self, batch, **_):
        assert not self.training
        return Loss(torch.tensor(3.0 * len(batch.numbers)), torch.tensor(2 * len(batch.numbers)))


def test_captions_beside_usual_words():
    pictures = [np.full((4, 4), shade, np.uint8) for shade in (0, 100, 200)]
    train = Examples(pictures, ["a black square", "a grey square", "a white one here"])
    target = TextTarget(build_tokenizer("word", list(train.targets), end=True))
    asked = Examples([np.full((4, 4), 90, np.uint8)], ["a grey square"])
    result = assess(Parrot(Pictures(), target, "a square black"), asked, train=train)
    assert result.task == "caption"
    assert result.metrics["loss_nats"] == 3 / 2
    assert result.baselines["nearest neighbour"]["exact"] == 1
    expected = score_texts(["a square black"], ["a grey square"])
    assert result.baselines["most frequent words"] == pytest.approx(expected)
    assert result.metrics["bleu"] == pytest.approx(expected["bleu"])


def test_other_models_are_refused():
    with pytest.raises(ConfigError, match="Linear says nothing"):
        assess(torch.nn.Linear(1, 1), TRAIN, train=TRAIN)
