"""Gradients by lag have the rate of the matrix that they pass; truncation is what cutting by hand gives."""

import dataclasses
import json
import math

import pytest
import torch

from recurra.cells import LSTM, Elman
from recurra.data import Corpus
from recurra.errors import CorpusError, DivergedError, VocabularyError
from recurra.inspection.flow import flow_by_lag, measure_flow, state_gradients
from recurra.inspection.rates import fit_rate
from recurra.inspection.truncation import measure_truncation
from recurra.layers import Stack
from recurra.models import LanguageModel
from recurra.state import detach
from recurra.testing.tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64]
SLOPE = 0.03  # nats per step: how well a rate is to be told
KEPT = 1e-6  # how exactly an orthogonal matrix keeps a norm
UNITS = 32
RATES = [(0.5, "vanishing"), (1.0, "neutral"), (2.0, "exploding")]
TEXT = "the cat sat on the mat (and the rat), and that was that.\n" * 30


@pytest.fixture(scope="module")
def setting():
    corpus = Corpus.from_text(TEXT, tokenizer="char")
    torch.manual_seed(0)
    model = LanguageModel(corpus.vocabulary, cell="lstm", hidden=12, layers=2, dropout=0.5).double()
    return model, torch.from_numpy(corpus.train.ids.astype("int64"))


def matrix(kind, seed):
    M = torch.randn(UNITS, UNITS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.linalg.qr(M)[0] if kind == "orthogonal" else M / torch.linalg.eigvals(M).abs().max()


def elman(U):
    cell = Elman(3, len(U), dtype=torch.float64)
    with torch.no_grad():
        cell.U.copy_(U)
        for bias in (cell.b, cell.b_U):
            bias.zero_()
    return cell


def flow_of(cell, lags=120, rows=8):
    """Without inputs the states stay 0, where a tanh is a line."""
    direction = torch.randn(rows, UNITS, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    inputs = torch.zeros(lags, rows, 3, dtype=torch.float64)
    return flow_by_lag(0, state_gradients(cell, inputs, lambda output: (output * direction).sum())[0])


@pytest.mark.parametrize("kind", ["orthogonal", "random"])
@pytest.mark.parametrize(("radius", "rate"), RATES)
@pytest.mark.parametrize("seed", range(3))
def test_the_slope_is_the_logarithm_of_the_spectral_radius(kind, radius, rate, seed):
    flow = flow_of(elman(radius * matrix(kind, seed)))
    assert flow.slope_nats_per_step == pytest.approx(math.log(radius), abs=SLOPE)
    assert flow.rate == rate


@pytest.mark.parametrize(("radius", "rate"), RATES)
def test_so_it_is_in_a_whole_model_in_single_precision(setting, radius, rate):
    model = LanguageModel(setting[0].vocabulary, cell="rnn", hidden=UNITS)
    with torch.no_grad():
        for parameter in model.stack.parameters():
            parameter.zero_()
        model.stack.cells[0].U.copy_(radius * matrix("random", 0))
    flow = measure_flow(model, setting[1])
    (layer,) = flow.layers
    assert layer.slope_nats_per_step == pytest.approx(math.log(radius), abs=SLOPE)
    assert layer.rate == rate
    assert bool(flow.truncation) == (rate != "exploding")  # there the full gradient is beyond single precision


def test_an_orthogonal_line_keeps_the_norm_of_the_gradient():
    flow = flow_of(elman(matrix("orthogonal", 0)))
    assert flow.lags == list(range(121))
    assert flow.norms == pytest.approx([1.0] * 121, abs=KEPT)


def test_gradients_are_those_of_a_loop_written_out():
    torch.manual_seed(0)
    stack = Stack([LSTM(3, 4, dtype=torch.float64), LSTM(4, 5, dtype=torch.float64)])
    inputs = torch.randn(6, 2, 3, dtype=torch.float64)
    state, history = stack.zero_state(2), []
    for x in inputs:
        output, state = stack.step(x, state)
        for leaf in (*state[0], *state[1]):
            leaf.retain_grad()
        history.append(state)
    output.square().sum().backward()
    norms = state_gradients(stack, inputs, lambda output: output.square().sum())
    assert norms.shape == (2, 7, 2)
    for layer in range(2):
        for k in range(6):
            leaves = history[5 - k][layer]
            zero = torch.zeros(2, leaves[0].shape[1], dtype=torch.float64)
            gradient = torch.cat([zero if leaf.grad is None else leaf.grad for leaf in leaves], 1)
            torch.testing.assert_close(norms[layer, k], gradient.norm(dim=1), **EXACT)


def test_a_transient_is_not_taken_for_the_rate():
    lags = torch.arange(100, dtype=torch.float64)
    slope, rate = fit_rate(torch.exp(torch.where(lags < 40, 0.5 * lags, 20 - 0.2 * (lags - 40))))
    assert slope == pytest.approx(-0.2, **_about())
    assert rate == "vanishing"


def test_norms_that_end_in_nothing_are_fitted_before_it():
    slope, rate = fit_rate(torch.cat([torch.exp(-torch.arange(20.0)), torch.zeros(80)]))
    assert slope == pytest.approx(-1.0, abs=KEPT)
    assert rate == "vanishing"
    assert fit_rate(torch.tensor([1.0, 0.5, 0.0, 0.0, 0.0])) == (None, "vanishing")


def test_lags_end_where_norms_are_no_numbers():
    norms = torch.tensor([[1.0], [2.0], [math.inf], [4.0]], dtype=torch.float64)
    assert flow_by_lag(0, norms).norms == [1.0, 2.0]
    with pytest.raises(DivergedError, match="not a finite number"):
        flow_by_lag(0, norms.flip(0)[1:])


def test_a_cell_that_never_reaches_its_loss_has_no_gradient():
    flow = flow_by_lag(0, torch.zeros(5, 3, dtype=torch.float64))
    assert flow.norms == [0.0] * 5
    assert (flow.slope_nats_per_step, flow.rate) == (None, "vanishing")


def test_memory_is_the_mean_lag_and_fading_the_first_below_one_percent(setting):
    model, tokens = setting
    flow = measure_flow(model, tokens, lags=40, positions=7)
    norms = flow.layers[-1].norms
    assert flow.positions == 7
    assert len(flow.layers) == 2
    assert norms[0] == 1.0
    assert flow.effective_memory == pytest.approx(sum(k * n for k, n in enumerate(norms)) / sum(norms), **_about())
    assert flow.fades_at == [n < 0.01 for n in norms].index(True)
    assert all(low <= n <= high for low, n, high in zip(*_columns(flow.layers[0]), strict=True))
    json.dumps(dataclasses.asdict(flow), allow_nan=False)


def test_truncation_is_cutting_by_hand(setting):
    model, tokens = setting
    steps, window = 20, 6
    (found,) = measure_truncation(model, tokens[: steps + 1], [window], steps=steps)
    model.eval()
    parameters = list(model.parameters())
    gradients = []
    for cut in (steps, window):
        state, nats = model.zero_state(1), 0.0
        for t in range(steps):
            state = detach(state) if t % cut == 0 else state
            logits, state = model.step(tokens[t : t + 1], state)
            nats = nats - logits.log_softmax(-1)[0, tokens[t + 1]]
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(nats, parameters)]))
    model.train()
    full, cut = gradients
    assert found.cosine == pytest.approx(float(torch.cosine_similarity(full, cut, dim=0)), **_about())
    assert found.relative_error == pytest.approx(float((full - cut).norm() / full.norm()), **_about())
    assert 0 < found.cosine < 1


def test_a_window_of_all_steps_cuts_nothing_and_longer_ones_cut_less(setting):
    model, tokens = setting
    errors = measure_truncation(model, tokens, [64, 1, 8, 200], steps=64)
    assert [e.window for e in errors] == [1, 8, 64, 200]
    assert [(e.cosine, e.relative_error) for e in errors[2:]] == [(1.0, 0.0)] * 2
    assert errors[0].cosine < errors[1].cosine < 1
    assert errors[0].relative_error > errors[1].relative_error > 0


def test_a_prompt_is_looked_at_by_token_and_by_word(setting):
    model, tokens = setting
    prompt = measure_flow(model, tokens, lags=4, prompt="the cat  sat").prompt
    assert "".join(prompt.tokens) == "the␣cat␣␣sat"
    assert prompt.words == ["the", "cat", "sat"]
    assert prompt.word_norms[2] == pytest.approx(math.hypot(*prompt.norms[-3:]), **_about())
    assert all(norm > 0 for norm in prompt.norms)


def test_the_gradient_of_a_prompt_is_a_difference(setting):
    """Of the loss of the most probable token, when one embedding is moved along its gradient."""
    model, tokens = setting
    prompt = measure_flow(model, tokens, lags=4, prompt="the").prompt
    model.eval()
    x = model.embedding(torch.from_numpy(model.vocabulary.encode("the").astype("int64"))).detach().unsqueeze(1)

    def nats(x):
        return -model.project(model.stack(x)[0][-1]).log_softmax(-1).max()

    gradient = torch.autograd.functional.jacobian(nats, x)
    model.train()
    assert prompt.norms == pytest.approx(gradient[:, 0].norm(dim=1).tolist(), **_about())


def test_a_short_text_has_fewer_lags_and_too_short_ones_are_told(setting):
    model, tokens = setting
    assert measure_flow(model, tokens[:10]).layers[0].lags == list(range(10))
    assert measure_flow(model, tokens[:3]).positions == 1
    with pytest.raises(CorpusError, match="the text has 2 tokens, but looking at it takes at least 3"):
        measure_flow(model, tokens[:2])
    with pytest.raises(CorpusError, match="the vocabulary ends at"):
        measure_flow(model, tokens + 1000)
    with pytest.raises(VocabularyError, match="the prompt is empty"):
        measure_flow(model, tokens[:10], prompt="")
    with pytest.raises(VocabularyError, match="never seen: 'Z'"):
        measure_flow(model, tokens[:10], prompt="Z")


def test_nothing_of_the_model_is_changed(setting):
    model, tokens = setting
    model.stack.cells[1].eval()  # one of its own mode, which stays
    before, random = {n: t.clone() for n, t in model.state_dict().items()}, torch.get_rng_state()
    modes = [module.training for module in model.modules()]
    measure_flow(model, tokens, lags=16, prompt="the cat")
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def _columns(layer):
    return layer.low, layer.norms, layer.high


def _about():
    return {"rel": EXACT["rtol"], "abs": EXACT["atol"]}
