"""How well answers are: metrics beside baselines, and classes one by one, as tables of aligned columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recurra.cli.tables import plain

if TYPE_CHECKING:
    from recurra.evaluation import Assessment

__all__ = ["print_assessment"]

MOST_CLASSES = 40
SHORTEST_NUMBER = 1e-3


def print_assessment(assessment: Assessment) -> None:
    """Print what a model scored, what the simplest ways scored, and who is better, in words."""
    click.echo(_metrics(assessment))
    if "classes" in assessment.details:
        click.echo(_classes(assessment))
    for sentence in assessment.verdict:
        click.echo(f"verdict:    {sentence}")


def _metrics(assessment: Assessment) -> str:
    unit = "tokens" if assessment.task == "lm" else "examples"
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    ways = {"this model": assessment.metrics, **assessment.baselines}
    table = Table(box=SIMPLE_HEAD)
    table.add_column(f"{assessment.examples:,} {unit}, {assessment.seconds:.1f} s", no_wrap=True)
    for name in ways:
        table.add_column(name, justify="right", no_wrap=True)
    for metric in assessment.metrics:
        numbers = (_digits(scores[metric]) if metric in scores else "" for scores in ways.values())
        table.add_row(metric.replace("_", " "), *numbers)
    return plain(table)


def _classes(assessment: Assessment) -> str:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    classes = assessment.details["classes"]
    table = Table(box=SIMPLE_HEAD)
    for heading in ("class", "precision", "recall", "f1", "support"):
        table.add_column(heading, justify="left" if heading == "class" else "right", no_wrap=True)
    for label, scores in sorted(classes.items(), key=lambda item: -item[1]["support"])[:MOST_CLASSES]:
        table.add_row(
            label, *(_digits(scores[name]) for name in ("precision", "recall", "f1")), f"{scores['support']:,}"
        )
    more = len(classes) - MOST_CLASSES
    return plain(table) + (f"\n  and {more:,} rarer classes; --json has all" if more > 0 else "")


def _digits(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 10 and (abs(value) >= SHORTEST_NUMBER or not value) else f"{value:.4g}"
