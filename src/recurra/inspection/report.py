"""Everything that an inspection finds out about a run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data import Tokens, check_seen
from recurra.engine import Full, Policy, Truncated
from recurra.engine.policies import Checkpointed, RandomWindow
from recurra.errors import CorpusError, DivergedError, RecurraError
from recurra.inspection.attractors import Behaviour, measure_behaviour
from recurra.inspection.cost import Cost, measure_cost
from recurra.inspection.flow import Flow, measure_flow
from recurra.inspection.reading import read_prompt
from recurra.inspection.remedies import Remedy, remedies_of
from recurra.inspection.spectrum import Spectrum, measure_spectrum
from recurra.inspection.units import Units, measure_units
from recurra.inspection.unrolled import Unrolled, measure_unrolled
from recurra.inspection.verdict import write_verdict
from recurra.inspection.words import plural
from recurra.training import Run

__all__ = ["LEAST_TOKENS", "Report", "inspect_run"]

LEAST_TOKENS = 64
"""Tokens below which a text says little about how far gradients travel."""
MOST_TOKENS = 200_000
"""Tokens that are looked at: more would change no number, and be held in memory."""
LONGEST_WINDOW = 256
"""Windows up to this one are measured as they are, besides the powers of two."""
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)

M = TypeVar("M")
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Report:
    """What was found in a run; a measure that a cell does not allow is None, and `notes` says why.

    Args:
        run: its path.
        text: what was read: "its validation part", "its training part", or a file's name.
        window: steps after which training cuts the gradient, at the latest or on average; None if it leaves none out.
        verdict: sentences, faults first.
        seconds: that all of it took.
    """

    run: str
    cell: str
    layers: int
    hidden: int
    parameters: int
    text: str
    window: int | None
    verdict: list[str]
    unrolled: Unrolled | None
    flow: Flow | None
    spectrum: Spectrum | None
    behaviours: list[Behaviour]
    units: Units | None
    cost: Cost | None
    remedies: dict[str, Remedy]
    seconds: float
    notes: list[str]

    def as_mapping(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return asdict(self)


def inspect_run(
    run: Run,
    *,
    text: Tokens | None = None,
    name: str | None = None,
    prompt: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Look into a run: gradients, spectra, behaviour, units and costs, on a text.

    Args:
        text: default the run's validation part, or its training part if there is none.
        name: of the text.
        prompt: a text of its own, for the gradient at each of its tokens.
        progress: called with (what is measured, measures done, measures in all).
    Raises: CorpusError for a text or a prompt that is too short; VocabularyError for one of unknown symbols.
    """
    started = time.perf_counter()
    text, name = _text_of(run, text, name)
    tokens = _check_text(text, name)
    notes = _check_prompt(run, prompt)
    model, config = run.model.eval(), run.config
    window = _window_of(config.training.policy)
    windows = sorted({*WINDOWS, *([window] if window and window <= LONGEST_WINDOW else [])})
    measures: list[tuple[str, Callable[[], Any]]] = [
        ("the unrolled network", lambda: measure_unrolled(model, tokens, window)),
        (FLOW, lambda: measure_flow(model, tokens, windows=tuple(windows), prompt=prompt)),
        ("spectra", lambda: measure_spectrum(model, tokens)),
        ("behaviour", lambda: measure_behaviour(model, tokens)),
        ("gates and units", lambda: measure_units(model, tokens)),
        ("cost", lambda: measure_cost(model, tokens, rows=config.training.batch)),
    ]
    found: list[Any] = []
    failures: dict[str, RecurraError] = {}
    for done, (what, measure) in enumerate(measures):
        if progress is not None:
            progress(what, done, len(measures))
        found.append(_attempt(what, measure, failures))
    if progress is not None:
        progress("done", len(measures), len(measures))
    unrolled, flow, spectrum, behaviours, units, cost = found
    verdict = write_verdict(window=window, flow=flow, spectrum=spectrum, behaviours=behaviours or (), units=units)
    if isinstance(failures.get(FLOW), DivergedError):
        verdict.insert(0, OVERFLOW)
    gated = None if units is None else bool(units.gates)
    return Report(
        run=str(run.path),
        cell=config.model.cell,
        layers=config.model.layers,
        hidden=config.model.hidden,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        text=name,
        window=window,
        verdict=verdict,
        unrolled=unrolled,
        flow=flow,
        spectrum=spectrum,
        behaviours=behaviours or [],
        units=units,
        cost=cost,
        remedies={remedy.name: remedy for remedy in remedies_of(config, model, gated=gated)},
        seconds=time.perf_counter() - started,
        notes=[*notes, *(f"{what}: {error}" for what, error in failures.items())],
    )


FLOW = "gradient flow"
OVERFLOW = (
    "Gradients explode: within the steps looked at they outgrow all numbers; clip their norm, or begin with smaller "
    "recurrent weights."
)


def _attempt(what: str, measure: Callable[[], M], failures: dict[str, RecurraError]) -> M | None:
    """Measure, or note why that is not possible: a user's own cell need not allow everything."""
    try:
        return measure()
    except RecurraError as error:
        failures[what] = error
        return None


def _text_of(run: Run, text: Tokens | None, name: str | None) -> tuple[Tokens, str]:
    if text is not None:
        return text, name or "a text of its own"
    if len(run.data.valid):
        return run.data.valid, "its validation part"
    return run.data.train, "its training part"


def _check_text(text: Tokens, name: str) -> Tensor:
    """Return the tokens (N,) that are looked at."""
    if len(text) < LEAST_TOKENS:
        raise CorpusError(
            f"{name} has {len(text):,} tokens, and an inspection needs {LEAST_TOKENS} at least; "
            "give a longer text with --text"
        )
    ids: NDArray[np.int64] = np.asarray(text[:MOST_TOKENS], np.int64)
    return torch.from_numpy(ids)


def _check_prompt(run: Run, prompt: str | None) -> list[str]:
    """Return what is to be noted about a prompt."""
    if prompt is None:
        return []
    count = len(read_prompt(run.model, prompt)) if prompt else 0
    note = check_seen(run.tokenizer, prompt, "the prompt")
    if count < 2:
        raise CorpusError(f"the prompt {prompt!r} is {plural(count, 'token')} long; gradients travel over 2 at least")
    return [note] if note else []


def _window_of(policy: Policy) -> int | None:
    """Return the steps after which a policy cuts; None for one that leaves nothing out, on average or at all."""
    if isinstance(policy, Truncated):
        return policy.reach
    return policy.span if isinstance(policy, Full | Checkpointed | RandomWindow) else None
