import numpy as np
import pytest
import torch

from recurra.errors import ConfigError, DataError
from recurra.layers.frontends import MASKS, NumbersFrontend, PictureFrontend, SoundFrontend, TokenFrontend

T, B, F = 7, 3, 4
LENGTHS = torch.tensor([4, T, 1])


def sequences():
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(steps, F)) * [1, 10, 0.1, 2] + [0, 5, -3, 1000]).astype(np.float32) for steps in (5, 9, 2)
    ]


def test_numbers_have_mean_0_and_deviation_1_over_all_steps_of_training(close):
    frontend = NumbersFrontend(F).double()
    frontend.fit(sequences())
    steps = np.concatenate(sequences()).astype(np.float64)
    x, _ = frontend(torch.tensor(steps).unsqueeze(1), torch.tensor([len(steps)]))
    close(x.mean(0), torch.zeros(1, F, dtype=torch.float64))
    close(x.std(0, correction=0), torch.ones(1, F, dtype=torch.float64))


def test_what_is_constant_is_not_blown_up(close):
    frontend = NumbersFrontend(2).double()
    frontend.fit([np.full((9, 2), [0.1, 1e4], np.float32)])
    close(frontend.std, torch.ones(2, dtype=torch.float64))


def test_small_changes_of_large_numbers_are_no_constants(close):
    frontend = NumbersFrontend(1).double()
    frontend.fit([np.float32([[2025], [2026]]), np.float32([[2026], [2025]])])
    close(frontend.std, torch.full((1,), 0.5, dtype=torch.float64))


def test_nothing_cannot_be_measured():
    with pytest.raises(DataError, match="at least one sequence"):
        NumbersFrontend(F).fit([])


def test_padding_is_zero_also_after_normalisation():
    frontend = NumbersFrontend(F)
    frontend.fit(sequences())
    x, _ = frontend(torch.zeros(T, B, F), LENGTHS)
    assert (x[4:, 0] == 0).all()
    assert (x[:4, 0] != 0).all()


@pytest.mark.parametrize("kind", [NumbersFrontend, SoundFrontend])
def test_a_level_that_a_whole_row_shares_is_not_seen(kind, close):
    frontend = kind(F, centre=True).double()
    frontend.fit(sequences())
    x, level = torch.randn(T, B, F, dtype=torch.float64), torch.randn(B, F, dtype=torch.float64)
    found, _ = frontend(x, LENGTHS)
    close(frontend(x + level, LENGTHS)[0], found)
    close(found.sum(0), torch.zeros(B, F, dtype=torch.float64))
    assert (found[4:, 0] == 0).all()
    assert (found[:4, 0] != 0).all()


def test_words_are_read_as_unknown_in_training_alone():
    frontend = TokenFrontend(9, F, unknown=8, word_dropout=0.5)
    tokens = torch.randint(8, (200, B))
    x, lengths = frontend(tokens, torch.tensor([200, 200, 200]))
    unknown = (x == frontend.embedding.weight[8]).all(-1)
    assert 0 < unknown.sum() < tokens.numel()
    assert torch.equal(x[~unknown], frontend.embedding(tokens)[~unknown])
    assert torch.equal(frontend.eval()(tokens, lengths)[0], frontend.embedding(tokens))


def test_a_dropped_token_is_gone_wherever_it_occurs():
    frontend = TokenFrontend(9, F, embedding_dropout=0.5)
    tokens = torch.randint(9, (50, B))
    gone = (frontend(tokens, LENGTHS)[0] == 0).all(-1)
    lost = set(tokens[gone].tolist())
    assert gone.any()
    assert lost.isdisjoint(tokens[~gone].tolist())


def test_word_dropout_needs_an_unknown_token():
    with pytest.raises(ConfigError, match="unknown token"):
        TokenFrontend(9, F, word_dropout=0.1)


@pytest.mark.parametrize("stride", [2, 3, 10])
def test_frames_side_by_side(stride):
    frontend = SoundFrontend(F, stride=stride)
    x = torch.randn(T, B, F)
    found, lengths = frontend(x, LENGTHS)
    assert lengths.tolist() == [-(-n // stride) for n in LENGTHS.tolist()]
    assert found.shape == (lengths.max(), B, frontend.output_size)
    for row, length in enumerate(LENGTHS.tolist()):
        flat = found[:, row].reshape(-1, F)
        assert torch.equal(flat[:length], x[:length, row])
        assert (flat[length:] == 0).all()


def test_masks_hide_stretches_of_time_and_of_frequencies_of_each_row():
    frontend, steps = SoundFrontend(8, mask=0.5), 12
    lengths, times, mels = torch.tensor([12, 6, 12]), [], []
    for _ in range(60):
        found, _ = frontend(torch.ones(steps, B, 8), lengths)
        for row, length in enumerate(lengths.tolist()):
            hidden = found[:length, row] == 0
            times.append(hidden.all(1).sum().item() / length)
            mels.append(hidden.all(0).sum().item() / 8)
            # every hidden number is hidden by its time or by its frequency
            assert torch.equal(hidden, hidden.all(1, keepdim=True) | hidden.all(0, keepdim=True))
    for shares in (times, mels):
        assert min(shares) == 0
        assert 0.5 < max(shares) <= 0.5 * MASKS
    assert (frontend.eval()(torch.ones(steps, B, 8), torch.full((B,), steps))[0] == 1).all()


@pytest.mark.parametrize(
    ("size", "blocks", "places"),
    [((1, 28, 28), None, 49), ((3, 64, 64), None, 64), ((1, 8, 8), None, 16), ((1, 28, 30), 3, 16), ((1, 1, 1), 2, 1)],
)
def test_pictures_are_places_row_by_row(size, blocks, places):
    frontend = PictureFrontend(size, 16, blocks=blocks)
    x, lengths = frontend(torch.rand(B, *size))
    assert x.shape == (places, B, 16)
    assert lengths.tolist() == [places] * B


def test_a_place_sees_what_is_around_it():
    frontend = PictureFrontend((1, 16, 8), 8).eval()
    picture = torch.zeros(1, 1, 16, 8, requires_grad=True)
    x, _ = frontend(picture)
    assert len(x) == 8 * 4
    # group normalisation sees all of the picture: what convolution sees is found without
    for block in frontend.layers:
        block[1] = torch.nn.Identity()
        block[2] = torch.nn.Identity()
    x, _ = frontend(picture)
    (seen,) = torch.autograd.grad(x[5].sum(), picture)  # the second place of the second row
    rows, columns = seen[0, 0].nonzero(as_tuple=True)
    assert set(rows.tolist()) <= {1, 2, 3, 4}
    assert set(columns.tolist()) <= {1, 2, 3, 4}


def test_a_picture_is_read_alike_in_any_company(close):
    frontend = PictureFrontend((2, 9, 9), 8).double()
    pictures = torch.rand(B, 2, 9, 9, dtype=torch.float64)
    together, _ = frontend(pictures)
    for row in range(B):
        close(together[:, row : row + 1], frontend(pictures[row : row + 1])[0])


def test_pictures_are_moved_by_whole_pixels_in_training_only():
    frontend = PictureFrontend((1, 8, 8), 4, shift=0.25)
    seen = []
    frontend.layers.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0] + 0.5))
    picture = torch.zeros(1, 1, 8, 8)
    picture[0, 0, 4, 4] = 1.0
    torch.manual_seed(0)
    frontend.train()(picture.expand(200, -1, -1, -1))
    places = seen[0].reshape(200, -1).argmax(1)
    assert set(zip((places // 8).tolist(), (places % 8).tolist(), strict=True)) == {
        (y, x) for y in range(2, 7) for x in range(2, 7)
    }
    assert (seen[0].flatten(1).sum(1) == 1).all()
    frontend.eval()(picture)
    assert torch.equal(seen[1], picture)
