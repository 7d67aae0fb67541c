"""Charts of a page: SVG that a page can hold, beside others, in the light and in the dark."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from recurra.figures import (
    Cloud,
    Fade,
    Gate,
    Mark,
    bytes_text,
    draw_eigenvalues,
    draw_exponents,
    draw_gates,
    draw_jacobians,
    draw_memory,
    draw_norms,
    draw_portrait,
    draw_singular_values,
    draw_time,
    draw_truncation,
    percent,
)
from recurra.figures.marks import in_rows, power

LAGS = list(range(40))
CLOUDS = [Cloud(layer, "U", [(0.3, 0.4), (0.3, -0.4), (1.2, 0.0)], [1.5, 0.7, 0.0], 1.2) for layer in (1, 2)]


def fade(slope, name="layer 1"):
    norms = [math.exp(slope * lag) for lag in LAGS]
    return Fade(name, LAGS, norms, [0.5 * norm for norm in norms], [2 * norm for norm in norms])


CHARTS = {
    "fading": lambda title: draw_norms([fade(-0.5), fade(-0.3, "layer 2")], window=8, fades_at=16, title=title),
    "steady": lambda title: draw_norms([fade(0.0)], window=None, fades_at=None, title=title),
    "exploding": lambda title: draw_norms([fade(2.0)], window=500, fades_at=None, title=title),
    "truncation": lambda title: draw_truncation([1, 2, 4], [1.7, 0.5, 0.0], [0.1, 0.8, 1.0], window=3, title=title),
    "eigenvalues": lambda title: draw_eigenvalues(CLOUDS, title=title),
    "singular values": lambda title: draw_singular_values(CLOUDS, title=title),
    "jacobians": lambda title: draw_jacobians([(1, [0.9, 0.8], [1.5, 1.4])], title=title),
    "exponents": lambda title: draw_exponents([0.1, -0.1], [0.01, 0.02], title=title),
    "portrait": lambda title: draw_portrait([[(0, 0), (1, 1), (2, 1)], [(3, 3)], []], [Mark(1, 1, True)], title=title),
    "gates": lambda title: draw_gates([Gate(1, "forget", [0, 0.5, 1], [3, 1], 0.2, 0.0)], title=title),
    "memory": lambda title: draw_memory([16, 64], [1000, 4000], [1000, 4100], window=16, title=title),
    "time": lambda title: draw_time([16, 64], [1e-5, 1e-6], window=None, title=title),
}


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_is_named_and_apart_from_others(draw):
    first, second = draw("one title"), draw("another & <title>")
    ids = [set(re.findall(r'id="([^"]+)"', text)) for text in (first, second)]
    assert not ids[0] & ids[1]
    for text, title in ((first, "one title"), (second, "another & <title>")):
        root = ElementTree.fromstring(text)
        names = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
        assert len(set(names)) == len(names)
        assert set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text)) <= set(names)
        assert root.attrib["role"] == "img"
        assert root[0].text == title
        assert root[1].text.endswith(".")
        assert root.attrib["aria-labelledby"].split() == [root[0].attrib["id"], root[1].attrib["id"]]
        assert "<style" not in text
        assert "font-family" not in text


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_a_chart_takes_the_colours_of_its_page(draw):
    text = draw("colours")
    styles = " ".join(re.findall(r'style="([^"]*)"', text))
    assert re.findall(r"(?:fill|stroke): #\w+", styles) == []
    assert "var(--" in text


@pytest.mark.parametrize("draw", CHARTS.values(), ids=CHARTS)
def test_the_same_numbers_give_the_same_bytes(draw):
    assert draw("again") == draw("again")


def test_text_stays_text():
    text = CHARTS["fading"]("text")
    words = {element.text for element in ElementTree.fromstring(text).iter() if element.tag.endswith("text")}
    assert {"layer 1", "layer 2", "window 8", "1 % after 16 steps", "steps back in time"} <= words


def test_every_eigenvalue_is_a_dot():
    draw = np.random.default_rng(0)
    values = [(float(x), float(y)) for x, y in draw.uniform(-0.6, 0.6, (200, 2))]
    text = draw_eigenvalues([Cloud(1, "U", values, [1.0], 0.8)], title="many")
    assert max(path.count("M") for path in re.findall(r' d="([^"]*)"', text)) == 200


def test_names_are_not_mathematics():
    text = draw_gates([Gate(1, "$x^$", [0, 1], [1], 0.0, 0.0)], title="$x^$")
    assert text.count("$x^$") == 2


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"), (1e-7, "under 0.001 %"), (0.00064, "0.064 %"), (0.0123, "1.2 %"), (0.0995, "10 %"),
        (0.0994, "9.9 %"), (0.231, "23 %"), (1.0, "100 %"), (12.5, "1,250 %"),
    ],
)  # fmt: skip
def test_shares(share, text):
    assert percent(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e3, "1,000×"), (1.0, "100 %"), (1e-2, "1 %"), (1e-4, "0.01 %"), (1e-5, "0.001 %"), (1e-6, "10⁻⁶"), (1e6, "10⁶")],
)
def test_powers(value, text):
    assert power(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (999.7, "1 kB"), (65_536, "65.5 kB"), (2.5e9, "2.5 GB")]
)
def test_bytes(count, text):
    assert bytes_text(count) == text


def test_each_layer_begins_a_row_of_panels():
    assert in_rows([1, 1, 1, 2, 2], 2) == [(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)]
    assert in_rows([1, 2, 3], 2) == [(0, 0), (0, 1), (1, 0)]
