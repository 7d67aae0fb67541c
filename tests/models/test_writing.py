import torch
from writers import close

from recurra.decoding import Beam
from recurra.models import Decoder
from recurra.models.writing import write_by_beam, write_greedily
from recurra.state import select

V, END, B, P, K = 5, 1, 6, 4, 3


def make():
    torch.manual_seed(0)
    decoder = Decoder(V, END, places=K, hidden=8).double().eval()
    with torch.no_grad():
        decoder.projection *= 4  # so that rows differ in what they say, and when they end
    state = decoder.start(
        (type(decoder.stack.zero_state(1)[0])(*torch.randn(2, B, 8).double()),), 3 * torch.randn(P, B, K).double(), None
    )
    return decoder, state


def one_by_one(decoder, state, row, most):
    """Write a row alone, as simply as can be."""
    state, token, tokens, nats, weights = select(state, torch.tensor([row])), torch.tensor([END]), [], 0.0, []
    while len(tokens) < most and (not tokens or tokens[-1] != END):
        weights.append(decoder.read_one(token, state).weights[0])
        logits, state = decoder.step(token, state)
        token = logits.argmax(-1)
        nats -= logits.log_softmax(-1)[0, token].item()
        tokens.append(token.item())
    return tokens, nats, torch.stack(weights)


@torch.no_grad()
def test_rows_side_by_side_say_what_each_says_alone():
    decoder, state = make()
    longest = torch.tensor([9, 1, 9, 4, 30, 9])
    scripts = write_greedily(decoder, state, longest)
    lengths = set()
    for row, script in enumerate(scripts):
        tokens, nats, weights = one_by_one(decoder, state, row, int(longest[row]))
        assert script.tokens.tolist() == tokens
        close(torch.tensor(script.nats, dtype=torch.float64), torch.tensor(nats, dtype=torch.float64))
        close(script.weights, weights)
        lengths.add((len(tokens), tokens[-1] == END))
    assert len(lengths) > 2  # rows end at different times, some by their end and some for their length
    assert {ended for _, ended in lengths} == {True, False}


def test_without_attention_there_are_no_weights():
    decoder = Decoder(V, END, places=None, hidden=4)
    state = decoder.start(decoder.stack.zero_state(2), torch.zeros(1, 2, K), None)
    scripts = write_greedily(decoder, state, torch.tensor([3, 2]))
    assert [script.weights for script in scripts] == [None, None]
    assert all(1 <= len(script.tokens) <= most for script, most in zip(scripts, (3, 2), strict=True))


@torch.no_grad()
def test_a_beam_of_one_place_writes_what_is_written_greedily():
    decoder, state = make()
    longest = torch.tensor([9, 1, 9, 4, 30, 9])
    for (script,), greedy in zip(
        write_by_beam(decoder, state, longest, Beam(width=1)), write_greedily(decoder, state, longest), strict=True
    ):
        assert script.tokens.tolist() == greedy.tokens.tolist()
        close(torch.tensor(script.nats), torch.tensor(greedy.nats))
        close(script.weights, greedy.weights)


@torch.no_grad()
def test_a_beam_finds_texts_that_are_more_probable_and_tells_where_they_looked():
    decoder, state = make()
    longest = torch.tensor([9, 1, 9, 4, 30, 9])
    found = write_by_beam(decoder, state, longest, Beam(width=4, best=3))
    gains = []
    for row, (scripts, greedy) in enumerate(zip(found, write_greedily(decoder, state, longest), strict=True)):
        nats = [script.nats for script in scripts]
        assert nats == sorted(nats)
        gains.append(greedy.nats - nats[0])
        assert [script.weights is None for script in scripts] == [False, True, True]
        one, token, weights, total = select(state, torch.tensor([row])), torch.tensor([END]), [], 0.0
        for following in scripts[0].tokens:
            weights.append(decoder.read_one(token, one).weights[0])
            logits, one = decoder.step(token, one)
            total -= logits.log_softmax(-1)[0, following].item()
            token = following[None]
        close(scripts[0].weights, torch.stack(weights))
        close(torch.tensor(nats[0], dtype=torch.float64), torch.tensor(total, dtype=torch.float64))
    assert min(gains) > -1e-12
    assert max(gains) > 0.1


def test_a_beam_without_attention_has_no_weights():
    decoder = Decoder(V, END, places=None, hidden=4)
    state = decoder.start(decoder.stack.zero_state(2), torch.zeros(1, 2, K), None)
    found = write_by_beam(decoder, state, torch.tensor([3, 2]), Beam(width=2))
    assert [[script.weights for script in row] for row in found] == [[None], [None]]
