"""Maps of attention and captions are whole PNGs, whatever was read, seen and written."""

import numpy as np
import pytest
from made_up_runs import count_colours
from matplotlib.image import imread

from recurra.figures import AttentionMap, Captioned, plot_attention_map, plot_captions
from recurra.figures.captions import grid_of
from recurra.figures.naming import bare, shorten, wrap


def weights(outputs, inputs):
    return np.random.default_rng(0).dirichlet(np.ones(inputs), outputs)


def read(inputs, outputs):
    return AttentionMap(inputs, outputs, weights(len(outputs), len(inputs)))


WORDS = read(["ein", "sehr", "langes", "deutsches", "Donaudampfschiffahrtsgesellschaftswort"], ["one", "word", "<eot>"])
MAPS = {
    "one": [WORDS],
    "scripts": [read(list("日本語"), list("שלום")), read(["$x$", "", "\n"], ["a"])],
    "characters": [read("x" * 120, "y" * 70)] * 4,
    "sound": [AttentionMap([], ["yes", "<eot>"], weights(2, 900))] * 3,
    "too many": [WORDS] * 9,
    "nothing written": [AttentionMap(["a"], [], np.zeros((0, 1)))],
    "none": [],
}


@pytest.mark.parametrize("maps", MAPS.values(), ids=MAPS)
def test_any_attention_can_be_drawn(maps, tmp_path):
    plot_attention_map(maps, tmp_path / "attention.png", title="$title_", subtitle="subtitle")
    picture = imread(tmp_path / "attention.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


PICTURE = np.arange(48, dtype=np.uint8).reshape(6, 8)
SENTENCE = "a caption that is much longer than the place that there is for it under a small picture " * 3
GALLERIES = {
    "one": [Captioned(PICTURE, "a ramp", "a ramp")],
    "nothing written": [Captioned(PICTURE[..., None], "", "$x$")] * 2,
    "colours and scripts": [Captioned(np.stack([PICTURE] * 3, -1), "日本語", "ελληνικά")] * 5,
    "numbers": [Captioned(PICTURE / 48, SENTENCE)] * 30,
    "attention": [Captioned(PICTURE, SENTENCE, "short", list("abcdefghijklmnop"), weights(16, 12))] * 9,
    "nothing seen": [Captioned(PICTURE, "", "short", [], np.zeros((0, 12)))],
    "none": [],
}


@pytest.mark.parametrize("captioned", GALLERIES.values(), ids=GALLERIES)
def test_any_captions_can_be_drawn(captioned, tmp_path):
    plot_captions(captioned, tmp_path / "captions.png", title="title", subtitle="subtitle")
    picture = imread(tmp_path / "captions.png")
    assert picture.shape[:2] == (800, 1200)
    assert count_colours(picture) > 10


def test_places_lie_as_the_picture_does():
    assert grid_of(48, 60, 80) == (6, 8)
    assert grid_of(49, 64, 64) == (7, 7)
    assert grid_of(7, 10, 70) == (1, 7)


def test_signs_of_spaces_are_left_out_where_there_is_more():
    assert [bare(token) for token in ("word␣", "␣word", "␣", "")] == ["word", "word", "␣", ""]


def test_texts_are_cut_to_their_room():
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abc def", 5) == "abc…"
    assert shorten("two\nlines", 20) == "two lines"
    assert shorten(" ", 3) == " "
    assert wrap("one two three four", 8, 2) == "one two\nthree f…"
    assert wrap("one", 8, 2) == "one"
    assert all(len(line) <= 8 for line in wrap("x" * 99, 8, 2).split("\n"))
