"""What a trained network does with its past: gradients, spectra, behaviour, units, costs; and a page of it."""

from recurra.inspection.page import is_page, render
from recurra.inspection.report import Report, inspect_run
from recurra.inspection.verdict import write_verdict

__all__ = ["Report", "inspect_run", "is_page", "render", "write_verdict"]
