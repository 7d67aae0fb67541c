import itertools
import math

import pytest
import torch

from recurra.data import build_tokenizer
from recurra.decoding import Control
from recurra.errors import ConfigError, VocabularyError
from recurra.models import LanguageModel, search_texts

ALPHABET = "abcdefghij\n"


def language_model(alphabet=ALPHABET, kind="char", **tokenizer):
    torch.manual_seed(0)
    model = LanguageModel(build_tokenizer(kind, [alphabet], **tokenizer), hidden=5, embedding=3).double().eval()
    with torch.no_grad():
        model.projection *= 3
    return model


def log_p(model, prompt, text):
    ids = torch.tensor(model.vocabulary.encode(prompt + text).tolist())[:, None]
    with torch.no_grad():
        found = model(ids[:-1])[0].log_softmax(-1)
    first = len(model.vocabulary.encode(prompt)) - 1
    return sum(found[n, 0, ids[n + 1, 0]].item() for n in range(first, len(ids) - 1))


def test_the_best_of_all_texts_is_found():
    model = language_model("abc")
    texts = ["".join(letters) for letters in itertools.product("abc", repeat=2)]
    best = sorted(texts, key=lambda text: -log_p(model, "ab", text))
    found = search_texts(model, "ab", width=3, tokens=2, best=3)
    assert found[0].text == best[0]
    for text, nats, score in found:
        assert nats == score == pytest.approx(log_p(model, "ab", text))


def test_width_1_is_greedy():
    model = language_model()
    (found,) = search_texts(model, "abc", width=1, tokens=12)
    assert found.text == model.generate("abc", tokens=12, greedy=True)
    assert search_texts(model, width=1, tokens=5)[0].text == model.generate("", tokens=5, greedy=True)


def test_texts_end_at_a_stop_text_which_is_no_part_of_them():
    model = language_model()
    plain = search_texts(model, "abc", width=8, tokens=4, best=8)
    stop = max("abcdefghij", key=[letter for text, *_ in plain for letter in text].count)
    found = search_texts(model, "abc", width=8, tokens=4, best=8, stop=stop)
    assert not any(stop in text for text, *_ in found)
    assert {len(text) < 4 for text, *_ in found} == {True, False}
    for text, nats, _ in found:  # the stop text counts
        assert nats == pytest.approx(log_p(model, "abc", text + stop if len(text) < 4 else text))
    assert search_texts(model, "abc", width=8, tokens=4, best=8, stop=["zz"]) == plain


def test_texts_end_at_the_end_of_the_vocabulary():
    model = language_model(end=True)
    with torch.no_grad():
        model.bias[model.vocabulary.end] = 3.0
    found = search_texts(model, "abc", width=4, tokens=3, best=4)
    assert "" in [text for text, *_ in found]
    assert not any("eot" in text for text, *_ in found)


def test_a_text_that_several_sequences_spell_is_told_once():
    model = language_model("ab" * 50, kind="bpe", vocab=258)
    found = search_texts(model, "ab", width=64, tokens=3, best=16, stop="b")
    assert len({text for text, *_ in found}) == len(found)
    assert [score for *_, score in found] == sorted((score for *_, score in found), reverse=True)


def test_settings_of_the_search_reach_it():
    model = language_model()
    options = {"width": 4, "tokens": 5, "best": 4, "stop": "\n"}
    plain = search_texts(model, "abc", **options)
    assert len(plain) == 4
    assert search_texts(model, "abc", **options, length_penalty=2.0) != plain
    assert search_texts(model, "abc", **options, groups=4, diversity=2.0) != plain


class Only(Control):
    """Lets some tokens come, and after as many an end that no vocabulary has."""

    def __init__(self, *tokens):
        self.tokens = tokens

    def start(self, prompt):
        return torch.zeros(prompt.shape[1], dtype=torch.int64)

    def apply(self, logits, state):
        wide = torch.full((len(logits), logits.shape[1] + 1), -math.inf, dtype=logits.dtype)
        for row, done in enumerate(state.tolist()):
            following = self.tokens[done] if done < len(self.tokens) else -1
            wide[row, following] = 0.0
        return wide

    def advance(self, state, token):
        return state + 1


def test_controls_hold():
    model = language_model()
    ids = model.vocabulary.encode("cab").tolist()
    (found,) = search_texts(model, "abc", width=3, tokens=9, best=3, controls=[Only(*ids)])
    assert found == ("cab", 0.0, 0.0)


class Nothing(Control):
    def start(self, prompt):
        return ()

    def apply(self, logits, state):
        return torch.full_like(logits, -math.inf)


def test_what_cannot_be_searched_for():
    model = language_model()
    with pytest.raises(ConfigError, match="a beam of 12 is wider than the vocabulary of 11 tokens"):
        search_texts(model, width=12)
    with pytest.raises(ConfigError, match="tokens"):
        search_texts(model, width=2, tokens=0)
    with pytest.raises(ConfigError, match="unknown setting 'beams'"):
        search_texts(model, width=2, beams=3)
    with pytest.raises(ConfigError, match="stop at must not be empty"):
        search_texts(model, width=2, stop=["a", ""])
    with pytest.raises(VocabularyError, match="never seen"):
        search_texts(model, "né", width=2)
    with pytest.raises(ConfigError, match="leave no text"):
        search_texts(model, width=2, tokens=3, controls=[Nothing()])


def test_searching_leaves_the_model_as_it_was():
    model = language_model().train()
    search_texts(model, "abc", width=2, tokens=3)
    assert model.training
