"""Versions of frameworks that are known to compute recurrent networks wrongly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from recurra.doctor.findings import NOTE, OK, WRONG, Finding, worst

__all__ = ["KNOWN", "Known", "check_known", "version_of"]


class Known(NamedTuple):
    """Something that is known to be wrong.

    Args:
        framework: name of the package.
        first, last: versions, both included, as reported; None where it is older, or not mended yet.
        device: cpu, cuda, rocm or mps.
        what: is wrong.
        source: where it was reported.
        silent: it gives wrong numbers; otherwise it fails, and says so.
    """

    framework: str
    first: str | None
    last: str | None
    device: str
    what: str
    source: str
    silent: bool = True

    def applies(self, version: str, devices: Sequence[str]) -> bool:
        """Whether a version on a machine with these devices has it."""
        if self.device not in devices:
            return False
        found = version_of(version)
        # a last version stands for all its patches: 2.13 includes 2.13.1
        last = version_of(self.last)[:2] if self.last else None
        return (not self.first or found >= version_of(self.first)) and (last is None or found[: len(last)] <= last)


KNOWN = (
    Known(
        "torch", None, "2.13", "mps", "nn.LSTM of several layers with dropout: its gradients ignore the dropout",
        "pytorch/pytorch#190056",
    ),
    Known(
        "torch", None, "2.13", "mps", "nn.LSTM of several layers with dropout 1 gives nan", "pytorch/pytorch#190057"
    ),
    Known(
        "torch", None, "2.12", "mps", "nn.LSTM with dropout, trained here, collapses when it is moved to a CPU",
        "pytorch/pytorch#173640",
    ),
    Known(
        "torch", None, "2.12", "mps", "nn.LSTM with dropout: outputs depend on how many rows are read together",
        "pytorch/pytorch#180744",
    ),
    Known(
        "torch", None, "2.13", "rocm", "nn.LSTM gives wrong outputs (gfx1201) or fails for large batches",
        "pytorch/pytorch#177834",
    ),
    Known(
        "torch", None, None, "cuda", "cuDNN's nn.LSTM fails for more than 65,535 steps at once",
        "pytorch/pytorch#133751", silent=False,
    ),
)  # fmt: skip
"""Reports against versions that recurra runs on, oldest 2.6; recurra's own layers apply dropout outside of kernels."""


def version_of(text: str | None) -> tuple[int, ...]:
    """Return the release numbers of a version: ``2.13.0a0+cu12`` is (2, 13, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text or "")
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def check_known(versions: dict[str, str], devices: Sequence[str], table: Sequence[Known] = KNOWN) -> Finding:
    """Look these versions up in the table."""
    found = [known for known in table if known.applies(versions.get(known.framework, ""), devices)]
    details = [
        f"{known.framework} {versions[known.framework]} on {known.device}: {known.what} ({known.source})"
        for known in found
    ]
    status = worst(*(WRONG if known.silent else NOTE for known in found))
    if status == OK:
        return Finding("known bugs", OK, f"none of {len(table)} in the table has this version on these devices")
    silent = [known for known in found if known.silent]
    shown = (silent or found)[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    advice = f"train with --device cpu there, or install a {shown.framework} after {shown.last}" if silent else ""
    return Finding("known bugs", status, f"{shown.device}: {shown.what} ({shown.source}){more}", advice, details)
