"""Gates are what the equations say, and a unit's story is one that was made to be found."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from recurra.cells import CELLS, GRU, LSTM, make_cell
from recurra.data import Corpus
from recurra.errors import CorpusError, DivergedError
from recurra.inspection import units
from recurra.inspection.features import readable_features
from recurra.inspection.gates import record_gates
from recurra.inspection.units import measure_units
from recurra.layers import Zoneout
from recurra.models import LanguageModel
from recurra.testing.tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64]
TEXT = """Ann said "no, not (at all) 12 times" to Bob.
Then she went home with Carl and 7 cats [or dogs], "for tea", it is Bob's.
"""
NAMED = {
    "lstm": ["forget", "input", "output"],
    "lstm-mogrifier": [*(f"mogrifier {k}" for k in range(1, 6)), "forget", "input", "output"],
    "lstm-coupled": ["forget", "output"],
    "gru": ["reset", "update"],
    "mingru": ["update"],
    "minlstm": ["forget"],
    "rglru": ["recurrence", "input"],
    "slstm": ["output"],
    "sru": ["forget", "highway"],
    "rnn": [],
}


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text(TEXT * 30, tokenizer="char")
    torch.manual_seed(0)
    return corpus, torch.from_numpy(corpus.train.ids.astype("int64"))


def made_up(corpus):
    """Unit 0 sees spaces, unit 1 capitals, unit 2 what unit 0 was a step ago."""
    model = LanguageModel(corpus.vocabulary, cell="rnn", hidden=4).double()
    names = corpus.vocabulary.names
    with torch.no_grad():
        for parameter in (model.embedding.weight, *model.stack.parameters()):
            parameter.zero_()
        model.embedding.weight[:, 0] = torch.tensor([float(name.isspace()) for name in names])
        model.embedding.weight[:, 1] = torch.tensor([-2 * float(name.isupper()) for name in names])
        model.stack.cells[0].W.copy_(torch.eye(4))
        model.stack.cells[0].U[2, 0] = 1.0
    return model


def test_units_tell_the_stories_that_were_put_into_them(setting):
    corpus, tokens = setting
    stories = {story.feature: story for story in measure_units(made_up(corpus), tokens).stories}
    for feature, unit, sign in (("space", 0, 1), ("capital letter", 1, -1), ("after a space", 2, 1)):
        story = stories[feature]
        assert (story.layer, story.unit, story.leaf) == (0, unit, "h")
        assert story.correlation == pytest.approx(sign, **_about())
        assert len(story.tokens) == len(story.activations) == 300
    shown = stories["space"]
    assert {a > 0.5 for t, a in zip(shown.tokens, shown.activations, strict=True) if t == " "} == {True}
    assert "".join(shown.tokens) in TEXT * 30
    assert set(stories).isdisjoint({"inside quotes", "inside brackets", "position in line", "digit"})


def test_units_that_drift_by_themselves_tell_none(setting):
    """Slow noise follows slow features by chance in half of a text, and then not in the other."""
    corpus, tokens = setting
    model = LanguageModel(corpus.vocabulary, cell="rnn", hidden=4)
    text = tokens[:1200].reshape(4, 300).t()
    by_chance = 0
    for seed in range(5):
        noise = torch.randn(300, 4, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).cumsum(0)
        layer = units._Layer([], {"h": noise}, noise, False)
        assert units._stories(model, text, 0, [layer]) == []
        quoted = [readable_features(corpus.vocabulary, row.tolist())["position in line"] for row in text[:, :2].T]
        r = units._correlate(noise[:, :2], torch.stack(quoted, 1))
        by_chance = max(by_chance, float(r.abs().max()))
    assert by_chance > units.TELLING / 2  # so that there was something to be fooled by


def test_features_are_what_a_reader_sees(setting):
    corpus, _ = setting
    text = 'A "b c" (d) 1\n t\'s'
    found = readable_features(corpus.vocabulary, corpus.vocabulary.encode(text).tolist())

    def marked(name):
        return "".join("^" if on else "." for on in found[name].tolist())

    assert marked("inside quotes") == "..^^^^............"
    assert marked("inside brackets") == "........^^........"
    assert marked("capital letter") == "^................."
    assert marked("digit") == "............^....."
    assert marked("space") == ".^..^..^...^.^^..."
    assert marked("after a space") == "..^..^..^...^.^^.."
    assert marked("end of a word") == "^..^.^...^..^....."
    assert found["position in line"].tolist() == [*range(1, 14), 0, 1, 2, 3, 4]
    assert found["position in word"].tolist()[-4:] == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["byte", "word", "bpe"])
def test_features_of_any_tokens(kind):
    corpus = Corpus.from_text("Über 12 “cafés” (or so).\n" * 20, tokenizer=kind)
    ids = corpus.train.ids.astype("int64").tolist()
    found = readable_features(corpus.vocabulary, ids)
    assert {len(values) for values in found.values()} == {len(ids)}
    for name in ("inside quotes", "digit", "capital letter", "position in line"):
        assert 0 < found[name].count_nonzero() < len(ids), name


def test_a_forgotten_quote_ends_with_the_paragraph(setting):
    corpus, _ = setting
    ids = corpus.vocabulary.encode('a "b\n\nc').tolist()
    assert readable_features(corpus.vocabulary, ids)["inside quotes"].tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_gates_of_the_lstm_and_the_gru_are_their_equations():
    torch.manual_seed(0)
    x, h, c = torch.randn(3, 5, 4, dtype=torch.float64)
    lstm, gru = LSTM(4, 4, dtype=torch.float64), GRU(4, 4, dtype=torch.float64)
    i, f, _, o = ((x @ lstm.W.T + lstm.b + h @ lstm.U.T + lstm.b_U).sigmoid()).chunk(4, -1)
    gates, has_tanh = record_gates(lstm, x, type(lstm.zero_state(1))(h, c))
    assert has_tanh
    for (name, found), (wanted, values) in zip(gates, (("forget", f), ("input", i), ("output", o)), strict=True):
        assert name == wanted
        torch.testing.assert_close(found, values, **EXACT)
    r, z, _ = ((x @ gru.W.T + gru.b + h @ gru.U.T + gru.b_U).sigmoid()).chunk(3, -1)
    (reset, update), _ = record_gates(gru, x, type(gru.zero_state(1))(h))
    assert (reset[0], update[0]) == ("reset", "update")
    torch.testing.assert_close(torch.cat([reset[1], update[1]], 1), torch.cat([r, z], 1), **EXACT)


@pytest.mark.parametrize("name", sorted(CELLS))
def test_gates_of_every_cell_have_names(name):
    cell = make_cell(name, 6, 6)
    gates, _ = record_gates(cell, torch.randn(5, 6), cell.zero_state(5))
    assert not any(gate.startswith("gate ") for gate, _ in gates)
    assert [gate for gate, _ in gates] == NAMED.get(name, [gate for gate, _ in gates])
    assert all(values.shape == (5, 6) and 0 <= values.min() <= values.max() <= 1 for _, values in gates)
    assert [gate for gate, _ in record_gates(Zoneout(cell, 0.1), torch.randn(5, 6), cell.zero_state(5))[0]] == [
        gate for gate, _ in gates
    ]


class Own(nn.Module):
    """Sigmoids called in other ways, one of them written over afterwards."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sigmoid()

    def step(self, x, state):
        kept = x.clone().sigmoid_()
        h = kept * state + (1 - kept) * self.inner(2 * x)
        kept.zero_()
        return h, h

    def zero_state(self, batch):
        return torch.zeros(batch, 3)


class Changed(LSTM):
    def step(self, x, state):
        h, c = state
        return torch.sigmoid(x) * h, type(state)(h, c)


def test_gates_of_a_cell_of_the_users_own_are_numbered():
    x = torch.randn(5, 3)
    (first, second), has_tanh = record_gates(Own(), x, torch.zeros(5, 3))
    assert (first[0], second[0], has_tanh) == ("gate 1", "gate 2", False)
    assert torch.equal(first[1], x.sigmoid())
    assert torch.equal(second[1], (2 * x).sigmoid())
    ((name, _),), _ = record_gates(Changed(3, 3), x, Changed(3, 3).zero_state(5))
    assert name == "gate 1"


def test_gates_that_are_stuck_are_counted(setting):
    corpus, tokens = setting
    model = LanguageModel(corpus.vocabulary, cell="lstm", hidden=8, layers=2)
    with torch.no_grad():
        model.stack.cells[1].b[:2] = -50.0  # input gates of two units
        model.stack.cells[1].b[8:14] = 50.0  # forget gates of six
    found = measure_units(model, tokens, steps=400)
    gates = {(gate.layer, gate.gate): gate for gate in found.gates}
    assert list(gates) == [(layer, name) for layer in range(2) for name in NAMED["lstm"]]
    assert (gates[1, "input"].stuck_closed, gates[1, "input"].stuck_open) == (0.25, 0.0)
    assert (gates[1, "forget"].stuck_closed, gates[1, "forget"].stuck_open) == (0.0, 0.75)
    assert all(sum(gate.counts) == 400 * 8 and len(gate.edges) == len(gate.counts) + 1 for gate in found.gates)
    json.dumps(dataclasses.asdict(found), allow_nan=False)


def test_only_outputs_of_a_tanh_are_saturated(setting):
    corpus, tokens = setting
    model = made_up(corpus)
    assert measure_units(model, tokens, steps=200).saturated == 0.25 * _share(tokens, corpus, str.isupper, model)
    assert measure_units(LanguageModel(corpus.vocabulary, cell="minlstm", hidden=4), tokens).saturated is None


def test_nothing_of_the_model_is_changed(setting):
    corpus, tokens = setting
    model = LanguageModel(corpus.vocabulary, cell="gru", hidden=6, dropout=0.5)
    before, random = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    measure_units(model, tokens, steps=100)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_what_cannot_be_watched_is_told(setting):
    corpus, tokens = setting
    model = LanguageModel(corpus.vocabulary, cell="rnn-relu", hidden=4)
    measure_units(model, tokens[:16])
    with pytest.raises(CorpusError, match="at least 16"):
        measure_units(model, tokens[:15])
    with torch.no_grad():
        model.stack.cells[0].U.fill_(1e30)
        model.stack.cells[0].b.fill_(1.0)
    with pytest.raises(DivergedError, match="no finite number"):
        measure_units(model, tokens)


def _share(tokens, corpus, holds, model):
    """Share of tokens that drive unit 1 beyond 0.9, in the stretches that are read."""
    from recurra.inspection.reading import stretches

    read = stretches(tokens, 4, 256 + 50)[256:].flatten().tolist()
    return sum(holds(corpus.vocabulary.names[token]) for token in read) / len(read)


def _about():
    return {"rel": EXACT["rtol"], "abs": EXACT["atol"]}
