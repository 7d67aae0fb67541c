"""Results as tables of aligned columns."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recurra.benchmarks import Result

__all__ = ["plain", "speed_table"]

WIDEST = 1000
"""Columns are never squeezed or cut: a narrow terminal wraps whole lines."""
OURS = "recurra"


def speed_table(mode: str, results: Sequence[Result], means: Sequence[dict[str, Any]]) -> str:
    """Return the results of one mode, a line for each case, with the geometric means below the cases of each cell.

    Contenders stand side by side: GF/s (in the mode "step", microseconds), then how many times faster ours is.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from recurra.benchmarks import contenders

    present = {name for result in results for name in result.speeds}
    names = [name for name in contenders(compiled=True) if name in present]
    unit = "µs" if mode == "step" else "GF/s"
    table = Table(box=SIMPLE_HEAD, title=f"{mode}: {unit}, and in brackets how many times faster recurra is")
    table.title_justify = "left"
    for heading in ("cell", "B", "T", "H", OURS, *(["of peak"] if mode != "step" else []), *names[1:], "best peer"):
        table.add_column(heading, justify="left" if heading == "cell" else "right", no_wrap=True)
    for mean in means:
        mine = [result for result in results if result.case.cell == mean["cell"]]
        for result in mine:
            case, best = result.case, result.best_peer()
            speeds = {name: vars(speed) for name, speed in result.speeds.items()}
            if best is not None:
                speeds["best peer"] = vars(best)
            table.add_row(case.cell, str(case.rows), str(case.steps), str(case.size), *_cells(mode, names, speeds))
        if len(mine) > 1:
            table.add_row(mean["cell"], "", "", "mean", *_cells(mode, names, mean["speeds"]))
        table.add_section()
    return plain(table)


def _cells(mode: str, names: Sequence[str], speeds: dict[str, Any]) -> list[str]:
    ours = speeds[OURS]
    share = [] if mode == "step" else ["" if ours["share"] is None else f"{ours['share']:.1%}"]
    others = [_rate(mode, speeds.get(name), with_ratio=True) for name in names[1:]]
    best = speeds.get("best peer")
    return [_rate(mode, ours), *share, *others, "" if best is None else f"{best['ratio']:.2f}x"]


def _rate(mode: str, speed: dict[str, Any] | None, with_ratio: bool = False) -> str:
    if speed is None:
        return ""
    if mode == "step":
        rate = _digits(1e6 * speed["seconds"])
    else:
        rate = f"{_digits(1e3 * speed['seconds'])} ms" if speed["gflops"] is None else _digits(speed["gflops"])
    return f"{rate} ({speed['ratio']:.2f}x)" if with_ratio else rate


def _digits(value: float) -> str:
    """Write a number with three digits, or all that stand before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def plain(table: Any) -> str:
    """Return a table of rich's as text without colours."""
    from rich.console import Console

    buffer = io.StringIO()
    Console(file=buffer, width=WIDEST, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().strip("\n").splitlines())
