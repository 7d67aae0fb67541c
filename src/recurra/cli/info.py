"""``recurra info``."""

from __future__ import annotations

from typing import Any

import click

from recurra.cli.options import debug_option, json_option, print_json, run_argument, trust_options


@click.command("info", epilog="\b\nExample:\n  recurra info runs/shakespeare-lstm")
@run_argument
@trust_options
@json_option
@debug_option
def command(run: str, trust: bool, cell: str | None, as_json: bool) -> None:
    """Describe RUN: model, sizes, parameters, corpus, best numbers, size of the state."""
    from recurra.state import num_bytes
    from recurra.training import Run

    loaded = Run.load(run, cell=cell, trust=trust)
    model, metrics = loaded.model, loaded.metrics
    validated = [row for row in metrics if "valid_loss_nats" in row]
    best = min(validated, key=lambda row: row["valid_loss_nats"], default=None)
    corpus, config = loaded.data, loaded.config
    facts: dict[str, Any] = {
        "run": str(loaded.path),
        "recipe": config.recipe,
        "cell": config.model.cell,
        "layers": config.model.layers,
        "hidden": config.model.hidden,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "vocabulary": len(loaded.tokenizer),
        "tokenizer": loaded.tokenizer.kind,
        "corpus": config.data.source,
        "train_tokens": len(corpus.train),
        "valid_tokens": len(corpus.valid),
        "state_bytes": num_bytes(model.zero_state(1)),
        "steps": metrics[-1]["step"] if metrics else 0,
        "epochs": metrics[-1]["epoch"] if metrics else 0,
        "best": best,
        "verdict": loaded.verdict,
    }
    if as_json:
        print_json(facts)
        return
    if best is not None:
        perplexity = best["valid_perplexity"]
        shown = "inf" if perplexity is None else f"{perplexity:.3f}"  # None: beyond all numbers
        facts["best"] = (
            f"perplexity {shown}, accuracy {best['valid_accuracy']:.4f} at epoch {best['epoch']}, step {best['step']}"
        )
    for name, value in facts.items():
        if value is not None:
            shown = f"{value:,}" if isinstance(value, int) else value
            click.echo(f"{name.replace('_', ' '):<14}{shown}")
