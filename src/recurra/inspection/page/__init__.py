"""The page of an inspection: one HTML file that needs nothing else, no network and no script."""

from __future__ import annotations

from markupsafe import Markup

from recurra.inspection.page.behaviour import behaviour_section
from recurra.inspection.page.costs import cost_section
from recurra.inspection.page.gradients import gradient_section
from recurra.inspection.page.parts import Section
from recurra.inspection.page.spectra import spectrum_section
from recurra.inspection.page.units import unit_section
from recurra.inspection.page.unroll import unrolled_section
from recurra.inspection.report import Report

__all__ = ["GENERATOR", "is_page", "render"]

GENERATOR = "recurra inspect"
"""What marks a page as one of ours, to be replaced by the next."""


def render(report: Report) -> str:
    """Return a report as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("recurra.inspection.page"),
        autoescape=True,
        finalize=_bind,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg"] = Markup
    return environment.get_template("page.html").render(
        report=report,
        sections=_sections(report),
        remedies=list(report.remedies.values()),
        generator=GENERATOR,
    )


def is_page(text: str) -> bool:
    """Say whether a text begins as a page of ours does."""
    return f'<meta name="generator" content="{GENERATOR}"' in text


def _bind(value: object) -> object:
    """Keep numbers and their per cent sign on one line."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.replace(" %", "\u00a0%")
    return value


def _sections(report: Report) -> list[Section]:
    return [
        unrolled_section(report.unrolled),
        gradient_section(report.flow, report.window),
        spectrum_section(report.spectrum),
        behaviour_section(report.behaviours),
        unit_section(report.units),
        cost_section(report.cost, report.window),
    ]
