import numpy as np
import torch
from writers import captioner, train

SHAPES = ["a square", "a cross", "two lines at the side"]


def draw(shape, random):
    picture = np.zeros((12, 12), np.uint8)
    y, x = random.integers(0, 6, 2)
    if shape == 0:
        picture[y : y + 6, x : x + 6] = 255
        picture[y + 1 : y + 5, x + 1 : x + 5] = 0
    elif shape == 1:
        picture[y + 2, x : x + 6] = picture[y : y + 6, x + 2] = 255
    else:
        picture[y : y + 6, [x, x + 5]] = 255
    return picture


def test_it_tells_which_shape_it_sees():
    random = np.random.default_rng(0)
    model = captioner(SHAPES, hidden=16, embedding=16, cell="gru", blocks=2)
    kinds = [n % 3 for n in range(150)]
    train(model, [draw(kind, random) for kind in kinds], [SHAPES[kind] for kind in kinds], steps=120, batch=24)
    kinds = [0, 1, 2, 2, 1, 0, 0, 1, 2]
    found = model.predict([draw(kind, random) for kind in kinds], batch=4)
    assert [written.text for written in found] == [SHAPES[kind] for kind in kinds]
    assert found[0].attention.shape == (3, 9)
    assert all(abs(written.attention.sum(1) - 1).max() < np.finfo(np.float32).eps * 9 for written in found)


def test_it_looks_at_places_with_a_recurrence_or_without():
    pictures = [draw(kind, np.random.default_rng(0)) for kind in range(3)]
    for settings in (
        {},
        {"layers": 1},
        {"attention": "none"},
        {"layers": 1, "bidirectional": False, "attention": "dot"},
    ):
        model = captioner(SHAPES, max_length=4, **settings)
        one, *_ = model.predict(pictures)
        (alone,) = model.predict(pictures[:1])
        assert one.text == alone.text
        assert (one.attention is None) == (model.decoder.attention is None)


def test_the_longest_of_training_bounds_a_caption():
    model = captioner(SHAPES)
    with torch.no_grad():
        model.decoder.bias[model.target.end] = -torch.inf
    assert len(model.predict([draw(0, np.random.default_rng(0))])[0].tokens) == 10


def test_a_beam_describes_pictures_too():
    model = captioner(SHAPES, max_length=6).double()
    pictures = [draw(kind, np.random.default_rng(0)) for kind in range(3)]
    greedy, found = model.predict(pictures), model.predict(pictures, beam=4)
    assert all(a.nats <= b.nats + 1e-9 for a, b in zip(found, greedy, strict=True))
    assert [written.attention.shape for written in found] == [
        (len(written.tokens), model.encoder.places) for written in found
    ]
