"""How each operation of torch is read: the table that `recurra.engine.capture.lowering` works by."""

from recurra.engine.capture.aten import pointwise, products, shapes
from recurra.engine.capture.aten.rows import HEAVY, check_rows, is_known
from recurra.engine.capture.aten.table import LOWERINGS

__all__ = ["HEAVY", "LOWERINGS", "check_rows", "is_known", "pointwise", "products", "shapes"]
