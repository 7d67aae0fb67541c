"""Section 2: how far gradients travel."""

from __future__ import annotations

import math

from recurra.figures import Fade, draw_norms, draw_truncation, percent
from recurra.inspection.flow import Flow, PromptFlow
from recurra.inspection.page.parts import Chart, Coloured, Section, Span
from recurra.inspection.verdict import CLOSE, enough
from recurra.inspection.words import ends_line, legible, plural, steps, visible

__all__ = ["gradient_section"]

MOST_LINES = 6
"""Lines of a chart: of more layers, the lowest and the highest are drawn."""
NAMED = 3


def gradient_section(flow: Flow | None, window: int | None) -> Section:
    """Norms by lag, errors of truncation, and a prompt by its gradient."""
    heading = "Gradient flow"
    if flow is None or not flow.layers:
        return Section("gradients", heading, missing="Gradient flow could not be measured for this cell.")
    charts = [_norms(flow, window)]
    if flow.truncation:
        charts.append(_truncation(flow, window))
    memory = f"{flow.effective_memory:.2g} steps" if flow.effective_memory < 10 else steps(round(flow.effective_memory))
    return Section(
        "gradients",
        heading,
        lead=(
            "How much does the loss of one step depend on the state of an earlier one? The gradient says so. Its "
            f"centre of mass lies {memory} back: that is the effective memory of this network."
        ),
        charts=charts,
        prelude=[_prompt(flow.prompt)] if flow.prompt is not None and flow.prompt.tokens else [],
    )


def _norms(flow: Flow, window: int | None) -> Chart:
    chosen = flow.layers if len(flow.layers) <= MOST_LINES else [*flow.layers[:3], *flow.layers[-3:]]
    fades = [Fade(f"layer {flow_.layer + 1}", flow_.lags, flow_.norms, flow_.low, flow_.high) for flow_ in chosen]
    top = flow.layers[-1]
    title = "Gradient by distance"
    image = draw_norms(fades, window=window, fades_at=flow.fades_at, title=title)
    rate = {
        "vanishing": "A straight fall on this logarithmic axis is an exponential one: the gradient vanishes",
        "exploding": "A straight rise on this logarithmic axis is an exponential one: the gradient explodes",
    }.get(top.rate, "A line that stays level means that a step passes the gradient on as it is")
    slope = top.slope_nats_per_step
    if slope is not None and top.rate in ("vanishing", "exploding"):
        change = percent(abs(1 - math.exp(min(slope, 30.0))))
        rate += f", in the top layer by {change} at each step"
    return Chart(
        title,
        f"Median norm of the gradient over {plural(flow.positions, 'position')} of the text; bands hold the middle "
        f"half. {rate}.",
        image,
    )


def _truncation(flow: Flow, window: int | None) -> Chart:
    points = sorted(flow.truncation, key=lambda point: point.window)
    title = "What a window misses"
    image = draw_truncation(
        [point.window for point in points],
        [point.relative_error for point in points],
        [point.cosine for point in points],
        window=window,
        title=title,
    )
    sufficient = enough(points)
    last = points[-1]
    if sufficient is not None:
        rest = f"A window of {sufficient:,} comes within {percent(CLOSE)} of the whole gradient."
    else:
        rest = f"Even a window of {last.window:,} misses {percent(last.relative_error)} of the whole gradient."
    return Chart(
        title,
        "The gradient of all weights, cut after so many steps, beside the whole one on the same text: cosine 100 % is "
        f"the same direction, error 0 % the same gradient. {rest}",
        image,
    )


def _prompt(prompt: PromptFlow) -> Coloured:
    largest = max(prompt.norms, default=0.0) or 1.0
    spans = [
        Span(
            legible(token),
            # The eye takes areas of ink for amounts; the root keeps the small ones apart from nothing.
            round(math.sqrt(norm / largest), 3),
            False,
            f"{percent(norm / largest)} of the largest",
            ends_line(token),
        )
        for token, norm in zip(prompt.tokens, prompt.norms, strict=True)
    ]
    strongest = sorted(zip(prompt.word_norms, prompt.words, strict=True), key=lambda pair: -pair[0])[:NAMED]
    named = ", ".join(f"“{visible(word, longest=40)}”" for _, word in strongest)
    return Coloured(
        "The prompt, by gradient",
        f"The stronger the colour, the more the prediction of what follows, “{visible(prompt.predicted, 40)}”, depends "
        f"on the token. The words that it depends on most: {named}.",
        spans,
    )
