"""Made-up results of the measures, as plausible as numbers without a network can be."""

import math

import numpy as np

from recurra.inspection.attractors import Behaviour, FixedPoint
from recurra.inspection.cost import Cost, CostPoint
from recurra.inspection.flow import Flow, LayerFlow, PromptFlow, TruncationError
from recurra.inspection.lyapunov import Lyapunov
from recurra.inspection.remedies import remedies_of
from recurra.inspection.report import Report
from recurra.inspection.spectrum import JacobianSpectrum, MatrixSpectrum, Spectrum
from recurra.inspection.units import GateHistogram, Units, UnitStory
from recurra.inspection.unrolled import Unrolled
from recurra.inspection.verdict import write_verdict

WORDS = ["two", "thousand", "three", "hundred", "forty", "five", ".", "six"]
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)


def layer_flow(layer=0, slope=-0.2, lags=128, rate=None):
    norms = [math.exp(slope * k) for k in range(lags + 1)]
    rate = rate or ("vanishing" if slope < -0.01 else "exploding" if slope > 0.01 else "neutral")
    low, high = [0.6 * n for n in norms], [1.5 * n for n in norms]
    return LayerFlow(layer, list(range(lags + 1)), norms, low, high, slope, rate)


def flow(*, slope=-0.2, layers=2, short=0.5, prompt=None):
    """`slope` of the top layer in nats per step; a window w misses exp(-short * w) of the gradient."""
    made = [layer_flow(k, slope * (1 + 0.4 * (layers - 1 - k))) for k in range(layers)]
    norms = made[-1].norms
    fades_at = next((k for k, norm in enumerate(norms) if norm < 0.01), None)
    errors = [math.exp(-short * window) for window in WINDOWS]
    truncation = [TruncationError(w, max(0.0, 1 - e / 2), e) for w, e in zip(WINDOWS, errors, strict=True)]
    memory = sum(k * n for k, n in enumerate(norms)) / sum(norms)
    return Flow(made, memory, fades_at, truncation, prompt, 32)


def prompt():
    tokens = ["four", "thousand", "nine", "hundred", "ninety", "nine", ".", "five"]
    norms = [0.02, 0.11, 0.05, 0.09, 0.3, 0.8, 1.0, 0.4]
    return PromptFlow(tokens, norms, tokens, norms, "thousand")


def lyapunov(largest=-0.05, error=0.004):
    return Lyapunov([largest - 0.02 * k for k in range(8)], [error * (1 + 0.2 * k) for k in range(8)], 2000)


def spectrum(*, layers=2, size=64, gates="ifgo", largest=-0.05):
    draw = np.random.default_rng(0)
    matrices = []
    for layer in range(layers):
        for k, gate in enumerate(gates):
            matrix = draw.normal(size=(size, size)) * (0.5 + 0.3 * k) / math.sqrt(size)
            values = np.linalg.eigvals(matrix)
            singular = np.linalg.svd(matrix, compute_uv=False)
            pairs = [(float(v.real), float(v.imag)) for v in values]
            matrices.append(MatrixSpectrum(layer, f"U_{gate}", pairs, singular.tolist(), float(abs(values).max())))
    jacobians = [
        JacobianSpectrum(k, draw.uniform(0.7, 0.99, 16).tolist(), draw.uniform(1.0, 1.9, 16).tolist())
        for k in range(layers)
    ]
    return Spectrum(matrices, jacobians, lyapunov(largest))


def behaviour(name="no input", kind="settles to a point"):
    draw = np.random.default_rng(len(name))
    paths = []
    for _ in range(8):
        start = draw.normal(size=2) * 2
        angle, shrink = 0.35, 0.93 if kind == "settles to a point" else 1.0
        turn = shrink * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        path = [start]
        for _ in range(60):
            path.append(turn @ path[-1] + (0.25 * draw.normal(size=2) if kind == "is chaotic" else 0))
        paths.append([(float(x), float(y)) for x, y in path])
    points = [FixedPoint([0.0, 0.0], 1e-9, kind == "settles to a point", 0.93, name)]
    return Behaviour(name, kind, points, 18 if kind == "oscillates" else None, paths, 0.87, [(0.0, 0.0)], None)


def gate(layer, name, *, closed=0.0, opened=0.0, seed=0):
    counts = np.random.default_rng(seed).beta(2 + seed % 3, 3, 20000)
    counts = np.where(np.random.default_rng(seed + 1).random(20000) < opened, 0.98, counts)
    numbers, edges = np.histogram(counts, bins=20, range=(0, 1))
    return GateHistogram(layer, name, edges.tolist(), numbers.tolist(), closed, opened)


def story(layer=0, unit=7, feature="position in line"):
    tokens = list("the cat sat on\nthe mat, and the dog\nsat on “the” log\n")
    values, place = [], 0
    for token in tokens:
        values.append(math.tanh(place / 8 - 1))
        place = 0 if token == "\n" else place + 1
    return UnitStory(
        layer, unit, feature, 0.83, [t.replace("\n", "\\n").replace(" ", "␣") for t in tokens], values, "h"
    )


def units(*, forget_open=0.04, saturated=0.03, gates=("forget", "input", "output")):
    made = [
        gate(layer, name, opened=forget_open if name == "forget" else 0.0, seed=7 * layer + k)
        for layer in (0, 1)
        for k, name in enumerate(gates)
    ]
    return Units(made, [story(), story(1, 31, "after a space")], saturated)


def cost():
    return Cost(32, [CostPoint(w, 900_000 + 66_000 * w, 880_000 + 66_400 * w, (40 + 300 / w) * 1e-6, 9_000 * w)
                     for w in (16, 64, 256, 1024)])  # fmt: skip


def unrolled(*, steps=8, layers=2, window=64, slope=-0.25):
    text = (WORDS * (steps // len(WORDS) + 2))[: steps + 1]
    gradients = [[math.exp(slope * (1 + 0.3 * (layers - 1 - k)) * (steps - 1 - t)) for t in range(steps)]
                 for k in range(layers)]  # fmt: skip
    probabilities = [round(0.15 + 0.8 * ((7 * t) % 10) / 10, 2) for t in range(steps)]
    return Unrolled(text[:-1], text[1:], ["LSTM, 64 units"] * layers, window, probabilities, gradients)


def report(run=None, **replaced):
    """A report on a run, or on none; parts are replaced by name."""
    behaviours = [
        behaviour(),
        behaviour("'thousand'", "oscillates"),
        behaviour("'hundred'"),
        behaviour("'.'", "is chaotic"),
    ]
    parts = {
        "unrolled": unrolled(window=16),
        "flow": flow(prompt=prompt()),
        "spectrum": spectrum(),
        "behaviours": behaviours,
        "units": units(),
        "cost": cost(),
        "window": 16,
    } | replaced
    verdict = write_verdict(
        window=parts["window"], flow=parts["flow"], spectrum=parts["spectrum"], behaviours=parts["behaviours"],
        units=parts["units"],
    )  # fmt: skip
    found = {} if run is None else {r.name: r for r in remedies_of(run.config, run.model, gated=True)}
    facts = {"run": "runs/counting-lstm", "cell": "lstm", "layers": 2, "hidden": 64, "parameters": 68_123,
             "text": "its validation part", "seconds": 21.0, "notes": []}  # fmt: skip
    return Report(**({"verdict": verdict, "remedies": found} | facts | parts))
