"""For those who write cells: the laws they must satisfy, and one call that checks them all."""

from recurra.testing.case import Case, Law, make_case
from recurra.testing.check_cell import LAWS, check_cell
from recurra.testing.tolerances import TOLERANCES

__all__ = ["LAWS", "TOLERANCES", "Case", "Law", "check_cell", "make_case"]
