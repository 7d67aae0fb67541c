"""``recurra info``."""

from __future__ import annotations

from typing import Any

import click

from recurra.cli.options import debug_option, json_option, print_json, run_argument, trust_options

MOST_NAMES = 30


@click.command("info", epilog="\b\nExample:\n  recurra info runs/shakespeare-lstm")
@run_argument
@trust_options
@json_option
@debug_option
def command(run: str, trust: bool, cell: str | None, as_json: bool) -> None:
    """Describe RUN: model, sizes, parameters, data, best numbers."""
    from recurra.config import as_mapping
    from recurra.training import TASKS, Run
    from recurra.training.recovery import describe_setback

    loaded = Run.load(run, cell=cell, trust=trust)
    model, metrics, config = loaded.model, loaded.metrics, loaded.config
    validated = [row for row in metrics if "valid_loss_nats" in row]
    best = min(validated, key=lambda row: row["valid_loss_nats"], default=None)
    facts: dict[str, Any] = {
        "run": str(loaded.path),
        "task": config.task,
        "recipe": config.recipe,
        "origin": None if config.origin is None else as_mapping(config.origin),
        "cell": config.model.cell,
        "layers": config.model.layers,
        "hidden": config.model.hidden,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights": loaded.stored,
        "weight_bytes": loaded.directory.model_file.stat().st_size,
        **TASKS[config.task].facts(loaded),
        "steps": metrics[-1]["step"] if metrics else 0,
        "epochs": metrics[-1]["epoch"] if metrics else 0,
        "best": best,
        "setbacks": [row["setback"] for row in metrics if "setback" in row],
        "verdict": loaded.verdict,
    }
    if as_json:
        print_json(facts)
        return
    if config.origin is not None:
        facts["origin"] = str(config.origin)
    if best is not None:
        facts["best"] = f"{_numbers(best)} at epoch {best['epoch']}, step {best['step']}"
    facts["setbacks"] = "; ".join(map(describe_setback, facts["setbacks"])) or None
    for name, value in facts.items():
        if value is not None:
            shown = f"{value:,}" if isinstance(value, int) else _listed(value) if isinstance(value, list) else value
            click.echo(f"{name.replace('_', ' '):<16}{shown}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMES:,} others" if len(names) > MOST_NAMES else ""
    return f"{len(names):,}: {', '.join(names[:MOST_NAMES])}{more}"


def _numbers(row: dict[str, Any]) -> str:
    """Write what was measured in a validation; what is beyond all numbers is None."""
    found = {name.removeprefix("valid_"): value for name, value in row.items() if name.startswith("valid_")}
    nats = found.pop("loss_nats")
    shown = {"loss": nats} if "perplexity" not in found else {}
    return ", ".join(
        f"{name.replace('_', ' ')} {'inf' if value is None else f'{value:.4f}'}"
        for name, value in (shown | found).items()
    )
