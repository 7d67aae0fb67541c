"""JAX: `jax.lax.scan` under `jax.jit` in float32, in whichever of the forms that people write it is fastest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from recurra.benchmarks.work import Call, Unavailable, Work, kind_of
from recurra.state import named_leaves

__all__ = ["prepare"]


class Form(NamedTuple):
    """A way to write the scan: the product with the inputs before the loop or inside, and steps in one turn."""

    before: bool
    unroll: int


ONE_STEP = Form(before=False, unroll=1)
UNROLLED = 4
TRIALS, TRIAL_S = 5, 0.5

Equations = Callable[[Any, Any, Any], Any]
"""``(parameters, projected inputs (B, G·H), leaves of the state) -> leaves of the next state``, h first."""


def prepare(work: Work) -> Call | None:
    """Compile the scan of cells that are written down here, and keep the form that is fastest at this shape.

    Raises: Unavailable without JAX.
    """
    kind, mode = kind_of(work.cell), work.case.mode
    if kind is None:
        return None
    jax = _import()
    arguments = [_parameters(jax, work), _array(jax, work.inputs), _state(jax, work)]
    if mode == "train":
        arguments.append(_array(jax, work.cotangent))

    def compile_as(form: Form) -> Call:
        return _call(jax, kind, mode, form, arguments)

    if mode == "step":
        return compile_as(ONE_STEP)
    rolled = {form: compile_as(form) for form in (Form(before=True, unroll=1), Form(before=False, unroll=1))}
    best = min(rolled, key=lambda form: _quickest(rolled[form]))
    return min(rolled[best], compile_as(best._replace(unroll=UNROLLED)), key=_quickest)


def _call(jax: Any, kind: str, mode: str, form: Form, arguments: Sequence[Any]) -> Call:
    project, step = _equations(jax, kind)

    def run(parameters: Any, inputs: Any, state: Any) -> Any:
        if mode == "step":
            return step(parameters, project(parameters, inputs[0]), state)[0][None]

        def body(state: Any, x: Any) -> Any:
            state = step(parameters, x if form.before else project(parameters, x), state)
            return state, state[0]

        sequence = project(parameters, inputs) if form.before else inputs
        return jax.lax.scan(body, state, sequence, unroll=form.unroll)[1]

    def train(parameters: Any, inputs: Any, state: Any, cotangent: Any) -> Any:
        outputs, pull = jax.vjp(lambda p, x: run(p, x, state), parameters, inputs)
        gradients, gradient_of_inputs = pull(cotangent)
        return outputs, gradient_of_inputs, gradients

    if mode == "train":
        compiled = jax.jit(train)
        return lambda: jax.block_until_ready(compiled(*arguments))
    compiled = jax.jit(run)
    return lambda: (jax.block_until_ready(compiled(*arguments)),)


def _quickest(call: Call) -> float:
    """Return the seconds of the best of a few calls, of long ones fewer, after the one that compiles."""
    call()
    seconds: list[float] = []
    while len(seconds) < TRIALS and sum(seconds) < TRIAL_S:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _import() -> Any:
    """Import JAX and start it on as many threads of the CPU as torch has.

    Raises: Unavailable if it is not installed.
    """
    try:
        import jax
    except ImportError as error:
        raise Unavailable("jax is not installed; pip install jax, or all peers with recurra[bench]") from error
    before = os.environ.get("NPROC")
    os.environ["NPROC"] = str(torch.get_num_threads())  # what the CPU client sizes its pool by, when it starts
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.devices()
    finally:
        if before is None:
            del os.environ["NPROC"]
        else:
            os.environ["NPROC"] = before
    return jax


def _array(jax: Any, tensor: torch.Tensor) -> Any:
    return jax.numpy.array(tensor.detach().numpy())


def _parameters(jax: Any, work: Work) -> dict[str, Any]:
    """Weights as JAX multiplies them, (I, G·H); biases as they are."""
    return {
        name: _array(jax, value.t().contiguous() if value.ndim == 2 else value)
        for name, value in work.cell.named_parameters()
    }


def _state(jax: Any, work: Work) -> tuple[Any, ...]:
    return tuple(_array(jax, leaf) for leaf in named_leaves(work.state).values())


def _equations(jax: Any, kind: str) -> tuple[Callable[[Any, Any], Any], Equations]:
    """Return how inputs are projected, all at once, and one step."""
    np, sigmoid, tanh = jax.numpy, jax.nn.sigmoid, jax.numpy.tanh

    def project(p: Any, x: Any) -> Any:
        return x @ p["weight_ih_l0"] + p["bias_ih_l0"]

    def recurrent(p: Any, h: Any) -> Any:
        return h @ p["weight_hh_l0"] + p["bias_hh_l0"]

    def rnn(p: Any, x: Any, state: Any) -> Any:
        phi = tanh if kind == "rnn_tanh" else jax.nn.relu
        return (phi(x + recurrent(p, state[0])),)

    def gru(p: Any, x: Any, state: Any) -> Any:
        (h,) = state
        xr, xz, xn = np.split(x, 3, axis=-1)
        ur, uz, un = np.split(recurrent(p, h), 3, axis=-1)
        r, z = sigmoid(xr + ur), sigmoid(xz + uz)
        n = tanh(xn + r * un)
        return ((1 - z) * n + z * h,)

    def lstm(p: Any, x: Any, state: Any) -> Any:
        h, c = state
        i, f, g, o = np.split(x + recurrent(p, h), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(c), c

    def norm(a: Any, gain: Any) -> Any:
        centred = a - a.mean(-1, keepdims=True)
        return gain * centred * jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)

    def project_norm(p: Any, x: Any) -> Any:
        return norm(x @ p["weight_ih_l0"], p["weight_norm_ih_l0"]) + p["bias_ih_l0"]

    def lstm_norm(p: Any, x: Any, state: Any) -> Any:
        h, c = state
        i, f, g, o = np.split(x + norm(h @ p["weight_hh_l0"], p["weight_norm_hh_l0"]), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(norm(c, p["weight_norm_c_l0"]) + p["bias_norm_c_l0"]), c

    if kind == "lstm_layernorm":
        return project_norm, lstm_norm
    return project, {"gru": gru, "lstm": lstm}.get(kind, rnn)
