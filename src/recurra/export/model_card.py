"""The model card: what a page of Hugging Face's hub shows of a model, from what a run says of itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from recurra.training import TASKS, Run

__all__ = ["model_card"]

PIPELINES = {
    "lm": "text-generation",
    "classify": "text-classification",
    "tag": "token-classification",
    "translate": "translation",
    "caption": "image-to-text",
    "forecast": "time-series-forecasting",
}
"""The hub's words for our tasks."""

METRICS = {"perplexity": "Perplexity", "accuracy": "Accuracy", "loss_nats": "Loss (nats)"}

LICENSE = "other"
"""The license of weights is for who publishes them to say: it hangs on the data."""


def model_card(run: Run) -> str:
    """Return README.md: front matter in YAML, then what the model is, how good it is, and how it is used."""
    corpus = corpus_name(run)
    best = measured(run)
    lines = ["---", *_front_matter(run, corpus, best), "---", "", *_prose(run, corpus, best)]
    return "\n".join(lines) + "\n"


def corpus_name(run: Run) -> str:
    """Return what the data are called: a name, or the last two parts of a path, the first of which often tells more."""
    parts = PurePath(str(run.config.data.source)).parts
    return "/".join(part for part in parts[-2:] if part != "/") or "a text"


def measured(run: Run) -> dict[str, float]:
    """Return the numbers of the best validation by name; empty if there was none."""
    rows = [row for row in run.metrics if row.get("valid_loss_nats") is not None]
    best = min(rows, key=lambda row: float(row["valid_loss_nats"]), default={})
    found = {name.removeprefix("valid_"): value for name, value in best.items() if name.startswith("valid_")}
    return {name: float(value) for name, value in found.items() if value is not None}


def _front_matter(run: Run, corpus: str, best: dict[str, float]) -> Iterator[str]:
    """Write YAML whose strings are JSON's, which YAML reads."""
    config, quoted = run.config, json.dumps
    yield f"license: {LICENSE}"
    yield "library_name: recurra"
    yield f"pipeline_tag: {PIPELINES[config.task]}"
    yield "tags:"
    for tag in ("recurra", "rnn", config.model.cell, config.task):
        yield f"- {quoted(tag, ensure_ascii=False)}"
    if not best:
        return
    yield "model-index:"
    yield f"- name: {quoted(run.path.name, ensure_ascii=False)}"
    yield "  results:"
    yield "  - task:"
    yield f"      type: {PIPELINES[config.task]}"
    yield "    dataset:"
    yield f"      name: {quoted(corpus, ensure_ascii=False)}"
    yield f"      type: {quoted(corpus, ensure_ascii=False)}"
    yield "      split: validation"
    yield "    metrics:"
    for name, value in best.items():
        yield f"    - type: {name}"
        yield f"      name: {quoted(METRICS.get(name, name.replace('_', ' ').capitalize()))}"
        yield f"      value: {quoted(value)}"


def _prose(run: Run, corpus: str, best: dict[str, float]) -> Iterator[str]:
    config, model = run.config, run.model
    count = sum(parameter.numel() for parameter in model.parameters())
    yield f"# {run.path.name}"
    yield ""
    yield (
        f"A {type(model).__name__} of recurra: {config.model.layers} "
        f"{'layer' if config.model.layers == 1 else 'layers'} of {config.model.cell} with {config.model.hidden} units, "
        f"{count:,} parameters in {run.stored}, trained on {corpus}."
    )
    yield ""
    facts = {name: value for name, value in TASKS[config.task].facts(run).items() if value is not None}
    facts = {name: value for name, value in facts.items() if name not in ("corpus", "data")}
    yield from _table(("", ""), [(name.replace("_", " "), _shown(value)) for name, value in facts.items()])
    if best:
        yield ""
        smaller = "" if run.stored == "float32" else ", in float32, before its weights were made smaller"
        yield f"Measured on what was held back for validation, at the best epoch{smaller}:"
        yield ""
        yield from _table(
            ("metric", "value"), [(name.replace("_", " "), f"{value:.4f}") for name, value in best.items()]
        )
    yield ""
    yield "## Use"
    yield ""
    yield "```bash"
    yield from _commands(run)
    yield "```"
    yield ""
    yield "```python"
    yield "from recurra.training import Run"
    yield ""
    yield 'run = Run.load("FOLDER")  # this folder'
    yield "print(run.model.generate(tokens=100))" if config.task == "lm" else "model = run.model"
    yield "```"
    if config.task == "lm":
        yield ""
        yield 'The vocabulary is read without recurra, too: `tokenizers.Tokenizer.from_file("FOLDER/tokenizer.json")`.'


def _commands(run: Run) -> Iterator[str]:
    if run.config.task == "lm":
        yield "recurra generate FOLDER --tokens 100"
        yield "recurra evaluate FOLDER TEXT"
    else:
        yield "recurra predict FOLDER DATA"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> Iterator[str]:
    yield f"| {head[0]} | {head[1]} |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {name} | {value} |"


def _shown(value: Any) -> str:
    text = (
        f"{value:,}"
        if isinstance(value, int)
        else ", ".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
    return text.replace("|", "\\|").replace("\n", " ")
