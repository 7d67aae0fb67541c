"""The page of an inspection: whole, safe, self-contained, and readable on a phone."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import made_up_reports as made_up
import pytest
from browser import find_browser, open_page

from recurra.inspection import is_page, render
from recurra.inspection.page.behaviour import behaviour_section
from recurra.inspection.page.unroll import DESKTOP, PHONE, draw_unrolled
from recurra.inspection.remedies import Remedy

SMALLEST_TEXT = 9.0
"""Pixels of the smallest text of a chart on a phone; a footnote in print is about as small."""
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """A page as lists of what a reader, a screen reader and a browser look for."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.references, self.open, self.images = [], [], [], [], []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given[name] for name in ("href", "src", "srcset", "action") if name in given]
        for value in given.values():
            self.references += re.findall(r"url\(#([^)]+)\)", value or "")
        self.references += (given.get("aria-labelledby") or "").split()
        if tag == "svg":
            self.images.append(given)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def page():
    return render(made_up.report())


def test_a_page_is_whole(page):
    read = Page(page)
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)
    assert set(read.references) <= set(read.ids)
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)
    assert is_page(page[:4096])
    assert page.startswith("<!DOCTYPE html>")


def test_a_page_needs_nothing_else(page):
    read = Page(page)
    assert [link for link in read.links if not link.startswith(("#", "data:"))] == []
    assert "<script" not in page
    assert "@import" not in page
    assert re.findall(r"url\((?!#)[^)]*\)", page) == []
    assert set(re.findall(r"https?://[^\"'\s<]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_every_picture_is_described(page):
    read = Page(page)
    assert len(read.images) == 15
    for image in read.images:
        assert image["role"] == "img"
        assert len(image["aria-labelledby"].split()) == 2
    assert page.count("<title") == 1 + len(read.images)
    assert page.count("<desc") == len(read.images)


def test_sections_stand_in_order(page):
    headings = re.findall(r'<h2 id="[\w-]+">(?:<span class="number">\d</span> )?([\w ]+)</h2>', page)
    assert headings == [
        "In short", "The unrolled network", "Gradient flow", "Spectrum", "Behaviour", "Gates and units", "Cost",
        "Remedies in use",
    ]  # fmt: skip


def test_captions_hold_the_numbers_of_the_run(page):
    text = " ".join(Page(page).text.split())
    assert "A window of 8 comes within 5 % of the whole gradient." in text
    assert "32 positions" in text
    assert "Most are stuck among the forget gates of layer 1: 4 %, mostly open." in text
    assert "68.5 MB at 1,024 steps" in text
    assert "differ half as much after 13.9 steps" in text
    assert "Oscillates with a period of 18" in text


def test_the_verdict_comes_first(page):
    report = made_up.report()
    places = [page.replace("\u00a0", " ").index(sentence) for sentence in report.verdict]
    assert places == sorted(places)
    assert places[-1] < page.index("<nav")


def test_what_was_not_measured_is_said():
    report = made_up.report(unrolled=None, flow=None, spectrum=None, behaviours=[], units=None, cost=None)
    page = render(replace(report, notes=["spectra: the step cannot be differentiated"]))
    read = Page(page)
    assert read.images == []
    assert page.count('class="missing"') == 6
    assert "Nothing could be measured" in page
    assert "spectra: the step cannot be differentiated" in page


def test_text_of_any_kind_stays_text():
    evil = "</text><script>alert('x')</script>&\"'"
    unrolled = replace(made_up.unrolled(), tokens=[evil] * 8, targets=[evil] * 8, layers=[evil] * 2)
    story = replace(made_up.story(), feature=evil, tokens=[evil, "$x$", "\x00"], activations=[1.0, 0.5, -1.0])
    report = made_up.report(
        unrolled=unrolled,
        units=replace(made_up.units(), stories=[story]),
        behaviours=[made_up.behaviour(evil), made_up.behaviour("'$x^$'")],
        spectrum=replace(made_up.spectrum(), matrices=[replace(made_up.spectrum().matrices[0], name="$x^$<b>")]),
    )
    remedy = Remedy(evil, True, evil, evil, evil)
    page = render(replace(report, run=evil, text=evil, cell=evil, notes=[evil], remedies={"x": remedy}))
    read = Page(page)
    assert "<script" not in page
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)


@pytest.mark.parametrize("sizes", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("steps", [1, 2, 8, 9, 100])
@pytest.mark.parametrize("layers", [1, 2, 9])
def test_any_length_and_depth_can_be_unrolled(sizes, steps, layers):
    image = draw_unrolled(made_up.unrolled(steps=steps, layers=layers, window=3), sizes)
    shown = min(steps, 4 * sizes.columns)
    assert image.count('class="token-box"') == shown
    assert image.count('class="cell"') == shown * min(layers, 3)
    assert Page(image).open == []


@pytest.mark.parametrize(("window", "lost", "scissors"), [(None, 0, 0), (100, 0, 2), (8, 0, 2), (5, 3, 2), (1, 7, 2)])
def test_the_cut_stands_where_truncation_cuts(window, lost, scissors):
    image = draw_unrolled(made_up.unrolled(layers=1, window=window))
    assert image.count("gradient lost") == lost
    assert image.count('<circle class="cut"') == scissors
    assert image.count('class="gradient"') == 7 - lost


def test_the_wider_the_gradient_the_larger():
    image = draw_unrolled(made_up.unrolled(layers=1, window=None))
    ends = re.findall(r'class="gradient" d="M[\d.]+ ([\d.]+)L.*?L[\d.]+ ([\d.]+)Z"', image)
    widths = [float(low) - float(high) for high, low in ends]
    assert widths == sorted(widths)
    assert widths[-1] > 4 * widths[0]


def test_a_run_that_settles_nothing_is_drawn():
    """Norms of zero, of nothing and beyond all bounds; a single layer, matrix, window and point."""
    dead = replace(made_up.layer_flow(), norms=[1.0] + [0.0] * 128, low=[0.0] * 129, high=[1e30] * 129)
    flow = replace(made_up.flow(), layers=[dead], truncation=made_up.flow().truncation[:1], fades_at=1)
    cost = replace(made_up.cost(), points=made_up.cost().points[:1])
    spectrum = replace(made_up.spectrum(layers=1, gates=("x",), size=1), lyapunov=None, jacobians=[])
    still = replace(made_up.behaviour(), trajectories=[[(0.0, 0.0)]], points=[], places=[])
    units = replace(made_up.units(), gates=[], stories=[], saturated=None)
    page = render(made_up.report(flow=flow, cost=cost, spectrum=spectrum, behaviours=[still], units=units, window=None))
    assert "This cell computes no gates." in page
    assert Page(page).open == []


def test_a_browser_shows_it_at_any_width(page, tmp_path):
    browser = find_browser()
    if browser is None:
        pytest.skip("no Chromium or Chrome in PATH to open the page with")
    seen, console = open_page(browser, page, tmp_path)
    assert console == []
    for width in (360, 1400):
        assert seen[width]["scroll"] <= seen[width]["width"] <= width
        assert seen[width]["resources"] == []
        assert seen[width]["smallest"] >= SMALLEST_TEXT
        assert seen[width]["texts"] > 100
        assert seen[width]["ids"] == seen[width]["distinct"]
        assert seen[width]["heading"] == "runs/counting-lstm"


@pytest.mark.parametrize(
    ("given", "shown"), [("'the '", "'the'"), ("' '", "'␣'"), ("'e'", "'e'"), ("no input", "no input")]
)
def test_inputs_that_are_held_can_be_read(given, shown):
    section = behaviour_section([replace(made_up.behaviour(given), period=3)])
    assert section.panels[0].name == shown
    assert section.panels[0].sentence.startswith("Settles to a point with a period of 3: 1 stable fixed point, near")
    assert "halve in 9.6 steps" in section.panels[0].sentence
