"""``recurra bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recurra.cli.options import debug_option, json_option, print_json
from recurra.errors import ConfigError

if TYPE_CHECKING:
    from recurra.benchmarks import Case, Result

SUBJECTS = ("engine", "train", "generate")
CELLS = ("rnn", "gru", "lstm")
MODES = ("train", "infer", "step")
EXAMPLES = """
\b
Examples:
  recurra bench engine --json
  recurra bench engine --cell gru --shape 32,64,256 --mode train
  recurra bench engine --cell lstm-layernorm --shape 32,35,64 --compile
  recurra bench engine --chart speed.png
"""


@click.command("bench", epilog=EXAMPLES)
@click.argument("subject", required=False, type=click.Choice(SUBJECTS))
@click.option("--cell", "cells", multiple=True, help="engine: a cell by name, or MODULE:CLASS. [default: rnn gru lstm]")
@click.option(
    "--shape", "shapes", multiple=True, metavar="B,T,H", help="engine: rows, steps, units. [default: a grid of them]"
)
@click.option("--mode", "modes", multiple=True, type=click.Choice(MODES), help="engine: what to do. [default: all]")
@click.option("--compile", "compiled", is_flag=True, help="engine: torch.compile too; minutes for each case.")
@click.option("--tune", is_flag=True, help="engine: by what is measured, choose between loops and kernels from now on.")
@click.option("--rounds", type=int, help="Readings of each contender. [default: what fits into seconds]")
@click.option("--chart", type=click.Path(), help="engine: draw the speeds into this PNG, a new file.")
@click.option("--threads", type=int, help="Threads of the CPU.")
@json_option
@debug_option
def command(
    subject: str | None,
    cells: tuple[str, ...],
    shapes: tuple[str, ...],
    modes: tuple[str, ...],
    compiled: bool,
    tune: bool,
    rounds: int | None,
    chart: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Measure this machine, recurra and its peers in one run: medians of interleaved rounds.

    engine: a layer beside torch.nn, JAX and onnxruntime, as far as they are installed, in GF/s of the matrix products.
    train: whole optimizer steps. generate: one token at a time.
    """
    from recurra.config import check_at_least

    check_at_least(1, threads=threads, rounds=rounds)
    if subject not in (None, "engine"):
        _refuse(
            subject,
            {
                "--cell": cells,
                "--shape": shapes,
                "--mode": modes,
                "--compile": compiled,
                "--chart": chart,
                "--tune": tune,
            },
        )
    if chart is not None:
        _check_new_picture(Path(chart))
    if tune:
        from recurra.benchmarks import TUNED_CELLS

        cells, modes = cells or TUNED_CELLS, modes or ("train", "infer")
    plan = _plan(cells, shapes, modes) if subject in (None, "engine") else []
    report: dict[str, Any] = {"machine": _describe_machine(threads)}
    if not as_json:
        click.echo("machine     " + ", ".join(f"{name} {value}" for name, value in report["machine"].items()))
    for name in [subject] if subject else SUBJECTS:
        if name == "engine":
            report |= _engine(plan, report["machine"], compiled, rounds, chart, as_json, tune)
        else:
            report[name] = _language(name, rounds, as_json)
    if as_json:
        print_json(report)


def _refuse(subject: str | None, given: dict[str, Any]) -> None:
    wrong = [name for name, value in given.items() if value]
    if wrong:
        raise ConfigError(f"bench {subject} takes no {', '.join(wrong)}; they belong to: recurra bench engine")


def _check_new_picture(path: Path) -> None:
    """Refuse before anything is measured what could not be drawn after."""
    if path.suffix.lower() != ".png":
        raise ConfigError(f"--chart draws a PNG; write {path.with_suffix('.png')}")
    if path.exists():
        raise ConfigError(f"{path} exists already; remove it or choose another name")


def _plan(cells: tuple[str, ...], shapes: tuple[str, ...], modes: tuple[str, ...]) -> list[Case]:
    """Put together what is measured.

    Raises: ConfigError for a cell, shape or mode that cannot be, before anything is measured.
    """
    from recurra.benchmarks import cases
    from recurra.cells import CELLS as KNOWN
    from recurra.cells import import_cell
    from recurra.config import check_choice

    for cell in cells:
        if ":" in cell:
            import_cell(cell)
        else:
            check_choice(KNOWN, cell=cell)
    sizes = [_shape(text) for text in shapes]
    if "step" in modes and any(steps != 1 for _, steps, _ in sizes):
        raise ConfigError("a single step has T = 1; write --mode step --shape 1,1,256")
    modes = modes or (("train", "infer") if shapes else MODES)
    return list(cases(cells or CELLS, [mode for mode in MODES if mode in modes], sizes))


def _shape(text: str) -> tuple[int, int, int]:
    from recurra.config import check_at_least

    try:
        rows, steps, size = (int(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"cannot read '{text}' as a shape; write B,T,H, such as 32,64,256") from None
    check_at_least(1, B=rows, T=steps, H=size)
    return rows, steps, size


def _describe_machine(threads: int | None) -> dict[str, Any]:
    import torch

    from recurra.benchmarks import describe_machine

    if threads:
        torch.set_num_threads(threads)
    return describe_machine()


def _engine(
    plan: list[Case],
    machine: dict[str, Any],
    compiled: bool,
    rounds: int | None,
    chart: str | None,
    as_json: bool,
    tune: bool,
) -> dict[str, Any]:
    from recurra.benchmarks import choices_from, means, measure
    from recurra.cli.tables import speed_table

    said: set[str] = set()

    def say(line: str) -> None:
        if line not in said:
            print(line, file=sys.stderr)
        said.add(line)

    results: list[Result] = []
    for number, case in enumerate(plan, start=1):
        results.append(measure(case, machine["peak_gflops"], compiled=compiled, rounds=rounds, say=say))
        say(f"{number}/{len(plan)} {case}: {_in_short(results[-1])}")
    if tune:
        from recurra.engine.choices import write_table

        say(f"table: {write_table(choices_from(results))}")
    averages = means(results)
    rows = [result.as_mapping() for result in results]
    if not as_json:
        for mode in dict.fromkeys(case.mode for case in plan):
            chosen = [result for result in results if result.case.mode == mode]
            click.echo("\n" + speed_table(mode, chosen, [mean for mean in averages if mean["mode"] == mode]))
    if chart is not None:
        from recurra.figures import plot_speeds

        plot_speeds(rows, chart, machine=machine)
        say(f"chart: {chart}")
    return {"engine": rows, "geometric_means": averages}


def _in_short(result: Result) -> str:
    """Name every contender's speed, and the seconds to its first result where it kept one waiting."""
    parts = []
    for name, speed in result.speeds.items():
        rate = f"{1e6 * speed.seconds:.4g} µs" if speed.gflops is None else f"{speed.gflops:.3g} GF/s"
        if result.case.mode == "step":
            rate = f"{1e6 * speed.seconds:.4g} µs"
        waited = f" after {speed.first_s:.0f} s" if speed.first_s >= max(1.0, 10 * speed.seconds) else ""
        parts.append(f"{name} {rate}{waited}")
    return ", ".join(parts)


def _language(subject: str, rounds: int | None, as_json: bool) -> list[dict[str, Any]]:
    from recurra.benchmarks import measure_generation, measure_training

    measure = measure_training if subject == "train" else measure_generation
    rows = []
    for cell in CELLS:
        print(f"measuring {subject} {cell} …", file=sys.stderr)
        row = {"cell": cell, **measure(cell, rounds)}
        rows.append(row)
        if not as_json:
            click.echo(f"{subject:<12}" + ", ".join(f"{key} {value}" for key, value in row.items()))
    return rows
