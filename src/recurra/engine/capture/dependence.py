"""What in a recorded step depends on what: which operations can leave the loop, and to which side."""

from __future__ import annotations

from dataclasses import dataclass, field

from recurra.engine.capture.aten import HEAVY, LOWERINGS, check_rows, is_known
from recurra.engine.capture.recording import Call, Recording
from recurra.engine.graphs.graph import CannotCompileError

__all__ = ["Dependence", "find_dependence", "unknown"]


@dataclass
class Dependence:
    """A recorded step in three parts; what is neither before nor after the loop is inside.

    Args:
        on_state, on_input: numbers of the tensors that depend on the state, and of those that depend on inputs alone.
        before: operations on inputs and parameters, in order.
        hoisted: numbers of the tensors that those read and make.
        after: operations that the next state does not need, in order; the last makes the output.
    """

    on_state: set[int] = field(default_factory=set)
    on_input: set[int] = field(default_factory=set)
    before: list[Call] = field(default_factory=list)
    hoisted: set[int] = field(default_factory=set)
    after: list[Call] = field(default_factory=list)


def find_dependence(recording: Recording, hoist: bool) -> Dependence:
    """Sort the operations of a step.

    Args:
        hoist: take what can be taken out of the loop; else only what depends on parameters alone.
    Raises: CannotCompileError if an operation mixes rows, or leaves the loop and is not known to keep them apart.
    """
    found = Dependence(set(recording.state), set(recording.inputs))
    for call in recording.calls:
        outputs = made_by(call)
        if found.on_state.intersection(call.inputs):
            found.on_state |= outputs
        elif found.on_input.intersection(call.inputs) or any(-1 in recording.shapes[n] for n in outputs):
            found.on_input |= outputs
        if outputs & (found.on_state | found.on_input):
            check_rows(call, recording.shapes)
    _find_before(found, recording, hoist)
    if hoist:
        _find_after(found, recording)
    return found


def unknown(call: Call) -> CannotCompileError:
    """Return the error for an operation that is in no table."""
    return CannotCompileError(f"the engine does not know {call.function}, at {call.where}")


def made_by(call: Call) -> set[int]:
    """Return the numbers of the results of a call."""
    return {n for n in call.outputs if n is not None}


def _leads_out(call: Call) -> bool:
    """Is a call what makes it worth while to leave the loop, or what the loop does not know?"""
    return call.function in HEAVY or call.function not in LOWERINGS


def _crosses(shape: tuple[int, ...]) -> bool:
    """Can a tensor of this shape enter or leave the loop?"""
    return shape[:1] == (-1,)


def _find_before(found: Dependence, recording: Recording, hoist: bool) -> None:
    """All on parameters, and on inputs what leads to something heavy, and on to where the batch comes first."""
    drawn: set[int] = set()
    while True:
        for call in reversed(recording.calls):
            outputs = made_by(call)
            if outputs & found.on_state:
                continue
            on_parameters = not outputs & found.on_input
            if on_parameters or (hoist and (outputs & (found.hoisted | drawn) or _leads_out(call))):
                if not on_parameters and not is_known(call):
                    raise unknown(call)
                found.hoisted.update(call.inputs, outputs)
        turned = {n for n in found.hoisted & found.on_input if not _crosses(recording.shapes[n])}
        readers = [call for call in recording.calls if turned.intersection(call.inputs)]
        drawn = {n for call in readers for n in made_by(call) - found.on_state}
        if drawn <= found.hoisted:
            break
    found.before = [call for call in recording.calls if found.hoisted & made_by(call)]


def _find_after(found: Dependence, recording: Recording) -> None:
    """What the next state does not need, from the first thing that is heavy."""
    needed = set(recording.next_state)
    for call in reversed(recording.calls):
        if needed & made_by(call):
            needed.update(call.inputs)
    later: set[int] = set()
    for call in recording.calls:
        outputs = made_by(call)
        is_free = not outputs & needed and outputs & found.on_state
        if is_free and (_leads_out(call) or later.intersection(call.inputs)):
            if not is_known(call):
                raise unknown(call)
            later |= outputs
    wanted = {recording.output} & later
    for call in reversed(recording.calls):
        if wanted & made_by(call):
            found.after.insert(0, call)
            wanted.update(
                n for n in call.inputs if n in later or (n in found.on_state and not _crosses(recording.shapes[n]))
            )
